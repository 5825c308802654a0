//! The APNs simulator accepts what APNs accepts, and refuses the rest with APNs' words.

use serde_json::json;
use tidings_shared::clock::Clock;
use tidings_simulators::apns::{DeviceToken, Environment, ProviderKey};

use crate::common::{TOKEN, TOPIC, connect, connect_to, provider_token, start, start_at};

#[tokio::test]
async fn a_push_is_accepted_and_reaches_the_inbox() {
    let running = start(&[]).await;
    let mut apns = connect(&running).await;
    let bearer = format!("bearer {}", running.provider_token());
    let id = "123e4567-e89b-12d3-a456-42665544000a";
    let headers =
        [("authorization", bearer.as_str()), ("apns-topic", TOPIC), ("apns-id", id), ("apns-push-type", "alert")];
    let answer = apns.push(TOKEN, &headers, br#"{"aps":{"alert":"hi"}}"#).await;
    assert_eq!((answer.status.as_u16(), answer.apns_id.as_str(), answer.body.as_str()), (200, id, ""));

    let pushes = running.simulators.inbox().list(Some(TOKEN), 0, 10);
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].payload, json!({"aps": {"alert": "hi"}}));
    assert_eq!(pushes[0].topic, TOPIC);
    assert_eq!(pushes[0].headers["apns-push-type"], "alert");
    assert!(pushes[0].sender.starts_with("token "), "{}", pushes[0].sender);
    assert!(!format!("{:?}", pushes[0]).contains(&running.provider_token()), "the provider token is nobody's business");

    let made = apns.push(TOKEN, &headers[..2], b"{}").await;
    assert_eq!(made.apns_id.len(), 36, "APNs makes an id when there is none");
}

#[tokio::test]
async fn provider_tokens_are_checked() {
    let running = start(&[]).await;
    let mut apns = connect(&running).await;
    let key = &running.credentials().apns_key;
    let now_s = Clock::system().now_s();
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    for (token, expected) in [
        (None, "MissingProviderToken"),
        (Some("bearer nonsense".to_owned()), "InvalidProviderToken"),
        (Some("basic abc".to_owned()), "InvalidProviderToken"),
        (Some(provider_token(&other, &key.key_id, &key.team_id, now_s)), "InvalidProviderToken"),
        (Some(provider_token(&key.pem, "UNKNOWNKEY", &key.team_id, now_s)), "InvalidProviderToken"),
        (Some(provider_token(&key.pem, &key.key_id, "OTHERTEAM0", now_s)), "InvalidProviderToken"),
        (Some(provider_token(&key.pem, &key.key_id, &key.team_id, now_s + 600)), "InvalidProviderToken"),
        (Some(provider_token(&key.pem, &key.key_id, &key.team_id, now_s - 3700)), "ExpiredProviderToken"),
    ] {
        let value = token.map(|token| if token.contains(' ') { token } else { format!("bearer {token}") });
        let mut headers = vec![("apns-topic", TOPIC)];
        headers.extend(value.as_deref().map(|value| ("authorization", value)));
        let answer = apns.push(TOKEN, &headers, b"{}").await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (403, expected), "{value:?}");
    }
    assert!(running.simulators.inbox().list(None, 0, 10).is_empty());
}

#[tokio::test]
async fn a_provider_token_may_not_change_too_often() {
    let clock = Clock::manual(1_700_000_000_000);
    let running = start_at(&[("simulators.apns.token_update_interval", "20m")], clock.clone()).await;
    let mut apns = connect(&running).await;
    let key = running.credentials().apns_key.clone();
    let mut reasons = Vec::new();
    let mut previous = String::new();
    for minutes in [0, 5, 5, 20] {
        clock.advance(minutes * 60_000);
        let bearer = format!("bearer {}", provider_token(&key.pem, &key.key_id, &key.team_id, clock.now_s()));
        let answer = apns.push(TOKEN, &[("authorization", &bearer), ("apns-topic", TOPIC)], b"{}").await;
        reasons.push((answer.status.as_u16(), answer.reason()));
        previous = bearer;
    }
    let again = apns.push(TOKEN, &[("authorization", &previous), ("apns-topic", TOPIC)], b"{}").await;
    assert_eq!(again.status, 200, "the same token goes on");
    let too_many = (429, "TooManyProviderTokenUpdates".to_owned());
    let ok = (200, String::new());
    assert_eq!(reasons, [ok.clone(), too_many.clone(), too_many, ok]);
}

