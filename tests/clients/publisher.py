"""Publishes numbered messages with QoS 1 as fast as the broker acknowledges them, and prints each number when its
acknowledgement has come. Ends when all are acknowledged or the connection is lost.

    publisher.py HOST PORT USER PASSWORD TOPIC FIRST COUNT
"""

import sys
import threading

import paho.mqtt.client as mqtt

host, port, user, password, topic, first, count = sys.argv[1:]
numbers = range(int(first), int(first) + int(count))
window = threading.Semaphore(100)
over = threading.Event()
by_packet_id = {}
lock = threading.Lock()
left = len(numbers)


def acknowledged(client, userdata, packet_id, reason, properties):
    global left
    with lock:
        number = by_packet_id.pop(packet_id)
        left -= 1
        # A refusal (128 and above) is no promise that the message is stored.
        if reason.value < 128:
            print("acked", number, flush=True)
        if left == 0:
            over.set()
    window.release()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="publisher", protocol=mqtt.MQTTv5)
client.username_pw_set(user, password)
client.on_publish = acknowledged
client.on_disconnect = lambda *_: over.set()
client.max_inflight_messages_set(0)
connected = threading.Event()
client.on_connect = lambda *_: connected.set()
client.connect(host, int(port))
client.loop_start()
if not connected.wait(30):
    sys.exit("no connection within 30 s")

for number in numbers:
    while not window.acquire(timeout=0.1):
        if over.is_set():
            break
    if over.is_set():
        break
    # The lock keeps an acknowledgement that comes at once from finding no number.
    with lock:
        info = client.publish(topic, str(number), qos=1)
        by_packet_id[info.mid] = number

over.wait(60)
client.loop_stop()
print("over", flush=True)
