//! The rules for a push request: path, headers and payload, as APNs checks them. Which token and which sender may
//! use them is decided elsewhere.

use http::{HeaderMap, Method, Uri};

use super::reason::Refusal;

/// The largest payload in bytes.
pub(crate) const MAX_PAYLOAD: usize = 4096;
/// The largest payload of a VoIP push in bytes.
pub(crate) const MAX_VOIP_PAYLOAD: usize = 5120;
const MAX_COLLAPSE_ID: usize = 64;
/// Token lengths are not fixed; nothing outside of these bounds (in hex digits) was ever a token.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 32..=256;

/// Push types, with the suffix that their topic must have.
const PUSH_TYPES: &[(&str, &str)] = &[
    ("alert", ""),
    ("background", ""),
    ("complication", ".complication"),
    ("controls", ".push-type.controls"),
    ("fileprovider", ".pushkit.fileprovider"),
    ("liveactivity", ".push-type.liveactivity"),
    ("location", ".location-query"),
    ("mdm", ""),
    ("pushtotalk", ".voip-ptt"),
    ("voip", ".voip"),
    ("widgets", ".push-type.widgets"),
];

/// A request whose path and headers keep the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PushRequest {
    /// The device token in lower case hex.
    pub(crate) token: String,
    /// `apns-topic`; absent when the certificate is to say it.
    pub(crate) topic: Option<String>,
    pub(crate) push_type: String,
    /// The largest payload this push type may have.
    pub(crate) max_payload: usize,
}

/// The id that the answer carries: the request's own when it is a UUID, else a new one.
pub(crate) fn apns_id(headers: &HeaderMap) -> String {
    match headers.get("apns-id").and_then(|id| id.to_str().ok()) {
        Some(id) if is_uuid(id) => id.to_owned(),
        _ => uuid::Uuid::new_v4().to_string().to_uppercase(),
    }
}

/// The device token in the path, before anything else is looked at.
pub(crate) fn path_token<'a>(method: &Method, uri: &'a Uri) -> Result<&'a str, Refusal> {
    let path = uri.path();
    let Some(token) = path.strip_prefix("/3/device") else {
        return Err(Refusal::new("BadPath"));
    };
    let token = match token.strip_prefix('/') {
        Some(token) if token.contains('/') => return Err(Refusal::new("BadPath")),
        Some(token) => token,
        None if token.is_empty() => "",
        None => return Err(Refusal::new("BadPath")),
    };
    if method != Method::POST {
        return Err(Refusal::new("MethodNotAllowed"));
    }
    if token.is_empty() {
        return Err(Refusal::new("MissingDeviceToken"));
    }
    Ok(token)
}

/// Checks the headers of a push to `token`.
pub(crate) fn check(token: &str, headers: &HeaderMap) -> Result<PushRequest, Refusal> {
    for name in headers.keys() {
        let ours = name.as_str().starts_with("apns-") || name == http::header::AUTHORIZATION;
        if ours && headers.get_all(name).iter().nth(1).is_some() {
            return Err(Refusal::new("DuplicateHeaders"));
        }
    }
    if let Some(id) = headers.get("apns-id")
        && !id.to_str().is_ok_and(is_uuid)
    {
        return Err(Refusal::new("BadMessageId"));
    }
    if !is_expiration(headers) {
        return Err(Refusal::new("BadExpirationDate"));
    }
    let push_type = match text(headers, "apns-push-type") {
        None => "alert",
        Some(Ok(name)) => name,
        Some(Err(())) => return Err(Refusal::new("InvalidPushType")),
    };
    let Some((_, suffix)) = PUSH_TYPES.iter().find(|(name, _)| *name == push_type) else {
        return Err(Refusal::new("InvalidPushType"));
    };
    match text(headers, "apns-priority") {
        None | Some(Ok("5" | "1")) => {}
        // Apple: "Specifying priority 10 for a background push is an error."
        Some(Ok("10")) if push_type != "background" => {}
        Some(_) => return Err(Refusal::new("BadPriority")),
    }
    if let Some(collapse_id) = headers.get("apns-collapse-id")
        && (collapse_id.is_empty() || collapse_id.len() > MAX_COLLAPSE_ID)
    {
        return Err(Refusal::new("BadCollapseId"));
    }
    let topic = match text(headers, "apns-topic") {
        None => None,
        Some(Ok(topic)) if is_topic(topic) => Some(topic.to_owned()),
        Some(_) => return Err(Refusal::new("BadTopic")),
    };
    if let Some(topic) = &topic
        && !(topic.ends_with(suffix) && suffix_of(topic).is_empty() == suffix.is_empty())
    {
        return Err(Refusal::new("BadTopic"));
    }
    if !is_token(token) {
        return Err(Refusal::new("BadDeviceToken"));
    }
    Ok(PushRequest {
        token: token.to_ascii_lowercase(),
        topic,
        push_type: push_type.to_owned(),
        max_payload: if push_type == "voip" { MAX_VOIP_PAYLOAD } else { MAX_PAYLOAD },
    })
}

