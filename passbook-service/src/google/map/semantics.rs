//! Semantic tags: what a machine can read of a pass. They stand at the top of `pass.json` and beside single fields.

use serde_json::{Map, Value};

/// The tags of a pass.
pub(super) struct Semantics<'a>(Vec<&'a Map<String, Value>>);

impl<'a> Semantics<'a> {
    /// Those of the pass itself first, then those of its fields.
    pub(super) fn of(pass: &'a Map<String, Value>, content: &'a Map<String, Value>) -> Self {
        let own = pass.get("semantics").and_then(Value::as_object);
        let of_fields = content
            .values()
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(|field| field.get("semantics").and_then(Value::as_object));
        Self(own.into_iter().chain(of_fields).collect())
    }

    /// A tag.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.iter().find_map(|tags| tags.get(name))
    }

    /// A tag as text; numbers too.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The first of these tags that is there.
    pub(super) fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    /// A person's name (`PersonNameComponents`) as one text.
    pub(super) fn person(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Object(parts) => {
                let parts: Vec<&str> = ["givenName", "middleName", "familyName"]
                    .iter()
                    .filter_map(|part| parts.get(*part).and_then(Value::as_str))
                    .collect();
                (!parts.is_empty()).then(|| parts.join(" "))
            }
            _ => None,
        }
    }

    /// A part of the first seat.
    pub(super) fn seat(&self, part: &str) -> Option<String> {
        let seat = self.get("seats")?.as_array()?.first()?;
        seat.get(part)?.as_str().map(str::to_owned)
    }
}

/// `2026-04-30T18:05+02:00` as the local time there, which is what Google wants of a flight: `2026-04-30T18:05:00`.
pub(super) fn local_time(text: &str) -> Option<String> {
    let (day, rest) = (text.get(..10)?, text.get(11..)?);
    let clock = rest.get(..5)?;
    let seconds = rest.get(5..8).filter(|part| part.starts_with(':') && part[1..].bytes().all(|b| b.is_ascii_digit()));
    Some(format!("{day}T{clock}{}", seconds.unwrap_or(":00")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tags_are_found_at_the_top_and_beside_fields() {
        let pass = json!({"semantics": {"eventName": "Finals"}});
        let content = json!({"primaryFields": [{"key": "x", "semantics": {"flightNumber": 123, "passengerName": {"givenName": "Ada", "familyName": "L"}}}]});
        let semantics = Semantics::of(pass.as_object().unwrap(), content.as_object().unwrap());
        assert_eq!(semantics.text("eventName").as_deref(), Some("Finals"));
        assert_eq!(semantics.text("flightNumber").as_deref(), Some("123"));
        assert_eq!(semantics.person("passengerName").as_deref(), Some("Ada L"));
        assert_eq!(semantics.text("gate"), None);
    }

    #[test]
    fn times_become_local() {
        assert_eq!(local_time("2026-04-30T18:05+02:00").as_deref(), Some("2026-04-30T18:05:00"));
        assert_eq!(local_time("2026-04-30T18:05:09Z").as_deref(), Some("2026-04-30T18:05:09"));
        assert_eq!(local_time("soon"), None);
    }
}
