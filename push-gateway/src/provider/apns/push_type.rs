//! The rules of Apple's push types: the suffix of the topic, the priority, the size ("Sending notification requests to
//! APNs").

use http::HeaderValue;
use tidings_shared::push_api::{ApnsPushType, Push};

use crate::provider::WakeStyle;
use crate::provider::payload::MAX_PAYLOAD;

/// The longest payload of a VoIP push and of a broadcast, in bytes.
pub(super) const MAX_LONG_PAYLOAD: usize = 5120;

/// The push type that a push has at Apple.
pub(super) fn of(push: &Push, wake: &WakeStyle) -> ApnsPushType {
    match (push, wake) {
        (Push::Alert { .. }, _) | (Push::Wake {}, WakeStyle::Visible { .. }) => ApnsPushType::Alert,
        // One of Google's is refused when it is submitted.
        (Push::Wake {}, WakeStyle::Silent) | (Push::Pass {} | Push::Fcm(_), _) => ApnsPushType::Background,
        (Push::Apns(push), _) => push.push_type,
        (Push::LiveActivity(_), _) => ApnsPushType::LiveActivity,
    }
}

/// What a push type's topic has behind the app's own.
pub(super) const fn suffix(push_type: ApnsPushType) -> &'static str {
    match push_type {
        ApnsPushType::Alert | ApnsPushType::Background | ApnsPushType::Mdm => "",
        ApnsPushType::Complication => ".complication",
        ApnsPushType::Controls => ".push-type.controls",
        ApnsPushType::FileProvider => ".pushkit.fileprovider",
        ApnsPushType::LiveActivity => ".push-type.liveactivity",
        ApnsPushType::Location => ".location-query",
        ApnsPushType::PushToTalk => ".voip-ptt",
        ApnsPushType::Voip => ".voip",
        ApnsPushType::Widgets => ".push-type.widgets",
    }
}

/// The largest payload in bytes.
pub(super) const fn max_payload(push_type: ApnsPushType) -> usize {
    match push_type {
        ApnsPushType::Voip => MAX_LONG_PAYLOAD,
        _ => MAX_PAYLOAD,
    }
}

/// `apns-priority`, where the push does not say it. 10 is an error for background pushes.
pub(super) fn priority(push: &Push, push_type: ApnsPushType) -> HeaderValue {
    let wanted = match push {
        Push::Apns(push) => push.priority,
        Push::LiveActivity(push) => push.priority,
        _ => None,
    };
    HeaderValue::from_static(match (wanted, push_type) {
        (Some(1), _) => "1",
        (Some(5), _) | (None, ApnsPushType::Background) => "5",
        _ => "10",
    })
}

/// An app's topics, one for each push type, made once. A topic that already has the suffix (an app that is only for
/// VoIP, say) keeps it.
#[derive(Debug)]
pub(super) struct Topics([HeaderValue; ApnsPushType::ALL.len()]);

impl Topics {
    pub(super) fn new(topic: &HeaderValue) -> Self {
        Self(ApnsPushType::ALL.map(|push_type| {
            let suffix = suffix(push_type);
            if topic.as_bytes().ends_with(suffix.as_bytes()) {
                return topic.clone();
            }
            HeaderValue::from_bytes(&[topic.as_bytes(), suffix.as_bytes()].concat()).unwrap_or_else(|_| topic.clone())
        }))
    }

    pub(super) fn of(&self, push_type: ApnsPushType) -> HeaderValue {
        // The order of ALL is the order of the variants.
        self.0[push_type as usize].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_push_type_has_its_topic() {
        let topics = Topics::new(&HeaderValue::from_static("com.a"));
        for (push_type, topic) in [
            (ApnsPushType::Alert, "com.a"),
            (ApnsPushType::Background, "com.a"),
            (ApnsPushType::Complication, "com.a.complication"),
            (ApnsPushType::Controls, "com.a.push-type.controls"),
            (ApnsPushType::FileProvider, "com.a.pushkit.fileprovider"),
            (ApnsPushType::LiveActivity, "com.a.push-type.liveactivity"),
            (ApnsPushType::Location, "com.a.location-query"),
            (ApnsPushType::Mdm, "com.a"),
            (ApnsPushType::PushToTalk, "com.a.voip-ptt"),
            (ApnsPushType::Voip, "com.a.voip"),
            (ApnsPushType::Widgets, "com.a.push-type.widgets"),
        ] {
            assert_eq!(topics.of(push_type), topic);
        }
        let voip = Topics::new(&HeaderValue::from_static("com.a.voip"));
        assert_eq!(voip.of(ApnsPushType::Voip), "com.a.voip");
    }
}
