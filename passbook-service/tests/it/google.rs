//! Promises: Google Wallet shows what the pass shows, hears of committed changes alone and of every one of them, and
//! nobody is notified more often than Google allows.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_shared::config::Loader;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::testing;
use tidings_simulators::googlewallet::{GoogleWalletSimulator, WalletAction, WalletObject};
use tidings_simulators::script::Rule;
use tidings_simulators::{Listeners, Simulators};

use crate::support::{Gateway, NOW, PASS_TYPE, Running, eventually, python};

const ISSUER: &str = "3388000000012345678";
/// A pass that is short enough to stand in a link.
const TINY: &str = r#"{"formatVersion": 1, "organizationName": "Bar", "description": "Card", "storeCard": {"primaryFields":
    [{"key": "points", "label": "Points", "value": "{{points}}", "changeMessage": "Now %@ points"}]}}"#;
const ICON: &[u8] = include_bytes!("../../templates/example/icon.png");
const HOUR_MS: i64 = 3_600_000;

/// The service with Google beside it.
struct Stage {
    service: Running,
    google: GoogleWalletSimulator,
    simulators: Simulators,
    settings: Vec<(String, String)>,
    _folder: tempfile::TempDir,
}

async fn simulators(folder: &Path, clock: &Clock) -> Simulators {
    let listens = ["simulators.apns.listen", "simulators.fcm.listen", "simulators.control.listen"];
    let data = folder.display().to_string();
    let loader = Loader::new(&[tidings_shared::config::SETTINGS, tidings_simulators::SETTINGS]);
    let loader = listens
        .into_iter()
        .fold(loader.flag("--data", "data", data), |l, listen| l.flag("--set", listen, "127.0.0.1:0"));
    let config = tidings_simulators::Config::from_settings(&loader.load().unwrap());
    let listeners = Listeners::bind(&config).await.unwrap();
    let simulators = Simulators::new(&config, &listeners, clock, Shutdown::new()).unwrap();
    tokio::spawn(simulators.clone().serve(listeners));
    simulators
}

impl Stage {
    async fn on(database: &str, extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let simulators = simulators(folder.path(), &clock).await;
        let credentials = simulators.credentials();
        let own = [
            ("wallet.google.issuer_id", ISSUER.to_owned()),
            ("wallet.google.service_account_file", credentials.fcm_account_file.display().to_string()),
            ("wallet.google.url", credentials.fcm_url.clone()),
            ("wallet.google.ca_file", credentials.ca_file.clone().unwrap().display().to_string()),
            ("wallet.google.per_second", "1000".to_owned()),
            ("wallet.templates", folder.path().join("templates").display().to_string()),
        ];
        let extra = extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings: Vec<(String, String)> =
            own.map(|(key, value)| (key.to_owned(), value)).into_iter().chain(extra).collect();
        let data = folder.path().join("service");
        std::fs::create_dir_all(&data).unwrap();
        let tiny = folder.path().join("templates/tiny");
        std::fs::create_dir_all(&tiny).unwrap();
        std::fs::write(tiny.join("pass.json"), TINY).unwrap();
        std::fs::write(tiny.join("icon.png"), ICON).unwrap();
        let pairs: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let service = Running::start_in(&data, database, Gateway::start().await, clock, &pairs).await;
        let google = simulators.googlewallet().clone();
        Self { service, google, simulators, settings, _folder: folder }
    }

    async fn on_each_database() -> Vec<Self> {
        let mut stages = Vec::new();
        for database in testing::urls().await {
            stages.push(Self::on(&database, &[]).await);
        }
        stages
    }

    async fn on_sqlite(extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        Self::on(&format!("sqlite://{}", folder.join("wallet.db").display()), extra).await
    }

