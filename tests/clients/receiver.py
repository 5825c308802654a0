"""Receives with a persistent session and prints every message; ends after the one that says `end`.

    receiver.py HOST PORT USER PASSWORD CLIENT FILTER [once] [QOS]

With `once` it only makes the session: it subscribes, waits for the answer, disconnects, and ends. QOS is 1 when it is not said.
It comes back by itself when the connection is lost.
"""

import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, port, user, password, name, topics = sys.argv[1:7]
once = "once" in sys.argv[7:]
qos = 2 if "2" in sys.argv[7:] else 1
over = threading.Event()


def connected(client, userdata, flags, reason, properties):
    print("connected", reason.value, "session", int(flags.session_present), flush=True)
    if reason.value >= 128:
        over.set()
    elif not flags.session_present:
        client.subscribe(topics, qos=qos)


def subscribed(client, userdata, packet_id, reasons, properties):
    print("subscribed", *(reason.value for reason in reasons), flush=True)
    if once:
        over.set()


def received(client, userdata, message):
    text = message.payload.decode()
    print("message", text, flush=True)
    if text == "end":
        over.set()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
client.username_pw_set(user, password)
client.on_connect = connected
client.on_subscribe = subscribed
client.on_message = received
client.reconnect_delay_set(min_delay=1, max_delay=1)
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 3600
client.connect(host, int(port), clean_start=False, properties=session)
client.loop_start()
if not over.wait(600):
    sys.exit("nothing more came within 600 s")
client.disconnect()
client.loop_stop()
print("over", flush=True)
