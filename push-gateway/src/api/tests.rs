use axum::body::{Body, to_bytes};
use http::Request;
use serde_json::{Value, json};
use tidings_shared::auth::VerifierConfig;
use tidings_shared::push_api::Provider;
use tidings_shared::storage::testing::databases;
use tower::ServiceExt;

use super::*;
use crate::queue::lane::Lane;
use crate::queue::load::Bounds;
use crate::testing::{FakeProvider, START, notifications};

const SECRET: &str = "a secret of at least thirty-two bytes";
const SERVICE: &str = "service-key";

struct Door(Arc<Gateway>);

fn gateway(database: Option<Database>, apps: Apps) -> Door {
    let clock = Clock::manual(START);
    let auth = VerifierConfig { secret: Some(SECRET.to_owned()), ..VerifierConfig::default() };
    let intake = database.as_ref().map(|database| {
        let (intake, mut tasks) = Intake::start(database, &clock);
        tasks.detach_all();
        intake
    });
    let rooms = crate::testing::rooms(&clock);
    Door(Arc::new(Gateway {
        intake: intake.map(OnceLock::from).unwrap_or_default(),
        load: Arc::new(Load::new(Bounds { all: 100, app: 50 })),
        time_zone: TimeZone::UTC,
        database: database.map(OnceLock::from).unwrap_or_default(),
        apps: Arc::new(apps),
        verifier: Verifier::new(auth, clock.clone()).unwrap(),
        service_keys: ServiceKeys::new(vec!["next-key".to_owned(), SERVICE.to_owned()]),
        ids: Ids::new(clock.clone()),
        clock,
        metrics: Arc::default(),
        ttl: Duration::from_secs(86_400),
        max_devices: 3,
        rooms,
    }))
}

fn apps() -> Apps {
    let no_sandbox = FakeProvider { no_sandbox: true, ..FakeProvider::default() };
    Apps::of_lanes(vec![
        Lane::new(Provider::Apns, "default", Arc::new(FakeProvider::default())),
        Lane::new(Provider::Apns, "pass.org.example", Arc::new(no_sandbox)),
    ])
}

