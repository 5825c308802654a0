//! What Apple would refuse in a push for its form, said before it is stored: with the field, what stands there, and
//! what is allowed.

use tidings_shared::push_api::{ApnsPush, ApnsPushType, LiveActivity, LiveActivityEvent, Push};

use super::Authentication;
use crate::provider::{Recipient, Refusal};

const PRIORITIES: &str = "a priority is 10, 5 or 1";

pub(super) fn check(push: &Push, authentication: &Authentication) -> Result<(), Refusal> {
    match push {
        Push::Apns(push) => apns(push, authentication),
        Push::LiveActivity(activity) => live_activity(activity),
        _ => Ok(()),
    }
}

fn apns(push: &ApnsPush, authentication: &Authentication) -> Result<(), Refusal> {
    priority(push.priority)?;
    if push.push_type == ApnsPushType::Background && push.priority == Some(10) {
        return Err(Refusal::field("push.priority", 10, "a push of type `background` has 5 or 1"));
    }
    if push.push_type == ApnsPushType::Location && matches!(authentication, Authentication::Certificate) {
        return Err(Refusal::field(
            "push.push_type",
            "location",
            "Apple takes that with a .p8 key only, and this app has a certificate",
        ));
    }
    Ok(())
}

fn live_activity(activity: &LiveActivity) -> Result<(), Refusal> {
    const MISSING: &str = "missing";
    priority(activity.priority)?;
    let start = activity.event == LiveActivityEvent::Start;
    let required = [
        (
            "push.content_state",
            activity.content_state.is_none() && activity.event != LiveActivityEvent::End,
            "`start` and `update` need the content",
        ),
        (
            "push.attributes_type",
            start && activity.attributes_type.is_none(),
            "`start` needs the name of the app's ActivityAttributes type",
        ),
        ("push.attributes", start && activity.attributes.is_none(), "`start` needs the attributes"),
        ("push.alert", start && activity.alert.is_none(), "`start` needs the words that announce the activity"),
    ];
    if let Some((field, _, rule)) = required.into_iter().find(|(_, wrong, _)| *wrong) {
        return Err(Refusal::field(field, MISSING, rule));
    }
    let only_start = [
        ("push.attributes_type", activity.attributes_type.is_some()),
        ("push.attributes", activity.attributes.is_some()),
        ("push.input_push_channel", activity.input_push_channel.is_some()),
        ("push.input_push_token", activity.input_push_token),
    ];
    if !start && let Some((field, _)) = only_start.into_iter().find(|(_, set)| *set) {
        return Err(Refusal::field(field, "set", "only an activity that starts has it"));
    }
    if activity.event != LiveActivityEvent::End && activity.dismissal_date.is_some() {
        return Err(Refusal::field("push.dismissal_date", "set", "only an activity that ends has it"));
    }
    let times = [
        ("push.timestamp", activity.timestamp),
        ("push.stale_date", activity.stale_date),
        ("push.dismissal_date", activity.dismissal_date),
    ];
    // The largest is the year 5138: whoever is above it has sent milliseconds.
    match times.into_iter().find(|(_, time)| time.is_some_and(|time| !(0..100_000_000_000).contains(&time))) {
        Some((field, Some(found))) => Err(Refusal::field(field, found, "a time is in seconds since 1970")),
        _ => Ok(()),
    }
}

fn priority(found: Option<u8>) -> Result<(), Refusal> {
    match found {
        None | Some(10 | 5 | 1) => Ok(()),
        Some(found) => Err(Refusal::field("push.priority", found, PRIORITIES)),
    }
}

