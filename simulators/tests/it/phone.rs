//! The phone, with a broker that nobody here wrote: mosquitto.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tidings_shared::identity::UserId;
use tidings_simulators::inbox::{Inbox, Provider, Push};
use tidings_simulators::phone::{BrokerAddress, Event, Phone, PhoneConfig};
use tidings_simulators::push_source::PushSource;
use tokio::process::{Child, Command};

use crate::common::{BOUND, bounded};

/// A mosquitto on a free port. `None` where it is not installed, unless `TIDINGS_TEST_STRICT` asks for it.
async fn mosquitto() -> Option<(Child, u16, tempfile::TempDir)> {
    let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"];
    let Some(program) = program.into_iter().map(PathBuf::from).find(|program| program.exists()) else {
        let strict = std::env::var("TIDINGS_TEST_STRICT").is_ok_and(|strict| strict == "1");
        assert!(!strict, "mosquitto is not installed; `cargo xtask test` installs it");
        eprintln!("NOT RUN: the phone's tests need the broker mosquitto");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    // Mosquitto cannot take port 0: a port that was free a moment ago will do.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = folder.path().join("mosquitto.conf");
    std::fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
    let child = Command::new(program).arg("-c").arg(&file).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    bounded(async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    Some((child, port, folder))
}

fn phone(user: &str, port: u16) -> Phone {
    let user = UserId::new(user).unwrap();
    let broker = BrokerAddress::Tcp { host: "127.0.0.1".to_owned(), port };
    let mut config = PhoneConfig::new(&user, &format!("phone-of-{user}"), "token", broker);
    config.session_expiry = Duration::from_secs(60);
    Phone::start(config).unwrap()
}

#[tokio::test]
async fn a_phone_sleeps_is_woken_by_a_push_and_gets_what_it_missed_in_order() {
    let Some((_broker, port, _folder)) = mosquitto().await else { return };
    let inbox = Inbox::new(10);
    let (ada, bob) = (phone("ada", port), phone("bob", port));
    ada.connected(BOUND).await.unwrap();
    bob.connected(BOUND).await.unwrap();
    ada.subscribe("ada_news").await.unwrap();
    ada.wake_on_push(PushSource::Inbox(inbox.clone()));

    bob.publish("ada_news", "1").await.unwrap();
    let received = |text: &'static str| move |entry: &tidings_simulators::phone::Entry| matches!(&entry.event, Event::Received(message) if message.payload == text);
    assert!(ada.timeline().wait_for(BOUND, received("1")).await.is_some());

    ada.fall_asleep().await;
    for text in ["2", "3", "4"] {
        bob.publish("ada_news", text).await.unwrap();
    }
    assert_eq!(ada.timeline().received().len(), 1, "a phone that sleeps hears nothing");
    inbox.deliver(Push {
        seq: 0,
        provider: Provider::Apns,
        token: ada.push_token().to_owned(),
        id: String::new(),
        at_ms: 0,
        topic: String::new(),
        headers: std::collections::BTreeMap::new(),
        sender: String::new(),
        connection: 0,
        payload: json!({"aps": {"content-available": 1}}),
    });
    assert!(ada.timeline().wait_for(BOUND, received("4")).await.is_some(), "{}", ada.timeline().last_words());
    let payloads: Vec<_> = ada.timeline().received().iter().map(|message| message.payload.clone()).collect();
    assert_eq!(payloads, ["1", "2", "3", "4"]);
    let events: Vec<_> = ada.timeline().entries().into_iter().map(|entry| entry.event).collect();
    let order = |wanted: fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let asleep = order(|event| *event == Event::FellAsleep);
    let pushed = order(|event| matches!(event, Event::Push(_)));
    let back = order(|event| *event == Event::Connected { session_present: true });
    assert!(asleep < pushed && pushed < back, "{events:?}");
}

#[tokio::test]
async fn a_phone_that_is_switched_off_and_on_resumes_the_broker_s_session() {
    let Some((_broker, port, _folder)) = mosquitto().await else { return };
    let bob = phone("bob", port);
    let ada = phone("ada", port);
    ada.connected(BOUND).await.unwrap();
    ada.subscribe("ada_news").await.unwrap();
    ada.disconnect().await;
    drop(ada);
    bob.connected(BOUND).await.unwrap();
    bob.publish("ada_news", "missed").await.unwrap();
    let again = phone("ada", port);
    again.connected(BOUND).await.unwrap();
    let missed = again
        .timeline()
        .wait_for(BOUND, |entry| matches!(&entry.event, Event::Received(message) if message.payload == "missed"))
        .await;
    assert!(missed.is_some(), "{}", again.timeline().last_words());
}

#[tokio::test]
async fn a_broker_that_is_away_is_tried_again() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ada = phone("ada", port);
    let lost = |entry: &tidings_simulators::phone::Entry| matches!(entry.event, Event::Disconnected { .. });
    let first = ada.timeline().wait_for(BOUND, lost).await;
    assert!(first.is_some());
    let count = ada.timeline().len();
    assert!(ada.timeline().wait_after(count, BOUND, lost).await.is_some());
    let error = ada.connected(Duration::from_millis(1)).await.unwrap_err().to_string();
    assert!(error.contains("phone-of-ada"), "{error}");
}
