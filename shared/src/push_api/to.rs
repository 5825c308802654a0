//! Whom a notification is for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use super::{Environment, Provider, SegmentTarget, default_app};
use crate::identity::UserId;

/// The addressee of a notification: exactly one of `{"user":…}`, `{"device":…}`, `{"user":…,"device":…}`, `{"token":…}`
/// and `{"segment":…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ToFields", into = "ToFields")]
pub enum To {
    /// Every registered device of a user.
    User(UserId),
    /// One registration, by the `id` that its registration answered.
    Registration(String),
    /// One device of a user, by the name that it registered with.
    Device {
        /// Whose device.
        user: UserId,
        /// Its name, as in `PUT /v1/devices/{device}`.
        device: String,
    },
    /// A push token that is not registered here (the passbook-service keeps its own registrations).
    Token(TokenTarget),
    /// Every device of a segment. Its targets are made after the notification is stored, in portions.
    Segment(SegmentTarget),
}

/// A push token with what is needed to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenTarget {
    /// Who issued the token.
    pub provider: Provider,
    /// The name of a configured app (`push.apps.NAME`); for a pass, its pass type identifier.
    #[serde(default = "default_app")]
    pub app: String,
    /// The token itself: hexadecimal for APNs, the registration token for FCM.
    pub token: String,
    /// APNs only.
    #[serde(default)]
    pub environment: Environment,
    /// When the token was last known to be good (ms since 1970): APNs names a time when it gave a token up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<TokenTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<SegmentTarget>,
}

impl TryFrom<ToFields> for To {
    type Error = &'static str;

    fn try_from(fields: ToFields) -> Result<Self, Self::Error> {
        match fields {
            ToFields { user: Some(user), device: None, token: None, segment: None } => Ok(Self::User(user)),
            ToFields { user: Some(user), device: Some(device), token: None, segment: None } => {
                Ok(Self::Device { user, device })
            }
            ToFields { user: None, device: Some(id), token: None, segment: None } => Ok(Self::Registration(id)),
            ToFields { user: None, device: None, token: Some(token), segment: None } => Ok(Self::Token(token)),
            ToFields { user: None, device: None, token: None, segment: Some(segment) } => Ok(Self::Segment(segment)),
            _ => Err(
                "`to` has exactly one of these forms: {\"user\":…}, {\"device\":…}, {\"user\":…,\"device\":…}, {\"token\":{…}}, {\"segment\":…}",
            ),
        }
    }
}

impl From<To> for ToFields {
    fn from(to: To) -> Self {
        let (mut user, mut device, mut token, mut segment) = (None, None, None, None);
        match to {
            To::User(id) => user = Some(id),
            To::Registration(id) => device = Some(id),
            To::Device { user: id, device: name } => (user, device) = (Some(id), Some(name)),
            To::Token(target) => token = Some(target),
            To::Segment(target) => segment = Some(target),
        }
        Self { user, device, token, segment }
    }
}

impl utoipa::PartialSchema for To {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let form = |fields: &[(&str, RefOr<Schema>)]| {
            fields
                .iter()
                .fold(ObjectBuilder::new(), |form, (name, schema)| form.property(*name, schema.clone()).required(*name))
                .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(false)))
        };
        let (user, device) = (("user", text().into()), ("device", text().into()));
        OneOfBuilder::new()
            .description(Some("Exactly one of these forms."))
            .item(form(&[user.clone()]))
            .item(form(&[device.clone()]))
            .item(form(&[user, device]))
            .item(form(&[("token", Ref::from_schema_name("TokenTarget").into())]))
            .item(form(&[("segment", Ref::from_schema_name("SegmentTarget").into())]))
            .into()
    }
}

impl ToSchema for To {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        use utoipa::PartialSchema;

        schemas.push((TokenTarget::name().into_owned(), TokenTarget::schema()));
        TokenTarget::schemas(schemas);
        schemas.push((SegmentTarget::name().into_owned(), SegmentTarget::schema()));
        SegmentTarget::schemas(schemas);
    }
}