    /// Makes a save link.
    async fn link(&self, serial: &str) -> Value {
        let path = format!("/api/passes/{PASS_TYPE}/{serial}/google");
        let answer = self.service.api(Method::POST, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    /// Opens a link, as somebody with an Android phone does.
    fn save(&self, link: &Value) -> String {
        let jwt = link["saveUrl"].as_str().unwrap().strip_prefix("https://pay.google.com/gp/v/save/").unwrap();
        let saved = self.google.open(jwt).unwrap();
        assert_eq!(saved, [link["objectId"].as_str().unwrap()]);
        saved[0].clone()
    }

    async fn state(&self, serial: &str) -> Value {
        let path = format!("/api/passes/{PASS_TYPE}/{serial}/google?live=true");
        self.service.api(Method::GET, &path).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until the object is as it should be.
    async fn object(&self, id: &str, what: &str, fits: impl Fn(&WalletObject) -> bool) -> WalletObject {
        eventually(what, async || self.google.object(id).filter(|object| fits(object))).await
    }

    /// Waits until Google has the second version, while pauses between attempts go by.
    async fn retried(&self, serial: &str) {
        eventually("every failure to be over", async || {
            self.service.clock.advance(1_500);
            let state = self.state(serial).await;
            (state["upToDate"] == true && state["revision"] == 2).then_some(())
        })
        .await;
    }

    /// Waits until Google knows everything.
    async fn settled(&self, serial: &str) -> Value {
        eventually("Google to know everything", async || {
            let state = self.state(serial).await;
            (state["upToDate"] == true).then_some(state)
        })
        .await
    }
}

fn points(object: &WalletObject) -> &Value {
    &object.object["loyaltyPoints"]["balance"]["int"]
}

#[tokio::test]
async fn a_saved_pass_follows_every_committed_change() {
    for stage in Stage::on_each_database().await {
        stage.service.create("1").await;
        let link = stage.link("1").await;
        assert_eq!(link["kind"], "loyalty");
        let id = stage.save(&link);
        assert_eq!(stage.google.object(&id).unwrap().object["accountName"], "Ada");
        stage.service.patch("1", json!({"points": 5})).await;
        let object = stage.object(&id, "the new balance", |object| points(object) == &json!(5)).await;
        assert_eq!(object.users, 1);
        let state = stage.settled("1").await;
        assert_eq!(
            (&state["revision"], &state["hasUsers"], &state["lastError"]),
            (&json!(2), &json!(true), &Value::Null)
        );
        // No-ops are no changes here either.
        let patches = stage.google.object(&id).unwrap().patches;
        stage.service.patch("1", json!({"points": 5})).await;
        stage.service.patch("1", json!({"points": 6})).await;
        let object = stage.object(&id, "the next balance", |object| points(object) == &json!(6)).await;
        assert_eq!(object.patches, patches + 1);
    }
}

#[tokio::test]
async fn a_short_pass_stands_in_its_link_and_google_hears_of_it_when_it_changes() {
    for stage in Stage::on_each_database().await {
        for serial in ["saved", "unsaved"] {
            let body = json!({"template": "tiny", "serial": serial, "fields": {"points": 1}});
            assert_eq!(stage.service.api(Method::POST, "/api/passes").json(&body).send().await.unwrap().status(), 201);
        }
        let (saved, unsaved) = (stage.link("saved").await, stage.link("unsaved").await);
        assert_eq!((&saved["form"], &unsaved["form"]), (&json!("embedded"), &json!("embedded")));
        assert!(stage.google.objects().is_empty(), "Google hears of it from whoever opens the link");
        let id = stage.save(&saved);
        for serial in ["saved", "unsaved"] {
            stage.service.patch(serial, json!({"points": 2})).await;
        }
        let object = stage.object(&id, "the change", |object| points(object) == &json!(2)).await;
        stage.settled("saved").await;
        stage.settled("unsaved").await;
        let object = stage.google.object(object.object["id"].as_str().unwrap()).unwrap();
        assert_eq!(object.object["messages"][0]["body"], "Now 2 points");
        assert_eq!(object.notified.len(), 1);
        // The other link is older than the change: whoever opens it now gets the newest version, without a message.
        let id = stage.save(&unsaved);
        let object = stage.google.object(&id).unwrap();
        assert_eq!((points(&object), object.notified.len(), object.users), (&json!(2), 0, 1));
    }
}

#[tokio::test]
async fn a_pass_that_was_never_offered_is_never_told_of() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("private").await;
    stage.service.create("offered").await;
    let id = stage.save(&stage.link("offered").await);
    stage.service.patch("private", json!({"points": 1})).await;
    stage.service.patch("offered", json!({"points": 2})).await;
    stage.object(&id, "the offered one", |object| points(object) == &json!(2)).await;
    assert_eq!(stage.google.objects().len(), 1);
    let path = format!("/api/passes/{PASS_TYPE}/private/google");
    assert_eq!(stage.service.api(Method::GET, &path).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_link_that_lies_around_gives_the_newest_version() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let link = stage.link("1").await;
    stage.service.patch("1", json!({"points": 9})).await;
    let id = link["objectId"].as_str().unwrap();
    // Nobody has saved it: PATCH finds nothing, so the object is made.
    stage.object(id, "the object", |object| points(object) == &json!(9)).await;
    stage.save(&link);
    let object = stage.google.object(id).unwrap();
    assert_eq!((points(&object), object.users), (&json!(9), 1));
    assert!(object.notified.is_empty(), "nobody had it when it changed");
}

#[tokio::test]
async fn the_jwt_is_good_for_libraries_that_nobody_here_wrote() {
    let stage = Stage::on_sqlite(&[("wallet.google.origins", "https://shop.example.org")]).await;
    stage.service.create("1").await;
    let link = stage.link("1").await;
    let jwt = link["saveUrl"].as_str().unwrap().rsplit('/').next().unwrap();
    let account = &stage.simulators.credentials().fcm_account;
    let Some(read) = python("save_link.py", &json!({"jwt": jwt, "account": account})).await else { return };
    assert_eq!(read["header"]["alg"], "RS256");
    assert_eq!(read["header"]["kid"], account.private_key_id.as_str());
    assert_eq!(read["claims"]["typ"], "savetowallet");
    assert_eq!(read["claims"]["origins"], json!(["https://shop.example.org"]));
    assert_eq!(read["claims"]["iat"], NOW / 1000);
    assert_eq!(read["claims"]["payload"]["loyaltyObjects"][0]["id"], link["objectId"]);
}

#[tokio::test]
async fn of_a_long_pass_google_is_told_before_there_is_a_link() {
    for stage in Stage::on_each_database().await {
        let fields = json!({"points": 0, "name": "Ada", "offer": "x".repeat(2000)});
        let body = json!({"template": "example", "serial": "long", "fields": fields});
        assert_eq!(stage.service.api(Method::POST, "/api/passes").json(&body).send().await.unwrap().status(), 201);
        let link = stage.link("long").await;
        assert_eq!(link["form"], "short");
        assert!(link["saveUrl"].as_str().unwrap().len() < 1900);
        let id = link["objectId"].as_str().unwrap();
        assert_eq!(stage.google.object(id).unwrap().users, 0, "Google has it already");
        stage.save(&link);
        assert_eq!(stage.google.object(id).unwrap().users, 1);
    }
}

#[tokio::test]
async fn google_away_is_told_later_and_nothing_is_lost() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let id = stage.save(&stage.link("1").await);
    let script = stage.google.script();
    for status in [503, 429, 403, 401] {
        script.add(Rule { topic: Some("patch".to_owned()), ..Rule::once(WalletAction::Status(status)).token(&id) });
    }
    // Taken, but the answer is lost: the second telling changes nothing.
    script.add(Rule { topic: Some("patch".to_owned()), ..Rule::once(WalletAction::Lost).token(&id) });
    stage.service.patch("1", json!({"points": 3})).await;
    stage.retried("1").await;
    let object = stage.google.object(&id).unwrap();
    assert_eq!(points(&object), &json!(3));
    assert_eq!(object.notified.len(), 1, "one change, one notification");
}

#[tokio::test]
async fn a_refusal_is_shown_and_ends_with_the_next_change() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let id = stage.save(&stage.link("1").await);
    stage
        .google
        .script()
        .add(Rule { topic: Some("patch".to_owned()), ..Rule::once(WalletAction::Status(400)).token(&id) });
    stage.service.patch("1", json!({"points": 3})).await;
    let state = eventually("the refusal", async || {
        let state = stage.state("1").await;
        state["lastError"].is_string().then_some(state)
    })
    .await;
    assert!(state["lastError"].as_str().unwrap().contains("400 invalid"), "{state}");
    assert_eq!((&state["upToDate"], &state["dueAt"]), (&json!(false), &Value::Null));
    stage.service.patch("1", json!({"points": 4})).await;
    stage.object(&id, "the next change", |object| points(object) == &json!(4)).await;
    stage.settled("1").await;
}

#[tokio::test]
async fn three_notifications_in_24_hours_and_silence_beyond() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let id = stage.save(&stage.link("1").await);
    for change in 1..=12_i64 {
        stage.service.patch("1", json!({"points": change})).await;
        stage.object(&id, "the balance", |object| points(object) == &json!(change)).await;
        let state = stage.settled("1").await;
        assert!(state["notifications"].as_i64().unwrap() <= 3, "{state}");
        stage.service.clock.advance(HOUR_MS);
    }
    // Within 24 hours the simulator answers a fourth notification with an error; there was none.
    assert_eq!(stage.google.stats().refused, 0);
    let object = stage.google.object(&id).unwrap();
    assert_eq!(object.notified.len(), 3);
    let messages = object.object["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 10, "Google keeps ten");
    assert_eq!(messages[9]["messageType"], "TEXT");
    let text = messages[9]["body"].as_str().unwrap();
    assert!(text.contains("12"), "{text}");
    stage.service.clock.advance(24 * HOUR_MS);
    stage.service.patch("1", json!({"points": 99})).await;
    let object = stage.object(&id, "the next day", |object| object.notified.last() > Some(&(NOW + 24 * HOUR_MS))).await;
    assert_eq!(object.object["messages"][9]["messageType"], "TEXT_AND_NOTIFY");
}

#[tokio::test]
async fn a_refusal_is_tried_again_when_a_link_is_made_and_every_hour() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let id = stage.save(&stage.link("1").await);
    for (revision, by_link) in [(2, true), (3, false)] {
        let refusal = Rule { topic: Some("patch".to_owned()), ..Rule::once(WalletAction::Status(400)).token(&id) };
        stage.google.script().add(refusal);
        stage.service.patch("1", json!({"points": revision})).await;
        eventually("the refusal", async || stage.state("1").await["lastError"].is_string().then_some(())).await;
        if by_link {
            stage.link("1").await;
        } else {
            stage.service.clock.advance(HOUR_MS);
        }
        let state = stage.settled("1").await;
        assert_eq!((&state["revision"], &state["lastError"]), (&json!(revision), &Value::Null), "{state}");
    }
}

