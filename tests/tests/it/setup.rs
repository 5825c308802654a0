//! What a newcomer does first: start it, read the table, type the three lines; and watch the demo.

use std::process::Command;
use std::time::Duration;

use tidings_tests::curl::Request;
use tidings_tests::programs::program;
use tidings_tests::running::Running;
use tidings_tests::wait::PATIENCE;
use tidings_tests::world::World;

#[test]
fn the_table_is_complete_and_its_three_lines_work_as_printed() {
    let world = World::up();
    let table = world.process.log();
    for port in [1883, 8080, 8081, 8082, 8083, 8090, 8443, 8444, 8883] {
        let address = format!(":{}", world.address(port).port());
        assert!(table.contains(&address), "the table has {port} (here {address}):\n{table}");
    }
    for user in ["68946", "23412"] {
        assert!(table.contains(&format!("token of user {user}")), "{table}");
    }
    let lines: Vec<&str> = table.lines().filter(|line| line.starts_with("mosquitto_")).collect();
    assert_eq!(lines.len(), 3, "three lines to try it:\n{table}");

    // The first line goes on in the background; what it prints is what the newcomer sees.
    let listening = lines[0].trim_end_matches('&').trim().replace("mosquitto_sub", "exec stdbuf -oL mosquitto_sub -d");
    let mut sub = Command::new("sh");
    sub.args(["-c", &listening]);
    let mut sub = Running::start("the first line", sub);
    sub.says("Subscribed (mid:", PATIENCE);
    for line in &lines[1..] {
        let status = Command::new("sh").args(["-c", line]).status().expect("sh can be started");
        assert!(status.success(), "{line}");
    }
    let seen = sub.says("23412_contact_requested {", PATIENCE);
    assert!(seen.contains("68946"), "{seen}");
}

#[test]
fn what_is_kept_is_there_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = World::up_in(&data);
    let token = first.token("42");
    let ports = first.stop();
    let second = World::up_again(&data, ports);
    // The token of the first start is good in the second: the issuer kept its key.
    let answer = tidings_tests::curl::Request::get(second.url(8080, "/v1/messages")).bearer(&token).send();
    assert!([200, 304].contains(&answer.status), "{answer}");
}

#[test]
fn tokens_are_for_this_backend_from_the_development_issuer() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let world = World::up_in(&data);
    let answer = |token: &str| Request::get(world.url(8080, "/v1/messages?wait=0s")).bearer(token).send();
    let with = |claims: serde_json::Value| {
        let request = serde_json::json!({ "user": "42", "claims": claims });
        let token = Request::post(world.url(8090, "/tokens")).json(&request).send().json();
        answer(token["token"].as_str().unwrap())
    };
    assert_eq!(with(serde_json::json!({})).status, 200);
    for (claims, code) in [
        (serde_json::json!({ "iss": "https://evil.test" }), "token_issuer"),
        (serde_json::json!({ "aud": "another app" }), "token_audience"),
    ] {
        let refused = with(claims);
        assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (401, Some(code)), "{refused}");
    }
    // Made beside it, without a word about its ports.
    let mut token = Command::new(program("tidings"));
    token.current_dir(folder.path()).args(["token", "42", "--data"]).arg(&data);
    let made = token.output().expect("a token");
    assert_eq!(answer(String::from_utf8(made.stdout).unwrap().trim()).status, 200);
}

#[test]
fn the_demo_tells_its_story_and_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program("tidings"));
    command.current_dir(folder.path()).arg("demo");
    let mut demo = Running::start("tidings demo", command);
    let (status, log) = demo.end(Duration::from_secs(180));
    assert!(status.success(), "the demo ended with {status}:\n{log}");
    for word in ["68946", "23412", "contact", "push", "pass"] {
        assert!(log.contains(word), "the timeline speaks of `{word}`:\n{log}");
    }
    assert!(!folder.path().join("data").exists(), "the demo leaves nothing behind");
}
