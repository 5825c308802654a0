//! Push tokens through a broker and a gateway that is away at first.

use std::net::SocketAddr;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use axum::{Json, Router};
use serde_json::{Value, json};
use tidings_handlers::push_token::{self, Gateway};

use crate::support::{Handlers, Mosquitto, Phone, Shared, database, shared, until};

type Calls = Shared<Vec<(String, Value)>>;

async fn register(
    State(calls): State<Calls>,
    Path(device): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some("Bearer new-key") {
        return (StatusCode::UNAUTHORIZED, Json(json!({})));
    }
    if body["app"] == "unknown" {
        return (
            StatusCode::UNPROCESSABLE_ENTITY,
            Json(json!({"error":{"code":"app_unknown","message":"no such app"}})),
        );
    }
    calls.lock().unwrap().push((device, body));
    (StatusCode::CREATED, Json(json!({})))
}

#[tokio::test]
async fn a_registration_waits_for_the_gateway_and_a_refusal_is_told() {
    let (broker, database, calls) = (Mosquitto::start().await, database().await, shared(Vec::new()));
    let address: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway {
        url: format!("http://{address}"),
        keys: vec!["old-key".to_owned(), "new-key".to_owned()],
        http: tidings_shared::http::client(None).unwrap(),
    };
    let handlers = Handlers::start(push_token::router().with_state(gateway), &database, &broker).await;
    let mut phone = Phone::connect(&broker, "68946", &["68946_push_token_error"]).await;
    phone.send("register_push_token", r#"{"provider":"apns","token":"ab12","environment":"sandbox"}"#, "m1").await;
    until("it was tried in vain", async || handlers.metrics.retries_now("register_push_token") > 0).await;

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let app = Router::new()
        .route("/v1/devices/{device}", put(register).delete(async || StatusCode::NO_CONTENT))
        .with_state(calls.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    until("it is registered", async || calls.lock().unwrap().len() == 1).await;
    assert_eq!(
        calls.lock().unwrap()[0],
        (
            phone.client_id().to_owned(),
            json!({"user":"68946","provider":"apns","app":"default","token":"ab12","environment":"sandbox","client":phone.client_id()})
        )
    );

    for (number, (payload, code)) in [
        (r#"{"provider":"fcm","token":"t","app":"unknown"}"#, "app_unknown"),
        (r#"{"provider":"xyz"}"#, "payload_invalid"),
    ]
    .iter()
    .enumerate()
    {
        phone.send("register_push_token", *payload, &format!("wrong{number}")).await;
        assert_eq!(phone.next().await.json()["error"]["code"], *code);
    }
    phone.send("unregister_push_token", "", "m9").await;
    until("it is taken back", async || handlers.metrics.finished_now("unregister_push_token") == 1).await;
    handlers.stop().await;
    assert_eq!(phone.rest(), []);
}
