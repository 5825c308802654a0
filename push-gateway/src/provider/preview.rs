//! What each provider would get for a push, for people who write templates.

use serde_json::Value;
use tidings_shared::push_api::{Provider, ProviderPreview, Push};

use super::payload::{check, check_size};
use super::{WakeStyle, apns, fcm, webpush};

/// One for each provider. `now_s` is the time of the request, in seconds since 1970.
pub(crate) fn preview(push: &Push, wake: &WakeStyle, now_s: i64) -> Vec<ProviderPreview> {
    let one = |provider: Provider| {
        let (payload, bytes, allowed) = match provider {
            Provider::Apns => apns::preview(push, wake, now_s),
            Provider::Fcm => fcm::preview(push, wake),
            Provider::WebPush => webpush::preview(push, wake),
        };
        let refused = check(provider, push, None).and_then(|()| check_size(provider, bytes, allowed)).err();
        ProviderPreview { provider, payload, bytes, refused: refused.map(|refusal| refusal.to_string()) }
    };
    Provider::ALL.into_iter().map(one).collect()
}

/// JSON text as a value.
pub(super) fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}
