//! What is asked of passes and what comes of it: the words of the API for backends.

use serde_json::{Map, Value};
use tidings_shared::storage::StorageError;
use utoipa::ToSchema;

use crate::package::{ChangeMessage, Faults, PassState};
use crate::store::{PassId, PassRow};

/// A change that was refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no pass of that name.
    #[error("there is no such pass")]
    NoPass,
    /// There is one already.
    #[error("there is a pass with this serial number already")]
    Exists,
    /// There is no template of that name.
    #[error("there is no template `{0}`; there are: {1}")]
    NoTemplate(String, String),
    /// The serial number cannot be one.
    #[error("a serial number has 1 to 255 bytes, no control characters, no slashes, and is neither `.` nor `..`")]
    BadSerial,
    /// Fields that no placeholder names.
    #[error("the template has no {{{{placeholder}}}} for: {0}; it has: {1}")]
    UnknownFields(String, String),
    /// The pass would break Apple's rules.
    #[error("the pass would break Apple's rules:\n{0}")]
    Invalid(Faults),
    /// This process has an older version of a template than the pass was rendered with.
    #[error("the template `{0}` has a newer version, which this process cannot read yet; try again")]
    Stale(String),
    /// This process has no certificate for the pass type.
    #[error("this service has no certificate for this pass type; it signs {0}")]
    OtherPassType(String),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Something else failed.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// A pass to be made.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreatePass)]
pub struct Create {
    /// The template's name.
    pub template: String,
    /// Pass type identifier; absent: the template's if it names one that is served, else the first configured one.
    #[serde(default, rename = "passType")]
    pub pass_type: Option<String>,
    /// The serial number; made when absent.
    #[serde(default)]
    pub serial: Option<String>,
    /// Values of the placeholders; null is the same as absent.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    pub fields: Map<String, Value>,
    /// `userInfo` of the pass, for the app that belongs to it.
    #[serde(default, rename = "userInfo")]
    pub user_info: Option<Value>,
    /// `expirationDate` of the pass, laid over the template's.
    #[serde(default, rename = "expirationDate")]
    pub expires: Option<String>,
}

/// A change of a pass.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PatchPass)]
pub struct Patch {
    /// Merged into the pass's fields; null takes a field away.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    pub fields: Map<String, Value>,
    /// Replaces `userInfo` when present; null takes it away.
    #[serde(default, rename = "userInfo", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub user_info: Option<Value>,
    /// Makes the pass void, or valid again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voided: Option<bool>,
    /// Sets `expirationDate`; null takes it back to what the template says.
    #[serde(default, rename = "expirationDate", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires: Option<Option<String>>,
}

impl Patch {
    /// What it makes of a pass.
    #[must_use]
    pub(super) fn applied(&self, pass: &PassRow) -> Draft {
        let mut draft = Draft::of(pass);
        for (name, value) in &self.fields {
            if value.is_null() {
                draft.fields.shift_remove(name);
            } else {
                draft.fields.insert(name.clone(), value.clone());
            }
        }
        match &self.user_info {
            Some(Value::Null) => draft.user_info = None,
            Some(value) => draft.user_info = Some(value.clone()),
            None => {}
        }
        if let Some(voided) = self.voided {
            draft.state.voided = voided;
        }
        if let Some(expires) = &self.expires {
            draft.state.expires.clone_from(expires);
        }
        draft
    }
}

/// What of a pass its owner decides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    pub(super) fields: Map<String, Value>,
    pub(super) user_info: Option<Value>,
    pub(super) state: PassState,
}

impl Draft {
    pub(super) fn of(pass: &PassRow) -> Self {
        Self { fields: pass.fields.clone(), user_info: pass.user_info.clone(), state: pass.state.clone() }
    }
}

/// Keeps `null` apart from absence.
fn present<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A pass that could be made: all of it but the token.
pub struct Prepared {
    /// Its name.
    pub id: PassId,
    /// Its template's name.
    pub template: String,
    /// Values of the placeholders.
    pub fields: Map<String, Value>,
    /// `userInfo`.
    pub user_info: Option<Value>,
    /// Void, and its end.
    pub state: PassState,
    /// What the content depends on besides the fields.
    pub basis: String,
    /// Hash of the manifest.
    pub fingerprint: String,
}

/// A pass that was made.
pub struct Created {
    /// Its name.
    pub id: PassId,
    /// Its token, shown this once.
    pub token: String,
}

/// What a change did.
pub struct Changed {
    /// The pass after it.
    pub pass: PassRow,
    /// Whether anything changed at all.
    pub changed: bool,
    /// What phones show for it, in the words of the template.
    pub messages: Vec<ChangeMessage>,
    /// The tag under which devices see it; `None`: it is committed, and the tag is not given yet.
    pub tag: Option<i64>,
}