#[tokio::test]
async fn headers_paths_and_payloads_are_checked() {
    let running = start(&[]).await;
    let mut apns = connect(&running).await;
    let bearer = format!("bearer {}", running.provider_token());
    let auth = ("authorization", bearer.as_str());
    let topic = ("apns-topic", TOPIC);
    let (full, voip) = (vec![b' '; 4094], vec![b' '; 5118]);
    let sized = |padding: &[u8]| [b"{".as_slice(), padding, b"}"].concat();
    for (token, headers, payload, status, reason) in [
        (TOKEN, vec![auth], b"{}".to_vec(), 400, "MissingTopic"),
        (
            TOKEN,
            vec![auth, topic, ("apns-priority", "10"), ("apns-push-type", "background")],
            b"{}".to_vec(),
            400,
            "BadPriority",
        ),
        ("", vec![auth, topic], b"{}".to_vec(), 400, "MissingDeviceToken"),
        ("xyz", vec![auth, topic], b"{}".to_vec(), 400, "BadDeviceToken"),
        ("aa/bb", vec![auth, topic], b"{}".to_vec(), 404, "BadPath"),
        (TOKEN, vec![auth, topic], b"".to_vec(), 400, "PayloadEmpty"),
        (TOKEN, vec![auth, topic], b"[1]".to_vec(), 400, "PayloadEmpty"),
        (TOKEN, vec![auth, topic], sized(&full), 200, ""),
        (TOKEN, vec![auth, topic], [sized(&full), b" ".to_vec()].concat(), 413, "PayloadTooLarge"),
        (TOKEN, vec![auth, ("apns-topic", "com.example.app.voip"), ("apns-push-type", "voip")], sized(&voip), 200, ""),
        (
            TOKEN,
            vec![auth, ("apns-topic", "com.example.app.voip"), ("apns-push-type", "voip")],
            [sized(&voip), b" ".to_vec()].concat(),
            413,
            "PayloadTooLarge",
        ),
    ] {
        let answer = apns.push(token, &headers, &payload).await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (status, reason), "{token} {headers:?}");
        assert_eq!(answer.apns_id.len(), 36, "every answer has an apns-id");
    }
    assert_eq!(running.simulators.apns().stats().refused["PayloadTooLarge"], 2);
}

