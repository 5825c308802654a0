//! Templates: texts in several languages, previews, faults.

use serde_json::{Value, json};

use crate::service::services;

const ENGLISH: &str = "title = Your order\nbody = { $count ->\n    [one] One parcel\n   *[other] { $count } parcels\n    } for { $name }\ndata =\n    .order = { $order }\n";
const GERMAN: &str = "title = Ihre Bestellung\nbody = { $count ->\n    [one] Ein Paket\n   *[other] { $count } Pakete\n    } für { $name }\n";

fn order() -> Value {
    json!({"default_locale": "en", "locales": {"en": ENGLISH, "de": GERMAN}, "push": {"data": {"screen": "orders"}}})
}

#[tokio::test]
async fn each_device_gets_its_language() {
    for service in services(&[]).await {
        let (status, made) = service.call("PUT", "/v1/templates/order", order()).await;
        assert_eq!((status, &made["params"]), (201, &json!(["count", "name", "order"])), "{made}");
        service.phone("anna", "phone", "a1", json!({"locale": "de-AT"})).await;
        service.phone("anna", "tablet", "b1", json!({"locale": "fr"})).await;
        let pixel = json!({"user": "anna", "provider": "fcm", "token": "registration"});
        service.good("PUT", "/v1/devices/pixel", pixel).await;
        let params = json!({"count": 2, "name": "Anna", "order": "17"});
        let body = json!({"to": {"user": "anna"}, "template": "order", "params": params});
        let accepted = service.good("POST", "/v1/notifications", body).await;
        // What was accepted keeps its words.
        let other = json!({"default_locale": "en", "locales": {"en": "title = Other"}});
        assert_eq!(service.call("PUT", "/v1/templates/order", other).await.0, 200);
        service.ended(accepted["id"].as_str().unwrap()).await;
        let pushes = service.simulators.inbox().list(None, 0, 10);
        let body_of = |token: &str| {
            let push = pushes.iter().find(|push| push.token == token).unwrap();
            (
                push.payload["aps"]["alert"]["body"].clone(),
                push.payload["screen"].clone(),
                push.payload["order"].clone(),
            )
        };
        assert_eq!(body_of(&"a1".repeat(32)), (json!("2 Pakete für Anna"), json!("orders"), Value::Null));
        assert_eq!(body_of(&"b1".repeat(32)), (json!("2 parcels for Anna"), json!("orders"), json!("17")));
        let fcm = pushes.iter().find(|push| push.token == "registration").unwrap();
        assert_eq!(fcm.payload["notification"], json!({"title": "Your order", "body": "2 parcels for Anna"}));
    }
}

#[tokio::test]
async fn a_preview_shows_what_each_provider_gets() {
    for service in services(&[]).await {
        service.good("PUT", "/v1/templates/order", order()).await;
        let params = json!({"count": 1, "name": "Anna", "order": "17"});
        let preview = json!({"locale": "de-CH", "params": params});
        let shown = service.good("POST", "/v1/templates/order/preview", preview).await;
        assert_eq!((&shown["locale"], &shown["tried"]), (&json!("de"), &json!(["de-CH", "de"])));
        let providers = shown["providers"].as_array().unwrap();
        assert_eq!(providers.len(), 3);
        assert_eq!(providers[0]["payload"]["aps"]["alert"]["body"], "Ein Paket für Anna");
        assert_eq!(providers[1]["payload"]["notification"]["title"], "Ihre Bestellung");
        for provider in providers {
            assert!(provider["bytes"].as_u64().unwrap() > 40, "{provider}");
            assert_eq!(provider.get("refused"), None);
        }
        let params = json!({"count": 1, "name": "x".repeat(5000), "order": "17"});
        let shown = service.good("POST", "/v1/templates/order/preview", json!({"params": params})).await;
        assert!(shown["providers"][0]["refused"].as_str().unwrap().contains("4096"), "{shown}");
        service.refused("POST", "/v1/templates/order/preview", json!({"locale": "d"}), "locale_invalid").await;
    }
}

#[tokio::test]
async fn faults_are_told_with_their_place() {
    for service in services(&[]).await {
        let body = json!({"default_locale": "en", "locales": {"en": "title = a\nbody = { $x\n", "de": "body = b\n"}});
        let message = service.refused("PUT", "/v1/templates/t", body, "template_invalid").await;
        assert!(
            message.contains("en, line 2, message `body`") && message.contains("de: the message `title`"),
            "{message}"
        );
        service.refused("GET", "/v1/templates/t", Value::Null, "template_unknown").await;
        service.good("PUT", "/v1/templates/order", order()).await;
        let send = |params: Value| json!({"to": {"user": "anna"}, "template": "order", "params": params});
        let message = service.refused("POST", "/v1/notifications", send(json!({"count": 1})), "params_invalid").await;
        assert!(message.contains("\"name\""), "{message}");
        let both = json!({"to": {"user": "anna"}, "template": "order", "push": {"kind": "wake"}});
        service.refused("POST", "/v1/notifications", both, "body_invalid").await;
        service.refused("POST", "/v1/notifications", json!({"to": {"user": "anna"}}), "body_invalid").await;
        let unknown = json!({"to": {"user": "anna"}, "template": "nothing"});
        service.refused("POST", "/v1/notifications", unknown, "template_unknown").await;
        assert_eq!(service.good("GET", "/v1/templates", Value::Null).await["templates"], json!(["order"]));
        service.good("DELETE", "/v1/templates/order", Value::Null).await;
    }
}
