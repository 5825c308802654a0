//! What apps share, and what several credentials of one app do, against the simulator of APNs.

use super::*;
use crate::provider::{Message, Outcome, PushProvider};
use crate::testing::Simulation;
use std::sync::Arc;
use tidings_shared::push_api::{CredentialState, Environment, Push};

fn message(token: &str) -> Message {
    Message {
        id: crate::ids::Ids::new(Clock::system()).next(),
        token: token.repeat(32),
        environment: Environment::Production,
        registered_at_ms: None,
        push: Arc::new(Push::Wake {}),
        collapse_id: None,
        expires_at_ms: 0,
    }
}

fn app_of(simulation: &Simulation, topic: &str) -> ApnsConfig {
    let credentials = simulation.simulators.credentials();
    let key = &credentials.apns_key;
    ApnsConfig {
        topic: Some(topic.to_owned()),
        key_file: Some(key.file.clone()),
        key_id: Some(key.key_id.clone()),
        team_id: Some(key.team_id.clone()),
        url: Some(credentials.apns_url.clone()),
        ..ApnsConfig::default()
    }
}

fn load(simulation: &Simulation, apps: Vec<AppConfig>, clock: &Clock) -> Apps {
    let config = Config { ca_file: Some(simulation.ca()), ..config(apps) };
    Apps::load(&config, clock).unwrap()
}

#[tokio::test]
async fn apps_of_one_key_share_their_connections_and_their_token() {
    let simulation = Simulation::with(&[("simulators.apns.token_update_interval", "20m")]).await;
    let apps = ["one", "two", "three"].map(|name| apple(name, app_of(&simulation, &format!("org.example.{name}"))));
    let apps = load(&simulation, apps.into(), &Clock::system());
    for name in ["one", "two", "three"] {
        let sent = apps.set(Provider::Apns, name).unwrap().send(&message("ab")).await;
        assert_eq!(sent.outcome, Outcome::Accepted, "{sent:?}");
    }
    let stats = simulation.simulators.apns().stats();
    assert_eq!((stats.accepted, stats.connections_opened), (3, 1));
}

#[tokio::test]
async fn the_first_credential_that_is_not_refused_sends_and_a_refused_one_is_asked_again() {
    let simulation = Simulation::start().await;
    let folder = Folder::new();
    let clock = Clock::manual(Clock::system().now_ms());
    let good = app_of(&simulation, "org.example");
    let key_id = good.key_id.clone().unwrap();
    let pem = std::fs::read_to_string(good.key_file.as_ref().unwrap()).unwrap();
    folder.file(&format!("AuthKey_{key_id}.p8"), &pem);
    // The key that is tried first is one that Apple does not know.
    let unknown = ApnsConfig {
        key_file: Some(folder.0.path().join("unknown.key")),
        key_id: Some("UNKNOWNKEY".to_owned()),
        credentials_folder: Some(folder.0.path().to_owned()),
        ..good
    };
    folder.file("unknown.key", &p8());
    let apps = load(&simulation, vec![apple("default", unknown)], &clock);
    let set = apps.set(Provider::Apns, "default").unwrap();
    for _ in 0..3 {
        assert_eq!(set.send(&message("ab")).await.outcome, Outcome::Accepted);
    }
    let refusals = || simulation.simulators.apns().stats().refused.get("InvalidProviderToken").copied();
    assert_eq!(refusals(), Some(1), "a refused one rests");
    let state = set.state();
    assert_eq!(state.state, CredentialState::Accepted);
    let shown: Vec<_> =
        state.credentials.iter().map(|credential| (credential.name.as_str(), credential.state)).collect();
    let good_name = format!("key {key_id}");
    assert_eq!(shown, [("key UNKNOWNKEY", CredentialState::Refused), (good_name.as_str(), CredentialState::Accepted)]);
    clock.advance(60_000);
    for _ in 0..3 {
        assert_eq!(set.send(&message("ab")).await.outcome, Outcome::Accepted);
    }
    assert_eq!(refusals(), Some(2), "one push asks again");
}

/// A user may register a token of another project: FCM refuses it in the words of revoked credentials.
#[tokio::test]
async fn a_foreign_token_pauses_the_app_once_and_revoked_credentials_end_nothing() {
    use tidings_simulators::fcm::{Details, FcmAction, RegistrationToken, ScriptedError};
    use tidings_simulators::script::{RetryAfterForm, Rule};

    let simulation = Simulation::start().await;
    let clock = Clock::manual(Clock::system().now_ms());
    let fcm = FcmConfig {
        service_account_file: Some(simulation.simulators.credentials().fcm_account_file.clone()),
        url: Some(simulation.simulators.credentials().fcm_url.clone()),
        ..FcmConfig::default()
    };
    let app = AppConfig { name: "default".to_owned(), apns: None, fcm: Some(fcm), webpush: None };
    let apps = load(&simulation, vec![app], &clock);
    let set = apps.set(Provider::Fcm, "default").unwrap();
    let send = async |token: &str| set.send(&message(token)).await.outcome;
    // Revoked, for a while: every recheck is a refusal, and none of them is the token's.
    let mismatch = ScriptedError {
        code: "SENDER_ID_MISMATCH".to_owned(),
        status: None,
        message: None,
        retry_after: None,
        retry_after_form: RetryAfterForm::default(),
        details: Details::Fcm,
        field: None,
    };
    assert_eq!(send("good").await, Outcome::Accepted);
    for _ in 0..3 {
        simulation.simulators.fcm().script().add(Rule::once(FcmAction::Answer(mismatch.clone())));
        assert_eq!(send("ab").await, Outcome::Pause);
        assert_eq!(send("good").await, Outcome::Pause, "not asked");
        assert_eq!(set.state().state, CredentialState::Paused);
        clock.advance(60_000);
    }
    assert_eq!((send("ab").await, send("good").await), (Outcome::Accepted, Outcome::Accepted));
    // A token of another project.
    let theirs = RegistrationToken { token: message("theirs").token, project: Some("other".to_owned()), gone: false };
    simulation.simulators.fcm().register_token(theirs);
    assert_eq!(send("theirs").await, Outcome::Pause, "it may be the credentials");
    clock.advance(60_000);
    assert_eq!(send("good").await, Outcome::Accepted);
    for _ in 0..2 {
        assert_eq!(send("theirs").await, Outcome::ForeignToken);
        assert_eq!((set.state().state, send("good").await), (CredentialState::Accepted, Outcome::Accepted));
    }
}
