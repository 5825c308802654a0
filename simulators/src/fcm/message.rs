//! The rules for a message of FCM v1.

use serde_json::{Map, Value};

use super::error::FcmError;

/// The largest message in bytes.
const MAX_BYTES: usize = 4096;
/// The longest time to live in seconds.
const MAX_TTL_S: u64 = 2_419_200;
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];
const REQUEST_FIELDS: [&str; 2] = ["message", "validate_only"];
const MESSAGE_FIELDS: [&str; 11] =
    ["name", "data", "notification", "android", "webpush", "apns", "fcm_options", "token", "fid", "topic", "condition"];
const ANDROID_FIELDS: [&str; 10] = [
    "collapse_key",
    "priority",
    "ttl",
    "restricted_package_name",
    "data",
    "notification",
    "fcm_options",
    "direct_boot_ok",
    "bandwidth_constrained_ok",
    "restricted_satellite_ok",
];

/// A message that keeps the rules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checked {
    /// The token, the installation id, `topic:NAME` or `condition:TEXT`.
    pub(crate) target: String,
    /// Which of the four it is.
    pub(crate) kind: &'static str,
    pub(crate) validate_only: bool,
    pub(crate) message: Value,
}

/// Google accepts both spellings of a field, `validate_only` and `validateOnly`; one is enough to check.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(character.to_ascii_lowercase());
    }
    out
}

fn object<'a>(value: &'a Value, field: &str) -> Result<&'a Map<String, Value>, FcmError> {
    value.as_object().ok_or_else(|| {
        FcmError::unparsable(
            field,
            &format!(
                "Invalid value at '{field}' (type.googleapis.com/google.firebase.fcm.v1.Message): an object is expected"
            ),
        )
    })
}

fn only(fields: &Map<String, Value>, at: &str, allowed: &[&str]) -> Result<(), FcmError> {
    for name in fields.keys() {
        if !allowed.contains(&snake(name).as_str()) {
            let at = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
            let text = format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.");
            return Err(FcmError::unparsable(at.trim_matches(['\'', ' ']), &text));
        }
    }
    Ok(())
}

fn get<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(key, value)| snake(key) == name && !value.is_null()).map(|(_, value)| value)
}

/// Checks a request's body.
pub(crate) fn check(body: &[u8]) -> Result<Checked, FcmError> {
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        FcmError::unparsable("", &format!("Invalid JSON payload received. Unexpected token.\n{error}"))
    })?;
    let request = object(&body, "request")?;
    only(request, "", &REQUEST_FIELDS)?;
    let validate_only = match get(request, "validate_only") {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => return Err(FcmError::unparsable("validate_only", "Invalid value at 'validate_only' (TYPE_BOOL)")),
    };
    let Some(value) = get(request, "message") else {
        return Err(FcmError::invalid("message", "The message is not set."));
    };
    let message = object(value, "message")?;
    only(message, "message", &MESSAGE_FIELDS)?;
    let (kind, target) = target(message)?;
    let mut size = 0;
    if let Some(data) = get(message, "data") {
        size += check_data(data, "message.data")?;
    }
    if let Some(notification) = get(message, "notification") {
        object(notification, "message.notification")?;
        size += notification.to_string().len();
    }
    if let Some(android) = get(message, "android") {
        size += check_android(object(android, "message.android")?)?;
    }
    if let Some(apns) = get(message, "apns") {
        check_apns(object(apns, "message.apns")?)?;
    }
    if size > MAX_BYTES {
        return Err(FcmError::invalid("message", "Android message is too big"));
    }
    Ok(Checked { target, kind, validate_only, message: value.clone() })
}

fn target(message: &Map<String, Value>) -> Result<(&'static str, String), FcmError> {
    let mut found = None;
    for kind in TARGETS {
        let Some(value) = get(message, kind) else { continue };
        let field = format!("message.{kind}");
        let Some(text) = value.as_str() else {
            return Err(FcmError::unparsable(&field, &format!("Invalid value at '{field}' (TYPE_STRING)")));
        };
        if found.is_some() {
            let text =
                format!("Invalid value at 'message' (oneof), oneof field 'target' is already set. Cannot set '{kind}'");
            return Err(FcmError::unparsable("message", &text));
        }
        found = Some((kind, text));
    }
    let Some((kind, text)) = found else {
        return Err(FcmError::invalid("message", "Recipient of the message is not set."));
    };
    let allowed = |extra: &'static [u8]| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte));
    let target = match kind {
        "token" if !text.is_empty() && text.len() <= 4096 && allowed(b"_:-.") => text.to_owned(),
        "token" => {
            let text = "The registration token is not a valid FCM registration token";
            return Err(FcmError::invalid("message.token", text));
        }
        "fid" if !text.is_empty() && text.len() <= 64 && allowed(b"_-") => text.to_owned(),
        "fid" => return Err(FcmError::invalid("message.fid", "The installation id is not valid")),
        "topic" => {
            let name = text.strip_prefix("/topics/").unwrap_or(text);
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
            if name.is_empty() || name.len() > 900 || !name.bytes().all(legal) {
                return Err(FcmError::invalid("message.topic", "Invalid topic name"));
            }
            format!("topic:{name}")
        }
        _ if text.contains("in topics") => format!("condition:{text}"),
        _ => return Err(FcmError::invalid("message.condition", "Invalid condition expression provided.")),
    };
    Ok((kind, target))
}

