//! Whoever starts Tidings wrongly is told what happened, where, and what to do, and the program ends with an error.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use tidings_tests::broker::{launch, standing_alone, variable};
use tidings_tests::curl::Request;
use tidings_tests::ports;
use tidings_tests::programs::program;
use tidings_tests::running::Running;
use tidings_tests::wait::{PATIENCE, eventually};
use tidings_tests::world::{HANDLER_KEY, SERVICE_KEY, World};

/// Settings with which a broker starts, less what a test makes wrong.
fn good_broker(folder: &Path, mqtt: SocketAddr) -> Vec<(String, String)> {
    let mut settings = standing_alone(folder, mqtt, ports::free_address());
    settings.push(("auth.secret".to_owned(), "a-secret-for-the-tests-0123456789-0123456789".to_owned()));
    settings.push(("keys.handler".to_owned(), HANDLER_KEY.to_owned()));
    settings
}

/// The program ends by itself with an error, and says all of this.
#[track_caller]
fn fails_saying(mut process: Running, words: &[&str]) {
    let (status, log) = process.end(PATIENCE);
    assert_eq!(status.code(), Some(1), "an error has exit status 1:\n{log}");
    for word in words {
        assert!(log.contains(word), "`{word}` is missing in what a person is told:\n{log}");
    }
    assert!(!log.contains("panicked"), "an error of the operator is no panic:\n{log}");
}

fn tidings(folder: &Path, arguments: &[&str]) -> Running {
    let mut command = Command::new(program("tidings"));
    command.current_dir(folder).args(arguments);
    Running::start("tidings", command)
}

#[test]
fn a_used_port_is_named_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let broker = launch(folder.path(), &good_broker(folder.path(), address));
    fails_saying(broker, &[&address.to_string(), "broker.mqtt.listen", "another program listens there"]);
}

#[test]
fn tidings_up_names_a_used_port_too() {
    let folder = tempfile::tempdir().unwrap();
    let offset = ports::Offset::take();
    let taken = TcpListener::bind(("127.0.0.1", offset.port(8081))).unwrap();
    let up = tidings(folder.path(), &["up", "--ephemeral", "--port-offset", &offset.number().to_string()]);
    let address = taken.local_addr().unwrap().to_string();
    fails_saying(up, &[&address, "push.listen", "another program listens there"]);
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // Root may write everywhere, whatever the modes say, but nobody makes a folder below a file.
    let file = folder.path().join("a-file");
    fs::write(&file, "in the way").unwrap();
    let data = file.join("data");
    let mut settings = good_broker(folder.path(), ports::free_address());
    settings.retain(|(setting, _)| setting != "data");
    settings.push(("data".to_owned(), data.display().to_string()));
    fails_saying(launch(folder.path(), &settings), &[&data.display().to_string()]);

    let offset = ports::Offset::take();
    let number = offset.number().to_string();
    let up = tidings(folder.path(), &["up", "--data", &data.display().to_string(), "--port-offset", &number]);
    fails_saying(up, &[&data.display().to_string(), "--data"]);
}

#[test]
fn a_read_only_data_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // /proc is read-only for everybody, root included, and making a folder there fails in its own way.
    let offset = ports::Offset::take();
    let up = tidings(folder.path(), &["up", "--data", "/proc/tidings", "--port-offset", &offset.number().to_string()]);
    fails_saying(up, &["/proc/tidings", "--data"]);
}

#[test]
fn tidings_up_on_a_folder_in_use_names_it_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let _first = World::up_in(&data);
    let offset = ports::Offset::take().number().to_string();
    let second = tidings(folder.path(), &["up", "--data", &data.display().to_string(), "--port-offset", &offset]);
    fails_saying(second, &[&data.display().to_string(), "in use by another broker"]);
}

