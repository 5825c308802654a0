//! A push token, or in its place a Web Push subscription as a browser gives it.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Reads a token: a text, or the object that `PushSubscription.toJSON()` gives, which becomes its JSON text.
pub(super) fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text, or a subscription {\"endpoint\":…,\"keys\":{\"p256dh\":…,\"auth\":…}}")]
    enum Token {
        Text(String),
        Subscription(Map<String, Value>),
    }
    Ok(match Token::deserialize(deserializer)? {
        Token::Text(text) => text,
        Token::Subscription(subscription) => Value::Object(subscription).to_string(),
    })
}