/// Checks the payload: a JSON object. The provider's table has no reason for a payload that is not one; here it
/// counts as empty, because APNs finds nothing in it to deliver.
pub(crate) fn check_payload(payload: &[u8], request: &PushRequest) -> Result<serde_json::Value, Refusal> {
    if payload.len() > request.max_payload {
        return Err(Refusal::new("PayloadTooLarge"));
    }
    match serde_json::from_slice(payload) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(value),
        _ => Err(Refusal::new("PayloadEmpty")),
    }
}

/// The app's own topic: without the suffix of a push type.
pub(crate) fn base_topic(topic: &str) -> &str {
    topic.strip_suffix(suffix_of(topic)).unwrap_or(topic)
}

fn suffix_of(topic: &str) -> &'static str {
    let suffixes = PUSH_TYPES.iter().map(|(_, suffix)| *suffix);
    suffixes
        .filter(|suffix| !suffix.is_empty() && topic.ends_with(suffix))
        .max_by_key(|suffix| suffix.len())
        .unwrap_or("")
}

/// Whether `apns-expiration` is a time, or absent.
pub(super) fn is_expiration(headers: &HeaderMap) -> bool {
    text(headers, "apns-expiration").is_none_or(|found| found.is_ok_and(|found| found.parse::<u64>().is_ok()))
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<Result<&'a str, ()>> {
    headers.get(name).map(|value| value.to_str().map_err(|_| ()))
}

fn is_topic(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= 255
        && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn is_token(token: &str) -> bool {
    TOKEN_LENGTH.contains(&token.len())
        && token.len().is_multiple_of(2)
        && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The canonical form only: 8-4-4-4-12 hex digits.
fn is_uuid(id: &str) -> bool {
    id.len() == 36 && uuid::Uuid::try_parse(id).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899";

    fn reason(headers: &[(&'static str, &str)], token: &str) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        check(token, &map).map_or_else(|refusal| refusal.reason.into_owned(), |_| "ok".to_owned())
    }

    #[test]
    fn each_header_rule_has_its_reason() {
        let long = "x".repeat(65);
        for (headers, expected) in [
            (&[("apns-topic", "com.example.app"), ("apns-push-type", "alert"), ("apns-priority", "10")][..], "ok"),
            (&[("apns-topic", "a.b"), ("apns-topic", "a.b")], "DuplicateHeaders"),
            (&[("apns-id", "not-a-uuid")], "BadMessageId"),
            (&[("apns-id", "123e4567-e89b-12d3-a456-42665544000a")], "ok"),
            (&[("apns-expiration", "soon")], "BadExpirationDate"),
            (&[("apns-expiration", "0")], "ok"),
            (&[("apns-push-type", "loud")], "InvalidPushType"),
            (&[("apns-priority", "7")], "BadPriority"),
            (&[("apns-push-type", "background"), ("apns-priority", "10")], "BadPriority"),
            (&[("apns-push-type", "background"), ("apns-priority", "5")], "ok"),
            (&[("apns-push-type", "background")], "ok"),
            (&[("apns-collapse-id", &long)], "BadCollapseId"),
            (&[("apns-collapse-id", &long[1..])], "ok"),
            (&[("apns-topic", "a b")], "BadTopic"),
            (&[("apns-topic", "com.a.voip"), ("apns-push-type", "voip")], "ok"),
            (&[("apns-topic", "com.a"), ("apns-push-type", "voip")], "BadTopic"),
            (&[("apns-topic", "com.a.voip"), ("apns-push-type", "alert")], "BadTopic"),
            (&[("apns-topic", "com.a.push-type.liveactivity"), ("apns-push-type", "liveactivity")], "ok"),
        ] {
            assert_eq!(reason(headers, TOKEN), expected, "{headers:?}");
        }
        assert_eq!(reason(&[], "zz"), "BadDeviceToken");
        assert_eq!(reason(&[], &TOKEN[1..]), "BadDeviceToken");
        assert_eq!(reason(&[], &TOKEN.to_uppercase()), "ok");
    }

    #[test]
    fn paths_and_methods() {
        let reason = |method: Method, path: &str| {
            path_token(&method, &path.parse().unwrap())
                .map_or_else(|refusal| refusal.reason.into_owned(), str::to_owned)
        };
        assert_eq!(reason(Method::POST, "/3/device/aabb"), "aabb");
        assert_eq!(reason(Method::POST, "/3/device/"), "MissingDeviceToken");
        assert_eq!(reason(Method::POST, "/3/devices/aa"), "BadPath");
        assert_eq!(reason(Method::POST, "/4/device/aa"), "BadPath");
        assert_eq!(reason(Method::GET, "/3/device/aa"), "MethodNotAllowed");
    }

    #[test]
    fn base_topics() {
        assert_eq!(base_topic("com.a.voip"), "com.a");
        assert_eq!(base_topic("com.a.push-type.widgets"), "com.a");
        assert_eq!(base_topic("com.a"), "com.a");
    }
}
