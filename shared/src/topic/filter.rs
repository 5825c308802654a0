//! The form of topic names and topic filters, and which topics a filter matches (MQTT 5, section 4.7).

/// The longest topic name or filter, in bytes (MQTT 5, section 1.5.4).
pub const MAX_LENGTH: usize = 65_535;

/// A topic name is 1 to 65,535 bytes without NUL and wildcards (MQTT 5, 4.7.1 and 4.7.3).
#[must_use]
pub fn valid_topic(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= MAX_LENGTH && !topic.contains(['+', '#', '\0'])
}

/// A topic filter is 1 to 65,535 bytes without NUL; `+` fills a level, `#` fills the last (MQTT 5, 4.7.1).
#[must_use]
pub fn valid_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.len() > MAX_LENGTH || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        let fits = match level {
            "+" => true,
            "#" => last,
            _ => !level.contains(['+', '#']),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// A shared subscription's parts (MQTT 5, section 4.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedFilter<'a> {
    /// The group, when the filter began with `$share/GROUP/`.
    pub group: Option<&'a str>,
    /// The filter that topics are matched against.
    pub filter: &'a str,
}

/// Takes `$share/GROUP/` off a filter and checks what is left. `None` when the filter (or the group) is not valid.
#[must_use]
pub fn split_shared(filter: &str) -> Option<SharedFilter<'_>> {
    let parts = match filter.strip_prefix("$share/") {
        None if filter == "$share" => return None,
        None => SharedFilter { group: None, filter },
        Some(rest) => {
            let (group, filter) = rest.split_once('/')?;
            if group.is_empty() || group.contains(['+', '#']) {
                return None;
            }
            SharedFilter { group: Some(group), filter }
        }
    };
    valid_filter(parts.filter).then_some(parts)
}

/// The shared subscription of a group: `$share/GROUP/FILTER` (MQTT 5, section 4.8.2).
#[must_use]
pub fn shared_filter(group: &str, filter: &str) -> String {
    format!("$share/{group}/{filter}")
}

/// Whether `filter` matches `topic`. A wildcard in the first level matches no topic that begins with `$`
/// (MQTT 5, 4.7.2).
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    covers(filter, topic)
}

/// Whether every topic that `narrow` matches is matched by `wide` too.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    let mut narrow_levels = narrow.split('/');
    for level in wide.split('/') {
        if level == "#" {
            return true;
        }
        match narrow_levels.next() {
            None | Some("#") => return false,
            Some(other) => {
                if level != "+" && level != other {
                    return false;
                }
            }
        }
    }
    narrow_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matching_follows_the_examples_of_the_specification() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/x"),
            ("été", "été"),
        ] {
            assert!(matches(filter, topic), "{filter} should match {topic}");
        }
        for (filter, topic) in
            [("sport/+", "sport"), ("+", "/finance"), ("#", "$SYS/x"), ("+/x", "$SYS/x"), ("a", "a/b"), ("a/b", "a")]
        {
            assert!(!matches(filter, topic), "{filter} should not match {topic}");
        }
    }

    #[test]
    fn the_form_of_filters() {
        for good in ["#", "+", "a/#", "+/a", "/", "a//b", " "] {
            assert!(valid_filter(good), "{good}");
        }
        for bad in ["", "a#", "a/#/b", "a+", "+a/b", "#/", "\0"] {
            assert!(!valid_filter(bad), "{bad}");
        }
        assert_eq!(split_shared("$share/g/a/+"), Some(SharedFilter { group: Some("g"), filter: "a/+" }));
        for bad in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/#/a"] {
            assert_eq!(split_shared(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_grant_covers_what_is_narrower() {
        assert!(covers("room/#", "room/+/x"));
        assert!(covers("room/+", "room/5"));
        assert!(covers("room/#", "room/#"));
        assert!(!covers("room/+", "room/#"));
        assert!(!covers("room/5", "room/+"));
        assert!(!covers("room/+/x", "room/#"));
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("+".to_owned()), Just(String::new())]
    }

    proptest! {
        #[test]
        fn what_is_covered_is_matched(
            wide in proptest::collection::vec(level(), 1..4),
            narrow in proptest::collection::vec(level(), 1..4),
            topic in "[ab]?(/[ab]?){0,3}",
        ) {
            let (wide, narrow) = (wide.join("/"), narrow.join("/"));
            if !topic.is_empty() && covers(&wide, &narrow) && matches(&narrow, &topic) {
                prop_assert!(matches(&wide, &topic));
            }
        }

        #[test]
        fn no_text_panics(a: String, b: String) {
            let _ = (matches(&a, &b), covers(&a, &b), split_shared(&a), valid_filter(&a), valid_topic(&b));
        }
    }
}
