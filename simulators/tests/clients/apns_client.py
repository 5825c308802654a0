"""Sends pushes to the APNs simulator with aioapns, a client that nobody here wrote.

Arguments: PORT CA_FILE KEY_FILE KEY_ID TEAM_ID TOPIC CERTIFICATE_AND_KEY_FILE CERTIFICATE_TOPIC.
Prints one JSON object with what happened; the Rust test judges it.
"""

import asyncio
import json
import ssl
import sys
import uuid

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol

port, ca_file, key_file, key_id, team_id, topic, certificate_file, certificate_topic = sys.argv[1:]

APNsProductionClientProtocol.APNS_SERVER = "localhost"
APNsProductionClientProtocol.APNS_PORT = int(port)


def tls():
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    return context


async def send(client, token, message, **more):
    request = NotificationRequest(
        device_token=token, message=message, notification_id=str(uuid.uuid4()), **more
    )
    result = await client.send_notification(request)
    return [result.status, result.description, getattr(result, "timestamp", None)]


async def main():
    with open(key_file) as file:
        key = file.read()
    client = APNs(
        key=key, key_id=key_id, team_id=team_id, topic=topic, max_connections=2, ssl_context=tls()
    )
    outcome = {}
    alert = {"aps": {"alert": "hello"}}
    outcome["first"] = await send(client, "aa" * 32, alert, push_type=PushType.ALERT)
    many = [
        send(client, "%064x" % number, alert, push_type=PushType.ALERT, priority=10)
        for number in range(300)
    ]
    outcome["many"] = sorted({status for status, _, _ in await asyncio.gather(*many)})
    outcome["voip"] = await send(
        client, "aa" * 32, {"aps": {}}, push_type=PushType.VOIP, apns_topic=topic + ".voip"
    )
    outcome["bad_token"] = await send(client, "nonsense", alert)
    outcome["too_large"] = await send(client, "aa" * 32, {"aps": {"alert": "x" * 5000}})
    outcome["background"] = await send(
        client, "aa" * 32, {"aps": {"content-available": 1}}, push_type=PushType.BACKGROUND, priority=10
    )
    outcome["gone"] = await send(client, "ee" * 32, alert)
    outcome["busy"] = await send(client, "bb" * 32, alert)

    context = tls()
    context.load_cert_chain(certificate_file)
    by_certificate = APNs(
        client_cert=certificate_file, topic=certificate_topic, max_connections=1, ssl_context=context
    )
    outcome["certificate"] = await send(by_certificate, "cc" * 32, {})
    print(json.dumps(outcome))


asyncio.run(asyncio.wait_for(main(), 60))
