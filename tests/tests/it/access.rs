//! A device never receives, and never publishes, on another user's topics: not by SUBSCRIBE, PUBLISH, a will or `$share/`.

use tidings_tests::broker::Broker;
use tidings_tests::mosquitto;
use tidings_tests::packet::{Connect, Connection, Version};
use tidings_tests::tokens::claims_with;

/// MQTT 5's reason code "Not authorized".
const NOT_AUTHORIZED: u8 = 0x87;
/// MQTT 5's reason code "Topic Filter invalid": a `+` that shares its level is no wildcard.
const MALFORMED: u8 = 0x8f;
/// MQTT 3.1.1's only refusal of a subscription.
const FAILURE: u8 = 0x80;

/// Filters through which the device of user `42` would see what is not its own.
const FOREIGN: &[&str] = &[
    "43_contact_requested",
    "43/anything",
    "43/#",
    "42_3_contact_requested/..",
    "421_contact_requested",
    "#",
    "+",
    "+/#",
    "+_contact_requested",
    "request_contact",
    "$share/group/43_contact_requested",
    "$share/group/#",
    "$share/group/+/inbox",
    "$tidings/events/unacked",
    "$tidings/#",
    "$SYS/#",
];

#[test]
fn foreign_filters_are_refused_on_subscribe() {
    let broker = Broker::start();
    for (version, refused) in [(Version::V5, NOT_AUTHORIZED), (Version::V3, FAILURE)] {
        let mut device = Connection::accepted(broker.mqtt, &broker.device(version, "42", "phone"));
        for filter in FOREIGN.iter().filter(|filter| !filter.starts_with("42_")) {
            let code = device.subscribe(filter);
            assert!(
                code == refused || code == MALFORMED && filter.contains("+_"),
                "{filter} over {version:?}: {code:#04x}"
            );
        }
        for own in ["42_contact_requested", "42/inbox", "42/#", "$share/group/42/inbox"] {
            assert!(device.subscribe(own) <= 2, "{own} over {version:?} is the user's own");
        }
    }
}

#[test]
fn a_refused_filter_delivers_nothing() {
    let broker = Broker::start();
    let mut device = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "42", "phone"));
    for filter in FOREIGN {
        let _ = device.subscribe(filter);
    }
    let mut handler = Connection::accepted(broker.mqtt, &broker.handler(Version::V5, "handler"));
    for topic in ["43_contact_requested", "43/anything", "421_contact_requested", "43/inbox", "request_contact"] {
        handler.publish(topic, b"not for 42", 1);
        assert!(handler.puback() <= 0x10, "a handler may publish to {topic}");
    }
    assert_eq!(device.until_ping_answer(), [], "nothing of this is for user 42");
}

#[test]
fn a_user_id_with_an_underscore_keeps_its_topics_from_the_shorter_one() {
    let broker = Broker::start();
    let mut shorter = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "42", "phone"));
    assert!(shorter.subscribe("42_3_inbox") <= 2, "this is topic `3_inbox` of user 42");
    let mut longer = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "42_3", "phone"));
    assert_eq!(longer.subscribe("42_3_inbox"), NOT_AUTHORIZED, "in topics the user 42_3 is written 42%5F3");
    assert!(longer.subscribe("42%5F3_inbox") <= 2);
    let mut handler = Connection::accepted(broker.mqtt, &broker.handler(Version::V5, "handler"));
    handler.publish("42%5F3_inbox", b"for 42_3", 1);
    assert!(handler.puback() <= 0x10);
    let message = longer.expect(3);
    assert!(message.body.ends_with(b"for 42_3"));
    assert_eq!(shorter.until_ping_answer(), []);
}

