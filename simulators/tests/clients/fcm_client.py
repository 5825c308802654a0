"""Sends messages to the FCM simulator with firebase-admin, a client that nobody here wrote. Only the addresses are
changed: the endpoint, and the token URI that stands in the service account's file.

Arguments: FCM_URL CA_FILE SERVICE_ACCOUNT_FILE.
Prints one JSON object with what happened; the Rust test judges it.
"""

import json
import os
import sys
import warnings

url, ca_file, account_file = sys.argv[1:]
os.environ["REQUESTS_CA_BUNDLE"] = ca_file
os.environ["SSL_CERT_FILE"] = ca_file
warnings.simplefilter("ignore")

import firebase_admin  # noqa: E402
from firebase_admin import credentials, exceptions, messaging  # noqa: E402

service = sys.modules["firebase_admin.messaging"]._MessagingService
service.FCM_URL = url + "/v1/projects/{0}/messages:send"
service.IID_URL = url
firebase_admin.initialize_app(credentials.Certificate(account_file))


def send(message, dry_run=False):
    try:
        return ["ok", messaging.send(message, dry_run=dry_run).split("/messages/")[0]]
    except exceptions.FirebaseError as error:
        return [type(error).__name__, error.code]


def subscriptions(answer):
    return [answer.success_count, [[error.index, error.reason] for error in answer.errors]]


topic_service = messaging._get_messaging_service(None)
topic_service._fcm_topic_url = topic_service._fcm_topic_url.replace("https://fcm.googleapis.com", url)

outcome = {
    "subscribe": subscriptions(messaging.subscribe_to_topic_legacy(["one", "two", "gone-token"], "news")),
    "unsubscribe": subscriptions(messaging.unsubscribe_from_topic_legacy(["two"], "/topics/news")),
    "subscribe_v1": subscriptions(messaging.subscribe_to_topic(["three", "four", "gone-token"], "news")),
    "unsubscribe_v1": subscriptions(messaging.unsubscribe_from_topic(["four"], "news")),
    "data": send(
        messaging.Message(
            token="fcm-token:1",
            data={"wake": "1"},
            android=messaging.AndroidConfig(priority="high", ttl=3.5, collapse_key="k"),
        )
    ),
    "notification": send(
        messaging.Message(
            token="fcm-token:1",
            notification=messaging.Notification(title="Hello", body="World"),
            apns=messaging.APNSConfig(
                headers={"apns-priority": "5"},
                payload=messaging.APNSPayload(aps=messaging.Aps(badge=1)),
            ),
        )
    ),
    "topic": send(messaging.Message(topic="news", data={})),
    "condition": send(messaging.Message(condition="'a' in topics", data={})),
    "dry_run": send(messaging.Message(token="fcm-token:1"), dry_run=True),
    "gone": send(messaging.Message(token="gone-token")),
    "mismatch": send(messaging.Message(token="foreign-token")),
    "quota": send(messaging.Message(token="quota-token")),
    "reserved": send(messaging.Message(token="fcm-token:1", data={"google.x": "1"})),
    "large": send(messaging.Message(token="fcm-token:1", data={"k": "x" * 5000})),
    "each": [
        response.success
        for response in messaging.send_each(
            [messaging.Message(token=f"each-{number}", data={}) for number in range(20)]
        ).responses
    ],
}
print(json.dumps(outcome))
