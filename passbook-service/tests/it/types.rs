//! Promises: several pass types at once, each with its own certificate, tags and pushes.

use std::io::{Cursor, Read};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{NOW, PASS_TYPE, Running, push_token};

const SECOND: &str = "pass.dev.tidings.second";
const TYPES: &[(&str, &str)] = &[("wallet.types.\"pass.dev.tidings.second\".team", "SECONDTEAM")];

fn content(package: &[u8]) -> Value {
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    let mut text = String::new();
    archive.by_name("pass.json").unwrap().read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_pass_of_each_type_is_made_listed_pushed_and_signed_by_its_own_certificate() {
    for service in Running::on_each_database(TYPES).await {
        let first = service.create("1").await;
        let body =
            json!({"template": "example", "serial": "1", "passType": SECOND, "fields": {"points": 0, "name": "Ada"}});
        let answer = service.api(Method::POST, "/api/passes").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let made: Value = answer.json().await.unwrap();
        assert_eq!(made["passTypeIdentifier"], SECOND);
        let authorization = format!("ApplePass {}", made["authenticationToken"].as_str().unwrap());
        assert_eq!(service.register("d", &first, &push_token(1)).await, 201);
        let place = format!("/v1/devices/d/registrations/{SECOND}/1");
        let register = service.request(Method::POST, &place).header("Authorization", &authorization);
        assert_eq!(register.json(&json!({"pushToken": push_token(1)})).send().await.unwrap().status(), 201);
        let crossed = service.request(Method::POST, &place).header("Authorization", first.authorization());
        assert_eq!(crossed.json(&json!({"pushToken": push_token(1)})).send().await.unwrap().status(), 401);

        let patch =
            service.api(Method::PATCH, &format!("/api/passes/{SECOND}/1")).json(&json!({"fields": {"points": 5}}));
        assert_eq!(patch.send().await.unwrap().status(), 200);
        let pushed = service.gateway.wait_for(1).await;
        assert_eq!(pushed[0].body.pointer("/to/token/app"), Some(&json!(SECOND)), "the app is the type");
        let listed =
            service.request(Method::GET, &format!("/v1/devices/d/registrations/{SECOND}")).send().await.unwrap();
        assert_eq!(listed.json::<Value>().await.unwrap()["serialNumbers"], json!(["1"]));

        let fetched =
            service.request(Method::GET, &format!("/v1/passes/{SECOND}/1")).header("Authorization", &authorization);
        let pass = content(&fetched.send().await.unwrap().bytes().await.unwrap());
        assert_eq!((&pass["passTypeIdentifier"], &pass["teamIdentifier"]), (&json!(SECOND), &json!("SECONDTEAM")));
        assert_eq!(pass.pointer("/storeCard/primaryFields/0/value"), Some(&json!(5)));
        let other = content(&service.fetch(&first, None).await.bytes().await.unwrap());
        assert_eq!((&other["passTypeIdentifier"], &other["teamIdentifier"]), (&json!(PASS_TYPE), &json!("TIDINGSDEV")));
        assert_eq!(
            other.pointer("/storeCard/primaryFields/0/value"),
            Some(&json!(0)),
            "the other type's pass is untouched"
        );
    }
}

#[tokio::test]
async fn a_type_that_is_not_signed_here_is_refused_and_the_others_are_named() {
    let service = Running::on_sqlite(TYPES).await;
    let body =
        json!({"template": "example", "passType": "pass.org.example.nobody", "fields": {"points": 0, "name": "Ada"}});
    let answer = service.api(Method::POST, "/api/passes").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    let refused: Value = answer.json().await.unwrap();
    assert_eq!(refused.pointer("/error/code"), Some(&json!("pass_type_not_served")));
    let message = refused.pointer("/error/message").and_then(Value::as_str).unwrap();
    assert!(message.contains(PASS_TYPE) && message.contains(SECOND), "{message}");
}

#[tokio::test]
async fn a_template_that_names_a_served_type_makes_passes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("pinned");
    std::fs::create_dir(&template).unwrap();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/example");
    let mut pass: Value = serde_json::from_slice(&std::fs::read(example.join("pass.json")).unwrap()).unwrap();
    pass["passTypeIdentifier"] = json!(SECOND);
    std::fs::write(template.join("pass.json"), pass.to_string()).unwrap();
    std::fs::copy(example.join("icon.png"), template.join("icon.png")).unwrap();
    let templates = folder.path().display().to_string();
    let service = Running::on_sqlite(&[TYPES[0], ("wallet.templates", &templates)]).await;
    let body = json!({"template": "pinned", "fields": {"points": 0, "name": "Ada"}});
    let made: Value = service.api(Method::POST, "/api/passes").json(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(made["passTypeIdentifier"], SECOND);
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_over_while_the_service_runs() {
    let data = tempfile::tempdir().unwrap();
    let make = |at_ms: i64| {
        let folder = tempfile::tempdir().unwrap().keep();
        let made =
            tidings_passbook_service::DevelopmentCertificates::load_or_create(&folder, PASS_TYPE, "TIDINGSDEV", at_ms);
        made.unwrap()
    };
    let (old, new) = (make(NOW), make(NOW + 86_400_000));
    let text = |path: &std::path::Path| path.display().to_string();
    let (certificate, key, chain) = (text(&old.certificate), text(&old.key), text(&old.intermediate));
    let database = format!("sqlite://{}", data.path().join("w.db").display());
    let extra = [
        ("wallet.signing.certificate", certificate.as_str()),
        ("wallet.signing.key", &key),
        ("wallet.signing.intermediate", &chain),
        ("wallet.signing.watch", "20ms"),
    ];
    let service = Running::start(&database, &extra).await;
    let pass = service.create("1").await;
    let signature = async || {
        let package = service.fetch(&pass, None).await.bytes().await.unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
        let mut bytes = Vec::new();
        archive.by_name("signature").unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let der = |path: &std::path::Path| {
        use rustls_pki_types::pem::PemObject;
        rustls_pki_types::CertificateDer::from_pem_file(path).unwrap().to_vec()
    };
    let (old_der, new_der) = (der(&old.certificate), der(&new.certificate));
    let holds = |signature: &[u8], der: &[u8]| signature.windows(der.len()).any(|window| window == der);
    assert!(holds(&signature().await, &old_der));
    let modified = service.fetch(&pass, None).await.headers()["last-modified"].clone();
    service.clock.advance(86_400_000);
    for (from, to) in
        [(&new.key, &old.key), (&new.intermediate, &old.intermediate), (&new.certificate, &old.certificate)]
    {
        std::fs::copy(from, to).unwrap();
    }
    crate::support::eventually("the new certificate to sign", async || {
        holds(&signature().await, &new_der).then_some(())
    })
    .await;
    assert_eq!(service.fetch(&pass, None).await.headers()["last-modified"], modified, "the pass itself did not change");
}
