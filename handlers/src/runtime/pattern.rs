//! Which topics a route takes: an MQTT topic filter whose levels may have names.

use std::cmp::Ordering;
use std::fmt;

use tidings_shared::topic;

use super::message::Captures;

/// A topic, a filter with wildcards, or a filter with named levels: `a/b`, `a/+/b`, `a/#`, `a/{name}/b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    filter: String,
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    One { name: Option<String> },
    Rest,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no topic pattern: {why}")]
pub struct InvalidPattern {
    pattern: String,
    why: String,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let wrong = |why: String| InvalidPattern { pattern: text.to_owned(), why };
        let mut levels = Vec::new();
        let mut names = Vec::new();
        for part in text.split('/') {
            levels.push(match part {
                "+" => Level::One { name: None },
                "#" => Level::Rest,
                _ => match named(part) {
                    Some(name) if name.is_empty() || names.contains(&name) => {
                        return Err(wrong(format!("the name in {part} is empty or used twice")));
                    }
                    Some(name) => {
                        names.push(name);
                        Level::One { name: Some(name.to_owned()) }
                    }
                    None if part.contains(['{', '}']) => {
                        return Err(wrong(format!(
                            "a name stands alone between slashes, for example a/{{name}}/b; found {part:?}"
                        )));
                    }
                    None => Level::Literal(part.to_owned()),
                },
            });
        }
        let filter = levels.iter().map(Level::in_filter).collect::<Vec<_>>().join("/");
        if !topic::valid_filter(&filter) {
            return Err(wrong(
                "a filter has 1 to 65,535 bytes, '+' stands alone between slashes, '#' alone at the end".to_owned(),
            ));
        }
        if topic::split_shared(&filter).is_some_and(|parts| parts.group.is_some()) {
            return Err(wrong("the runtime makes it a shared subscription itself (setting handlers.group)".to_owned()));
        }
        Ok(Self { text: text.to_owned(), filter, levels })
    }

    /// The MQTT topic filter.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The parts of `topic` that have a name here, when it matches.
    #[must_use]
    pub fn matches(&self, topic: &str) -> Option<Captures> {
        if !topic::matches(&self.filter, topic) {
            return None;
        }
        let captured = self.levels.iter().zip(topic.split('/')).filter_map(|(level, part)| match level {
            Level::One { name: Some(name) } => Some((name.clone(), part.to_owned())),
            _ => None,
        });
        Some(Captures(captured.collect()))
    }

    /// The pattern that says more comes first: at the first level that differs, a literal before `+`, and that before `#`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let mut levels = self.levels.iter().zip(&other.levels).map(|(a, b)| a.rank().cmp(&b.rank()));
        levels.find(|order| order.is_ne()).unwrap_or_else(|| other.levels.len().cmp(&self.levels.len()))
    }
}

impl Level {
    fn in_filter(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::One { .. } => "+",
            Self::Rest => "#",
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::One { .. } => 1,
            Self::Rest => 2,
        }
    }
}

fn named(part: &str) -> Option<&str> {
    let name = part.strip_prefix('{')?.strip_suffix('}')?;
    (!name.contains(['{', '}'])).then_some(name)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn named_levels_are_captured() {
        let pattern = pattern("orders/{order}/items/{item}/#");
        assert_eq!(pattern.filter(), "orders/+/items/+/#");
        let captures = pattern.matches("orders/7/items/ab/c/d").unwrap();
        assert_eq!((captures.get("order"), captures.parse::<u8>("order")), (Some("7"), Some(7)));
        assert_eq!((captures.get("item"), captures.get("else")), (Some("ab"), None));
        assert!(pattern.matches("orders/7/item/ab").is_none());
    }

    #[test]
    fn the_pattern_that_says_more_comes_first() {
        let mut patterns = ["#", "a/#", "a/+", "+/b", "a/b", "a/+/c"].map(pattern);
        patterns.sort_by(Pattern::compare);
        let order: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        assert_eq!(order, ["a/b", "a/+/c", "a/+", "a/#", "+/b", "#"]);
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for (text, word) in [
            ("", "bytes"),
            ("a/#/b", "alone at the end"),
            ("a+", "alone"),
            ("a/{x}y", "found \"{x}y\""),
            ("a/{}", "empty"),
            ("{x}/{x}", "twice"),
            ("$share/g/a", "handlers.group"),
        ] {
            let error = Pattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