fn token(user: &str) -> String {
    let claims = json!({"sub": user, "iat": START / 1000, "exp": START / 1000 + 3600});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

impl Door {
    async fn call(&self, method: &str, path: &str, credential: &str, body: Option<Value>) -> (u16, Value) {
        self.call_with(method, path, credential, body, None).await
    }

    async fn call_with(
        &self,
        method: &str,
        path: &str,
        credential: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !credential.is_empty() {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let answer = router(Arc::clone(&self.0), 2048, 1 << 20).oneshot(request.body(body).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    async fn refused(&self, method: &str, path: &str, credential: &str, body: Option<Value>) -> (u16, String) {
        let (status, body) = self.call(method, path, credential, body).await;
        let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
        assert!(documented(&code, status), "{code} ({status}) is not documented");
        (status, code)
    }
}

/// Codes of tokens and service keys are described with the shared code that makes them.
fn documented(code: &str, status: u16) -> bool {
    let elsewhere = code.starts_with("token_") || code.starts_with("service_key_");
    elsewhere || error_codes::ERROR_CODES.iter().any(|(known, with, _)| *known == code && *with == status)
}

fn phone(token: &str) -> Value {
    json!({"provider": "apns", "token": token.repeat(16), "client": "phone-1"})
}

fn wake(to: Value) -> Option<Value> {
    Some(json!({"to": to, "push": {"kind": "wake"}}))
}

#[tokio::test]
async fn a_device_registers_lists_and_leaves() {
    for database in databases().await {
        let door = gateway(Some(database), apps());
        let anna = token("anna");
        let (status, device) = door.call("PUT", "/v1/devices/phone", &anna, Some(phone("ABCD"))).await;
        assert_eq!(status, 201, "{device}");
        assert_eq!(
            (&device["device"], &device["user"], &device["app"]),
            (&json!("phone"), &json!("anna"), &json!("default"))
        );
        assert_eq!(device.get("token"), None);
        assert_eq!(door.call("PUT", "/v1/devices/phone", &anna, Some(phone("1234"))).await.0, 200);
        let (_, list) = door.call("GET", "/v1/devices", &anna, None).await;
        assert_eq!(list["devices"].as_array().unwrap().len(), 1);
        let (_, list) = door.call("GET", "/v1/devices", &token("ben"), None).await;
        assert_eq!(list["devices"], json!([]));
        assert_eq!(
            door.refused("DELETE", "/v1/devices/phone", &token("ben"), None).await,
            (404, "device_unknown".to_owned())
        );
        assert_eq!(door.call("DELETE", "/v1/devices/phone", &anna, None).await, (204, Value::Null));
    }
}

#[tokio::test]
async fn a_service_key_speaks_for_any_user_and_a_token_for_its_own() {
    for database in databases().await {
        let door = gateway(Some(database), apps());
        let mut body = phone("ABCD");
        assert_eq!(
            door.refused("PUT", "/v1/devices/phone", SERVICE, Some(body.clone())).await,
            (400, "user_missing".to_owned())
        );
        assert_eq!(door.call("PUT", "/v1/devices/phone?user=anna", SERVICE, Some(body.clone())).await.0, 201);
        assert_eq!(
            door.refused("PUT", "/v1/devices/phone?user=anna", &token("ben"), Some(body.clone())).await,
            (403, "user_not_yours".to_owned())
        );
        body["user"] = json!("anna");
        assert_eq!(door.call("PUT", "/v1/devices/phone", SERVICE, Some(body.clone())).await.0, 200);
        assert_eq!(
            door.refused("PUT", "/v1/devices/phone?user=ben", SERVICE, Some(body.clone())).await,
            (400, "body_invalid".to_owned())
        );
        assert_eq!(
            door.refused("PUT", "/v1/devices/phone", &token("ben"), Some(body.clone())).await,
            (403, "user_not_yours".to_owned())
        );
        let (_, list) = door.call("GET", "/v1/devices?user=anna", "next-key", None).await;
        assert_eq!(list["devices"][0]["device"], "phone");
        assert_eq!(door.refused("GET", "/v1/devices?user=anna", &token("ben"), None).await.0, 403);
        assert_eq!(door.call("DELETE", "/v1/devices/phone?user=anna", SERVICE, None).await.0, 204);
        assert_eq!(door.refused("GET", "/v1/devices", "", None).await, (401, "credential_missing".to_owned()));
        assert_eq!(door.refused("GET", "/v1/devices", "nonsense", None).await.0, 401);
    }
}

#[tokio::test]
async fn what_cannot_be_registered_is_refused_with_its_code() {
    for database in databases().await {
        let door = gateway(Some(database), apps());
        let anna = token("anna");
        let refused = async |change: Value| {
            let mut body = phone("ABCD");
            for (name, value) in change.as_object().unwrap() {
                body[name] = value.clone();
            }
            door.refused("PUT", "/v1/devices/phone", &anna, Some(body)).await.1
        };
        assert_eq!(refused(json!({"tokn": "x"})).await, "body_invalid");
        assert_eq!(refused(json!({"provider": "gcm"})).await, "body_invalid");
        assert_eq!(refused(json!({"token": "not hexadecimal"})).await, "token_invalid");
        assert_eq!(refused(json!({"client": ""})).await, "client_invalid");
        assert_eq!(refused(json!({"app": "other"})).await, "app_unknown");
        assert_eq!(refused(json!({"provider": "fcm"})).await, "app_unknown");
        assert_eq!(
            refused(json!({"app": "pass.org.example", "environment": "sandbox"})).await,
            "environment_unavailable"
        );
        assert_eq!(refused(json!({"client": "x".repeat(3000)})).await, "body_too_large");
        let name = format!("/v1/devices/{}", "x".repeat(200));
        assert_eq!(door.refused("PUT", &name, &anna, Some(phone("ABCD"))).await.1, "device_invalid");
        for name in ["a1", "b2", "c3"] {
            assert_eq!(door.call("PUT", &format!("/v1/devices/{name}"), &anna, Some(phone(name))).await.0, 201);
        }
        assert_eq!(
            door.refused("PUT", "/v1/devices/d", &anna, Some(phone("d4"))).await,
            (409, "too_many_devices".to_owned())
        );
        let (_, body) = door.call("PUT", "/v1/devices/phone", &anna, Some(json!({"tokn": "x"}))).await;
        assert!(body["error"]["message"].as_str().unwrap().contains("tokn"), "{body}");
    }
}

#[tokio::test]
async fn without_apps_a_registration_is_refused_clearly() {
    for database in databases().await {
        let door = gateway(Some(database), Apps::of_lanes(Vec::new()));
        let answer = door.refused("PUT", "/v1/devices/phone", &token("anna"), Some(phone("ABCD"))).await;
        assert_eq!(answer, (503, "no_app_configured".to_owned()));
    }
}

#[tokio::test]
async fn a_notification_reaches_every_device_of_a_user() {
    for database in databases().await {
        let door = gateway(Some(database.clone()), apps());
        let anna = token("anna");
        door.call("PUT", "/v1/devices/phone", &anna, Some(phone("ABCD"))).await;
        let (_, tablet) = door.call("PUT", "/v1/devices/tablet", &anna, Some(phone("1234"))).await;
        let (status, sent) = door.call("POST", "/v1/notifications", SERVICE, wake(json!({"user": "anna"}))).await;
        assert_eq!(status, 202, "{sent}");
        let names: Vec<_> = sent["targets"].as_array().unwrap().iter().map(|target| target["device"].clone()).collect();
        assert_eq!(names, ["phone", "tablet"]);
        assert_eq!(sent["targets"][0]["state"], "queued");
        let (status, shown) =
            door.call("GET", &format!("/v1/notifications/{}", sent["id"].as_str().unwrap()), SERVICE, None).await;
        assert_eq!((status, &shown), (200, &sent));
        for to in [json!({"user": "anna", "device": "tablet"}), json!({"device": tablet["id"]})] {
            let (_, sent) = door.call("POST", "/v1/notifications", SERVICE, wake(to)).await;
            assert_eq!(sent["targets"][0]["device"], "tablet");
        }
        let (status, sent) = door.call("POST", "/v1/notifications", SERVICE, wake(json!({"user": "nobody"}))).await;
        assert_eq!((status, &sent["targets"]), (202, &json!([])));
    }
}

#[tokio::test]
async fn a_token_can_be_addressed_without_a_registration() {
    for database in databases().await {
        let door = gateway(Some(database.clone()), apps());
        let to = json!({"token": {"provider": "apns", "app": "pass.org.example", "token": "ab".repeat(32)}});
        let body = json!({"to": to, "push": {"kind": "pass"}});
        let (status, sent) = door.call("POST", "/v1/notifications", SERVICE, Some(body)).await;
        assert_eq!(status, 202, "{sent}");
        assert_eq!(sent["targets"][0]["app"], "pass.org.example");
        assert_eq!(sent["targets"][0].get("device"), None);
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_not_stored() {
    for database in databases().await {
        let door = gateway(Some(database.clone()), apps());
        door.call("PUT", "/v1/devices/phone", &token("anna"), Some(phone("ABCD"))).await;
        let refused = async |body: Value| door.refused("POST", "/v1/notifications", SERVICE, Some(body)).await.1;
        let to = json!({"user": "anna"});
        let push = json!({"kind": "wake"});
        for (code, body) in [
            ("body_invalid", json!({"to": to})),
            ("body_invalid", json!({"to": to, "push": push, "colapse_id": "x"})),
            ("body_invalid", json!({"to": {}, "push": push})),
            ("body_invalid", json!({"to": to, "push": push, "ttl": "1 hour"})),
            ("collapse_id_invalid", json!({"to": to, "push": push, "collapse_id": "x".repeat(65)})),
            ("data_name_reserved", json!({"to": to, "push": {"kind": "alert", "title": "t", "data": {"google.x": 1}}})),
            ("device_unknown", json!({"to": {"user": "anna", "device": "toaster"}, "push": push})),
            ("device_unknown", json!({"to": {"device": "01990000"}, "push": push})),
            ("token_invalid", json!({"to": {"token": {"provider": "apns", "token": "x"}}, "push": push})),
            ("app_unknown", json!({"to": {"token": {"provider": "fcm", "token": "x"}}, "push": push})),
            (
                "environment_unavailable",
                json!({"to": {"token": {"provider": "apns", "app": "pass.org.example", "environment": "sandbox", "token": "ab".repeat(32)}}, "push": push}),
            ),
        ] {
            assert_eq!(refused(body.clone()).await, code, "{body}");
        }
        assert_eq!(notifications(&database).await, Vec::<String>::new());
        assert_eq!(door.refused("POST", "/v1/notifications", &token("anna"), wake(to)).await.0, 401);
        assert_eq!(
            door.refused("GET", "/v1/notifications/x", SERVICE, None).await,
            (404, "notification_unknown".to_owned())
        );
        assert_eq!(door.refused("GET", "/v1/nothing", SERVICE, None).await, (404, "not_found".to_owned()));
        assert_eq!(door.refused("PATCH", "/v1/devices", SERVICE, None).await, (405, "method_not_allowed".to_owned()));
    }
}

#[tokio::test]
async fn the_same_key_sends_once_and_answers_the_same() {
    for database in databases().await {
        let door = gateway(Some(database.clone()), apps());
        door.call("PUT", "/v1/devices/phone", &token("anna"), Some(phone("ABCD"))).await;
        let send = async |body: Value, key: &str| {
            door.call_with("POST", "/v1/notifications", SERVICE, Some(body), Some(key)).await
        };
        let body = json!({"to": {"user": "anna"}, "push": {"kind": "wake"}, "ttl": "1h"});
        let first = send(body.clone(), "k1").await;
        assert_eq!(first.0, 202);
        door.call("DELETE", "/v1/devices/phone", &token("anna"), None).await;
        // The same meaning, written differently.
        assert_eq!(send(json!({"ttl": "60m", "push": {"kind": "wake"}, "to": {"user": "anna"}}), "k1").await, first);
        let (status, refusal) = send(json!({"to": {"user": "anna"}, "push": {"kind": "wake"}}), "k1").await;
        assert_eq!((status, &refusal["error"]["code"]), (409, &json!("idempotency_key_reused")));
        assert_eq!(send(body.clone(), "not a key").await.0, 400);
        assert_eq!(notifications(&database).await.len(), 1);
        assert_ne!(send(body, "k2").await.1["id"], first.1["id"]);
    }
}

#[tokio::test]
async fn requests_with_one_key_that_meet_send_once() {
    for database in databases().await {
        let door = Arc::new(gateway(Some(database.clone()), apps()));
        let meet = (0..8).map(|_| {
            let door = Arc::clone(&door);
            tokio::spawn(async move {
                door.call_with("POST", "/v1/notifications", SERVICE, wake(json!({"user": "anna"})), Some("k")).await
            })
        });
        let mut answers = Vec::new();
        for answer in meet.collect::<Vec<_>>() {
            answers.push(answer.await.unwrap());
        }
        assert_eq!(answers[0].0, 202);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(notifications(&database).await.len(), 1);
    }
}

#[tokio::test]
async fn before_the_database_is_there_requests_are_put_off() {
    let door = gateway(None, apps());
    let answer = door.refused("POST", "/v1/notifications", SERVICE, wake(json!({"user": "anna"}))).await;
    assert_eq!(answer, (503, "database_unavailable".to_owned()));
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_in_order_and_repeats_nothing() {
    for database in databases().await {
        let door = gateway(Some(database.clone()), apps());
        let (_, phone) = door.call("PUT", "/v1/devices/phone", &token("anna"), Some(phone("ABCD"))).await;
        let push = json!({"kind": "wake"});
        let batch = json!({"notifications": [
            {"to": {"user": "anna"}, "push": push, "idempotency_key": "k1"},
            {"to": {"user": "anna"}, "push": push, "idempotency_key": "k1"},
            {"to": {"user": "anna"}, "push": push, "idempotency_key": "k1", "ttl": "1h"},
            {"to": {"user": "anna", "device": "toaster"}, "push": push},
            {"to": {"usr": "anna"}, "push": push},
            {"to": {"device": phone["id"]}, "push": push, "idempotency_key": "not a key"},
            {"to": {"device": phone["id"]}, "push": push, "priority": "high"},
            {"to": {"user": "ben"}, "push": push},
        ]});
        let (status, answer) = door.call("POST", "/v1/notifications/batch", SERVICE, Some(batch.clone())).await;
        assert_eq!(status, 200, "{answer}");
        let results = answer["results"].as_array().unwrap();
        let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, [202, 202, 409, 404, 400, 400, 202, 202]);
        let targets = |index: usize| results[index]["notification"]["targets"].as_array().unwrap().len();
        assert_eq!((targets(0), targets(6), targets(7)), (1, 1, 0));
        let codes: Vec<_> = results.iter().filter_map(|result| result["error"]["code"].as_str()).collect();
        assert_eq!(codes, ["idempotency_key_reused", "device_unknown", "body_invalid", "idempotency_key_invalid"]);
        assert!(results[4]["error"]["message"].as_str().unwrap().contains("usr"), "{answer}");
        assert_eq!(results[0]["notification"], results[1]["notification"]);
        assert_eq!(notifications(&database).await.len(), 3);
        // Again: what has a key has its answer, whatever has become of the device.
        door.call("DELETE", "/v1/devices/phone", &token("anna"), None).await;
        let (_, again) = door.call("POST", "/v1/notifications/batch", SERVICE, Some(batch)).await;
        assert_eq!(again["results"][0], answer["results"][0]);
        assert_eq!(notifications(&database).await.len(), 4, "what has no key is sent again");
        for (size, code) in [(0, "batch_size_invalid"), (1001, "batch_size_invalid")] {
            let batch = json!({"notifications": vec![json!({}); size]});
            assert_eq!(
                door.refused("POST", "/v1/notifications/batch", SERVICE, Some(batch)).await,
                (400, code.to_owned())
            );
        }
        let (status, _) = door.call("POST", "/v1/notifications/batch", &token("anna"), Some(json!({}))).await;
        assert_eq!(status, 401);
    }
}

#[tokio::test]
async fn a_scheduled_notification_waits_for_each_devices_own_clock_and_can_be_cancelled() {
    for database in databases().await {
        let door = gateway(Some(database.clone()), apps());
        // START is 2023-11-14T22:13:20Z.
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        for (device, zone) in [("a1", Some("Asia/Tokyo")), ("b2", Some("Mars/Olympus")), ("c3", None)] {
            door.call("PUT", &format!("/v1/devices/{device}"), &token("anna"), Some(phone(&format!("{device}cd"))))
                .await;
            crate::testing::set_time_zone(&database, device, zone).await;
        }
        let send = async |not_before: Value| {
            let body = json!({"to": {"user": "anna"}, "push": {"kind": "wake"}, "ttl": "1h", "not_before": not_before});
            door.call("POST", "/v1/notifications", SERVICE, Some(body)).await
        };
        let due = |sent: &Value| -> Vec<i64> {
            sent["targets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|target| target["next_attempt_at_ms"].as_i64().unwrap())
                .collect()
        };
        let (status, sent) = send(json!({"local": "09:00"})).await;
        assert_eq!(status, 202, "{sent}");
        let (tokyo, utc) = (at("2023-11-15T00:00:00Z"), at("2023-11-15T09:00:00Z"));
        assert_eq!(due(&sent), [tokyo, utc, utc]);
        let (_, berlin) = send(json!({"local": "09:00", "date": "2023-12-01", "zone": "Europe/Berlin"})).await;
        assert_eq!(due(&berlin), [at("2023-12-01T00:00:00Z"), at("2023-12-01T08:00:00Z"), at("2023-12-01T08:00:00Z")]);
        assert_eq!(due(&send(json!("2023-11-16T08:00:00+01:00")).await.1), [at("2023-11-16T07:00:00Z"); 3]);
        assert_eq!(due(&send(json!(1_000)).await.1), [START; 3], "the past is now");
        let refused = send(json!(START + 400 * 86_400_000)).await;
        assert_eq!((refused.0, &refused.1["error"]["code"]), (400, &json!("not_before_too_far")));
        assert_eq!(send(json!("tomorrow")).await.0, 400);

        let path = format!("/v1/notifications/{}", sent["id"].as_str().unwrap());
        let (status, cancelled) = door.call("DELETE", &path, SERVICE, None).await;
        assert_eq!(status, 200);
        let targets = cancelled["targets"].as_array().unwrap();
        assert!(
            targets.iter().all(|target| target["state"] == "expired" && target["reason"] == "cancelled"),
            "{cancelled}"
        );
        assert_eq!(door.call("DELETE", &path, SERVICE, None).await, (200, cancelled));
        assert_eq!(
            door.refused("DELETE", "/v1/notifications/x", SERVICE, None).await,
            (404, "notification_unknown".to_owned())
        );
        assert_eq!(door.refused("DELETE", &path, &token("anna"), None).await.0, 401);
    }
}

#[tokio::test]
async fn a_full_queue_refuses_with_its_length_and_a_time_to_come_back() {
    for database in databases().await {
        let door = gateway(Some(database.clone()), apps());
        let to = |number: usize| json!({"token": {"provider": "apns", "token": format!("{number:064x}")}});
        let batch = |count: usize| {
            let items: Vec<Value> =
                (0..count).map(|number| json!({"to": to(number), "push": {"kind": "wake"}})).collect();
            Some(json!({ "notifications": items }))
        };
        // Room for 50 of one app.
        let (_, answer) = door.call("POST", "/v1/notifications/batch", SERVICE, batch(60)).await;
        let results = answer["results"].as_array().unwrap();
        let taken = results.iter().filter(|result| result["status"] == 202).count();
        assert_eq!(taken, 50);
        assert_eq!(results[59]["status"], 429);
        assert_eq!(results[59]["error"]["code"], "app_queue_full");
        assert_eq!(notifications(&database).await.len(), 50);
        let one = json!({"to": to(1), "push": {"kind": "wake"}});
        let (status, refusal) = door.call("POST", "/v1/notifications", SERVICE, Some(one.clone())).await;
        let error = &refusal["error"];
        assert_eq!((status, &error["queue_length"], &error["queue_bound"]), (429, &json!(50), &json!(50)));
        assert!(error["message"].as_str().unwrap().contains("Retry-After"), "{refusal}");
        // As pushes end, there is room again.
        door.0.load.ended("apns:default", 1);
        assert_eq!(door.call("POST", "/v1/notifications", SERVICE, Some(one)).await.0, 202);
    }
}
