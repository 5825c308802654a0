//! What is fuzzed: a function for each place where bytes from outside come in, each with what must hold whatever they
//! are. `cargo fuzz` calls them (`fuzz/`), and so do the property tests below, so that they cannot rot.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use rmqtt_codec::v5;
use sha2::{Digest, Sha256};
use tidings_shared::auth::{Verifier, VerifierConfig};
use tidings_shared::clock::Clock;
use tidings_shared::cursor::Cursor;
use tidings_shared::identity::UserId;
use tidings_shared::topic::access::{Acl, Facts, Principal, decide_publish, decide_subscribe};
use tidings_shared::topic::{covers, is_own, matches, owner_of, split_shared, valid_filter, valid_topic};

use crate::gate::wire::{self, Dialect, Encoded, Version};
use crate::http::fuzzing as door;
pub use crate::log::fuzzing::{folder, frames};

/// The largest packet that is taken here, in bytes.
const PACKET: usize = 4_096;

/// The stream of a connection: a CONNECT and what follows, or (by the first byte) what follows in a version that is
/// known already. However the bytes are divided, the same packets come out, and none grows beyond its bytes.
pub fn stream(data: &[u8]) {
    let [first, step, rest @ ..] = data else { return };
    let version = [None, Some(Version::V31), Some(Version::V311), Some(Version::V5)][usize::from(first & 3)];
    let whole = packets(rest, rest.len().max(1), version);
    let divided = packets(rest, usize::from(*step).max(1), version);
    assert_eq!(whole, divided, "the same bytes are the same packets");
}

/// Every packet as text; the last one is the fault, when there is one.
fn packets(bytes: &[u8], step: usize, mut version: Option<Version>) -> Vec<String> {
    let mut inbound = BytesMut::new();
    let mut seen = Vec::new();
    for piece in bytes.chunks(step) {
        wire::append(&mut inbound, piece);
        let _ = wire::peek_connect_version(&inbound);
        loop {
            let frame = match wire::next_frame(&mut inbound, PACKET, version) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(fault) => {
                    seen.push(format!("{fault:?}"));
                    return seen;
                }
            };
            let decoded = match version {
                Some(version) => wire::decode(frame, version),
                None => match wire::connect_version(frame.body()) {
                    Ok(spoken) => {
                        version = Some(spoken);
                        wire::decode_connect(frame, spoken).map(v5::Packet::Connect)
                    }
                    Err(fault) => {
                        seen.push(format!("{fault:?}"));
                        return seen;
                    }
                },
            };
            match decoded {
                Ok(packet) => {
                    seen.push(format!("{packet:?}"));
                    answer(packet);
                }
                Err(fault) => {
                    seen.push(format!("{fault:?}"));
                    return seen;
                }
            }
        }
    }
    seen
}

/// What came in can go out again, to every version, within the size that a client takes.
fn answer(packet: v5::Packet) {
    for version in [Version::V31, Version::V311, Version::V5] {
        for maximum_packet in [0, 1, 20, 100] {
            let mut out = BytesMut::new();
            let dialect = Dialect { version, maximum_packet, problem_information: maximum_packet > 20 };
            let written = wire::encode(packet.clone(), dialect, &mut out);
            assert_eq!(written == Encoded::Written, !out.is_empty(), "{packet:?}");
            if version == Version::V5 && maximum_packet > 3 {
                assert!(out.len() <= maximum_packet as usize, "larger than the client takes: {packet:?}");
            }
        }
    }
}

struct Nothing;

impl Facts for Nothing {
    fn is_configured_command(&self, _topic: &str) -> bool {
        false
    }
    fn handler_listens(&self, _topic: &str) -> bool {
        false
    }
    fn is_known_user(&self, _user: &UserId) -> bool {
        true
    }
}

/// Lines: a filter, a topic, a user, another user. Matching is what its definition says; no rule lets a device reach
/// another user's topics.
pub fn topics(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (filter, topic, user, other) = (line(), line(), line(), line());
    let (filter_ok, topic_ok) = (valid_filter(filter), valid_topic(topic));
    if filter_ok && topic_ok {
        assert_eq!(matches(filter, topic), naive_matches(filter, topic), "{filter:?} {topic:?}");
        assert!(matches(topic, topic) || topic.contains(['+', '#']));
        if matches(filter, topic) && !topic.starts_with('$') {
            assert!(covers("#", filter) && covers(filter, topic));
        }
    }
    let _ = (split_shared(filter), owner_of(topic));
    let (Ok(user), Ok(other)) = (UserId::new(user), UserId::new(other)) else { return };
    assert_eq!(UserId::from_topic_prefix(&user.topic_prefix()), Some(user.clone()));
    if user == other {
        return;
    }
    let device = Principal::Device { user: user.clone(), acl: Acl::default() };
    let others = format!("{}_{topic}", other.topic_prefix());
    assert!(!is_own(&user, &others) && !is_own(&user, &other.topic_prefix()));
    assert!(!decide_subscribe(&device, &others).allowed, "{user} {others:?}");
    let reached = split_shared(filter).map_or(filter, |shared| shared.filter);
    if decide_subscribe(&device, filter).allowed && topic_ok && matches(reached, topic) {
        assert!(is_own(&user, topic), "{user} reads {topic:?} by {filter:?}");
    }
    let published = decide_publish(&device, topic, &Nothing);
    assert!(!(published.allowed && is_own(&user, topic)), "a device publishes on its own topic: {topic:?}");
    if published.allowed && owner_of(topic).as_ref() == Some(&other) {
        assert!(topic.split(['_', '/']).next().is_some_and(|word| word.chars().all(|c| c.is_alphabetic() || c == '-')));
    }
}

