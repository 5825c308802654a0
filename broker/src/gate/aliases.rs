//! Topic aliases on the way out (MQTT 5 §3.3.2.3.4): a client that allows them gets each of its topics once in full and
//! then by a number. The first few topics are all that a device has; they are never replaced.

use std::collections::HashMap;
use std::num::NonZeroU16;

use rmqtt_codec::types::Publish;

/// At most so many aliases, however many the client allows: they are memory of ours.
const MOST: u16 = 16;
/// A longer topic gets none.
const LONGEST_TOPIC: usize = 256;

/// The aliases that one client knows.
#[derive(Debug)]
pub(super) struct Aliases {
    maximum: u16,
    known: HashMap<Box<str>, NonZeroU16>,
}

/// What became of a message's topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// It stays as it is.
    InFull,
    /// It is replaced by an alias that the client knows.
    ByAlias,
    /// It carries an alias that the client learns from it, if it is sent: then [`Aliases::learned`] is due.
    Introduced(Box<str>, NonZeroU16),
}

impl Aliases {
    /// For a client that allows `maximum` aliases; `None` when it allows none.
    pub(super) fn new(maximum: u16) -> Option<Box<Self>> {
        (maximum > 0).then(|| Box::new(Self { maximum: maximum.min(MOST), known: HashMap::new() }))
    }

    /// Gives a message the alias of its topic, or introduces one.
    pub(super) fn name(&self, publish: &mut Publish) -> Named {
        let properties = publish.properties.get_or_insert_default();
        if let Some(alias) = self.known.get(&*publish.topic) {
            properties.topic_alias = Some(*alias);
            publish.topic = Default::default();
            return Named::ByAlias;
        }
        let next = u16::try_from(self.known.len() + 1).ok().filter(|next| *next <= self.maximum);
        match next.and_then(NonZeroU16::new) {
            Some(alias) if publish.topic.len() <= LONGEST_TOPIC => {
                properties.topic_alias = Some(alias);
                Named::Introduced((&*publish.topic).into(), alias)
            }
            _ => Named::InFull,
        }
    }

    /// The message that introduced an alias is on its way.
    pub(super) fn learned(&mut self, topic: Box<str>, alias: NonZeroU16) {
        self.known.insert(topic, alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmqtt_codec::types::QoS;

    fn message(topic: &str) -> Publish {
        Publish {
            dup: false,
            retain: false,
            qos: QoS::AtMostOnce,
            topic: topic.into(),
            packet_id: None,
            payload: Default::default(),
            properties: None,
        }
    }

    #[test]
    fn a_topic_is_introduced_once_and_only_when_it_was_sent() {
        let mut aliases = Aliases::new(1).unwrap();
        let mut first = message("a");
        let Named::Introduced(topic, alias) = aliases.name(&mut first) else { panic!("introduced") };
        assert_eq!((&*first.topic, first.properties.unwrap().topic_alias), ("a", Some(alias)));
        assert!(matches!(aliases.name(&mut message("a")), Named::Introduced(..)), "it was not sent");
        aliases.learned(topic, alias);
        let mut second = message("a");
        assert_eq!(aliases.name(&mut second), Named::ByAlias);
        assert_eq!((&*second.topic, second.properties.unwrap().topic_alias), ("", Some(alias)));
        assert_eq!(aliases.name(&mut message("b")), Named::InFull, "the client allows one");
    }

    #[test]
    fn a_client_that_allows_none_has_none() {
        assert!(Aliases::new(0).is_none());
    }
}
