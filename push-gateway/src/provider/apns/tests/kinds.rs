//! Every push type, and broadcast channels, against the simulator with all of Apple's rules.

use serde_json::{Value, json};
use tidings_shared::push_api::ApnsPushType;

use super::*;
use crate::provider::apns::channels::ChannelError;

fn with_channels(simulation: &Simulation) -> Apns {
    let credentials = simulation.simulators.credentials();
    let tls = tls::client_config(Some(&simulation.ca()), None, &[]).unwrap();
    let transport = |url: &str| Transport::new(Endpoint::parse(url).unwrap(), tls.clone(), limits());
    let (production, sandbox) = (&credentials.apns_url, &credentials.apns_sandbox_url);
    client(simulation).with_channels(Some(transport(production)), Some(transport(sandbox)))
}

fn push(body: Value) -> Arc<Push> {
    Arc::new(serde_json::from_value(body).unwrap())
}

#[tokio::test]
async fn every_push_type_is_taken_with_its_topic() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    for push_type in ApnsPushType::ALL {
        let payload = json!({"kind": "apns", "push_type": push_type.as_str(), "payload": {"aps": {}}});
        let sent = Message { push: push(payload), collapse_id: None, ..message() };
        assert_eq!(client.check(&sent.push, None), Ok(()));
        let answer = client.send(&sent).await;
        assert_eq!(answer.outcome, Outcome::Accepted, "{push_type}: {answer:?}");
        let pushes = simulation.simulators.inbox().list(None, 0, 100);
        let last = pushes.last().unwrap();
        assert_eq!(last.headers["apns-push-type"], push_type.as_str());
        assert_eq!(last.topic, format!("{TOPIC}{}", push_type::suffix(push_type)));
    }
    let start = json!({
        "kind": "live_activity", "event": "start", "content_state": {"n": 1}, "attributes_type": "Match",
        "attributes": {}, "alert": {"title": "t", "body": "b"}
    });
    let answer = client.send(&Message { push: push(start), collapse_id: None, ..message() }).await;
    assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
}

#[tokio::test]
async fn the_sizes_of_push_types_are_kept_before_and_at_apple() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    let of = |push_type: &str, bytes: usize| {
        // {"x":"…"} is 8 bytes around the text.
        push(json!({"kind": "apns", "push_type": push_type, "payload": {"x": "y".repeat(bytes - 8)}}))
    };
    for (push_type, most) in [("alert", 4096), ("voip", 5120)] {
        assert_eq!(client.check(&of(push_type, most), None), Ok(()));
        let sent = Message { push: of(push_type, most), collapse_id: None, ..message() };
        assert_eq!(client.send(&sent).await.outcome, Outcome::Accepted, "{push_type}");
        let refusal = client.check(&of(push_type, most + 1), None).unwrap_err();
        let expected = Refusal::PayloadTooLarge { provider: Provider::Apns, found: most + 1, allowed: most };
        assert_eq!(refusal, expected);
    }
    // What is too large for a device may go to a channel.
    let large = push(json!({"kind": "live_activity", "event": "update", "content_state": {"x": "y".repeat(4500)}}));
    assert_eq!(client.check(&large, None), Ok(()));
    assert!(client.check_recipient(&"ab".repeat(32), &large).is_err());
    assert_eq!(client.check_recipient("channel:c29tZQ==", &large), Ok(()));
}

#[tokio::test]
async fn a_channel_is_made_used_listed_and_ended() {
    let simulation = Simulation::with(&[("simulators.apns.sandbox_listen", "127.0.0.1:0")]).await;
    let client = with_channels(&simulation);
    let made = client.create_channel(Environment::Production, true).await.unwrap();
    assert_eq!(client.channel(Environment::Production, &made.id).await.unwrap(), made);
    let listed = client.channels(Environment::Production).await.unwrap();
    assert_eq!(listed.channels, std::slice::from_ref(&made.id));
    assert_eq!(client.channels(Environment::Sandbox).await.unwrap().channels, Vec::<String>::new());

    let update = push(json!({"kind": "live_activity", "event": "update", "content_state": {"n": 1}}));
    let to = Message { token: format!("channel:{}", made.id), push: update, ..message() };
    let answer = client.send(&to).await;
    assert_eq!((answer.outcome, answer.provider_id.as_deref()), (Outcome::Accepted, Some(to.id.as_str())));
    let pushes = simulation.simulators.inbox().list(Some(&to.token), 0, 10);
    let made_at_s = Clock::system().now_s();
    let at_s = pushes[0].payload["aps"]["timestamp"].as_i64().unwrap();
    assert!((made_at_s - 60..=made_at_s).contains(&at_s), "{at_s}");

    client.delete_channel(Environment::Production, &made.id).await.unwrap();
    let gone = client.channel(Environment::Production, &made.id).await.unwrap_err();
    assert!(matches!(&gone, ChannelError::Refused { reason, .. } if reason == "ChannelNotRegistered"), "{gone}");
    let answer = client.send(&to).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Outcome::Dead, Some("ChannelNotRegistered")));
    let invalid = client.channel(Environment::Production, "a b").await.unwrap_err();
    assert!(matches!(invalid, ChannelError::Invalid(_)), "{invalid}");
}

#[tokio::test]
async fn each_refusal_of_the_channels_management_is_told_with_what_to_do() {
    let simulation = Simulation::start().await;
    let client = with_channels(&simulation);
    for (status, reason, words) in [
        (400, "CannotCreateChannelConfig", "10,000"),
        (403, "FeatureNotEnabled", "portal"),
        (403, "TopicMismatch", "bundle id"),
        (403, "InvalidProviderToken", "GET /v1/apps"),
        (429, "TooManyRequests", "later"),
        (503, "ServiceUnavailable", "later"),
        (400, "NewIn2031", "Apple"),
    ] {
        let action = ApnsAction::Answer(ScriptedAnswer { status: Some(status), ..ScriptedAnswer::reason(reason) });
        apns(&simulation).script().add(Rule::once(action).token("channels"));
        let refused = client.create_channel(Environment::Production, false).await.unwrap_err().to_string();
        assert!(refused.contains(reason) && refused.contains(words), "{refused}");
    }
    assert!(client.create_channel(Environment::Production, false).await.is_ok());
    let without = self::client(&simulation).channels(Environment::Production).await.unwrap_err();
    assert!(matches!(without, ChannelError::NotConfigured));
}

#[tokio::test]
async fn a_probe_reaches_nobody_and_tells_good_credentials_from_bad_ones() {
    let simulation = Simulation::with(&[("simulators.apns.strict_tokens", "true")]).await;
    let client = client(&simulation);
    let answer = client.probe(Environment::Production).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Outcome::OtherEnvironment, Some("BadDeviceToken")));
    will(&simulation, ApnsAction::Answer(ScriptedAnswer::reason("InvalidProviderToken")));
    apns(&simulation).register_token(DeviceToken {
        token: "0".repeat(64),
        topic: None,
        environment: None,
        gone_at_ms: None,
        gone_reason: None,
    });
    assert_eq!(client.probe(Environment::Production).await.outcome, Outcome::Pause);
}
