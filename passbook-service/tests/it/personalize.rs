//! Promises: a holder signs up once with a pass that asks for it; what they gave is kept and read on by a cursor; the pass
//! changes; and nothing but a token is ever signed.

use std::io::{Cursor, Read};
use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PASS_TYPE, Pass, Running};

/// A folder of templates, one of which asks its holders to sign up.
fn templates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("rewards");
    std::fs::create_dir(&template).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/example");
    for (from, to) in [("pass.json", "pass.json"), ("icon.png", "icon.png"), ("logo.png", "personalizationLogo.png")] {
        std::fs::copy(example.join(from), template.join(to)).unwrap();
    }
    let asks = json!({
        "requiredPersonalizationFields": ["PKPassPersonalizationFieldName"],
        "description": "Join and earn points",
    });
    std::fs::write(template.join("personalization.json"), asks.to_string()).unwrap();
    folder
}

async fn create(service: &Running, template: &str, serial: &str) -> Pass {
    let body = json!({"template": template, "serial": serial, "fields": {"points": 0, "name": "you"}});
    let answer = service.api(Method::POST, "/api/passes").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await.unwrap();
    Pass { serial: serial.to_owned(), token: answer["authenticationToken"].as_str().unwrap().to_owned() }
}

async fn sign_up(service: &Running, pass: &Pass, token: &str, name: &str) -> (u16, Vec<u8>) {
    let body = json!({"personalizationToken": token, "requiredPersonalizationInfo": {"fullName": name, "name": name}});
    let request = service.request(Method::POST, &format!("{}/personalize", pass.path())).json(&body);
    let answer = request.header("Authorization", pass.authorization()).send().await.unwrap();
    let status = answer.status().as_u16();
    if status == 200 {
        assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    }
    (status, answer.bytes().await.unwrap().to_vec())
}

async fn names(service: &Running, pass: &Pass) -> (Vec<String>, Value) {
    let package = service.fetch(pass, None).await.bytes().await.unwrap();
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    let mut text = String::new();
    archive.by_name("pass.json").unwrap().read_to_string(&mut text).unwrap();
    let names = (0..archive.len()).map(|index| archive.by_index(index).unwrap().name().unwrap().into_owned());
    (names.collect(), serde_json::from_str(&text).unwrap())
}

fn openssl_verifies(service: &Running, token: &str, signature: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), token).unwrap();
    std::fs::write(folder.path().join("signature"), signature).unwrap();
    let root = tidings_passbook_service::DevelopmentCertificates::paths(&service.data).root;
    let verified = Command::new("openssl")
        .current_dir(folder.path())
        .args([
            "cms",
            "-verify",
            "-inform",
            "DER",
            "-in",
            "signature",
            "-content",
            "token",
            "-purpose",
            "any",
            "-binary",
        ])
        .args(["-attime", &service.clock.now_s().to_string(), "-out", "/dev/null", "-CAfile"])
        .arg(&root)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[tokio::test]
async fn a_holder_signs_up_the_pass_changes_and_the_backend_reads_what_they_gave() {
    let folder = templates();
    let path = folder.path().display().to_string();
    for service in Running::on_each_database(&[("wallet.templates", &path)]).await {
        let pass = create(&service, "rewards", "1").await;
        let (before, content) = names(&service, &pass).await;
        assert!(
            before.contains(&"personalization.json".to_owned())
                && before.contains(&"personalizationLogo.png".to_owned())
        );
        assert!(content.to_string().contains("you"));
        let modified = service.fetch(&pass, None).await.headers()["last-modified"].clone();

        let token = "dG9rZW4tZnJvbS1XYWxsZXQ";
        let (status, signature) = sign_up(&service, &pass, token, "Ada").await;
        assert_eq!(status, 200);
        openssl_verifies(&service, token, &signature);

        let answer = service.fetch(&pass, Some(modified.to_str().unwrap())).await;
        assert_eq!(answer.status(), 200, "a new version at once");
        let (after, content) = names(&service, &pass).await;
        assert!(!after.iter().any(|name| name.starts_with("personalization")), "{after:?}");
        assert!(content.to_string().contains("Ada"), "a placeholder of that name shows what they gave");

        assert_eq!(sign_up(&service, &pass, token, "Ada").await.0, 200, "the same device, whose answer was lost");
        assert_eq!(sign_up(&service, &pass, "another-token", "Eve").await.0, 403, "somebody has");

        let second = create(&service, "rewards", "2").await;
        assert_eq!(sign_up(&service, &second, "token-two", "Grace").await.0, 200);
        let read = async |after: &str| {
            let path = format!("/api/personalizations?after={after}&limit=1");
            let answer: Value = service.api(Method::GET, &path).send().await.unwrap().json().await.unwrap();
            let names: Vec<_> = answer["personalizations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| (one["serialNumber"].clone(), one["info"]["fullName"].clone()))
                .collect();
            (names, answer["cursor"].as_str().unwrap().to_owned())
        };
        let (first, cursor) = read("0").await;
        assert_eq!(first, [(json!("1"), json!("Ada"))]);
        let (next, cursor) = read(&cursor).await;
        assert_eq!(next, [(json!("2"), json!("Grace"))]);
        assert_eq!(read(&cursor).await, (Vec::new(), cursor.clone()), "nothing new, the same cursor");
        let forget = service.api(Method::DELETE, &format!("/api/personalizations?through={cursor}"));
        assert_eq!(forget.send().await.unwrap().status(), 204);
        assert_eq!(read("0").await.0, []);
        let third = create(&service, "rewards", "3").await;
        assert_eq!(sign_up(&service, &third, "token-three", "Lin").await.0, 200);
        assert_eq!(read(&cursor).await.0, [(json!("3"), json!("Lin"))], "places are never given again");
    }
}

#[tokio::test]
async fn it_is_no_signing_oracle() {
    let folder = templates();
    let path = folder.path().display().to_string();
    let service = Running::on_sqlite(&[("wallet.templates", &path)]).await;
    let pass = create(&service, "rewards", "1").await;
    let manifest = json!({"pass.json": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}).to_string();
    for token in [manifest.as_str(), "[1]", "{\u{0}\"", "\"text\"", "", &"x".repeat(1025)] {
        assert_eq!(sign_up(&service, &pass, token, "Eve").await.0, 400, "{token}");
    }
    let plain = service.create("plain").await;
    assert_eq!(sign_up(&service, &plain, "token", "Eve").await.0, 403, "this pass does not ask for it");
    let stranger = Pass { serial: "1".to_owned(), token: "wrong".to_owned() };
    assert_eq!(sign_up(&service, &stranger, "token", "Eve").await.0, 401);
    let unknown = Pass { serial: "unknown".to_owned(), token: "wrong".to_owned() };
    assert_eq!(sign_up(&service, &unknown, "token", "Eve").await.0, 401);
    let path = format!("/v1/passes/{PASS_TYPE}/1/personalize");
    let request = service.request(Method::POST, &path).header("Authorization", pass.authorization());
    assert_eq!(request.body("no json").send().await.unwrap().status(), 400);
}