/// A map of strings without reserved keys; returns its size in bytes.
fn check_data(data: &Value, field: &str) -> Result<usize, FcmError> {
    let mut size = 0;
    for (index, (key, value)) in object(data, field)?.iter().enumerate() {
        let Some(text) = value.as_str() else {
            let at = format!("{field}[{index}].value");
            return Err(FcmError::unparsable(&at, &format!("Invalid value at '{at}' (TYPE_STRING), {value}")));
        };
        let reserved = key == "from"
            || key == "message_type"
            || key == "google"
            || key == "gcm"
            || key.starts_with("google.")
            || key.starts_with("gcm.notification.");
        if reserved {
            return Err(FcmError::invalid(
                &format!("{field}[{index}].key"),
                &format!("Invalid data payload key: {key}"),
            ));
        }
        size += key.len() + text.len();
    }
    Ok(size)
}

fn check_android(android: &Map<String, Value>) -> Result<usize, FcmError> {
    only(android, "message.android", &ANDROID_FIELDS)?;
    if let Some(ttl) = get(android, "ttl") {
        let at = "message.android.ttl";
        let wrong = |why: &str| {
            FcmError::unparsable(
                at,
                &format!("Invalid value at '{at}' (type.googleapis.com/google.protobuf.Duration), {why}"),
            )
        };
        let Some(text) = ttl.as_str() else { return Err(wrong("a text is expected")) };
        match seconds(text) {
            None => return Err(wrong("Illegal duration format; duration must end with 's'")),
            Some(seconds) if seconds > MAX_TTL_S => {
                return Err(FcmError::invalid(at, "The TTL must be between 0 and 2419200 seconds (4 weeks)."));
            }
            Some(_) => {}
        }
    }
    if let Some(priority) = get(android, "priority") {
        let known =
            priority.as_str().is_some_and(|text| matches!(text.to_ascii_uppercase().as_str(), "HIGH" | "NORMAL"));
        if !known {
            let at = "message.android.priority";
            let text = format!(
                "Invalid value at '{at}' (type.googleapis.com/google.firebase.fcm.v1.AndroidConfig.AndroidMessagePriority), {priority}"
            );
            return Err(FcmError::unparsable(at, &text));
        }
    }
    get(android, "data").map_or(Ok(0), |data| check_data(data, "message.android.data"))
}

fn check_apns(apns: &Map<String, Value>) -> Result<(), FcmError> {
    if let Some(headers) = get(apns, "headers") {
        for (name, value) in object(headers, "message.apns.headers")? {
            if !value.is_string() {
                let at = format!("message.apns.headers.{name}");
                return Err(FcmError::unparsable(&at, &format!("Invalid value at '{at}' (TYPE_STRING), {value}")));
            }
        }
    }
    if let Some(payload) = get(apns, "payload") {
        object(payload, "message.apns.payload")?;
        if payload.to_string().len() > MAX_BYTES {
            return Err(FcmError::invalid("message.apns.payload", "APNs message is too big"));
        }
    }
    Ok(())
}

/// Whole seconds (rounded up) of a protobuf Duration such as `3.5s`.
fn seconds(text: &str) -> Option<u64> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    Some(whole.saturating_add(u64::from(fraction.bytes().any(|byte| byte != b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(message: Value) -> String {
        let body = json!({ "message": message }).to_string();
        check(body.as_bytes())
            .map_or_else(|error| error.body["error"]["message"].as_str().unwrap().to_owned(), |_| "ok".to_owned())
    }

    #[test]
    fn each_rule_is_checked() {
        let long = "x".repeat(4096);
        for (message, expected) in [
            (json!({"token": "abc:DEF_-1", "data": {"k": "v"}, "android": {"ttl": "3.5s", "priority": "HIGH"}}), "ok"),
            (json!({"fid": "cAbC_123", "data": {}}), "ok"),
            (json!({"topic": "news"}), "ok"),
            (json!({"condition": "'a' in topics"}), "ok"),
            (json!({"data": {}}), "Recipient"),
            (json!({"token": "a", "topic": "b"}), "already set"),
            (json!({"token": "not a token"}), "not a valid FCM registration token"),
            (json!({"token": "a", "data": {"n": 1}}), "TYPE_STRING"),
            (json!({"token": "a", "data": {"from": "x"}}), "payload key: from"),
            (json!({"token": "a", "data": {"google.x": "x"}}), "payload key: google.x"),
            (json!({"token": "a", "data": {"gcm.notification.x": "x"}}), "payload key: gcm"),
            (json!({"token": "a", "android": {"ttl": "3500ms"}}), "must end with 's'"),
            (json!({"token": "a", "android": {"ttl": "2419201s"}}), "TTL must be"),
            (json!({"token": "a", "android": {"priority": "LOUD"}}), "priority"),
            (json!({"token": "a", "andriod": {}}), "Unknown name \"andriod\""),
            (json!({"token": "a", "data": {"k": long}}), "too big"),
            (json!({"token": "a", "apns": {"headers": {"apns-priority": 5}}}), "TYPE_STRING"),
            (json!({"token": "a", "apns": {"payload": {"x": long}}}), "too big"),
        ] {
            let found = refused(message.clone());
            assert!(found.contains(expected), "{message}: {found}");
        }
    }

    #[test]
    fn both_spellings_of_a_field_are_read() {
        let body = json!({"validateOnly": true, "message": {"token": "a", "fcmOptions": {}}}).to_string();
        assert!(check(body.as_bytes()).unwrap().validate_only);
    }
}
