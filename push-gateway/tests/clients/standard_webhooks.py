"""Verifies webhook messages with the library of Standard Webhooks.

Reads a JSON list of {secret, message: {headers, body}, good} and prints whether each turned out as expected.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def verifies(case):
    message = case["message"]
    try:
        Webhook(case["secret"]).verify(message["body"], message["headers"])
        return True
    except WebhookVerificationError:
        return False


print(json.dumps([verifies(case) == case["good"] for case in json.load(sys.stdin)]))
