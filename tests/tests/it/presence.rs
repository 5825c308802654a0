//! Who is there: over HTTP, for real connections.

use serde_json::Value;
use tidings_tests::broker::Broker;
use tidings_tests::curl::Request;
use tidings_tests::packet::{Connection, Version};
use tidings_tests::wait::{PATIENCE, eventually};
use tidings_tests::world::HANDLER_KEY;

#[test]
fn a_phone_is_online_while_it_is_connected_and_was_seen_when_it_left() {
    let mut broker = Broker::start();
    let ask =
        |broker: &Broker| Request::get(broker.url("/v1/presence/42")).bearer(HANDLER_KEY).send().expect(200).json();
    assert_eq!(ask(&broker)["online"], Value::Bool(false));
    let phone = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "42", "phone"));
    let online = ask(&broker);
    assert_eq!((&online["online"], &online["sessions"][0]["client"]), (&Value::Bool(true), &Value::from("phone")));
    let own = Request::get(broker.url("/v1/presence")).bearer(&broker.issuer.token("42")).send().expect(200).json();
    assert_eq!(own["users"][0], online);
    drop(phone);
    let left = eventually("the phone is gone", PATIENCE, || Some(ask(&broker)).filter(|now| now["online"] == false));
    let seen = left["last_seen"].as_i64().expect("when it was seen");
    broker.process.terminate();
    assert!(broker.process.end(PATIENCE).0.success());
    broker.start_again();
    assert_eq!(ask(&broker)["last_seen"].as_i64(), Some(seen), "a restart forgets nobody");
}
