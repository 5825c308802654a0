"""Sends pushes to the APNs simulator with httpx, as scripts do that use no client made for APNs.

Arguments: PORT CA_FILE KEY_FILE KEY_ID TEAM_ID TOPIC COUNT AT_ONCE. Prints one JSON object with the figures.
"""

import asyncio
import json
import ssl
import sys
import time

import httpx
import jwt

port, ca_file, key_file, key_id, team_id, topic, count, at_once = sys.argv[1:]


async def main():
    with open(key_file) as file:
        key = file.read()
    token = jwt.encode({"iss": team_id, "iat": int(time.time())}, key, algorithm="ES256", headers={"kid": key_id})
    headers = {
        "authorization": "bearer " + token,
        "apns-topic": topic,
        "apns-push-type": "alert",
        "apns-expiration": str(int(time.time()) + 3600),
    }
    message = {"aps": {"alert": {"title": "Number", "body": "A text of the usual length, as people write it."}}}
    numbers = iter(range(int(count)))
    accepted = 0
    tls = ssl.create_default_context(cafile=ca_file)
    limits = httpx.Limits(max_connections=2)
    base = "https://localhost:" + port
    async with httpx.AsyncClient(http2=True, verify=tls, limits=limits, base_url=base, timeout=None) as client:

        async def send(number):
            answer = await client.post("/3/device/%064x" % number, headers=headers, content=json.dumps(message))
            return answer.status_code == 200

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
