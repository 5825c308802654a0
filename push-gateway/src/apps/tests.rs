use std::path::PathBuf;

use super::*;
use crate::config::{ApnsConfig, AppConfig, FcmConfig};
use crate::testing::START;

pub(super) struct Folder(pub(super) tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.0.path().join(name);
        std::fs::write(&file, content).unwrap();
        file
    }

    /// A key and a certificate for a topic, valid from 2020 to `until`.
    pub(super) fn certificate(&self, topic: &str, until: i32) -> PathBuf {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let user_id = rcgen::DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]);
        params.distinguished_name.push(user_id, topic);
        let certificate = params.self_signed(&key).unwrap();
        self.file(&format!("{topic}-{until}.pem"), &format!("{}{}", certificate.pem(), key.serialize_pem()))
    }
}

pub(super) fn p8() -> String {
    rcgen::KeyPair::generate().unwrap().serialize_pem()
}

pub(super) fn config(apps: Vec<AppConfig>) -> Config {
    let settings =
        tidings_shared::config::Loader::new(&[tidings_shared::config::SETTINGS, crate::SETTINGS]).load().unwrap();
    Config { apps, ..Config::from_settings(&settings) }
}

pub(super) fn apple(name: &str, apns: ApnsConfig) -> AppConfig {
    AppConfig { name: name.to_owned(), apns: Some(apns), fcm: None, webpush: None }
}

pub(super) fn key(file: PathBuf) -> ApnsConfig {
    ApnsConfig {
        topic: Some("org.example".to_owned()),
        key_file: Some(file),
        key_id: Some("KEY1234567".to_owned()),
        team_id: Some("TEAM123456".to_owned()),
        ..ApnsConfig::default()
    }
}

fn load(apps: Vec<AppConfig>) -> Result<Apps, String> {
    Apps::load(&config(apps), &Clock::manual(START)).map_err(|faults| faults.to_string())
}

#[test]
fn nothing_configured_is_no_fault() {
    assert_eq!(load(Vec::new()).unwrap().lanes().count(), 0);
}

#[test]
fn keys_and_certificates_make_lanes() {
    let folder = Folder::new();
    let certificate = ApnsConfig {
        topic: Some("pass.org.example".to_owned()),
        certificate_file: Some(folder.certificate("pass.org.example", 2030)),
        url: Some("https://127.0.0.1:8443".to_owned()),
        ..ApnsConfig::default()
    };
    let apps =
        load(vec![apple("default", key(folder.file("k.p8", &p8()))), apple("pass.org.example", certificate)]).unwrap();
    let serves = |app: &str| {
        use tidings_shared::push_api::Environment::{Production, Sandbox};
        let lane = apps.lane(Provider::Apns, app).unwrap();
        (lane.client.serves(Production), lane.client.serves(Sandbox))
    };
    assert_eq!(serves("default"), (true, true));
    assert_eq!(serves("pass.org.example"), (true, false));
    assert!(apps.lane(Provider::Fcm, "default").is_none());
    assert_eq!(apps.names(Provider::Apns), ["default", "pass.org.example"]);
}

#[test]
fn every_fault_is_told_at_once_with_setting_file_and_remedy() {
    let folder = Folder::new();
    let no_key = folder.file("no.p8", "hello");
    let faults = load(vec![
        apple("a", key(no_key.clone())),
        apple("b", ApnsConfig { topic: None, ..key(no_key) }),
        apple("c.d", key(folder.0.path().join("missing.p8"))),
        apple("e", ApnsConfig { key_id: None, ..key(folder.file("good.p8", &p8())) }),
        AppConfig {
            name: "f".to_owned(),
            apns: None,
            fcm: Some(FcmConfig { project: Some("p".to_owned()), ..FcmConfig::default() }),
            webpush: None,
        },
    ])
    .unwrap_err();
    let lines: Vec<_> = faults.lines().collect();
    assert_eq!(lines.len(), 5, "{faults}");
    assert!(
        lines[0].contains("push.apps.a.apns.key_file") && lines[0].contains("no.p8") && lines[0].contains("download")
    );
    assert!(lines[1].contains("push.apps.b.apns.topic") && lines[1].contains("bundle id"));
    assert!(lines[2].contains("push.apps.\"c.d\".apns.key_file") && lines[2].contains("missing.p8"));
    assert!(lines[3].contains("push.apps.e.apns.key_id"));
    assert!(lines[4].contains("push.apps.f.fcm.service_account_file"));
}

