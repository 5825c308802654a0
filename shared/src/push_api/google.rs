//! Pushes that only Google knows.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A push in Google's own words: the fields of a `Message` of FCM's HTTP v1 interface, less who it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FcmPush {
    /// `notification`, `data` (texts), `android`, `webpush`, `apns` and `fcm_options`. The time to live and the collapse key of
    /// the notification are put into `android`, unless it has its own.
    #[schema(value_type = Object)]
    pub message: Map<String, Value>,
}

impl FcmPush {
    /// The fields that a message may have here.
    pub const FIELDS: [&'static str; 6] = ["notification", "data", "android", "webpush", "apns", "fcm_options"];
}
