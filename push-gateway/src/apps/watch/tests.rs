use prometheus_client::registry::Registry;
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{CredentialState, Provider};

use super::*;
use crate::apps::tests::{Folder, apple, config, key, p8};
use crate::config::ApnsConfig;
use crate::testing::START;

const DAY: i64 = 86_400_000;

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

/// A certificate that ends on the first day of a year, looked at some days before.
fn apps_days_before_the_end(folder: &Folder, days: i64) -> (Apps, Clock) {
    let apns = ApnsConfig {
        topic: Some("org.example".to_owned()),
        certificate_file: Some(folder.certificate("org.example", 2030)),
        ..ApnsConfig::default()
    };
    let end_ms = 1_893_456_000_000;
    let clock = Clock::manual(end_ms - days * DAY);
    (Apps::load(&config(vec![apple("default", apns)]), &clock).unwrap(), clock)
}

#[test]
fn the_end_of_a_certificate_is_shown_and_warned_of_once_a_day() {
    let folder = Folder::new();
    let (apps, clock) = apps_days_before_the_end(&folder, 31);
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let mut known = Known::default();
    known.tell_expiry(&apps, &metrics);
    assert!(known.warned_at_ms.is_empty());
    let labels = "provider=\"apns\",app=\"default\",credential=\"org.example-2030.pem\"";
    let left = format!("tidings_push_credential_expires_seconds{{{labels}}} {}", 31 * 86_400);
    assert!(text(&registry).contains(&left), "{}", text(&registry));
    clock.advance(2 * DAY);
    known.tell_expiry(&apps, &metrics);
    let warned: Vec<_> = known.warned_at_ms.values().copied().collect();
    assert_eq!(warned, [clock.now_ms()]);
    clock.advance(DAY / 2);
    known.tell_expiry(&apps, &metrics);
    assert_eq!(known.warned_at_ms.values().copied().collect::<Vec<_>>(), warned);
    clock.advance(DAY / 2);
    known.tell_expiry(&apps, &metrics);
    assert_ne!(known.warned_at_ms.values().copied().collect::<Vec<_>>(), warned);
    let state = &apps.states()[0];
    assert_eq!(state.credentials[0].expires_at_ms, Some(1_893_456_000_000));
    assert_eq!(state.state, CredentialState::Unknown);
}

#[test]
fn a_folder_of_credentials_is_followed_and_a_broken_file_changes_nothing() {
    let folder = Folder::new();
    let keys = folder.0.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    let put = |name: &str, content: &str, age_s: u64| {
        let file = keys.join(name);
        std::fs::write(&file, content).unwrap();
        let changed = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age_s);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(changed).unwrap();
    };
    put("AuthKey_OLD.p8", &p8(), 100);
    let apns = ApnsConfig { key_file: None, key_id: None, credentials_folder: Some(keys.clone()), ..key(keys.clone()) };
    let clock = Clock::manual(START);
    let apps = Apps::load(&config(vec![apple("default", apns)]), &clock).unwrap();
    let mut known = Known { fingerprints: apps.fingerprints.clone(), ..Known::default() };
    let set = Arc::clone(apps.set(Provider::Apns, "default").unwrap());
    let names = || set.state().credentials.into_iter().map(|credential| credential.name).collect::<Vec<_>>();
    let old = Arc::clone(&set.credentials()[0]);

    // A rotation: the new key stands beside the old one, and is tried first.
    put("AuthKey_NEW.p8", &p8(), 0);
    known.look(&apps);
    assert_eq!(names(), ["key NEW", "key OLD"]);
    assert!(Arc::ptr_eq(&old, &set.credentials()[1]), "what has not changed stays");

    put("AuthKey_NEW.p8", "damaged", 0);
    known.look(&apps);
    assert_eq!(names(), ["key NEW", "key OLD"]);
    let fault = set.state().faults.join("\n");
    assert!(fault.contains("credentials_folder") && fault.contains("AuthKey_NEW.p8"), "{fault}");

    std::fs::remove_file(keys.join("AuthKey_NEW.p8")).unwrap();
    put("notes.p8", &p8(), 0);
    known.look(&apps);
    let fault = set.state().faults.join("\n");
    assert!(fault.contains("AuthKey_KEYID.p8"), "{fault}");
    std::fs::remove_file(keys.join("notes.p8")).unwrap();
    known.look(&apps);
    assert_eq!((names(), set.state().faults), (vec!["key OLD".to_owned()], Vec::new()));
}
