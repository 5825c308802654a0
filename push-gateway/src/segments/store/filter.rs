//! An expression as a condition on `push_devices d`. Values are bound, never written into the text.

use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use tidings_shared::push_api::{Seen, VersionRange, Where};

use crate::devices::describe::version_key;
use crate::segments::span_ms;

/// When a device was last heard of.
const SEEN: &str = "(CASE WHEN d.returned_at > d.registered_at THEN d.returned_at ELSE d.registered_at END)";

/// A condition and what is bound to it.
pub(super) struct Filter {
    /// In parentheses.
    pub(super) sql: String,
    values: Vec<Value>,
    first: usize,
    now_ms: i64,
}

enum Value {
    Text(String),
    Number(i64),
}

impl Filter {
    /// The condition of a checked expression; its placeholders begin with `$first`.
    pub(super) fn new(filter: &Where, now_ms: i64, first: usize) -> Self {
        let mut built = Self { sql: String::new(), values: Vec::new(), first, now_ms };
        built.sql = built.condition(filter);
        built
    }

    /// Binds the values, behind what was bound before.
    pub(super) fn bind<'q>(self, query: Query<'q, Any, AnyArguments>) -> Query<'q, Any, AnyArguments> {
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
        })
    }

    fn text(&mut self, value: impl Into<String>) -> String {
        self.place(Value::Text(value.into()))
    }

    fn place(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.first + self.values.len() - 1)
    }

    /// Never NULL, so that `NOT` is the opposite.
    fn condition(&mut self, filter: &Where) -> String {
        match filter {
            Where::All(filters) => self.joined(filters, " AND ", "(1 = 1)"),
            Where::Any(filters) => self.joined(filters, " OR ", "(1 = 0)"),
            Where::Not(filter) => format!("(NOT {})", self.condition(filter)),
            Where::Tag(tag) => {
                let tag = self.text(tag);
                format!("EXISTS (SELECT 1 FROM push_device_tags t WHERE t.device_id = d.id AND t.tag = {tag})")
            }
            Where::App(app) => format!("(d.app = {})", self.text(app)),
            Where::Provider(provider) => format!("(d.provider = {})", self.text(provider.as_str())),
            Where::Environment(environment) => format!("(d.environment = {})", self.text(environment.as_str())),
            Where::Locale(locale) => {
                let (exact, below) = (self.text(locale), self.text(format!("{locale}-%")));
                format!("(d.locale IS NOT NULL AND (d.locale = {exact} OR d.locale LIKE {below}))")
            }
            Where::TimeZone(zone) => format!("(d.time_zone IS NOT NULL AND d.time_zone = {})", self.text(zone)),
            Where::Version(range) => self.version(range),
            Where::Seen(seen) => self.seen(seen),
        }
    }

    fn joined(&mut self, filters: &[Where], with: &str, none: &str) -> String {
        if filters.is_empty() {
            return none.to_owned();
        }
        let parts: Vec<_> = filters.iter().map(|filter| self.condition(filter)).collect();
        format!("({})", parts.join(with))
    }

    fn version(&mut self, range: &VersionRange) -> String {
        let mut parts = Vec::new();
        if let Some(is) = &range.is {
            let (column, value) = match version_key(is) {
                Some(key) => ("d.version_key", key),
                None => ("d.version", is.clone()),
            };
            parts.push(format!("({column} IS NOT NULL AND {column} = {})", self.text(value)));
        }
        for (bound, comparison) in [(&range.from, ">="), (&range.below, "<")] {
            if let Some(key) = bound.as_deref().and_then(version_key) {
                let key = self.text(key);
                parts.push(format!("(d.version_key IS NOT NULL AND d.version_key {comparison} {key})"));
            }
        }
        format!("({})", parts.join(" AND "))
    }

    fn seen(&mut self, seen: &Seen) -> String {
        let mut parts = Vec::new();
        for (bound, comparison) in [(&seen.within, ">="), (&seen.not_within, "<")] {
            // What cannot be read was refused before it was stored.
            if let Some(span) = bound.as_deref().and_then(|bound| span_ms(bound).ok()) {
                let since = self.place(Value::Number(self.now_ms.saturating_sub(span)));
                parts.push(format!("({SEEN} {comparison} {since})"));
            }
        }
        format!("({})", parts.join(" AND "))
    }
}
