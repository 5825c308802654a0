//! gorush's notification for iOS as a push in Apple's words.

use serde_json::{Map, Value};
use tidings_shared::push_api::{ApnsPush, ApnsPushType, Environment, Provider, Push, SendNotification, To, Ttl};

use super::fields::Fields;
use super::{GorushSettings, Made};

/// Fields of gorush's `alert` and Apple's names for them, which are the same but for the lists.
const ALERT: [&str; 12] = [
    "title",
    "subtitle",
    "body",
    "title-loc-key",
    "title-loc-args",
    "loc-key",
    "loc-args",
    "action",
    "action-loc-key",
    "launch-image",
    "summary-arg",
    "summary-arg-count",
];

pub(super) fn push(settings: &GorushSettings, fields: &Fields<'_>, now_ms: i64) -> Result<Made, String> {
    if fields.has("apns_id") {
        return Err("`apns_id` cannot be chosen: this gateway names each push itself; use `notif_id`".to_owned());
    }
    let app = match fields.text("topic")? {
        None => settings.app.clone(),
        Some(topic) => match settings.topics.get(topic) {
            Some(app) => app.clone(),
            None => return Err(format!("no app here has the topic \"{topic}\" (push.apps.NAME.apns.topic)")),
        },
    };
    // gorush asks for `development` only where `production` is not there either.
    let environment = match (fields.flag("production")?, fields.flag("development")?) {
        (true, _) => Environment::Production,
        (false, true) => Environment::Sandbox,
        (false, false) if settings.production => Environment::Production,
        (false, false) => Environment::Sandbox,
    };
    let mut payload = Map::new();
    for (name, value) in fields.object("data")?.into_iter().flatten() {
        if name == "aps" {
            return Err("`data` cannot have `aps`: that is made of the other fields".to_owned());
        }
        payload.insert(name.clone(), value.clone());
    }
    let aps = aps(fields)?;
    let shows = ["alert", "badge", "sound"].into_iter().any(|name| aps.contains_key(name));
    let push_type = match fields.text("push_type")? {
        Some(name) => ApnsPushType::ALL
            .into_iter()
            .find(|known| known.as_str() == name)
            .ok_or_else(|| format!("`push_type` \"{name}\" is none of Apple's"))?,
        // Apple throws an alert away that shows nothing.
        None if !shows && aps.contains_key("content-available") => ApnsPushType::Background,
        None => ApnsPushType::Alert,
    };
    payload.insert("aps".to_owned(), Value::Object(aps));
    let priority = match fields.text("priority")? {
        Some("normal") => Some(5),
        Some("high") if push_type != ApnsPushType::Background => Some(10),
        None | Some("high") => None,
        Some(other) => return Err(format!("`priority` is normal or high; found \"{other}\"")),
    };
    let push = Push::Apns(ApnsPush { push_type, payload, priority });
    let request = SendNotification {
        collapse_id: fields.text("collapse_id")?.map(str::to_owned),
        ttl: ttl(fields, now_ms)?,
        // Replaced for each token.
        ..SendNotification::new(To::Registration(String::new()), push)
    };
    Ok(Made { provider: Provider::Apns, app, environment, others: Vec::new(), request })
}

/// gorush's `expiration` is the time when Apple stops trying, in seconds since 1970; 0 is one attempt.
fn ttl(fields: &Fields<'_>, now_ms: i64) -> Result<Option<Ttl>, String> {
    let Some(expiration) = fields.number("expiration")? else { return Ok(None) };
    if expiration == 0 {
        return Ok(Some(Ttl::new(std::time::Duration::ZERO)));
    }
    let left = expiration.saturating_mul(1000).saturating_sub(now_ms);
    match u64::try_from(left) {
        Ok(left) if left > 0 => Ok(Some(Ttl::new(std::time::Duration::from_millis(left)))),
        _ => Err(format!("`expiration` {expiration} has passed; it is a time in seconds since 1970")),
    }
}