#[tokio::test]
async fn registered_tokens_behave_as_their_phone_says() {
    let running =
        start(&[("simulators.apns.strict_tokens", "true"), ("simulators.apns.sandbox_listen", "127.0.0.1:0")]).await;
    let token = |token: &str| DeviceToken {
        token: token.to_owned(),
        topic: Some(TOPIC.to_owned()),
        environment: Some(Environment::Sandbox),
        gone_at_ms: None,
        gone_reason: None,
    };
    let gone = "ff".repeat(32);
    running.simulators.apns().register_token(token(&TOKEN.to_uppercase()));
    running.simulators.apns().register_token(DeviceToken { gone_at_ms: Some(1_454_402_113_000), ..token(&gone) });
    let bearer = format!("bearer {}", running.provider_token());
    let headers = [("authorization", bearer.as_str()), ("apns-topic", TOPIC)];

    let mut production = connect(&running).await;
    assert_eq!(production.push(TOKEN, &headers, b"{}").await.reason(), "BadDeviceToken");
    let sandbox_url = running.credentials().apns_sandbox_url.clone();
    let mut sandbox = connect_to(&sandbox_url, &running, None).await;
    assert_eq!(sandbox.push(TOKEN, &headers, b"{}").await.status, 200);
    let other_app = [headers[0], ("apns-topic", "com.example.other")];
    assert_eq!(sandbox.push(TOKEN, &other_app, b"{}").await.reason(), "DeviceTokenNotForTopic");
    assert_eq!(sandbox.push(&"ab".repeat(32), &headers, b"{}").await.reason(), "BadDeviceToken");
    let answer = sandbox.push(&gone, &headers, b"{}").await;
    assert_eq!(answer.status, 410);
    assert_eq!(answer.body, r#"{"reason":"Unregistered","timestamp":1454402113000}"#);
}

#[tokio::test]
async fn keys_can_be_bound_to_an_environment_a_topic_and_a_team() {
    let running = start(&[("simulators.apns.sandbox_listen", "127.0.0.1:0")]).await;
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let key = ProviderKey {
        key_id: "SANDBOXKEY".to_owned(),
        team_id: "TEAM000002".to_owned(),
        pem: pem.clone(),
        environment: Some(Environment::Sandbox),
        topics: vec![TOPIC.to_owned()],
    };
    running.simulators.apns().register_key(&key).unwrap();
    let now_s = Clock::system().now_s();
    let bound = format!("bearer {}", provider_token(&pem, "SANDBOXKEY", "TEAM000002", now_s));
    let general = format!("bearer {}", running.provider_token());

    let mut production = connect(&running).await;
    let answer = production.push(TOKEN, &[("authorization", &bound), ("apns-topic", TOPIC)], b"{}").await;
    assert_eq!(answer.reason(), "BadEnvironmentKeyInToken");
    let sandbox_url = running.credentials().apns_sandbox_url.clone();
    let mut sandbox = connect_to(&sandbox_url, &running, None).await;
    let answer = sandbox.push(TOKEN, &[("authorization", &bound), ("apns-topic", "com.example.other")], b"{}").await;
    assert_eq!(answer.reason(), "TopicDisallowed");
    assert_eq!(sandbox.push(TOKEN, &[("authorization", &bound), ("apns-topic", TOPIC)], b"{}").await.status, 200);
    let answer = sandbox.push(TOKEN, &[("authorization", &general), ("apns-topic", TOPIC)], b"{}").await;
    assert_eq!(answer.reason(), "UnrelatedKeyIdInToken", "one team a connection");
}

#[tokio::test]
async fn client_certificates_are_checked() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    let running = start(&[("simulators.apns.client_roots", path("root.pem").to_str().unwrap())]).await;
    let url = running.credentials().apns_url.clone();
    let identity = |name: &str| Some((path(&format!("{name}.pem")), path(&format!("{name}.key"))));
    // The root appears only after the simulator has started, as a passbook service's own does.
    make_certificates(files.path(), "root", "good", "pass.com.example.card");
    make_certificates(files.path(), "strange", "bad", "pass.com.example.card");

    let mut good = connect_to(&url, &running, identity("good")).await;
    assert_eq!(good.push(TOKEN, &[], b"{}").await.status, 200, "the only topic need not be said");
    assert_eq!(good.push(TOKEN, &[("apns-topic", "pass.com.example.card")], b"{}").await.status, 200);
    assert_eq!(good.push(TOKEN, &[("apns-topic", "pass.com.example.other")], b"{}").await.reason(), "TopicDisallowed");
    let pushes = running.simulators.inbox().list(None, 0, 10);
    assert_eq!(pushes.len(), 2);
    assert_eq!(pushes[0].sender, "certificate pass.com.example.card");
    assert_eq!(pushes[0].topic, "pass.com.example.card");

    let mut bad = connect_to(&url, &running, identity("bad")).await;
    let answer = bad.push(TOKEN, &[("apns-topic", "pass.com.example.card")], b"{}").await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (403, "BadCertificate"));
}

/// Writes ROOT.pem, and NAME.pem and NAME.key signed by it with this user id in the subject.
pub(crate) fn make_certificates(folder: &std::path::Path, root: &str, name: &str, uid: &str) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

    let root_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, root);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_certificate = params.self_signed(&root_key).unwrap();
    std::fs::write(folder.join(format!("{root}.pem")), root_certificate.pem()).unwrap();

    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::default();
    own.distinguished_name.push(DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]), uid);
    own.distinguished_name.push(DnType::CommonName, format!("Pass Type ID: {uid}"));
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let issuer = Issuer::from_params(&params, &root_key);
    let certificate = own.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}