#[tokio::test]
async fn where_google_counts_more_notifications_the_message_comes_silently_at_once() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let id = stage.save(&stage.link("1").await);
    let limit = Rule { topic: Some("addMessage".to_owned()), ..Rule::once(WalletAction::Status(429)).token(&id) };
    stage.google.script().add(limit);
    stage.service.patch("1", json!({"points": 3})).await;
    // The clock stands still: nothing that waits for another attempt comes.
    stage.object(&id, "the message", |object| object.object["messages"][0]["messageType"] == "TEXT").await;
    let state = stage.settled("1").await;
    assert_eq!((&state["revision"], &state["notifications"]), (&json!(2), &json!(0)), "{state}");
    let object = stage.google.object(&id).unwrap();
    assert_eq!((object.object["messages"].as_array().unwrap().len(), object.notified.len()), (1, 0));
}

#[tokio::test]
async fn a_pass_that_is_made_again_while_its_end_is_told_lives_at_google() {
    for stage in Stage::on_each_database().await {
        stage.service.create("1").await;
        let id = stage.save(&stage.link("1").await);
        let script = stage.google.script();
        // Google has the end, and its answer is late.
        let late = Rule { topic: Some("patch".to_owned()), ..Rule::once(WalletAction::Accept).token(&id) };
        script.add(Rule { delay_ms: 3_000, ..late });
        let path = format!("/api/passes/{PASS_TYPE}/1");
        assert_eq!(stage.service.api(Method::DELETE, &path).send().await.unwrap().status(), 204);
        stage.object(&id, "the end", |object| object.object["state"] == "INACTIVE").await;
        stage.service.create("1").await;
        assert_eq!(stage.link("1").await["objectId"], id);
        stage.object(&id, "the new pass", |object| object.object["state"] == "ACTIVE" && object.patches >= 2).await;
        stage.service.patch("1", json!({"points": 7})).await;
        stage.object(&id, "a change of the new pass", |object| points(object) == &json!(7)).await;
        stage.settled("1").await;
    }
}

