//! A notification: what is sent, and what was made of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ApnsPush, LiveActivity, Target, To, Ttl};

/// Body of `POST /v1/notifications`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendNotification {
    /// Who should get it.
    pub to: To,
    /// What is sent.
    pub push: Push,
    /// A later push with the same id replaces an earlier one that the phone has not shown yet; 64 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_id: Option<String>,
    /// After this time nobody tries any more, the provider included; the gateway's `push.ttl` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// Nothing is stored or sent: the answer says what the provider would do ([`super::Verdicts`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validate_only: bool,
}

/// What a push does on the phone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Push {
    /// Nothing is shown: the app is woken and fetches what it missed.
    Wake {},
    /// A visible notification.
    Alert {
        /// First line.
        title: String,
        /// The text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
        /// For the app. Strings reach every provider as they are; other values reach FCM as JSON text.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        data: BTreeMap<String, serde_json::Value>,
    },
    /// Tells Wallet that a pass of this type has changed (APNs, body `{}`).
    Pass {},
    /// Anything that Apple knows, in Apple's own words: every push type (APNs only).
    Apns(ApnsPush),
    /// Starts, updates or ends a Live Activity (APNs only).
    LiveActivity(Box<LiveActivity>),
}

/// Answer of `POST /v1/notifications` and of `GET /v1/notifications/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Names the notification in `GET /v1/notifications/{id}`.
    pub id: String,
    /// One for each device that it goes to; empty when the user has registered none.
    pub targets: Vec<Target>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: serde_json::Value) -> Result<SendNotification, String> {
        serde_json::from_value(body).map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_of_to_round_trips() {
        for to in [
            json!({"user":"68946"}),
            json!({"device":"0199"}),
            json!({"user":"68946","device":"phone"}),
            json!({"token":{"provider":"apns","app":"pass.org.example","token":"ab12","environment":"sandbox"}}),
            json!({"topic":{"app":"default","name":"news"}}),
            json!({"condition":{"app":"default","expression":"'a' in topics"}}),
            json!({"fid":{"app":"default","id":"cFq2"}}),
            json!({"channel":{"app":"default","id":"c29tZQ==","environment":"sandbox"}}),
        ] {
            let body = json!({"to":to,"push":{"kind":"wake"},"ttl":"3600s"});
            let parsed = parse(body.clone()).unwrap();
            assert_eq!(serde_json::to_value(parsed).unwrap(), body);
        }
    }

    #[test]
    fn a_misspelt_field_is_named() {
        for (body, word) in [
            (json!({"to":{"user":"1"},"push":{"kind":"wake"},"collapse":"x"}), "collapse"),
            (json!({"to":{"usr":"1"},"push":{"kind":"wake"}}), "usr"),
            (json!({"to":{"user":"1"},"push":{"kind":"wake","titel":"x"}}), "titel"),
            (json!({"to":{"user":"1"},"push":{"kind":"alert","title":"x","text":"y"}}), "text"),
            (json!({"to":{"user":"1"},"push":{"kind":"wke"}}), "wke"),
            (json!({"to":{},"push":{"kind":"wake"}}), "exactly one"),
            (json!({"to":{"topic":{"name":"a"},"fid":{"id":"b"}},"push":{"kind":"wake"}}), "exactly one"),
            (
                json!({"to":{"user":"1"},"push":{"kind":"live_activity","event":"update","content_stat":{}}}),
                "content_stat",
            ),
            (json!({"to":{"user":"1"},"push":{"kind":"apns","push_type":"loud","payload":{}}}), "loud"),
            (json!({"to":{"user":"1","token":{"provider":"fcm","token":"t"}},"push":{"kind":"wake"}}), "exactly one"),
        ] {
            let error = parse(body).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_browsers_subscription_is_a_token() {
        let subscription =
            json!({"endpoint":"https://push.example/x","expirationTime":null,"keys":{"p256dh":"B","auth":"A"}});
        let body = json!({"to":{"token":{"provider":"webpush","token":subscription}},"push":{"kind":"wake"}});
        let To::Token(target) = parse(body).unwrap().to else { panic!("another form") };
        assert_eq!(serde_json::from_str::<serde_json::Value>(&target.token).unwrap(), subscription);
    }
}
