//! A phone asleep: one push, and on return everything that was missed, in order. A phone awake: no push.

use serde_json::json;
use tidings_tests::curl::Request;
use tidings_tests::mosquitto::{Subscriber, publish, publish_well};
use tidings_tests::wait::{PATIENCE, eventually};
use tidings_tests::world::World;

const APNS_TOKEN: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const FCM_TOKEN: &str = "fcm-registration-token-of-the-tablet";
const SESSION: &[&str] = &["-c", "-x", "3600"];

fn register(world: &World, user: &str, device: &str, provider: &str, token: &str) {
    let body = json!({ "provider": provider, "app": "default", "token": token, "environment": "production", "client": device });
    let url = world.url(8081, &format!("/v1/devices/{device}"));
    let answer = Request::new("PUT", url).bearer(&world.token(user)).json(&body).send();
    assert!([200, 201].contains(&answer.status), "{answer}");
}

fn phone(world: &World, user: &str, client: &str) -> Subscriber {
    let mut more = vec!["-i", client];
    more.extend(SESSION);
    Subscriber::start(&world.device(user), &format!("{user}/inbox"), &more)
}

#[test]
fn sleep_one_push_return_nothing_missed_and_in_order() {
    let world = World::up_with(&["broker.wake.grace=500ms"]);
    register(&world, "42", "phone", "apns", APNS_TOKEN);
    // The phone was here, and falls asleep: its connection is cut, its session stays.
    drop(phone(&world, "42", "phone"));

    let handler = world.handler();
    let texts: Vec<String> = (1..=5).map(|number| format!("message-{number}")).collect();
    for text in &texts {
        publish_well(&handler, "42/inbox", text);
    }
    let pushes = world.pushes(APNS_TOKEN, 0, "30s");
    assert_eq!(pushes.len(), 1, "one push says that there is a reason to wake: {pushes:?}");
    let text = serde_json::to_string(&pushes).unwrap();
    assert!(!text.contains("message-"), "a wake push carries no content: {text}");
    let first = pushes[0]["seq"].as_u64().unwrap();

    // More messages while it still sleeps: no second push. The grace period of each passes while we watch.
    publish_well(&handler, "42/inbox", "message-6");
    assert_eq!(world.pushes(APNS_TOKEN, first, "3s"), Vec::<serde_json::Value>::new(), "none until it has come back");

    let mut awake = phone(&world, "42", "phone");
    for expected in texts.iter().map(String::as_str).chain(["message-6"]) {
        assert_eq!(awake.message(), ("42/inbox".to_owned(), expected.to_owned()));
    }

    // Asleep again: what comes now is worth a push again.
    drop(awake);
    publish_well(&handler, "42/inbox", "message-7");
    assert_eq!(world.pushes(APNS_TOKEN, first, "30s").len(), 1, "it had come back, so it is woken again");
}

#[test]
fn an_ack_before_the_grace_period_ends_means_no_push() {
    let world = World::up_with(&["broker.wake.grace=1s"]);
    register(&world, "42", "phone", "apns", APNS_TOKEN);
    let mut awake = phone(&world, "42", "phone");
    publish_well(&world.handler(), "42/inbox", "hello");
    assert_eq!(awake.message().1, "hello");
    assert_eq!(world.pushes(APNS_TOKEN, 0, "4s"), Vec::<serde_json::Value>::new(), "the message was acknowledged");
}

#[test]
fn every_registered_device_is_woken_once_through_its_provider() {
    let world = World::up_with(&["broker.wake.grace=500ms"]);
    register(&world, "42", "phone", "apns", APNS_TOKEN);
    register(&world, "42", "tablet", "fcm", FCM_TOKEN);
    publish_well(&world.handler(), "42/inbox", "hello");
    for token in [APNS_TOKEN, FCM_TOKEN] {
        assert_eq!(world.pushes(token, 0, "30s").len(), 1, "{token}");
    }
}

#[test]
fn a_return_through_the_http_door_counts_and_misses_nothing() {
    let world = World::up_with(&["broker.wake.grace=500ms"]);
    register(&world, "42", "phone", "apns", APNS_TOKEN);
    let handler = world.handler();
    publish_well(&handler, "42/inbox", "first");
    let pushes = world.pushes(APNS_TOKEN, 0, "30s");
    let first = pushes[0]["seq"].as_u64().unwrap();

    let url = world.url(8080, "/v1/messages?client=phone");
    let token = world.token("42");
    let answer = Request::get(&url).bearer(&token).send().expect(200);
    assert_eq!(answer.json()["messages"][0]["payload"], "first");
    // The next poll acknowledges what the first one brought.
    let etag = answer.header("etag").unwrap().to_owned();
    let _ = Request::get(&url).bearer(&token).header("If-None-Match", &etag).send().expect(304);

    // The gateway learns of the return by an event; a message after that is worth a push again.
    let mut after = first;
    eventually("a second push, after the return", PATIENCE, || {
        let output = publish(&handler, "42/inbox", "later", &[]);
        assert!(output.status.success());
        let pushes = world.pushes(APNS_TOKEN, after, "2s");
        after = pushes.last().and_then(|push| push["seq"].as_u64())?;
        Some(())
    });
}
