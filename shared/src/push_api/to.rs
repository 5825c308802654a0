//! Whom a notification is for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use super::subscription;
use super::{
    ChannelTarget, ConditionTarget, Environment, InstallationTarget, Provider, SegmentTarget, TopicTarget, default_app,
};
use crate::identity::UserId;

/// The addressee of a notification: exactly one of `{"user":…}`, `{"device":…}`, `{"user":…,"device":…}`,
/// `{"token":…}`, `{"topic":…}`, `{"condition":…}`, `{"fid":…}`, `{"channel":…}` and `{"segment":…}`.
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
    /// A topic at FCM.
    Topic(TopicTarget),
    /// A combination of topics at FCM.
    Condition(ConditionTarget),
    /// A Firebase installation.
    Installation(InstallationTarget),
    /// A broadcast channel at APNs.
    Channel(ChannelTarget),
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
    /// The token itself: hexadecimal for APNs, the registration token for FCM, the subscription for Web Push.
    #[serde(deserialize_with = "subscription::token")]
    pub token: String,
    /// APNs only.
    #[serde(default)]
    pub environment: Environment,
    /// When the token was last known to be good (ms since 1970): APNs names a time when it gave a token up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at_ms: Option<i64>,
}

#[derive(Default, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<TopicTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<ConditionTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fid: Option<InstallationTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<ChannelTarget>,
}

impl TryFrom<ToFields> for To {
    type Error = &'static str;

    fn try_from(fields: ToFields) -> Result<Self, Self::Error> {
        let registered = match (fields.user, fields.device) {
            (Some(user), None) => Some(Self::User(user)),
            (Some(user), Some(device)) => Some(Self::Device { user, device }),
            (None, Some(id)) => Some(Self::Registration(id)),
            (None, None) => None,
        };
        let mut found = [
            registered,
            fields.token.map(Self::Token),
            fields.topic.map(Self::Topic),
            fields.condition.map(Self::Condition),
            fields.fid.map(Self::Installation),
            fields.channel.map(Self::Channel),
            fields.segment.map(Self::Segment),
        ]
        .into_iter()
        .flatten();
        match (found.next(), found.next()) {
            (Some(to), None) => Ok(to),
            _ => Err("`to` has exactly one of these forms: {\"user\":…}, {\"device\":…}, {\"user\":…,\"device\":…}, \
                 {\"token\":{…}}, {\"topic\":{…}}, {\"condition\":{…}}, {\"fid\":{…}}, {\"channel\":{…}}, {\"segment\":…}"),
        }
    }
}

impl From<To> for ToFields {
    fn from(to: To) -> Self {
        let mut fields = Self::default();
        match to {
            To::User(id) => fields.user = Some(id),
            To::Registration(id) => fields.device = Some(id),
            To::Device { user, device } => (fields.user, fields.device) = (Some(user), Some(device)),
            To::Token(target) => fields.token = Some(target),
            To::Topic(target) => fields.topic = Some(target),
            To::Condition(target) => fields.condition = Some(target),
            To::Installation(target) => fields.fid = Some(target),
            To::Channel(target) => fields.channel = Some(target),
            To::Segment(target) => fields.segment = Some(target),
        }
        fields
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
            .item(form(std::slice::from_ref(&user)))
            .item(form(std::slice::from_ref(&device)))
            .item(form(&[user, device]))
            .item(form(&[("token", Ref::from_schema_name("TokenTarget").into())]))
            .item(form(&[("topic", Ref::from_schema_name("TopicTarget").into())]))
            .item(form(&[("condition", Ref::from_schema_name("ConditionTarget").into())]))
            .item(form(&[("fid", Ref::from_schema_name("InstallationTarget").into())]))
            .item(form(&[("channel", Ref::from_schema_name("ChannelTarget").into())]))
            .item(form(&[("segment", Ref::from_schema_name("SegmentTarget").into())]))
            .into()
    }
}

impl ToSchema for To {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        fn with<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            schemas.push((T::name().into_owned(), T::schema()));
            T::schemas(schemas);
        }
        with::<TokenTarget>(schemas);
        with::<TopicTarget>(schemas);
        with::<ConditionTarget>(schemas);
        with::<InstallationTarget>(schemas);
        with::<ChannelTarget>(schemas);
        with::<SegmentTarget>(schemas);
    }
}
