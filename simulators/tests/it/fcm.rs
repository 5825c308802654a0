//! The FCM simulator: the OAuth2 flow, the message rules and the error model.

use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_simulators::fcm::{Details, FcmAction, RegistrationToken, ScriptedError, ServiceAccount};
use tidings_simulators::script::{RetryAfterForm, Rule};

use crate::common::{Running, start};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn assertion(account: &ServiceAccount, change: impl FnOnce(&mut Value)) -> String {
    let now_s = Clock::system().now_s();
    let mut claims = json!({
        "iss": account.client_email, "scope": SCOPE, "aud": account.token_uri, "iat": now_s, "exp": now_s + 3600,
    });
    change(&mut claims);
    let header = jsonwebtoken::Header {
        kid: Some(account.private_key_id.clone()),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256)
    };
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(account.private_key.as_bytes()).unwrap();
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

async fn exchange(running: &Running, grant: &str, assertion: &str) -> (u16, Value) {
    let account = &running.credentials().fcm_account;
    let form = format!("grant_type={}&assertion={assertion}", grant.replace(':', "%3A"));
    let answer = running
        .http()
        .post(&account.token_uri)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn access_token(running: &Running) -> String {
    let account = running.credentials().fcm_account.clone();
    let (status, body) = exchange(running, GRANT, &assertion(&account, |_| {})).await;
    assert_eq!(status, 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

async fn send(running: &Running, access: &str, project: &str, body: &Value) -> reqwest::Response {
    running
        .http()
        .post(format!("{}/v1/projects/{project}/messages:send", running.credentials().fcm_url))
        .bearer_auth(access)
        .json(body)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_message_is_accepted_and_reaches_the_inbox() {
    let running = start(&[]).await;
    let access = access_token(&running).await;
    let message = json!({"token": "abc:DEF", "data": {"wake": "1"}, "android": {"priority": "HIGH", "ttl": "3.5s"}});
    let answer = send(&running, &access, "tidings-dev", &json!({"message": message})).await;
    assert_eq!(answer.status(), 200);
    let name = answer.json::<Value>().await.unwrap()["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("projects/tidings-dev/messages/"), "{name}");
    let pushes = running.simulators.inbox().list(Some("abc:DEF"), 0, 10);
    assert_eq!((pushes.len(), &pushes[0].payload, &pushes[0].id), (1, &message, &name));

    let dry = send(&running, &access, "tidings-dev", &json!({"validate_only": true, "message": message})).await;
    assert_eq!(dry.status(), 200);
    assert_eq!(running.simulators.inbox().list(None, 0, 10).len(), 1);
}

#[tokio::test]
async fn assertions_are_checked() {
    let running = start(&[]).await;
    let account = running.credentials().fcm_account.clone();
    let stranger = ServiceAccount {
        client_email: account.client_email.clone(),
        ..ServiceAccount::create("x", &account.token_uri).unwrap()
    };
    let now_s = Clock::system().now_s();
    for (grant, assertion, error, words) in [
        ("password", assertion(&account, |_| {}), "unsupported_grant_type", "password"),
        (GRANT, "nonsense".to_owned(), "invalid_grant", "no JWT"),
        (GRANT, assertion(&stranger, |_| {}), "invalid_grant", "Invalid JWT Signature."),
        (GRANT, assertion(&account, |claims| claims["iss"] = json!("nobody@x")), "invalid_grant", "account not found"),
        (GRANT, assertion(&account, |claims| claims["aud"] = json!("https://elsewhere")), "invalid_grant", "audience"),
        (GRANT, assertion(&account, |claims| claims["exp"] = json!(now_s + 7200)), "invalid_grant", "short-lived"),
        (GRANT, assertion(&account, |claims| claims["scope"] = json!("email")), "invalid_scope", "scope"),
    ] {
        let (status, body) = exchange(&running, grant, &assertion).await;
        assert_eq!((status, body["error"].as_str().unwrap()), (400, error), "{body}");
        assert!(body["error_description"].as_str().unwrap().contains(words), "{body}");
    }
}

#[tokio::test]
async fn senders_and_registrations_are_checked() {
    let running = start(&[("simulators.fcm.strict_tokens", "true")]).await;
    let fcm = running.simulators.fcm();
    fcm.register_token(RegistrationToken { token: "mine".to_owned(), project: None, gone: false });
    fcm.register_token(RegistrationToken { token: "gone".to_owned(), project: None, gone: true });
    fcm.register_token(RegistrationToken {
        token: "theirs".to_owned(),
        project: Some("other".to_owned()),
        gone: false,
    });
    let access = access_token(&running).await;
    for (access, project, token, status, code) in [
        (access.as_str(), "tidings-dev", "mine", 200, ""),
        (access.as_str(), "tidings-dev", "gone", 404, "UNREGISTERED"),
        (access.as_str(), "tidings-dev", "never-seen", 404, "UNREGISTERED"),
        (access.as_str(), "tidings-dev", "theirs", 403, "SENDER_ID_MISMATCH"),
        (access.as_str(), "another-project", "mine", 403, ""),
        ("wrong", "tidings-dev", "mine", 401, ""),
    ] {
        let answer = send(&running, access, project, &json!({"message": {"token": token}})).await;
        assert_eq!(answer.status(), status, "{project} {token}");
        let body: Value = answer.json().await.unwrap();
        let found = body["error"]["details"]
            .as_array()
            .and_then(|details| details.iter().find_map(|detail| detail["errorCode"].as_str()));
        assert_eq!(found.unwrap_or_default(), code, "{body}");
    }
}

#[tokio::test]
async fn errors_have_every_shape_that_was_seen() {
    let running = start(&[]).await;
    let access = access_token(&running).await;
    let error = |code: &str, details: Details, retry_after: Option<u64>| {
        let code = code.to_owned();
        FcmAction::Answer(ScriptedError {
            code,
            status: None,
            message: None,
            retry_after,
            retry_after_form: RetryAfterForm::default(),
            details,
            field: None,
        })
    };
    for (action, status, retry_after, words) in [
        (error("UNAVAILABLE", Details::Fcm, Some(12)), 503, Some("12"), r#""errorCode":"UNAVAILABLE""#),
        (error("QUOTA_EXCEEDED", Details::Quota, None), 429, None, "QuotaFailure"),
        (error("INVALID_ARGUMENT", Details::BadRequest, None), 400, None, "fieldViolations"),
        (error("INTERNAL", Details::None, None), 500, None, r#""status":"INTERNAL""#),
        (error("THIRD_PARTY_AUTH_ERROR", Details::Fcm, None), 401, None, "THIRD_PARTY_AUTH_ERROR"),
        (FcmAction::Html502, 502, None, "<!DOCTYPE html>"),
        (FcmAction::RevokeTokens, 401, None, "UNAUTHENTICATED"),
    ] {
        running.simulators.fcm().script().add(Rule::once(action.clone()));
        let answer = send(&running, &access, "tidings-dev", &json!({"message": {"token": "a"}})).await;
        let found = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((answer.status().as_u16(), found.as_deref()), (status, retry_after), "{action:?}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(words), "{action:?}: {text}");
    }
    let after = send(&running, &access, "tidings-dev", &json!({"message": {"token": "a"}})).await;
    assert_eq!(after.status(), 401, "revoked is revoked");
    assert!(running.simulators.inbox().list(None, 0, 10).is_empty());
}

#[tokio::test]
async fn a_restart_keeps_the_service_account() {
    let running = start(&[]).await;
    let file = running.credentials().fcm_account_file.clone();
    let account: ServiceAccount = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(account, running.credentials().fcm_account);
    let made: Value = running
        .http()
        .post(running.control("/fcm/service-accounts"))
        .json(&json!({"project": "p2"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(made["project_id"], "p2");
    assert_eq!(made["token_uri"], account.token_uri);
}