#[test]
fn foreign_topics_are_refused_on_publish() {
    let broker = Broker::start();
    for topic in ["43_contact_requested", "43/inbox", "42_contact_requested", "42/inbox", "$tidings/events/unacked"] {
        let mut device = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "42", "phone"));
        device.publish(topic, b"forged", 1);
        assert_eq!(device.puback(), NOT_AUTHORIZED, "{topic}: only handlers publish on a user's topics");

        // MQTT 3.1.1 has no code for this: the broker closes, and acknowledges nothing.
        let mut device = Connection::accepted(broker.mqtt, &broker.device(Version::V3, "42", "phone"));
        device.publish(topic, b"forged", 1);
        assert_eq!(device.closed(), [], "{topic} over 3.1.1");
    }
}

#[test]
fn a_forged_message_reaches_nobody() {
    let broker = Broker::start();
    let mut victim = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "43", "phone"));
    assert!(victim.subscribe("43_contact_requested") <= 2);
    for qos in [0, 1] {
        let mut device = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "42", "phone"));
        device.publish("43_contact_requested", b"forged", qos);
        let _ = device.until_ping_answer();
    }
    assert_eq!(victim.until_ping_answer(), []);
}

#[test]
fn foreign_topics_are_refused_as_wills() {
    let broker = Broker::start();
    for topic in ["43_contact_requested", "43/inbox", "42/inbox", "$tidings/events/returned"] {
        for (version, refused) in [(Version::V5, NOT_AUTHORIZED), (Version::V3, 5)] {
            let connect = broker.device(version, "42", "phone").will(topic, "forged");
            let mut device = Connection::open(broker.mqtt, &connect);
            assert_eq!(device.connack(), refused, "a will for {topic} over {version:?}");
            assert_eq!(device.closed(), []);
        }
    }
}

#[test]
fn a_will_for_a_command_topic_reaches_the_handlers() {
    let broker = Broker::start();
    let mut handler = Connection::accepted(broker.mqtt, &broker.handler(Version::V5, "handler"));
    assert!(handler.subscribe("phone-lost") <= 2);
    let connect = broker.device(Version::V5, "42", "phone").will("phone-lost", "gone");
    Connection::accepted(broker.mqtt, &connect).cut();
    let will = handler.expect(3);
    assert!(will.body.ends_with(b"gone"));
    let text = String::from_utf8_lossy(&will.body).into_owned();
    assert!(text.contains("user") && text.contains("42"), "the will says whose it is: {text:?}");
}

#[test]
fn an_acl_in_the_token_grants_exactly_what_it_says() {
    let broker = Broker::start();
    let acl = serde_json::json!({ "acl": { "subscribe": ["room/7/#"], "publish": ["room/7/chat"] } });
    let token = broker.issuer.sign(&claims_with("42", &acl));
    let mut device = Connection::accepted(broker.mqtt, &Connect::device(Version::V5, "phone", &token));
    assert!(device.subscribe("room/7/chat") <= 2);
    assert_eq!(device.subscribe("room/8/chat"), NOT_AUTHORIZED);
    assert_eq!(device.subscribe("room/#"), NOT_AUTHORIZED, "wider than the grant");
    device.publish("room/7/chat", b"hello", 0);
    assert!(device.expect(3).body.ends_with(b"hello"), "granted to publish and to subscribe");
}

#[test]
fn a_device_cannot_forge_who_sent_a_message() {
    let broker = Broker::start();
    let handler = broker.handler_login();
    let mut seen = mosquitto::Subscriber::start(&handler, "request_contact", &["-F", "MESSAGE %t %P|%p"]);
    let device = broker.device_login("42");
    let forged = ["-D", "PUBLISH", "user-property", "user", "43", "-D", "PUBLISH", "user-property", "client", "other"];
    let output = mosquitto::publish(&device, "request_contact", "hello", &forged);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, message) = seen.message();
    assert!(
        message.contains("user:42") && !message.contains("user:43") && !message.contains("client:other"),
        "{message}"
    );
    for property in ["client:", "message-id:", "time:"] {
        assert!(message.contains(property), "handlers are told the {property} in {message}");
    }
}
