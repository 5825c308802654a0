//! From a template and its variables to pushes.

use std::collections::BTreeMap;

use fluent_bundle::{FluentArgs, FluentValue};
use serde_json::{Map, Value};
use tidings_shared::push_api::Push;

use super::Localized;
use super::compile::{Compiled, DATA, Texts};

/// Larger whole numbers are not exact as Fluent's numbers and are shown as texts.
const EXACT: u64 = 1 << 53;

/// Why a template cannot be rendered with these variables, for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unrenderable {
    #[error("`params` has no {0}, which the template wants")]
    Missing(String),
    #[error("`params` has \"{0}\", which the template does not know; it wants: {1}")]
    Unknown(String, String),
    #[error("the param \"{0}\" is neither a text nor a number nor true or false")]
    Kind(String),
    #[error("the text of {0} cannot be made: {1}")]
    Text(String, String),
}

impl Compiled {
    /// Every language's push.
    pub(crate) fn render(&self, params: &BTreeMap<String, Value>) -> Result<Localized, Unrenderable> {
        let arguments = self.arguments(params)?;
        let mut pushes = BTreeMap::new();
        for (locale, texts) in &self.locales {
            pushes.insert(locale.clone(), self.push(locale, texts, &arguments)?);
        }
        let default = self.locales.get(&self.default).ok_or_else(|| no_default(&self.default))?;
        Ok(Localized { default: self.push(&self.default, default, &arguments)?, pushes })
    }

    /// The push for a device of this language: the language that it gets, what was tried, and the push.
    pub(crate) fn render_for(
        &self,
        locale: Option<&str>,
        params: &BTreeMap<String, Value>,
    ) -> Result<(String, Vec<String>, Push), Unrenderable> {
        let arguments = self.arguments(params)?;
        let (chosen, tried) = super::choose(locale, self.locales.keys().map(String::as_str), &self.default);
        let texts = self.locales.get(&chosen).ok_or_else(|| no_default(&chosen))?;
        let push = self.push(&chosen, texts, &arguments)?;
        Ok((chosen, tried, push))
    }

    /// Renders every language with something in each variable; gives what went wrong.
    pub(super) fn try_out(&self) -> Vec<String> {
        let mut arguments = FluentArgs::new();
        for name in self.params() {
            arguments.set(name, FluentValue::from("1"));
        }
        let tried = self.locales.iter().map(|(locale, texts)| self.push(locale, texts, &arguments));
        tried.filter_map(Result::err).map(|error| error.to_string()).collect()
    }

    fn arguments(&self, params: &BTreeMap<String, Value>) -> Result<FluentArgs<'static>, Unrenderable> {
        let names = self.params();
        if let Some(missing) = names.iter().find(|name| !params.contains_key(*name)) {
            return Err(Unrenderable::Missing(format!("\"{missing}\"")));
        }
        let mut arguments = FluentArgs::with_capacity(params.len());
        for (name, value) in params {
            if !self.knows(name) {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(Unrenderable::Unknown(name.clone(), known));
            }
            let value = match value {
                Value::String(text) => FluentValue::from(text.clone()),
                Value::Bool(flag) => FluentValue::from(flag.to_string()),
                Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(whole), _) if whole.unsigned_abs() > EXACT => FluentValue::from(whole.to_string()),
                    (Some(whole), _) => FluentValue::from(whole),
                    (None, Some(float)) if float.abs() <= 9_007_199_254_740_992.0 => FluentValue::from(float),
                    _ => FluentValue::from(number.to_string()),
                },
                Value::Null | Value::Array(_) | Value::Object(_) => return Err(Unrenderable::Kind(name.clone())),
            };
            arguments.set(name.clone(), value);
        }
        Ok(arguments)
    }

    fn push(&self, locale: &str, texts: &Texts, arguments: &FluentArgs<'_>) -> Result<Push, Unrenderable> {
        let failed = |message: &str, why: String| Unrenderable::Text(format!("`{message}` in {locale}"), why);
        let mut push = self.push.clone();
        push.insert("kind".to_owned(), Value::from("alert"));
        let format = |pattern, name: &str| {
            let mut errors = Vec::new();
            let text = texts.bundle.format_pattern(pattern, Some(arguments), &mut errors).into_owned();
            match errors.first() {
                None => Ok(Value::from(text)),
                Some(error) => Err(failed(name, error.to_string())),
            }
        };
        for field in &texts.fields {
            let message = texts.bundle.get_message(field);
            if let Some(pattern) = message.as_ref().and_then(fluent_bundle::FluentMessage::value) {
                push.insert(field.replace('-', "_"), format(pattern, field)?);
            }
        }
        if texts.has_data
            && let Some(message) = texts.bundle.get_message(DATA)
        {
            let mut data = match push.remove(DATA) {
                Some(Value::Object(data)) => data,
                _ => Map::new(),
            };
            for attribute in message.attributes() {
                data.insert(attribute.id().to_owned(), format(attribute.value(), DATA)?);
            }
            push.insert(DATA.to_owned(), Value::Object(data));
        }
        serde_json::from_value(Value::Object(push)).map_err(|error| failed("push", error.to_string()))
    }
}

fn no_default(locale: &str) -> Unrenderable {
    Unrenderable::Text(format!("`title` in {locale}"), "there is no such language".to_owned())
}
