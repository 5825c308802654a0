//! The OpenAPI document: it is valid, it is the one that is kept, and it has every route.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::python::python;
use crate::service::services;

fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[tokio::test]
async fn the_document_is_valid_and_served() {
    let document: Value = serde_json::from_str(&tidings_push_gateway::openapi::text().unwrap()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    if let Some(answer) = python("openapi_valid.py", &document).await {
        assert_eq!(answer, json!({"valid": true}));
    }
    for service in services(&[]).await.into_iter().take(1) {
        assert_eq!(service.good("GET", "/v1/openapi.json", Value::Null).await, document);
    }
}

#[test]
fn the_document_that_is_kept_is_the_one_that_is_made() {
    let kept = std::fs::read_to_string(file("../docs/push/openapi.json")).unwrap_or_default();
    let made = tidings_push_gateway::openapi::text().unwrap();
    assert!(kept == made, "docs/push/openapi.json is out of date: `tidings push openapi > docs/push/openapi.json`");
}

/// The routes stand in one list, in one form; both directions are compared.
#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let source = std::fs::read_to_string(file("src/api/mod.rs")).unwrap();
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
    assert!(routes.len() > 30, "the routes were found: {routes:?}");
    let document: Value = serde_json::from_str(&tidings_push_gateway::openapi::text().unwrap()).unwrap();
    let described = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")));
    assert_eq!(described.collect::<BTreeSet<_>>(), routes);
}