#[tokio::test]
async fn a_deleted_pass_is_inactive_at_google() {
    for stage in Stage::on_each_database().await {
        stage.service.create("1").await;
        let id = stage.save(&stage.link("1").await);
        let path = format!("/api/passes/{PASS_TYPE}/1");
        assert_eq!(stage.service.api(Method::DELETE, &path).send().await.unwrap().status(), 204);
        stage.object(&id, "the end", |object| object.object["state"] == "INACTIVE").await;
    }
}

#[tokio::test]
async fn a_class_that_somebody_took_away_is_made_anew() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let first = stage.save(&stage.link("1").await);
    stage.service.patch("1", json!({"points": 1})).await;
    stage.object(&first, "the class to be known", |object| points(object) == &json!(1)).await;
    stage.settled("1").await;
    let class = stage.google.object(&first).unwrap().object["classId"].as_str().unwrap().to_owned();
    stage.google.forget_class("loyalty", &class);
    stage.service.create("2").await;
    let second = stage.link("2").await;
    stage.service.patch("2", json!({"points": 2})).await;
    let id = second["objectId"].as_str().unwrap();
    stage.retried("2").await;
    assert_eq!(points(&stage.google.object(id).unwrap()), &json!(2));
    assert!(stage.google.class("loyalty", &class).is_some());
}

