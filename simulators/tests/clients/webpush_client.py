"""Sends pushes to the simulated push service with pywebpush, a client that nobody here wrote.

Arguments: CA_FILE PRIVATE_KEY_FILE, and then subscriptions as JSON: GOOD FOREIGN GONE.
Prints one JSON object with what happened; the Rust test judges it.
"""

import json
import os
import sys

ca_file, key_file, *subscriptions = sys.argv[1:]
os.environ["REQUESTS_CA_BUNDLE"] = ca_file

from pywebpush import WebPushException, webpush  # noqa: E402

good, foreign, gone = [json.loads(text) for text in subscriptions]


def send(subscription, data, **more):
    try:
        answer = webpush(
            subscription,
            data,
            vapid_private_key=key_file,
            vapid_claims={"sub": "mailto:operations@example.org"},
            **more,
        )
        return answer.status_code
    except WebPushException as error:
        return [error.response.status_code, error.response.json()["message"]]


outcome = {
    "text": send(good, "hello", ttl=60),
    "json": send(good, json.dumps({"n": 1}), ttl=0, headers={"urgency": "low", "topic": "a-topic"}),
    "foreign": send(foreign, "hello"),
    "gone": send(gone, "hello"),
    "large": send(good, "x" * 4200),
    "urgency": send(good, "hello", headers={"urgency": "loud"}),
}
print(json.dumps(outcome))