/// Matching as the standard describes it (MQTT 5, 4.7), level by level.
fn naive_matches(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([a, filter @ ..], [b, topic @ ..]) if a == b => levels(filter, topic),
            _ => false,
        }
    }
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    levels(&filter, &topic)
}

const SECRET: &[u8] = b"a secret of the fuzzing";

/// A token: as it came, and its parts under a signature that fits, which is how claims come in from an issuer that makes
/// mistakes. Nothing but well-formed claims is accepted.
pub fn token(data: &[u8]) {
    let config = VerifierConfig {
        secret: Some(String::from_utf8_lossy(SECRET).into_owned()),
        require_expiry: true,
        leeway_ms: 1_000,
        ..VerifierConfig::default()
    };
    let Ok(verifier) = Verifier::new(config, Clock::manual(1_700_000_000_000)) else { return };
    // Keys are here already, so nothing is ever waited for.
    let verify = |token: &str| futures_util::FutureExt::now_or_never(verifier.verify(token)).and_then(Result::ok);
    assert!(verify(&String::from_utf8_lossy(data)).is_none(), "nobody guesses a signature");
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (header, claims) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let standard: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;
    for header in [header, standard] {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac(signed.as_bytes())));
        if let Some(claims) = verify(&token) {
            assert!(claims.expires_at_ms.is_some_and(|at| at > 1_699_999_999_000), "{claims:?}");
            assert!(!claims.user.as_str().is_empty());
        }
    }
}

/// HMAC-SHA-256 (RFC 2104) with a key shorter than a block.
fn hmac(message: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(SECRET).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// Headers and parameters of a request, one a line.
pub fn request(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    let mut headers = HeaderMap::new();
    let names = ["if-none-match", "last-event-id", "tidings-client", "authorization", "message-id"];
    for (name, line) in names.into_iter().zip(data.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let query: Vec<&str> = text.split('\n').skip(names.len()).collect();
    door::request(&headers, &query);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that get past the first check more often than random ones do.
    fn bytes(seeds: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
        let seed = prop::sample::select(seeds);
        let change = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            (seed, change).prop_map(|(seed, changes)| {
                let mut bytes = seed.to_vec();
                for (at, by) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = by;
                }
                bytes
            }),
        ]
    }

    const CONNECT: &[u8] = b"\x00\x03\x10\x1c\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x05phone\x00\x03JWT\x00\x02xx\x82\x0c\x00\x01\x00\x00\x06a/+/#x\x01";
    const PUBLISH: &[u8] = b"\x03\x02\x32\x0c\x00\x03a/b\x00\x0a\x03\x23\x00\x01hi";
    const TOPICS: &[u8] = b"42/+/x\n42/a/x\n42\n43";
    const CLAIMS: &[u8] =
        b"{\"alg\":\"HS256\"}\n{\"sub\":\"42\",\"exp\":1800000000,\"acl\":{\"publish\":[\"room/+\"]}}";
    const HEADERS: &[u8] =
        b"W/\"00000000000000ff-7-gzip\"\n00000000000000ff-7\nphone\nBearer x\norder-7\n25s\ntrue\n00000000000000ff-9";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..Default::default() })]

        #[test]
        fn any_stream(data in bytes(&[CONNECT, PUBLISH])) { stream(&data); }
        #[test]
        fn any_topics(data in bytes(&[TOPICS, b"$share/g/#\n$SYS/x\na_b\na"])) { topics(&data); }
        #[test]
        fn any_token(data in bytes(&[CLAIMS])) { token(&data); }
        #[test]
        fn any_request(data in bytes(&[HEADERS])) { request(&data); }
        #[test]
        fn any_frames(data in bytes(&[b"\x01\x02\x03\x04\x05\x00\x00\x00\x00\x00\x00\x00hello"])) { frames(&data); }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..Default::default() })]

        #[test]
        fn any_folder(data in prop::collection::vec(any::<u8>(), 0..300)) { folder(&data); }
    }

    #[test]
    fn well_formed_claims_are_accepted() {
        let config =
            VerifierConfig { secret: Some(String::from_utf8_lossy(SECRET).into_owned()), ..Default::default() };
        let verifier = Verifier::new(config, Clock::manual(0)).unwrap();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", part(b"{\"alg\":\"HS256\"}"), part(b"{\"sub\":\"42\",\"exp\":1800000000}"));
        let token = format!("{signed}.{}", part(&hmac(signed.as_bytes())));
        let claims = futures_util::FutureExt::now_or_never(verifier.verify(&token)).unwrap().unwrap();
        assert_eq!(claims.user.as_str(), "42");
    }
}
