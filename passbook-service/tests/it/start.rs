//! Promises: what is wrong at the start is said in words that help; an edited template reaches the devices.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_passbook_service::{Config, Listeners, run};
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::testing;

use crate::support::{Gateway, NOW, PASS_TYPE, Running, eventually, push_token, settings};

async fn refused(data: &Path, extra: &[(&str, &str)]) -> String {
    let database = format!("sqlite://{}", data.join("w.db").display());
    let settings = settings(data, &database, "http://127.0.0.1:1", extra);
    let config = match Config::from_settings(&settings) {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    let listeners = Listeners::bind(&config).await.unwrap();
    let ended = run(config, listeners, Shutdown::new(), Clock::manual(NOW));
    format!("{:#}", tokio::time::timeout(crate::support::BOUND, ended).await.unwrap().unwrap_err())
}

#[tokio::test]
async fn faults_of_the_configuration_and_the_certificate_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let made =
        tidings_passbook_service::DevelopmentCertificates::load_or_create(data, PASS_TYPE, "TIDINGSDEV", NOW).unwrap();
    let path = |path: &Path| path.display().to_string();
    let (certificate, key, chain) = (path(&made.certificate), path(&made.key), path(&made.intermediate));
    let own = |extra: &[(&'static str, String)]| {
        let mut all = vec![
            ("wallet.signing.certificate", certificate.clone()),
            ("wallet.signing.key", key.clone()),
            ("wallet.public_url", "https://wallet.example.org".to_owned()),
        ];
        all.extend(extra.iter().cloned());
        all
    };
    let ask = async |extra: Vec<(&'static str, String)>| {
        let borrowed: Vec<_> = extra.iter().map(|(key, value)| (*key, value.as_str())).collect();
        refused(data, &borrowed).await
    };
    let text = ask(own(&[])).await;
    assert!(text.contains("chain complete") && text.contains("wallet.signing.intermediate"), "{text}");
    let text = ask(own(&[("wallet.signing.intermediate", chain.clone()), ("wallet.team", "OTHER".to_owned())])).await;
    assert!(text.contains("\"team\" failed") && text.contains("TIDINGSDEV") && text.contains("OTHER"), "{text}");
    let text = ask(vec![
        ("wallet.public_url", "http://wallet.example.org".to_owned()),
        ("wallet.token_key", "short".to_owned()),
        ("wallet.signing.key", key.clone()),
    ])
    .await;
    for part in ["wallet.public_url", "wallet.allow_http", "wallet.token_key", "wallet.signing.certificate"] {
        assert!(text.contains(part), "all at once: {text}");
    }
    let text = ask(vec![
        ("wallet.signing.certificate", certificate.clone()),
        ("wallet.signing.key", key.clone()),
        ("wallet.public_url", String::new()),
    ])
    .await;
    assert!(text.contains("wallet.public_url: unset"), "{text}");
    let templates = data.join("templates");
    std::fs::create_dir_all(templates.join("broken")).unwrap();
    std::fs::write(templates.join("broken/pass.json"), "{\"description\": \"\"}").unwrap();
    let text = ask(vec![("wallet.templates", path(&templates))]).await;
    assert!(text.contains("templates/broken cannot be used") && text.contains("icon.png"), "{text}");
    let text = ask(vec![("wallet.templates", "/no/such/folder".to_owned())]).await;
    assert!(text.contains("wallet.templates: /no/such/folder"), "{text}");
}

#[tokio::test]
async fn a_database_that_is_away_is_said_by_readyz_and_requests_are_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::from_settings(&settings(
        folder.path(),
        "postgres://nobody@127.0.0.1:1/none",
        "http://127.0.0.1:1",
        &[],
    ))
    .unwrap();
    let listeners = Listeners::bind(&config).await.unwrap();
    let url = format!("http://{}", listeners.http.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let server = tokio::spawn(run(config, listeners, shutdown.clone(), Clock::manual(NOW)));
    let client = tidings_shared::http::client(None).unwrap();
    eventually("readiness to name the database", async || {
        let answer = client.get(format!("{url}/readyz")).send().await.ok()?;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status == 503 && text.contains("127.0.0.1:1")).then_some(())
    })
    .await;
    let list = client.get(format!("{url}/v1/devices/d/registrations/{PASS_TYPE}")).send().await.unwrap();
    assert_eq!(list.status(), 503);
    assert_eq!(list.headers()["retry-after"], "5");
    assert!(list.text().await.unwrap().contains("unavailable"));
    shutdown.begin();
    tokio::time::timeout(crate::support::BOUND, server).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_edited_template_is_a_change_that_is_listed_and_pushed() {
    for database in testing::urls().await {
        let folder = tempfile::tempdir().unwrap();
        let templates = folder.path().join("templates/card");
        std::fs::create_dir_all(&templates).unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/example");
        std::fs::copy(example.join("icon.png"), templates.join("icon.png")).unwrap();
        let write = |colour: &str| {
            let pass = json!({"description": "d", "organizationName": "o", "generic": {}, "backgroundColor": colour});
            std::fs::write(templates.join("pass.json"), pass.to_string()).unwrap();
        };
        write("rgb(1,2,3)");
        let place = folder.path().join("templates").display().to_string();
        let gateway = Gateway::start().await;
        let clock = Clock::manual(NOW);
        let address = [("wallet.templates", place.as_str())];
        let first = Running::start_in(folder.path(), &database, gateway.clone(), clock.clone(), &address).await;
        let body = json!({"template": "card", "serial": "1"});
        let made: Value =
            first.api(Method::POST, "/api/passes").json(&body).send().await.unwrap().json().await.unwrap();
        let pass = crate::support::Pass {
            serial: "1".to_owned(),
            token: made["authenticationToken"].as_str().unwrap().to_owned(),
        };
        first.register("device", &pass, &push_token(1)).await;
        let tag = first.list("device", None).await.unwrap().tag;
        let modified = first.fetch(&pass, None).await.headers()["last-modified"].to_str().unwrap().to_owned();
        first.stop().await;

        let same = Running::start_in(folder.path(), &database, gateway.clone(), clock.clone(), &address).await;
        assert_eq!(same.fetch(&pass, Some(&modified)).await.status(), 304, "a restart alone changes nothing");
        same.stop().await;

        write("rgb(3,2,1)");
        let edited = Running::start_in(folder.path(), &database, gateway, clock, &address).await;
        assert_eq!(edited.fetch(&pass, Some(&modified)).await.status(), 200);
        edited.gateway.wait_for(1).await;
        assert_eq!(edited.list("device", Some(&tag)).await.unwrap().serials, ["1"]);
        edited.stop().await;
    }
}
