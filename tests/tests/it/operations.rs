//! What an operator does: several addresses, certificates that change, handlers with certificates, a stop.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tidings_shared::tls::{DevAuthority, Issued};
use tidings_tests::broker::Broker;
use tidings_tests::curl::Request;
use tidings_tests::mosquitto::{Login, Subscriber, publish};
use tidings_tests::packet::{Connection, Version};
use tidings_tests::ports;
use tidings_tests::wait::{PATIENCE, eventually};
use tidings_tests::world::HANDLER_KEY;

#[test]
fn several_addresses_are_served_and_told() {
    let one = ports::free_address();
    let two = format!("[::1]:{}", ports::free());
    let both = format!("{one}, {two}");
    let mut broker = Broker::start_with(&[("broker.mqtt.listen", &both)]);
    broker.process.has_said(&both, PATIENCE);
    for address in [one, two.parse().unwrap()] {
        drop(Connection::accepted(address, &broker.device(Version::V3, "68946", "phone")));
    }
}

/// A broker with TLS, and the authority that signed its certificate.
struct Secured {
    broker: Broker,
    address: SocketAddr,
    authority: DevAuthority,
    files: Issued,
    folder: TempDir,
}

impl Secured {
    fn start(reload: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = DevAuthority::load_or_create(&folder.path().join("ca")).unwrap();
        let files = authority.issue_server("broker", &["127.0.0.1"]).unwrap();
        let address = ports::free_address();
        let show = |path: &Path| path.display().to_string();
        let broker = Broker::start_with(&[
            ("broker.mqtt_tls.listen", &address.to_string()),
            ("broker.tls.cert", &show(&files.certificate)),
            ("broker.tls.key", &show(&files.key)),
            ("broker.tls.client_ca", &show(&authority.certificate())),
            ("broker.tls.reload", reload),
        ]);
        Self { broker, address, authority, files, folder }
    }

    /// Whether a message goes through for who trusts this authority.
    fn publishes(&self, trusted: &DevAuthority, payload: &str) -> bool {
        let authority = trusted.certificate().display().to_string();
        let login = Login::handler(self.address, HANDLER_KEY);
        publish(&login, "command", payload, &["--cafile", &authority]).status.success()
    }
}

#[test]
fn a_changed_certificate_is_taken_over_without_a_restart() {
    let mut house = Secured::start("200ms");
    let trusted = house.authority.certificate().display().to_string();
    let login = Login::handler(house.address, HANDLER_KEY);
    let mut reader = Subscriber::start(&login, "command", &["--cafile", &trusted]);
    assert!(house.publishes(&house.authority, "first"));
    assert_eq!(reader.message().1, "first");
    let metrics = Request::get(house.broker.url("/metrics")).send().expect(200).text();
    let expiry = metrics.lines().find(|line| line.starts_with("tidings_broker_tls_certificate_expiry_seconds "));
    assert!(expiry.is_some_and(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 86_400.0));

    // Half of a new pair is told and not used.
    let other = DevAuthority::load_or_create(&house.folder.path().join("other")).unwrap();
    let next = other.issue_server("broker", &["127.0.0.1"]).unwrap();
    fs::copy(&next.certificate, &house.files.certificate).unwrap();
    house.broker.process.has_said("the changed TLS files cannot be used", PATIENCE);
    assert!(house.publishes(&house.authority, "second"));
    assert_eq!(reader.message().1, "second");

    // The other half makes it whole; who was connected still is.
    fs::copy(&next.key, &house.files.key).unwrap();
    house.broker.process.has_said("the TLS files were taken over", PATIENCE);
    assert!(house.publishes(&other, "third"));
    assert_eq!(reader.message().1, "third");
    assert!(!house.publishes(&house.authority, "with the old certificate"));
}

#[test]
fn a_hangup_has_the_files_read_again() {
    let mut house = Secured::start("0s");
    let other = DevAuthority::load_or_create(&house.folder.path().join("other")).unwrap();
    let next = other.issue_server("broker", &["127.0.0.1"]).unwrap();
    fs::copy(&next.certificate, &house.files.certificate).unwrap();
    fs::copy(&next.key, &house.files.key).unwrap();
    house.broker.process.hangup();
    house.broker.process.has_said("the TLS files were taken over", PATIENCE);
    assert!(house.publishes(&other, "after the hangup"));
    fs::write(&house.files.key, "no key").unwrap();
    house.broker.process.hangup();
    house.broker.process.has_said("the changed TLS files cannot be used", PATIENCE);
    assert!(house.publishes(&other, "with the one that was good"));
}

