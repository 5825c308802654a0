//! The admin door as an operator sees it.

use serde_json::json;

use crate::http::tests::{ADMIN, House, PATIENCE, json, refused};
use tokio::time::timeout;

impl House {
    fn admin(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url(&format!("/v1/admin/{path}"))).bearer_auth(ADMIN)
    }

    fn ask(&self, path: &str) -> reqwest::RequestBuilder {
        self.admin(reqwest::Method::GET, path)
    }

    fn tell(&self, path: &str, body: &serde_json::Value) -> reqwest::RequestBuilder {
        self.admin(reqwest::Method::POST, path).body(body.to_string())
    }
}

#[tokio::test]
async fn only_an_admin_key_opens_the_door() {
    let house = House::open().await;
    for path in ["revocations", "connections", "nothing/here"] {
        let url = house.url(&format!("/v1/admin/{path}"));
        refused(house.client.get(&url), 401, "admin_key_missing").await;
        refused(house.client.get(&url).bearer_auth("handler-key"), 401, "admin_key_wrong").await;
        refused(house.client.get(&url).bearer_auth(house.token("42")), 401, "admin_key_wrong").await;
    }
    refused(house.ask("nothing/here"), 404, "not_found").await;
    refused(house.admin(reqwest::Method::PUT, "revocations"), 405, "method_not_allowed").await;
    let closed = House::without_admin().await;
    refused(closed.ask("revocations"), 403, "admin_disabled").await;
}

