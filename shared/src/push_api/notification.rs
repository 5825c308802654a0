//! A notification: what is sent, and what was made of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApnsPush, Dedup, Expansion, FcmPush, LiveActivity, NotBefore, Priority, Target, To, Ttl};

/// Body of `POST /v1/notifications`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendNotification {
    /// Who should get it.
    pub to: To,
    /// What is sent; or a `template` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
    /// The name of a template: each device gets its text in its own language, as the template is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Texts, numbers, true or false for the template's variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, serde_json::Value>,
    /// Puts the notification's id into the push's `data` as `tidings_notification`, so that the app can name it in `POST /v1/receipts`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub receipts: bool,
    /// A later push with the same id replaces an earlier one that the phone has not shown yet; 64 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_id: Option<String>,
    /// After this time nobody tries any more, the provider included; the gateway's `push.ttl` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// Nothing is stored or sent: the answer says what the provider would do ([`super::Verdicts`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validate_only: bool,
    /// What goes first when much is waiting; [`Priority::Normal`] when absent.
    #[serde(default, skip_serializing_if = "is_normal")]
    pub priority: Priority,
    /// When it may be sent at the earliest; at once when absent. The time to live begins then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<NotBefore>,
    /// A device that got a notification with this key within the window does not get this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Dedup>,
}

impl SendNotification {
    /// A notification with everything else left to its default.
    #[must_use]
    pub fn new(to: To, push: Push) -> Self {
        Self {
            to,
            push: Some(push),
            template: None,
            params: BTreeMap::new(),
            receipts: false,
            collapse_id: None,
            ttl: None,
            priority: Priority::Normal,
            not_before: None,
            dedup: None,
            validate_only: false,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_normal(priority: &Priority) -> bool {
    *priority == Priority::Normal
}

/// What a push does on the phone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// Anything that FCM knows, in Google's own words (FCM only).
    Fcm(FcmPush),
}

/// Answer of `POST /v1/notifications` and of `GET /v1/notifications/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notification {
    /// Names the notification in `GET /v1/notifications/{id}`.
    pub id: String,
    /// One for each device that it goes to; empty when the user has registered none.
    pub targets: Vec<Target>,
    /// For a notification to a segment: how far its targets have been made. `targets` has the first 1,000 of them then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<Expansion>,
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
            json!({"segment":"beta"}),
            json!({"segment":{"where":{"all":[{"tag":"beta"},{"not":{"seen":{"within":"30d"}}}]}}}),
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
            (json!({"to":{"user":"1","segment":"x"},"push":{"kind":"wake"}}), "exactly one"),
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
