//! What the app says of a push on its device, and the timeline of a notification.

pub(crate) mod store;

use tidings_shared::push_api::{ReceiptEvent, TargetTimeline, TimelineEvent};

/// Targets of one answer.
pub(crate) const PAGE: i64 = 1000;

/// A target with the times that its row has.
#[derive(Clone, Debug)]
pub(crate) struct TargetTimes {
    pub(crate) id: String,
    pub(crate) device: Option<String>,
    pub(crate) state: String,
    pub(crate) is_final: bool,
    pub(crate) attempts: u32,
    pub(crate) created_at: i64,
    pub(crate) first_attempt_at: Option<i64>,
    pub(crate) updated_at: i64,
    pub(crate) provider_status: Option<u16>,
    pub(crate) reason: Option<String>,
    pub(crate) provider_id: Option<String>,
    pub(crate) delivered_at: Option<i64>,
    pub(crate) opened_at: Option<i64>,
    pub(crate) dismissed_at: Option<i64>,
}

/// The steps of a target in the order of time. No row is written for a step: they are the times of the target.
pub(crate) fn timeline(times: TargetTimes) -> TargetTimeline {
    let step = |at_ms: i64, event: &str| TimelineEvent {
        at_ms,
        event: event.to_owned(),
        attempts: None,
        provider_status: None,
        reason: None,
        provider_id: None,
    };
    let mut events = vec![step(times.created_at, "queued")];
    events.extend(times.first_attempt_at.map(|at| step(at, "sent")));
    if times.is_final || times.state == "retrying" {
        events.push(TimelineEvent {
            attempts: Some(times.attempts),
            provider_status: times.provider_status,
            reason: times.reason,
            provider_id: times.provider_id,
            ..step(times.updated_at, &times.state)
        });
    }
    for (at, event) in [
        (times.delivered_at, ReceiptEvent::Delivered),
        (times.opened_at, ReceiptEvent::Opened),
        (times.dismissed_at, ReceiptEvent::Dismissed),
    ] {
        events.extend(at.map(|at| step(at, event.as_str())));
    }
    // Stable: what happened in the same millisecond stays in this order.
    events.sort_by_key(|event| event.at_ms);
    TargetTimeline { target: times.id, device: times.device, events }
}
