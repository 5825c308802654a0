//! The two scenarios, typed with mosquitto's clients: add a contact, list contacts.

use serde_json::Value;
use tidings_tests::mosquitto::{Subscriber, publish_well};
use tidings_tests::world::World;

fn json(message: (String, String)) -> (String, Value) {
    let (topic, payload) = message;
    let value = serde_json::from_str(&payload).unwrap_or_else(|error| panic!("{payload}: {error}"));
    (topic, value)
}

#[test]
fn add_a_contact_and_list_contacts() {
    let world = World::up();
    let (alice, bob) = (world.device("68946"), world.device("23412"));
    let mut alice_hears = Subscriber::start(&alice, "68946_contact_approved", &["-i", "alice"]);
    let mut bob_hears = Subscriber::start(&bob, "23412_contact_requested", &["-i", "bob"]);

    publish_well(&alice, "request_contact", r#"{"user":"23412"}"#);
    let (topic, request) = json(bob_hears.message());
    assert_eq!((topic.as_str(), &request["user"]), ("23412_contact_requested", &Value::from("68946")));

    publish_well(&bob, "accept_contact", r#"{"user":"68946"}"#);
    let (topic, approval) = json(alice_hears.message());
    assert_eq!((topic.as_str(), &approval["user"]), ("68946_contact_approved", &Value::from("23412")));

    for (device, user, other) in [(&alice, "68946", "23412"), (&bob, "23412", "68946")] {
        let topic = format!("{user}_contact_list");
        let mut list = Subscriber::start(device, &topic, &["-i", &format!("{user}-list")]);
        publish_well(device, "get_contact_list", "");
        let (_, list) = json(list.message());
        let contacts = list["contacts"].as_array().cloned().unwrap_or_default();
        assert_eq!(contacts.len(), 1, "{user} has one contact: {list}");
        assert_eq!(contacts[0]["user"], other);
    }
}

#[test]
fn a_request_waits_for_a_target_that_is_away() {
    let world = World::up();
    let (alice, bob) = (world.device("68946"), world.device("23412"));
    // The phone of 23412 has a session, and goes away.
    let session = ["-i", "bob", "-c", "-x", "3600"];
    drop(Subscriber::start(&bob, "23412_contact_requested", &session));
    publish_well(&alice, "request_contact", r#"{"user":"23412"}"#);
    let mut bob_hears = Subscriber::start(&bob, "23412_contact_requested", &session);
    let (_, request) = json(bob_hears.message());
    assert_eq!(request["user"], "68946");
}

#[test]
fn accepting_what_nobody_asked_is_refused_with_a_code() {
    let world = World::up();
    let bob = world.device("23412");
    let mut errors = Subscriber::start(&bob, "23412_contact_error", &["-i", "bob"]);
    publish_well(&bob, "accept_contact", r#"{"user":"68946"}"#);
    let (_, refusal) = json(errors.message());
    assert_eq!(refusal["error"]["code"], "contact_request_missing");
}
