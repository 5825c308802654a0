"""Reads server-sent events with httpx-sse and prints each as `NAME ID DATA`; acknowledges messages when told to.

    stream.py URL TOKEN LAST COUNT [ack]

Begins after the event LAST (`-`: with everything), ends after COUNT messages, or with the stream.
"""

import sys

import httpx
from httpx_sse import connect_sse

url, token, last, count = sys.argv[1:5]
acknowledge = sys.argv[5:] == ["ack"]
headers = {"Authorization": f"Bearer {token}"}
with httpx.Client(timeout=60, headers=headers) as client:
    more = {} if last == "-" else {"Last-Event-ID": last}
    left = int(count)
    with connect_sse(client, "GET", f"{url}/v1/messages/stream?client=phone", headers=more) as source:
        source.response.raise_for_status()
        for event in source.iter_sse():
            print(event.event, event.id or "-", event.data, flush=True)
            if event.event == "message":
                left -= 1
                if acknowledge:
                    answer = httpx.post(
                        f"{url}/v1/messages/ack?client=phone", headers=headers, json={"cursor": event.id}
                    )
                    print("acknowledged", answer.status_code, flush=True)
                if left == 0:
                    break
print("over", flush=True)