#[test]
fn a_handler_with_a_certificate_needs_no_key_and_a_device_no_certificate() {
    let house = Secured::start("0s");
    let worker = house.authority.issue_client("worker").unwrap();
    let port = house.address.port().to_string();
    let ca = house.authority.certificate();
    let handler = |identity: &Issued| {
        let output = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-u", "handler", "-q", "1", "-t", "68946_inbox", "-m", "hello"])
            .arg("--cafile")
            .arg(&ca)
            .arg("--cert")
            .arg(&identity.certificate)
            .arg("--key")
            .arg(&identity.key)
            .output();
        output.expect("mosquitto_pub can be started").status.success()
    };
    let trusted = ca.display().to_string();
    let device = Login::device(house.address, &house.broker.issuer.token("68946"));
    let mut reader = Subscriber::start(&device, "68946_inbox", &["--cafile", &trusted]);
    assert!(handler(&worker));
    assert_eq!(reader.message().1, "hello");
    let stranger = DevAuthority::load_or_create(&house.folder.path().join("other")).unwrap();
    assert!(!handler(&stranger.issue_client("worker").unwrap()));
}

#[test]
fn a_stop_sends_clients_elsewhere_and_ends_well() {
    let elsewhere = "mqtts://b.example:8883";
    let mut broker = Broker::start_with(&[("broker.stop.server_reference", elsewhere)]);
    let mut phone = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "68946", "phone").persistent(60));
    let mut old = Connection::accepted(broker.mqtt, &broker.device(Version::V3, "23412", "old"));
    assert_eq!(phone.subscribe("68946_inbox"), 1);
    broker.process.terminate();
    let told = phone.expect(14).body;
    assert_eq!(told[0], 0x9C);
    assert!(told.windows(elsewhere.len()).any(|part| part == elsewhere.as_bytes()));
    assert!(phone.closed().is_empty() && old.closed().is_empty());
    let (status, log) = broker.process.end(PATIENCE);
    assert!(status.success(), "{log}");
    broker.start_again();
    let mut phone = Connection::open(broker.mqtt, &broker.device(Version::V5, "68946", "phone").persistent(60));
    assert_eq!(phone.expect(2).body[0], 1, "the session was kept");
}

#[test]
fn whoever_fails_again_and_again_waits_on_every_door() {
    let broker = Broker::start_with(&[("broker.limits.login_failures", "3")]);
    let bad = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI2ODk0NiJ9.AAAA";
    let mut codes = Vec::new();
    for _ in 0..4 {
        let connect = tidings_tests::packet::Connect::device(Version::V5, "phone", bad);
        codes.push(Connection::open(broker.mqtt, &connect).connack());
    }
    assert_eq!(codes, [0x86, 0x86, 0x86, 0x9F]);
    let answer = Request::get(broker.url("/v1/messages?wait=0s")).bearer(bad).send().expect(429);
    assert_eq!(answer.code(), "login_backoff");
    assert!(answer.header("retry-after").is_some());
    drop(Request::get(broker.url("/v1/messages?wait=0s")).bearer(&broker.issuer.token("68946")).send().expect(200));
    eventually("the wait ends", PATIENCE, || {
        let connect = tidings_tests::packet::Connect::device(Version::V3, "phone", bad);
        (Connection::open(broker.mqtt, &connect).connack() == 4).then_some(())
    });
}

#[test]
fn a_user_who_publishes_too_much_over_http_is_told_when_to_go_on() {
    let settings = [("broker.limits.messages_per_user", "1"), ("broker.limits.burst", "2s")];
    let broker = Broker::start_with(&settings);
    let token = broker.issuer.token("68946");
    let publish = || Request::post(broker.url("/v1/publish/command")).bearer(&token).body("x").send();
    let answers: Vec<_> = (0..6).map(|_| publish()).collect();
    assert_eq!(answers[0].status, 202);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("six at once are too many");
    assert_eq!(refused.code(), "message_rate");
    assert!(refused.header("retry-after").is_some());
    eventually("the rate lets one through again", PATIENCE, || (publish().status == 202).then_some(()));
}
