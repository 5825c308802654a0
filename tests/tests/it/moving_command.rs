//! `tidings pass import`, `campaign`, `devices`, `diagnose`: a move from another provider, from the command line, down to the
//! simulated APNs and back.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tidings_tests::curl::Request;
use tidings_tests::passbook::PASS_TYPE;
use tidings_tests::programs::program;
use tidings_tests::wait::{PATIENCE, eventually};
use tidings_tests::world::{SERVICE_KEY, World};

/// `tidings pass` with these arguments: exit status and output.
fn pass(world: &World, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(program("tidings"))
        .arg("pass")
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env("TIDINGS_KEYS__SERVICE", SERVICE_KEY)
        .env("TIDINGS_WALLET__LISTEN", world.address(8082).to_string())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

fn push_token(number: usize) -> String {
    format!("{number:064x}")
}

fn write(path: &Path, rows: &[String]) {
    let head = "serial;token;device;push_token;field.name;json.points\n";
    std::fs::write(path, format!("{head}{}\n", rows.join("\n"))).unwrap();
}

#[test]
fn a_move_from_another_provider_goes_from_the_file_to_the_phones() {
    let world = World::up();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.csv");
    let row = |n: usize| format!("old-{n};the-token-of-pass-{n};phone-{n};{};Ada;{n}", push_token(n));
    let mut rows: Vec<_> = (1..=5).map(row).collect();
    rows.push("old-6;short;phone-6;00;Bea;1".to_owned());
    rows.push("old-7;too few".to_owned());
    write(&file, &rows);
    let path = file.to_str().unwrap();
    let import = ["import", path, "--template", "example", "--delimiter", ";", "--batch", "2"];

    let (status, said) = pass(&world, &[&import[..], &["--dry-run"]].concat());
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("nothing was stored") && said.contains("5 new passes"), "{said}");
    let (status, said) = pass(&world, &import);
    assert_eq!(status, 1, "{said}");
    for part in [
        "5 new passes (0 were here)",
        "5 new registrations",
        "line 7: authenticationToken",
        "2 lines or registrations were refused",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report = std::fs::read_to_string(folder.path().join("old.csv.refused.csv")).unwrap();
    assert_eq!(report.lines().count(), 3, "{report}");
    assert!(report.contains("8,line,") && !report.contains("short"), "{report}");
    // The same again does nothing twice, and says the same.
    let (status, said) = pass(&world, &import);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("up to line 8 before") && said.contains("5 new passes (0 were here)"), "{said}");

    // One phone has found the new service by itself; one is lost.
    let list = |n: usize| {
        let path = format!("/v1/devices/phone-{n}/registrations/{PASS_TYPE}?passesUpdatedSince=of-the-old-provider");
        Request::get(world.url(8082, &path)).send().status
    };
    assert_eq!(list(1), 200);
    let gone = json!({"token": push_token(5), "gone_at_ms": 1_750_000_000_000_i64});
    let answer = Request::post(world.url(8090, "/apns/tokens")).json(&gone).send();
    assert!((200..300).contains(&answer.status), "{answer}");
    let (status, said) =
        pass(&world, &["campaign", "start", "Move", "--template", "example", "--floor", "1000", "--watch"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("looked at 5 of 5 registrations: 4 pushed, 1 had everything"), "{said}");
    for n in 2..=4 {
        assert_eq!(world.pushes(&push_token(n), 0, "20s").len(), 1, "phone {n}");
        assert_eq!(list(n), 200, "the push was about something");
    }
    // What Apple says of the lost one comes back through the gateway.
    eventually("the lost phone to be in quarantine", PATIENCE, || {
        let (status, said) = pass(&world, &["devices", "--json"]);
        assert_eq!(status, 0, "{said}");
        said.contains("\"tokenGone\": 1").then_some(())
    });
    let (_, said) = pass(&world, &["campaign", "list"]);
    let id = said.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap().to_owned();
    let (status, said) = pass(&world, &["campaign", "show", &id]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("of 5 devices 3 have asked since, 1 had everything, 1 are left (1 of them cannot"), "{said}");
    let (status, said) = pass(&world, &["campaign", "pause", &id]);
    assert!(status == 2 && said.contains("campaign_state"), "{status}: {said}");

    let (status, said) = pass(&world, &["diagnose"]);
    assert_eq!(status, 0, "nobody complains: {said}");
    let line = json!({"logs": ["the moon is full"]});
    let _ = Request::post(world.url(8082, "/v1/log")).json(&line).send().expect(200);
    let (status, said) = pass(&world, &["diagnose"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("unknown (1 times") && said.contains("the moon is full"), "{said}");
}
