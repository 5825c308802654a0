//! Segments: sets of devices by what is known of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Environment, Provider};

/// Which devices: a small boolean expression, for example
/// `{"all":[{"tag":"beta"},{"locale":"de"},{"not":{"version":{"below":"2.0"}}}]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schema(no_recursion)]
pub enum Where {
    /// Every part holds; `[]` is every device.
    All(Vec<Where>),
    /// At least one part holds.
    Any(Vec<Where>),
    /// The part does not hold.
    Not(Box<Where>),
    /// The device has this tag.
    Tag(String),
    /// The device belongs to this app (`push.apps.NAME`).
    App(String),
    /// This provider delivers to it.
    Provider(Provider),
    /// APNs only.
    Environment(Environment),
    /// The device speaks this language: `de` is also `de-AT`, `de-AT` is not `de`.
    Locale(String),
    /// The device is in this time zone (IANA).
    TimeZone(String),
    /// By the app's version. A device without one is in none of these.
    Version(VersionRange),
    /// By when the device was last heard of.
    Seen(Seen),
}

/// A range of versions: numbers are compared as numbers (`2.10` is after `2.9`), and `2.0-beta` is before `2.0`.
/// All bounds that are given hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionRange {
    /// This one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// This one or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// An earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
}

/// A span of time before now, as a whole number of `s`, `m`, `h` or `d`, for example `"30d"`. All bounds that are given hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Heard of within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Not heard of within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_within: Option<String>,
}

/// The devices of a named segment, or of one that is described on the spot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SegmentTarget {
    /// `{"segment":"NAME"}`: as it is when the notification is accepted.
    Named(String),
    /// `{"segment":{"where":{…}}}`.
    Inline(Segment),
}

/// Body of `PUT /v1/segments/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Which devices.
    #[serde(rename = "where")]
    pub filter: Where,
}

/// Answer of `PUT` and `GET /v1/segments/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamedSegment {
    /// Its name.
    pub name: String,
    /// Which devices.
    #[serde(rename = "where")]
    pub filter: Where,
    /// When it was last changed (ms since 1970).
    pub updated_at_ms: i64,
}

/// Answer of `GET /v1/segments`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Segments {
    /// In the order of their names.
    pub segments: Vec<NamedSegment>,
}

/// Answer of `GET /v1/segments/{name}/count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SegmentCount {
    /// How many devices a notification to this segment would go to now.
    pub devices: u64,
}

/// How far the expansion of a segment has come: one target is made for each of its devices, in portions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Expansion {
    /// The name of the segment; absent when it was described on the spot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Targets made so far.
    pub targets: u64,
    /// Devices of the segment that could not be addressed (their app is no longer configured, or does not take this push).
    pub skipped: u64,
    /// Every device of the segment has been looked at.
    pub complete: bool,
}