#[tokio::test]
async fn changes_while_the_service_was_down_are_told_after_the_restart() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let id = stage.save(&stage.link("1").await);
    // Google does not answer, and the service stops with the change untold.
    stage
        .google
        .script()
        .add(Rule { topic: Some("patch".to_owned()), ..Rule::once(WalletAction::Status(503)).token(&id) });
    stage.service.patch("1", json!({"points": 8})).await;
    let Stage { service, google, settings, simulators, _folder } = stage;
    let pairs: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let service = service.restart(&pairs, async |_| {}).await;
    let stage = Stage { service, google, settings: settings.clone(), simulators, _folder };
    stage.retried("1").await;
    assert_eq!(points(&stage.google.object(&id).unwrap()), &json!(8));
}

#[tokio::test]
async fn without_an_issuer_there_is_no_google_wallet() {
    let service = Running::on_sqlite(&[]).await;
    service.create("1").await;
    let path = format!("/api/passes/{PASS_TYPE}/1/google");
    let answer = service.api(Method::POST, &path).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "google_not_configured");
}

#[tokio::test]
async fn the_images_of_an_object_are_there() {
    let stage = Stage::on_sqlite(&[]).await;
    stage.service.create("1").await;
    let link = stage.link("1").await;
    let class = link["classId"].as_str().unwrap();
    stage.save(&link);
    let class = stage.google.class("loyalty", class).unwrap();
    let address = class["programLogo"]["sourceUri"]["uri"].as_str().unwrap();
    let path = address.strip_prefix("https://wallet.example.org").unwrap();
    let answer = stage.service.request(Method::GET, path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert!(answer.bytes().await.unwrap().starts_with(b"\x89PNG"));
    let other = stage.service.request(Method::GET, "/get/image/example/0000.png").send().await.unwrap();
    assert_eq!(other.status(), 404);
}

#[tokio::test]
async fn two_processes_on_one_database_tell_each_change_once() {
    for stage in Stage::on_each_database().await {
        stage.service.create("1").await;
        let id = stage.save(&stage.link("1").await);
        let pairs: Vec<(&str, &str)> =
            stage.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let second_data = tempfile::tempdir().unwrap();
        // The same master key of tokens, as several processes need it.
        let key = stage.service.data.join("wallet/token.key");
        std::fs::create_dir_all(second_data.path().join("wallet")).unwrap();
        std::fs::copy(key, second_data.path().join("wallet/token.key")).unwrap();
        let (gateway, clock) = (stage.service.gateway.clone(), stage.service.clock.clone());
        let second = Running::start_in(second_data.path(), &stage.service.database, gateway, clock, &pairs).await;
        for change in 1..=3_i64 {
            let process = if change % 2 == 0 { &second } else { &stage.service };
            process.patch("1", json!({"points": change})).await;
            stage.object(&id, "the balance", |object| points(object) == &json!(change)).await;
            stage.settled("1").await;
        }
        let object = stage.google.object(&id).unwrap();
        assert_eq!(object.object["messages"].as_array().unwrap().len(), 3, "one message a change");
        assert_eq!(object.notified.len(), 3);
        second.stop().await;
    }
}