#[test]
fn a_certificate_must_be_valid_and_of_the_topic() {
    let folder = Folder::new();
    let with = |file: PathBuf| {
        let apns =
            ApnsConfig { topic: Some("org.example".to_owned()), certificate_file: Some(file), ..ApnsConfig::default() };
        load(vec![apple("a", apns)]).map(|_| ())
    };
    assert_eq!(with(folder.certificate("org.example", 2030)), Ok(()));
    let ended = with(folder.certificate("org.example", 2022)).unwrap_err();
    assert!(ended.contains("ended on") && ended.contains("2022"), "{ended}");
    let other = with(folder.certificate("org.other", 2030)).unwrap_err();
    assert!(other.contains("org.other") && other.contains("org.example"), "{other}");
    let alone = folder.file("alone.pem", &p8());
    assert!(with(alone).unwrap_err().contains("no certificate"));
}

#[test]
fn a_certificate_and_a_strange_key_do_not_fit() {
    let folder = Folder::new();
    let apns = ApnsConfig {
        topic: Some("org.example".to_owned()),
        certificate_file: Some(folder.certificate("org.example", 2030)),
        certificate_key_file: Some(folder.file("other.key", &p8())),
        ..ApnsConfig::default()
    };
    let fault = load(vec![apple("a", apns)]).unwrap_err();
    assert!(fault.contains("cannot be used with the key") && fault.contains("other.key"), "{fault}");
}

#[test]
fn a_service_account_is_checked() {
    let folder = Folder::new();
    let with = |content: &str| {
        let fcm = FcmConfig { service_account_file: Some(folder.file("sa.json", content)), ..FcmConfig::default() };
        load(vec![AppConfig { name: "a".to_owned(), apns: None, fcm: Some(fcm), webpush: None }])
            .map(|_| ())
            .unwrap_err()
    };
    assert!(with("{}").contains("client_email"));
    let no_key = r#"{"client_email":"a@b","private_key":"x","token_uri":"https://t","project_id":"p"}"#;
    assert!(with(no_key).contains("`private_key` is not an RSA private key"));
}

#[test]
fn a_pass_type_identifier_is_a_name_like_any_other() {
    let loader = tidings_shared::config::Loader::new(&[tidings_shared::config::SETTINGS, crate::SETTINGS])
        .flag("--set", "push.apps.\"pass.org.example\".apns.topic", "pass.org.example")
        .flag("--set", "push.apps.default.fcm.project", "p");
    let apps = Config::from_settings(&loader.load().unwrap()).apps;
    let names: Vec<_> = apps.iter().map(|app| (app.name.as_str(), app.apns.is_some(), app.fcm.is_some())).collect();
    assert_eq!(names, [("default", false, true), ("pass.org.example", true, false)]);
}

#[test]
fn a_vapid_key_is_checked() {
    let folder = Folder::new();
    let with = |key: &str, contact: Option<&str>| {
        let webpush = crate::config::WebPushConfig {
            private_key_file: Some(folder.file("vapid.pem", key)),
            contact: contact.map(str::to_owned),
        };
        let app = AppConfig { name: "a".to_owned(), apns: None, fcm: None, webpush: Some(webpush) };
        load(vec![app]).map(|_| ()).map_err(|fault| fault.lines().next().unwrap_or_default().to_owned())
    };
    assert_eq!(with(&p8(), Some("mailto:a@b")), Ok(()));
    for (key, contact, words) in [
        ("nonsense", Some("mailto:a@b"), "push.apps.a.webpush.private_key_file"),
        (&p8(), None, "push.apps.a.webpush.contact is missing"),
        (&p8(), Some("a@b"), "begins with mailto:"),
    ] {
        let fault = with(key, contact).unwrap_err();
        assert!(fault.contains(words), "{fault}");
    }
}

mod sharing;
