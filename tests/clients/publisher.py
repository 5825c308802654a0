"""Publishes numbered messages with QoS 1 as fast as the broker acknowledges them, and prints each number when its
acknowledgement has come. Ends when all are acknowledged or the connection is lost.

    publisher.py HOST PORT USER PASSWORD TOPIC FIRST COUNT
"""

import queue
import sys
import threading

import paho.mqtt.client as mqtt

host, port, user, password, topic, first, count = sys.argv[1:]
WINDOW = 100
LOST = None
# The callbacks run under paho's locks, so they only note what happened.
happened = queue.Queue()
connected = threading.Event()

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="publisher", protocol=mqtt.MQTTv5)
client.username_pw_set(user, password)
client.on_connect = lambda *_: connected.set()
client.on_publish = lambda client, userdata, packet_id, reason, properties: happened.put((packet_id, reason.value))
client.on_disconnect = lambda *_: happened.put(LOST)
client.max_inflight_messages_set(0)
client.connect(host, int(port))
client.loop_start()
if not connected.wait(30):
    sys.exit("no connection within 30 s")

numbers = iter(range(int(first), int(first) + int(count)))
waiting = {}
while True:
    while len(waiting) < WINDOW:
        number = next(numbers, None)
        if number is None:
            break
        waiting[client.publish(topic, str(number), qos=1).mid] = number
    if not waiting:
        break
    event = happened.get(timeout=60)
    if event is LOST:
        break
    packet_id, reason = event
    number = waiting.pop(packet_id)
    # A refusal (128 and above) is no promise that the message is stored.
    if reason < 128:
        print("acked", number, flush=True)
client.loop_stop()
print("over", flush=True)