fn aps(fields: &Fields<'_>) -> Result<Map<String, Value>, String> {
    let mut aps = Map::new();
    if let Some(alert) = alert(fields)? {
        aps.insert("alert".to_owned(), alert);
    }
    if let Some(badge) = fields.number("badge")?.filter(|badge| *badge >= 0) {
        aps.insert("badge".to_owned(), Value::from(badge));
    }
    if fields.flag("mutable_content")? {
        aps.insert("mutable-content".to_owned(), Value::from(1));
    }
    if fields.flag("content_available")? {
        aps.insert("content-available".to_owned(), Value::from(1));
    }
    if let Some(sound) = sound(fields)? {
        aps.insert("sound".to_owned(), sound);
    }
    for (name, theirs) in [
        ("category", "category"),
        ("thread-id", "thread-id"),
        ("interruption-level", "interruption_level"),
        ("event", "event"),
        ("attributes-type", "attributes-type"),
    ] {
        if let Some(text) = fields.text(theirs)? {
            aps.insert(name.to_owned(), Value::from(text));
        }
    }
    for name in ["content-state", "attributes"] {
        if let Some(object) = fields.object(name)? {
            aps.insert(name.to_owned(), Value::Object(object.clone()));
        }
    }
    for name in ["stale-date", "dismissal-date", "timestamp"] {
        if let Some(time) = fields.number(name)?.filter(|time| *time > 0) {
            aps.insert(name.to_owned(), Value::from(time));
        }
    }
    if let Some(list) = fields.list("url-args")? {
        aps.insert("url-args".to_owned(), Value::Array(list.clone()));
    }
    if let Some(score) = fields.float("relevance-score")? {
        aps.insert("relevance-score".to_owned(), Value::from(score));
    }
    Ok(aps)
}

/// `message` alone is a text; with `title` or `alert` it is an object.
fn alert(fields: &Fields<'_>) -> Result<Option<Value>, String> {
    let (message, title) = (fields.text("message")?, fields.text("title")?);
    let mut alert = Map::new();
    if let Some(title) = title {
        alert.insert("title".to_owned(), Value::from(title));
        if let Some(message) = message {
            alert.insert("body".to_owned(), Value::from(message));
        }
    }
    for (name, value) in fields.object("alert")?.into_iter().flatten() {
        if !ALERT.contains(&name.as_str()) {
            continue;
        }
        let empty = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Number(number) => number.as_i64() == Some(0),
            _ => false,
        };
        if !empty {
            alert.insert(name.clone(), value.clone());
        }
    }
    if alert.is_empty() {
        return Ok(message.map(Value::from));
    }
    if !alert.contains_key("body")
        && let Some(message) = message
    {
        alert.insert("body".to_owned(), Value::from(message));
    }
    Ok(Some(Value::Object(alert)))
}

/// A name, an object `{"critical":1,"name":"default","volume":1.0}`, or `name` and `volume` beside it.
fn sound(fields: &Fields<'_>) -> Result<Option<Value>, String> {
    let named = fields.text("name")?;
    let volume = fields.float("volume")?.filter(|volume| *volume > 0.0);
    let sound = match fields.any("sound") {
        None => None,
        Some(sound @ (Value::String(_) | Value::Object(_))) => Some(sound.clone()),
        Some(other) => return Err(format!("`sound` is a text or an object; found {other}")),
    };
    if named.is_none() && volume.is_none() {
        return Ok(sound);
    }
    let mut object = match sound {
        Some(Value::Object(object)) => object,
        Some(Value::String(name)) => Map::from_iter([("name".to_owned(), Value::from(name))]),
        _ => Map::from_iter([("name".to_owned(), Value::from("default"))]),
    };
    if let Some(name) = named {
        object.insert("name".to_owned(), Value::from(name));
    }
    if let Some(volume) = volume {
        object.insert("volume".to_owned(), Value::from(volume));
    }
    Ok(Some(Value::Object(object)))
}
