//! Templates: the texts of a notification in several languages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Provider;

/// Body of `PUT /v1/templates/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The language (BCP 47) of devices whose own is not among `locales`, or not known.
    pub default_locale: String,
    /// For each language (BCP 47) a Fluent resource (projectfluent.org). Its messages are fields of an alert: `title` (required),
    /// `body` and others whose value is a text; the attributes of the message `data` are entries of the alert's `data`.
    /// Terms (`-brand`) may be used by them.
    pub locales: BTreeMap<String, String>,
    /// Further fields of the alert, the same in every language.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = BTreeMap<String, Value>)]
    pub push: Map<String, Value>,
}

/// Answer of `PUT` and `GET /v1/templates/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NamedTemplate {
    /// Its name.
    pub name: String,
    /// Its content.
    #[serde(flatten)]
    pub template: Template,
    /// What the texts want to be told: the names of their variables, in order.
    pub params: Vec<String>,
    /// Grows with each change.
    pub revision: i64,
    /// When it was last changed (ms since 1970).
    pub updated_at_ms: i64,
}

/// Answer of `GET /v1/templates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Templates {
    /// The names, in order.
    pub templates: Vec<String>,
}

/// Body of `POST /v1/templates/{name}/preview`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewTemplate {
    /// The language of the device (BCP 47); the template's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Texts, numbers, true or false for the template's variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
}

/// Answer of `POST /v1/templates/{name}/preview`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// The language that such a device gets.
    pub locale: String,
    /// What was looked for, in order: the device's language, what is near it, the default.
    pub tried: Vec<String>,
    /// The push in that language.
    #[schema(value_type = Object)]
    pub push: Value,
    /// What each provider gets.
    pub providers: Vec<ProviderPreview>,
}

/// What one provider gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProviderPreview {
    /// Which.
    pub provider: Provider,
    /// The provider's own form of the push, less the token.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// How large the part is that the provider's limit counts, in bytes.
    pub bytes: usize,
    /// Why this provider would not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
