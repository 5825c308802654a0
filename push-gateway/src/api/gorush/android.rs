//! gorush's notification for Android as a message in Google's words.

use serde_json::{Map, Value, json};
use tidings_shared::push_api::{
    ConditionTarget, Environment, FcmPush, Provider, Push, SendNotification, To, TopicTarget, Ttl,
};

use super::fields::Fields;
use super::{GorushSettings, Made};

pub(super) fn push(settings: &GorushSettings, fields: &Fields<'_>) -> Result<Made, String> {
    let mut message = Map::new();
    let object = |name: &str| Ok::<_, String>(fields.object(name)?.cloned().unwrap_or_default());
    let mut notification = object("notification")?;
    let (title, text, image) = (fields.text("title")?, fields.text("message")?, fields.text("image")?);
    let shows = title.is_some() || text.is_some() || image.is_some();
    for (name, value) in [("title", title), ("body", text), ("image", image)] {
        if let Some(value) = value {
            notification.insert(name.to_owned(), Value::from(value));
        }
    }
    let mut android = object("android")?;
    let mut apns = object("apns")?;
    if shows && fields.flag("mutable_content")? {
        apns = into_object(json!({"payload": {"aps": {"mutable-content": 1}}}));
    }
    if fields.flag("content_available")? {
        let mut aps = Map::from_iter([("content-available".to_owned(), Value::from(1))]);
        for (name, value) in fields.object("data")?.into_iter().flatten() {
            aps.entry(name.clone()).or_insert_with(|| value.clone());
        }
        apns = into_object(json!({"headers": {"apns-priority": "5"}, "payload": {"aps": aps}}));
    }
    let priority = match fields.text("priority")? {
        None => None,
        Some(priority @ ("normal" | "high")) => Some(priority),
        Some(other) => return Err(format!("`priority` is normal or high; found \"{other}\"")),
    };
    match fields.any("sound") {
        None => {}
        Some(Value::String(sound)) => {
            inner(inner(&mut apns, "payload")?, "aps")?.insert("sound".to_owned(), Value::from(sound.as_str()));
            if android.is_empty() {
                android = into_object(json!({"notification": {"sound": sound}}));
            }
        }
        // gorush leaves it out for Android.
        Some(_) => return Err("`sound` for Android is a text; the object form is for iOS".to_owned()),
    }
    if let Some(priority) = priority {
        android.entry("priority").or_insert_with(|| Value::from(priority));
    }
    let ttl = match android.remove("ttl") {
        None => None,
        Some(ttl) => Some(read_ttl(&ttl)?),
    };
    let data = fields.object("data")?.into_iter().flatten();
    let data: Map<String, Value> = data.map(|(name, value)| (name.clone(), Value::from(as_text(value)))).collect();
    for (name, value) in [
        ("notification", notification),
        ("data", data),
        ("android", android),
        ("webpush", object("webpush")?),
        ("apns", apns),
        ("fcm_options", object("fcm_options")?),
    ] {
        if !value.is_empty() {
            message.insert(name.to_owned(), Value::Object(value));
        }
    }
    let app = settings.app.clone();
    let request = SendNotification {
        ttl,
        // Replaced for each token.
        ..SendNotification::new(To::Registration(String::new()), Push::Fcm(FcmPush { message }))
    };
    Ok(Made {
        provider: Provider::Fcm,
        environment: Environment::Production,
        others: others(fields, &app)?,
        app,
        request,
    })
}

/// A topic or a condition, besides the tokens.
fn others(fields: &Fields<'_>, app: &str) -> Result<Vec<(String, To)>, String> {
    match (fields.text("topic")?, fields.text("condition")?) {
        (None, None) => Ok(Vec::new()),
        (Some(topic), None) => {
            let name = topic.strip_prefix("/topics/").unwrap_or(topic).to_owned();
            Ok(vec![(topic.to_owned(), To::Topic(TopicTarget { app: app.to_owned(), name }))])
        }
        (None, Some(condition)) => {
            let expression = condition.to_owned();
            Ok(vec![(condition.to_owned(), To::Condition(ConditionTarget { app: app.to_owned(), expression }))])
        }
        (Some(_), Some(_)) => Err("`topic` and `condition` are both set; FCM takes one".to_owned()),
    }
}

/// FCM's own form, `"3600s"`, or nanoseconds, as Go writes a duration.
fn read_ttl(ttl: &Value) -> Result<Ttl, String> {
    let refused = || format!("`android.ttl` is a time such as \"3600s\"; found {ttl}");
    let seconds = match ttl {
        Value::String(text) => text.strip_suffix('s').and_then(|text| text.parse::<f64>().ok()).ok_or_else(refused)?,
        Value::Number(nanos) => nanos.as_f64().ok_or_else(refused)? / 1e9,
        _ => return Err(refused()),
    };
    let time = std::time::Duration::try_from_secs_f64(seconds).map_err(|_| refused())?;
    Ok(Ttl::new(time))
}

fn inner<'a>(object: &'a mut Map<String, Value>, name: &str) -> Result<&'a mut Map<String, Value>, String> {
    let place = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    place.as_object_mut().ok_or_else(|| format!("`apns.{name}` is an object"))
}

fn into_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// `data` is a map of texts at FCM; other values travel as JSON text, as with gorush.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
