"""Publishes numbered messages, QoS 1 or 2, with a persistent session, through every loss of the connection, and prints
each number when its exchange is over. SIGTERM: it finishes what it has begun, and ends.

    storm.py HOST PORT USER PASSWORD CLIENT TOPIC QOS
"""

import queue
import signal
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, port, user, password, name, topic, qos = sys.argv[1:]
WINDOW = 20
# The callbacks run under paho's locks, so they only note what happened.
happened = queue.Queue()
connected = threading.Event()
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
client.username_pw_set(user, password)
client.on_connect = lambda *_: connected.set()
client.on_publish = lambda client, userdata, packet_id, reason, properties: happened.put((packet_id, reason.value))
client.reconnect_delay_set(min_delay=1, max_delay=1)
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 3600
client.connect(host, int(port), clean_start=False, properties=session)
client.loop_start()
if not connected.wait(30):
    sys.exit("no connection within 30 s")

waiting = {}
number = 0
while waiting or not stopping.is_set():
    while len(waiting) < WINDOW and not stopping.is_set():
        info = client.publish(topic, f"{name} {number}", qos=int(qos))
        waiting[info.mid] = number
        number += 1
    try:
        packet_id, reason = happened.get(timeout=0.2)
    except queue.Empty:
        continue
    done = waiting.pop(packet_id)
    # A refusal (128 and above) is no promise that the message is stored.
    if reason < 128:
        print("acked", name, done, flush=True)
client.disconnect()
client.loop_stop()
print("over", flush=True)