/// A broadcast channel takes Live Activities that have begun, and nothing else.
pub(super) fn recipient(recipient: Recipient<'_>, push: &Push) -> Result<(), Refusal> {
    let Recipient::Channel(id) = recipient else { return Ok(()) };
    channel_id(id)?;
    let kind = match push {
        Push::LiveActivity(activity) if activity.event == LiveActivityEvent::Start => {
            return Err(Refusal::field(
                "push.event",
                "start",
                "a channel carries updates and ends; a start goes to the push-to-start token of each device",
            ));
        }
        Push::LiveActivity(_) => return Ok(()),
        Push::Apns(push) if push.push_type == ApnsPushType::LiveActivity => return Ok(()),
        Push::Apns(push) => push.push_type.as_str(),
        Push::Alert { .. } => "alert",
        Push::Wake {} => "wake",
        Push::Pass {} => "pass",
        Push::Fcm(_) => "fcm",
    };
    Err(Refusal::field("push.kind", kind, "a broadcast channel carries Live Activities only (`live_activity`)"))
}

/// Apple's channel ids are Base64.
pub(super) fn channel_id(id: &str) -> Result<(), Refusal> {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    if (1..=128).contains(&id.len()) && id.bytes().all(base64) {
        return Ok(());
    }
    Err(Refusal::field("channel.id", format!("\"{id}\""), "a channel's id is Base64 with 1 to 128 characters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refused(push: Value) -> String {
        let push: Push = serde_json::from_value(push).unwrap();
        match check(&push, &Authentication::Certificate) {
            Ok(()) => "ok".to_owned(),
            Err(Refusal::Field { field, .. }) => field.to_owned(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn each_rule_names_its_field() {
        let apns = |push_type: &str, priority: Value| json!({"kind": "apns", "push_type": push_type, "payload": {}, "priority": priority});
        let live = |event: &str, more: Value| {
            let mut push = json!({"kind": "live_activity", "event": event});
            push.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            push
        };
        let start = json!({
            "content_state": {}, "attributes_type": "T", "attributes": {}, "alert": {"title": "t", "body": "b"}
        });
        let without = |name: &str| {
            let mut start = start.clone();
            start.as_object_mut().unwrap().remove(name);
            live("start", start)
        };
        for (push, expected) in [
            (apns("alert", json!(10)), "ok"),
            (apns("alert", json!(7)), "push.priority"),
            (apns("background", json!(10)), "push.priority"),
            (apns("background", json!(1)), "ok"),
            (apns("location", json!(null)), "push.push_type"),
            (live("start", start.clone()), "ok"),
            (without("content_state"), "push.content_state"),
            (without("attributes_type"), "push.attributes_type"),
            (without("attributes"), "push.attributes"),
            (without("alert"), "push.alert"),
            (live("update", json!({})), "push.content_state"),
            (live("update", json!({"content_state": {}, "attributes": {}})), "push.attributes"),
            (live("update", json!({"content_state": {}, "input_push_token": true})), "push.input_push_token"),
            (live("update", json!({"content_state": {}, "dismissal_date": 1})), "push.dismissal_date"),
            (live("update", json!({"content_state": {}, "stale_date": 1_700_000_000_000_i64})), "push.stale_date"),
            (live("update", json!({"content_state": {}, "priority": 4})), "push.priority"),
            (live("end", json!({"dismissal_date": 1})), "ok"),
        ] {
            assert_eq!(refused(push.clone()), expected, "{push}");
        }
    }

    #[test]
    fn a_channel_carries_live_activities_that_have_begun() {
        let check = |id: &str, push: Value| {
            recipient(Recipient::Channel(id), &serde_json::from_value(push).unwrap())
                .map_err(|refusal| refusal.to_string())
        };
        let update = json!({"kind": "live_activity", "event": "update", "content_state": {}});
        assert_eq!(check("c29tZQ==", update.clone()), Ok(()));
        assert!(check("a b", update).unwrap_err().contains("Base64"));
        let wake = check("c29tZQ==", json!({"kind": "wake"})).unwrap_err();
        assert!(wake.contains("push.kind") && wake.contains("live_activity"), "{wake}");
        let start = json!({"kind": "live_activity", "event": "start"});
        assert!(check("c29tZQ==", start).unwrap_err().contains("push-to-start"));
    }
}
