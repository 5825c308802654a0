"""Goes through one of the broker's doors: connects, subscribes to its own inbox, asks a handler connection to publish
there, and prints what comes.

    door.py HOST PORT TRANSPORT VERSION QOS USER TOKEN HANDLER_KEY [CA_FILE [TLS_VERSION]]

TRANSPORT is tcp or websockets, VERSION 3 or 5, TLS_VERSION 1.2 or 1.3.
"""

import ssl
import sys
import threading

import paho.mqtt.client as mqtt

host, port, transport, version, qos, user, token, handler_key = sys.argv[1:9]
qos = int(qos)
protocol = {"3": mqtt.MQTTv311, "5": mqtt.MQTTv5}[version]
arrived = threading.Event()


def client(name, login, password):
    one = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol, transport=transport)
    one.username_pw_set(login, password)
    if transport == "websockets":
        one.ws_set_options(path="/mqtt")
    if sys.argv[9:]:
        context = ssl.create_default_context(cafile=sys.argv[9])
        context.set_alpn_protocols(["mqtt"])
        if sys.argv[10:]:
            wanted = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[sys.argv[10]]
            context.minimum_version = context.maximum_version = wanted
        one.tls_set_context(context)
    ready = threading.Event()

    def connected(client, userdata, flags, reason, properties):
        if reason.is_failure:
            print("refused", reason, flush=True)
        ready.set()

    one.on_connect = connected
    one.connect(host, int(port))
    one.loop_start()
    if not ready.wait(30):
        sys.exit(f"{name}: no answer to CONNECT within 30 s")
    return one


def received(client, userdata, message):
    print("received", message.topic, message.qos, message.payload.decode(), flush=True)
    arrived.set()


device = client("device", "JWT", token)
subscribed = threading.Event()
device.on_subscribe = lambda *_: subscribed.set()
device.on_message = received
device.subscribe(f"{user}/inbox", qos=qos)
if not subscribed.wait(30):
    sys.exit("no answer to SUBSCRIBE within 30 s")
handler = client("handler", "handler", handler_key)
handler.publish(f"{user}/inbox", "through the door", qos=qos).wait_for_publish(30)
if not arrived.wait(30):
    sys.exit("the message did not come within 30 s")
for one in (device, handler):
    one.disconnect()
    one.loop_stop()
print("over", flush=True)
