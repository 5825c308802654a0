"""Sends pushes to the APNs simulator with aioapns.

Arguments: PORT CA_FILE KEY_FILE KEY_ID TEAM_ID TOPIC COUNT AT_ONCE. Prints one JSON object with the figures.
"""

import asyncio
import json
import logging
import ssl
import sys
import time

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol

port, ca_file, key_file, key_id, team_id, topic, count, at_once = sys.argv[1:]
APNsProductionClientProtocol.APNS_SERVER = "localhost"
APNsProductionClientProtocol.APNS_PORT = int(port)
logging.disable(logging.CRITICAL)


async def main():
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    with open(key_file) as file:
        key = file.read()
    client = APNs(key=key, key_id=key_id, team_id=team_id, topic=topic, max_connections=2, ssl_context=context)
    message = {"aps": {"alert": {"title": "Number", "body": "A text of the usual length, as people write it."}}}
    numbers = iter(range(int(count)))
    accepted = 0

    async def send(number):
        request = NotificationRequest(
            device_token="%064x" % number, message=message, push_type=PushType.ALERT, time_to_live=3600
        )
        return (await client.send_notification(request)).is_successful

    async def work():
        nonlocal accepted
        for number in numbers:
            taken = await send(number)
            accepted += taken

    await send(0)
    begin, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*[work() for _ in range(int(at_once))])
    seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
    print(json.dumps({"accepted": accepted, "seconds": seconds, "cpu_seconds": cpu}))


asyncio.run(main())
