//! The OpenAPI document: it is served, it is the one that is kept, and it has every route of the API.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::support::Running;

fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn document() -> Value {
    serde_json::from_str(&tidings_passbook_service::openapi::text().unwrap()).unwrap()
}

#[tokio::test]
async fn the_document_is_served_to_everybody() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    let running = Running::on_sqlite(&[]).await;
    let served: Value = running.request(Method::GET, "/api/openapi.json").send().await.unwrap().json().await.unwrap();
    assert_eq!(served, document);
    running.stop().await;
}

#[test]
fn the_document_that_is_kept_is_the_one_that_is_made() {
    let kept = std::fs::read_to_string(file("../docs/wallet/openapi.json")).unwrap_or_default();
    let made = tidings_passbook_service::openapi::text().unwrap();
    assert!(kept == made, "docs/wallet/openapi.json is out of date: `tidings pass openapi > docs/wallet/openapi.json`");
}

/// The routes stand in one list, in one form; both directions are compared.
#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let source = std::fs::read_to_string(file("src/web/api/mod.rs")).unwrap();
    let mut routes = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let mut parts = route.split('"');
        let path = parts.nth(1).unwrap().to_owned();
        let rest = parts.next().unwrap();
        let end = rest.find("\n        .").unwrap_or(rest.len());
        for method in ["get", "put", "post", "patch", "delete"] {
            if rest[..end].contains(&format!("{method}(")) {
                routes.insert(format!("{method} {path}"));
            }
        }
    }
    assert!(routes.len() > 5, "the routes were found: {routes:?}");
    let document = document();
    let described = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")));
    assert_eq!(described.collect::<BTreeSet<_>>(), routes);
}
