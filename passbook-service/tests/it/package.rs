//! Promises: the package that a device gets is one that `openssl` verifies, with its own token and address inside.

use std::io::{Cursor, Read};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_passbook_service::DevelopmentCertificates;

use crate::support::{PASS_TYPE, Running};

fn unpack(package: &[u8], folder: &std::path::Path) -> Value {
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let path = folder.join(file.name().unwrap().as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    serde_json::from_slice(&std::fs::read(folder.join("pass.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn the_package_is_verified_by_openssl_on_both_ways_out() {
    let service = Running::on_sqlite(&[("wallet.public_url", "")]).await;
    let pass = service.create("card 1").await;
    service.patch("card%201", json!({"points": 42, "offer": "Free Café"})).await;
    let root = DevelopmentCertificates::paths(&service.data).root;
    let path = format!("/api/passes/{PASS_TYPE}/card%201/package");
    let downloaded = service.api(Method::GET, &path).send().await.unwrap();
    assert_eq!(downloaded.headers()["content-type"], "application/vnd.apple.pkpass");
    assert_eq!(downloaded.headers()["content-disposition"], "attachment; filename=\"card_1.pkpass\"");
    let fetched = service
        .request(Method::GET, &format!("/v1/passes/{PASS_TYPE}/card%201"))
        .header("Authorization", pass.authorization());
    for answer in [downloaded, fetched.send().await.unwrap()] {
        assert_eq!(answer.status(), 200);
        let folder = tempfile::tempdir().unwrap();
        let content = unpack(&answer.bytes().await.unwrap(), folder.path());
        assert_eq!(content["serialNumber"], "card 1");
        assert_eq!(content["authenticationToken"], pass.token);
        assert_eq!(content["passTypeIdentifier"], PASS_TYPE);
        assert_eq!(content["teamIdentifier"], "TIDINGSDEV");
        assert_eq!(content["storeCard"]["primaryFields"][0]["value"], 42, "a number stays a number");
        let port = service.url.rsplit_once(':').unwrap().1;
        assert_eq!(content["webServiceURL"], format!("http://localhost:{port}"));
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
                "manifest.json",
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
}

#[tokio::test]
async fn a_random_token_is_asked_for_and_a_wrong_one_refused() {
    let service = Running::on_sqlite(&[("wallet.tokens", "random")]).await;
    let pass = service.create("1").await;
    let path = format!("/api/passes/{PASS_TYPE}/1/package");
    let code = async |token: Option<&str>| {
        let mut request = service.api(Method::GET, &path);
        if let Some(token) = token {
            request = request.header("Pass-Token", token);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap_or_default();
        (status, body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default().to_owned())
    };
    assert_eq!(code(None).await, (422, "pass_token_required".to_owned()));
    assert_eq!(code(Some("wrong")).await, (403, "pass_token_wrong".to_owned()));
    assert_eq!(code(Some(&pass.token)).await.0, 200);
    assert_eq!(service.fetch(&pass, None).await.status(), 200);
}
