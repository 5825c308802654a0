//! The fields of one of gorush's notifications, each with its type.

use serde_json::{Map, Value};

/// See the head of this file.
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn of(notification: &'a Value) -> Result<Self, String> {
        notification.as_object().map(Self).ok_or_else(|| "a notification is an object".to_owned())
    }

    /// The field, unless it is what Go leaves out.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.typed(name, "a text", Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        Ok(self.typed(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, String> {
        self.typed(name, "a whole number", Value::as_i64)
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f64>, String> {
        self.typed(name, "a number", Value::as_f64)
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, String> {
        self.typed(name, "an object", Value::as_object)
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a Vec<Value>>, String> {
        self.typed(name, "a list", Value::as_array)
    }

    pub(super) fn any(&self, name: &str) -> Option<&'a Value> {
        self.get(name)
    }

    /// `tokens` and `to`.
    pub(super) fn tokens(&self) -> Result<Vec<&'a str>, String> {
        let listed = self.list("tokens")?.into_iter().flatten();
        let listed = listed.map(|token| token.as_str().ok_or_else(|| "`tokens` is a list of texts".to_owned()));
        let mut tokens = listed.collect::<Result<Vec<_>, _>>()?;
        tokens.extend(self.text("to")?);
        Ok(tokens)
    }

    fn typed<T>(&self, name: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| format!("`{name}` is {kind}; found {value}")),
        }
    }
}