#[tokio::test]
async fn a_revoked_token_ends_polls_and_is_refused_until_it_is_taken_back() {
    let house = House::open().await;
    let exp = house.clock.now_s() + 600;
    let token = house.sign(&json!({ "sub": "42", "exp": exp, "jti": "t/1", "iat": exp - 600 }));
    let ask = |path: &str| house.client.get(house.url(path)).bearer_auth(&token);
    assert_eq!(ask("/v1/messages?wait=0").send().await.unwrap().status(), 200);
    let poll = tokio::spawn(ask("/v1/messages").send());
    house.waiting(1).await;
    let made = house.tell("revocations", &json!({ "jti": "t/1", "exp": exp })).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made = json(made).await;
    assert_eq!((&made["id"], &made["jti"], &made["closed"]), (&json!("jti:t/1"), &json!("t/1"), &json!(0)));
    assert_eq!(made["until_ms"], exp * 1000);
    let ended = timeout(PATIENCE, poll).await.unwrap().unwrap().unwrap();
    assert_eq!(ended.status(), 401);
    assert_eq!(json(ended).await["error"]["code"], "token_revoked");
    refused(ask("/v1/messages?wait=0"), 401, "token_revoked").await;
    refused(house.post(&token, "/v1/publish/ping", "x"), 401, "token_revoked").await;
    let listed = json(house.ask("revocations").send().await.unwrap()).await;
    assert_eq!((&listed["revocations"][0]["id"], &listed["total"]), (&json!("jti:t/1"), &json!(1)));
    assert_eq!(house.ask("revocations/jti:t%2F1").send().await.unwrap().status(), 200);
    let back = house.admin(reqwest::Method::DELETE, "revocations/jti:t/1");
    assert_eq!(back.send().await.unwrap().status(), 204);
    refused(house.admin(reqwest::Method::DELETE, "revocations/jti:t%2F1"), 404, "revocation_unknown").await;
    assert_eq!(ask("/v1/messages?wait=0").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_user_is_shut_out_up_to_a_time() {
    let house = House::open().await;
    let now = house.clock.now_s();
    let token = |iat: i64| house.sign(&json!({ "sub": "42", "exp": now + 600, "iat": iat }));
    let ask = |token: &str| house.client.get(house.url("/v1/messages?wait=0")).bearer_auth(token);
    for time in [json!(now - 50), json!((now - 50).to_string()), json!("now")] {
        let made = house.tell("revocations", &json!({ "user": "42", "issued_before": time })).send().await.unwrap();
        assert_eq!(made.status(), 201, "{time}");
        refused(ask(&token(now - 51)), 401, "token_revoked").await;
    }
    assert_eq!(ask(&token(now + 5)).send().await.unwrap().status(), 200);
    refused(ask(&house.token("42")), 401, "token_revoked").await;
    for body in [
        json!({}),
        json!({ "jti": "a", "user": "42" }),
        json!({ "jti": "" }),
        json!({ "user": "" }),
        json!({ "user": "42", "exp": 5 }),
        json!({ "user": "42", "issued_before": "soon" }),
        json!({ "user": "42", "issued_before": -1 }),
    ] {
        refused(house.tell("revocations", &body), 400, "revocation_invalid").await;
    }
    refused(house.tell("revocations", &json!({ "usr": "42" })), 400, "body_invalid").await;
    refused(house.tell("revocations", &json!({ "jti": "x".repeat(70_000) })), 413, "payload_too_large").await;
}

#[tokio::test]
async fn a_decision_is_explained_with_what_the_broker_knows() {
    let house = House::open().await;
    let house = &house;
    let ask = |body: serde_json::Value| async move {
        let answer = house.tell("explain", &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        json(answer).await
    };
    let token = house.token("42");
    let own = ask(json!({ "token": token, "action": "subscribe", "topic": "42_inbox" })).await;
    assert_eq!((&own["allowed"], &own["rule"], &own["facts"]), (&json!(true), &json!("own-topic"), &json!("broker")));
    let other = ask(json!({ "token": token, "action": "publish", "topic": "43_inbox" })).await;
    assert_eq!((&other["allowed"], &other["rule"]), (&json!(false), &json!("other-user")));
    let old = house.token_until("42", house.clock.now_s() - 3600);
    let old = ask(json!({ "token": old, "action": "subscribe", "topic": "42_inbox" })).await;
    assert_eq!((&old["allowed"], &old["rule_allows"]), (&json!(false), &json!(true)));
    assert_eq!((&old["token"]["code"], &old["token"]["user"]), (&json!("token_expired"), &json!("42")));
    let handler = ask(json!({ "handler": true, "action": "subscribe", "topic": "#" })).await;
    assert_eq!((&handler["allowed"], &handler["rule"]), (&json!(true), &json!("handler")));
    let garbage = ask(json!({ "token": "x", "action": "publish", "topic": "ping" })).await;
    assert_eq!((&garbage["allowed"], &garbage["token"]["code"]), (&json!(false), &json!("token_malformed")));
    // A known user's word is protected: only the broker knows who has logged in.
    let word = json!({ "token": token, "action": "publish", "topic": "alice_inbox" });
    assert_eq!(ask(word.clone()).await["allowed"], true);
    house.post(&house.token("alice"), "/v1/publish/ping", "x").send().await.unwrap();
    assert_eq!(ask(word).await["rule"], "other-user");
    house.tell("revocations", &json!({ "user": "42" })).send().await.unwrap();
    let revoked = ask(json!({ "token": token, "action": "subscribe", "topic": "42_inbox" })).await;
    assert_eq!((&revoked["allowed"], &revoked["token"]["code"]), (&json!(false), &json!("token_revoked")));
    refused(house.tell("explain", &json!({ "action": "publish", "topic": "x" })), 400, "body_invalid").await;
}

#[tokio::test]
async fn sessions_and_connections_are_listed_by_user() {
    let house = House::open().await;
    let empty = json(house.ask("connections?user=42").send().await.unwrap()).await;
    assert_eq!(empty, json!({ "connections": [] }));
    assert_eq!(json(house.ask("sessions").send().await.unwrap()).await, json!({ "sessions": [] }));
    refused(house.ask("connections?user="), 400, "query_invalid").await;
    refused(house.ask("connections?user=42&handlers=1"), 400, "query_invalid").await;
    refused(house.admin(reqwest::Method::DELETE, "connections"), 400, "query_invalid").await;
    refused(house.admin(reqwest::Method::DELETE, "connections?user=42&code=x"), 400, "query_invalid").await;
    refused(house.admin(reqwest::Method::DELETE, "connections/7"), 404, "connection_unknown").await;
    refused(house.admin(reqwest::Method::DELETE, "connections/x"), 404, "connection_unknown").await;
    let kicked = house.admin(reqwest::Method::DELETE, "connections?user=42").send().await.unwrap();
    assert_eq!(json(kicked).await, json!({ "closed": 0 }));
}
