//! Presence: who is there, when somebody was last seen, and the events about it.

use super::harness::*;
use crate::engine::{Input, Presence, Settings};
use crate::log::{MessageLog, RecordKind};
use tidings_shared::events::{PresenceChanged, PresenceState};
use tidings_shared::topic::names;

fn clients(presence: &Presence) -> Vec<(&str, bool)> {
    presence.sessions.iter().map(|s| (&*s.client, s.connected_since_ms.is_some())).collect()
}

#[test]
fn a_user_is_online_while_a_device_is_connected_and_was_last_seen_when_it_left() {
    let mut bench = Bench::new();
    assert_eq!(bench.presence("42"), Presence::default(), "never seen");
    let phone = bench.connect(&Login::new(device("42"), "phone").persistent());
    let browser = bench.connect(&Login::new(device("42"), "browser"));
    bench.connect(&Login::new(device("43"), "phone"));
    let presence = bench.presence("42");
    assert!(presence.online && presence.last_seen_ms.is_none());
    assert_eq!(clients(&presence), [("browser", true), ("phone", true)]);
    bench.pass(5_000);
    bench.disconnect(phone);
    let presence = bench.presence("42");
    assert_eq!(clients(&presence), [("browser", true), ("phone", false)]);
    assert_eq!(presence.sessions[0].connected_since_ms, Some(START_MS));
    assert_eq!(presence.sessions[1].last_seen_ms, Some(START_MS + 5_000));
    bench.pass(5_000);
    bench.drop_connection(browser);
    let presence = bench.presence("42");
    assert_eq!((presence.online, presence.last_seen_ms), (false, Some(START_MS + 10_000)));
    assert_eq!(clients(&presence), [("phone", false)]);
}

#[test]
fn last_seen_survives_a_restart_and_the_session_and_ends_with_the_age_of_messages() {
    let mut bench = Bench::with(Settings { presence_keep_ms: 100_000, ..Settings::default() });
    let conn = bench.connect(&Login::new(device("42"), "browser"));
    bench.disconnect(conn);
    let phone = bench.connect(&Login::new(device("43"), "phone").persistent().with(|c| {
        c.session_expiry_interval_secs = 20;
    }));
    bench.disconnect(phone);
    bench.pass(2_000);
    bench.crash();
    assert_eq!(bench.presence("42").last_seen_ms, Some(START_MS));
    assert_eq!(clients(&bench.presence("43")), [("phone", false)]);
    bench.pass(60_000);
    bench.crash();
    let presence = bench.presence("43");
    assert_eq!((clients(&presence), presence.last_seen_ms), (vec![], Some(START_MS)));
    bench.pass(50_000);
    assert_eq!(bench.presence("42"), Presence::default());
    let other = bench.connect(&Login::new(device("44"), "x"));
    bench.disconnect(other);
    bench.pass(2_000);
    let kept = bench.log.records(RecordKind::Presence);
    assert_eq!(kept.iter().map(|(key, _)| &key.id[..]).collect::<Vec<_>>(), [b"44"], "old records are removed");
}

#[test]
fn who_polls_over_http_is_seen() {
    let mut bench = Bench::new();
    bench.input(Input::Polled { user: user("42"), client: String::new(), cursor: None });
    let presence = bench.presence("42");
    assert_eq!((presence.online, presence.last_seen_ms), (false, Some(START_MS)));
}

#[test]
fn events_are_told_to_whoever_subscribes_and_a_takeover_is_none() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    bench.connect(&login);
    let watcher = bench.connect(&Login::handler("watcher"));
    bench.subscribe(watcher, names::EVENT_PRESENCE, 1);
    let second = bench.connect(&login);
    assert!(bench.messages(watcher).is_empty(), "the phone was there before");
    let browser = bench.connect(&Login::new(device("42"), "browser"));
    bench.drop_connection(second);
    bench.disconnect(browser);
    let told: Vec<PresenceChanged> =
        bench.messages(watcher).iter().map(|m| serde_json::from_slice(&m.payload).unwrap()).collect();
    let told: Vec<_> = told.iter().map(|e| (&*e.client, e.state, e.user_online)).collect();
    let (online, offline) = (PresenceState::Online, PresenceState::Offline);
    assert_eq!(told, [("browser", online, true), ("phone", offline, true), ("browser", offline, false)]);
    let text = serde_json::to_string(&PresenceChanged {
        user: user("42"),
        client: "phone".into(),
        state: online,
        user_online: true,
        time: 1,
    });
    assert_eq!(text.unwrap(), r#"{"user":"42","client":"phone","state":"online","user_online":true,"time":1}"#);
}

#[test]
fn no_device_hears_of_the_presence_of_others() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device_with("42", &["#"], &["#", "$tidings/#"]), "phone"));
    assert!(u8::from(bench.try_subscribe(conn, names::EVENT_PRESENCE, 0)) >= 0x80);
    bench.subscribe(conn, "#", 0);
    bench.connect(&Login::new(device("43"), "phone"));
    assert!(bench.messages(conn).is_empty());
}

#[test]
fn a_user_of_many_sessions_keeps_every_name_apart() {
    let mut bench = Bench::new();
    let login = |n: usize| Login::new(device("42"), &format!("c{n}")).persistent();
    let conns: Vec<_> = (0..5).map(|n| bench.connect(&login(n))).collect();
    for conn in &conns[1..] {
        bench.disconnect(*conn);
    }
    for n in [2, 4] {
        let again = bench.connect(&login(n).with(|c| (c.clean_start, c.session_expiry_interval_secs) = (true, 0)));
        bench.disconnect(again);
    }
    let names: Vec<_> = bench.presence("42").sessions.into_iter().map(|s| s.client).collect();
    assert_eq!(names, ["c0", "c1", "c3"]);
    assert!(bench.try_connect(&login(3)).1.session_present);
    assert!(!bench.try_connect(&login(2)).1.session_present);
}