#[test]
fn a_bad_certificate_is_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let with = |certificate: &Path, key: &Path| {
        let mut settings = good_broker(folder.path(), ports::free_address());
        settings.push(("broker.tls.cert".to_owned(), certificate.display().to_string()));
        settings.push(("broker.tls.key".to_owned(), key.display().to_string()));
        launch(folder.path(), &settings)
    };
    // No file at all.
    fails_saying(with(&certificate, &key), &[&certificate.display().to_string()]);
    // A file that is no certificate.
    fs::write(&certificate, "this is no certificate").unwrap();
    fs::write(&key, "this is no key").unwrap();
    fails_saying(with(&certificate, &key), &[&certificate.display().to_string()]);
    // A certificate with another one's key.
    let one = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(&certificate, one.cert.pem()).unwrap();
    fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    fails_saying(with(&certificate, &key), &["key"]);
}

#[test]
fn a_database_that_is_away_is_said_and_the_service_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (listen, nobody) = (ports::free_address(), ports::free_address());
    let mut command = Command::new(program("tidings-push-gateway"));
    command.current_dir(folder.path());
    for (setting, value) in [
        ("data", folder.path().display().to_string()),
        ("push.listen", listen.to_string()),
        ("push.database", format!("postgres://tidings@{nobody}/tidings")),
        ("push.wake.enabled", "false".to_owned()),
        ("auth.secret", "a-secret-for-the-tests-0123456789-0123456789".to_owned()),
        ("keys.service", SERVICE_KEY.to_owned()),
        ("keys.handler", HANDLER_KEY.to_owned()),
    ] {
        command.env(variable(setting), value);
    }
    let mut gateway = Running::start("tidings-push-gateway", command);
    let unready = eventually("the gateway says what is missing", PATIENCE, || {
        if let Some(status) = gateway.ended() {
            panic!("the gateway ended with {status} instead of waiting for its database");
        }
        Request::get(format!("http://{listen}/readyz")).try_send().ok().filter(|answer| answer.status == 503)
    });
    let body = unready.json();
    assert_eq!(body["ready"], false);
    let missing = body["missing"].to_string();
    assert!(missing.contains("database"), "{missing}");
    assert!(!missing.contains("password"), "{missing}");
    let alive = Request::get(format!("http://{listen}/healthz")).send();
    assert_eq!(alive.status, 200, "it is alive all the same");
    gateway.says("database", PATIENCE);
}

#[test]
fn every_fault_of_the_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    fs::write(
        &file,
        "telemetry.format = \"xml\"\n[broker]\nno_such_key = 1\n[broker.wake]\ngrace = \"soon\"\n[push]\nlisten = \"nowhere\"\n",
    )
    .unwrap();
    let mut check = tidings(folder.path(), &["--config", "tidings.toml", "config", "check"]);
    let (status, log) = check.end(PATIENCE);
    assert_eq!(status.code(), Some(1), "{log}");
    for words in [
        ["telemetry.format", "xml", "json"],
        ["broker.no_such_key", "tidings.toml", "no setting"],
        ["broker.wake.grace", "soon", "3s"],
        ["push.listen", "nowhere", "an address such as"],
    ] {
        let told = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(told, "{words:?} in one line of\n{log}");
    }
}

#[test]
fn config_show_masks_secrets_and_names_sources() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), "SECRET=the-secret-of-the-env-file-0123456789-0123\n").unwrap();
    fs::write(folder.path().join("tidings.toml"), "[broker.wake]\ngrace = \"7s\"\n").unwrap();
    let mut show = tidings(folder.path(), &["config", "show"]);
    let (status, log) = show.end(PATIENCE);
    assert!(status.success(), "{log}");
    assert!(!log.contains("the-secret-of"), "secrets are masked:\n{log}");
    let line = |setting: &str| log.lines().find(|line| line.starts_with(setting)).unwrap_or_default().to_owned();
    assert!(line("auth.secret").contains(".env"), "{}", line("auth.secret"));
    assert!(line("broker.wake.grace").contains("tidings.toml"), "{}", line("broker.wake.grace"));
    assert!(line("push.listen").contains("default"), "{}", line("push.listen"));
}
