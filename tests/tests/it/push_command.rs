//! `tidings push`: what an operator sends, sees and checks from the command line, and how it ends.

use std::process::Command;

use serde_json::json;
use tidings_tests::curl::Request;
use tidings_tests::programs::program;
use tidings_tests::world::{SERVICE_KEY, World};

/// `tidings push` with these arguments: exit status and output.
fn push(world: &World, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(program("tidings"))
        .arg("push")
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env("TIDINGS_KEYS__SERVICE", SERVICE_KEY)
        .env("TIDINGS_PUSH__LISTEN", world.address(8081).to_string())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

#[test]
fn a_push_is_sent_shown_and_explained_from_the_command_line() {
    let world = World::up();
    let device = json!({"provider": "fcm", "token": "a-phone", "locale": "de-AT", "tags": ["beta"]});
    let path = world.url(8081, "/v1/devices/phone");
    let _ = Request::new("PUT", path).bearer(&world.token("42")).json(&device).send().expect(201);

    let (status, said) = push(&world, &["devices", "42"]);
    assert_eq!(status, 0, "{said}");
    for part in ["device", "phone", "fcm", "de-AT", "beta", "good", "1 devices"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let alert = ["send", "--user", "42", "--title", "Hello", "--body", "there", "--entry", "a=1"];
    let (status, said) = push(&world, &[&alert[..], &["--wait"]].concat());
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("accepted") && said.contains("200"), "{said}");
    let pushes = world.pushes("a-phone", 0, "10s");
    assert_eq!(pushes[0]["payload"]["notification"], json!({"title": "Hello", "body": "there"}));

    let (status, id) = push(&world, &["send", "--where", "{\"tag\":\"beta\"}", "--wake", "--idempotency-key", "k"]);
    assert_eq!(status, 0, "{id}");
    let again = push(&world, &["send", "--where", "{\"tag\":\"beta\"}", "--wake", "--idempotency-key", "k"]);
    assert_eq!(again, (0, id.clone()), "the same key sends nothing more");
    assert_eq!(world.pushes("a-phone", 1, "10s").len(), 1);
    let (status, said) = push(&world, &["status", id.trim(), "--timeline"]);
    assert_eq!(status, 0, "{said}");
    for part in ["segment: 1 devices addressed", "queued", "sent"] {
        assert!(said.contains(part), "{part}: {said}");
    }

    let (status, said) = push(&world, &["credentials", "check", "default"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("apns") && said.contains("fcm") && said.contains("yes"), "{said}");

    // What the gateway refuses, and what nobody answers, is told and ends with 2.
    let (status, said) = push(&world, &["send", "--segment", "nobody", "--wake"]);
    assert!(status == 2 && said.contains("segment_unknown"), "{status}: {said}");
    let (status, said) = push(&world, &["status", "0199"]);
    assert!(status == 2 && said.contains("notification_unknown"), "{status}: {said}");
    let (status, said) = push(&world, &["devices", "42", "--url", "http://127.0.0.1:9"]);
    assert!(status == 2 && said.contains("127.0.0.1:9"), "{status}: {said}");
}

#[test]
fn a_push_that_does_not_arrive_ends_with_1() {
    let world = World::up();
    let gone = json!({"token": "a-lost-phone", "gone": true});
    let answer = Request::post(world.url(8090, "/fcm/tokens")).json(&gone).send();
    assert!((200..300).contains(&answer.status), "{answer}");
    let (status, said) = push(&world, &["send", "--token", "fcm:a-lost-phone", "--wake", "--wait"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("dead") && said.contains("UNREGISTERED"), "{said}");
    let (status, said) = push(&world, &["send", "--token", "fcm:a-phone", "--app", "nothing", "--wake"]);
    assert!(status == 2 && said.contains("app_unknown"), "{status}: {said}");
}
