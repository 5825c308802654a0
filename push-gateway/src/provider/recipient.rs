//! Whom a push is for, in the text form that the queue stores. A bare text is a push token. The other forms begin with
//! a word and a colon, which no token of their provider can: `fid:ID`, `topic:NAME`, `condition:EXPRESSION` (FCM) and
//! `channel:ID` (APNs).

use tidings_shared::push_api::Provider;

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// A push token; for Web Push the subscription.
    Token(&'a str),
    /// FCM: a Firebase installation id.
    Installation(&'a str),
    /// FCM: a topic.
    Topic(&'a str),
    /// FCM: a combination of topics.
    Condition(&'a str),
    /// APNs: a broadcast channel.
    Channel(&'a str),
}

impl<'a> Recipient<'a> {
    /// Reads the stored form.
    #[must_use]
    pub fn read(provider: Provider, text: &'a str) -> Self {
        match (provider, text.split_once(':')) {
            (Provider::Fcm, Some(("fid", id))) => Self::Installation(id),
            (Provider::Fcm, Some(("topic", name))) => Self::Topic(name),
            (Provider::Fcm, Some(("condition", expression))) => Self::Condition(expression),
            (Provider::Apns, Some(("channel", id))) => Self::Channel(id),
            _ => Self::Token(text),
        }
    }

    /// The stored form.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Token(token) => (*token).to_owned(),
            Self::Installation(id) => format!("fid:{id}"),
            Self::Topic(name) => format!("topic:{name}"),
            Self::Condition(expression) => format!("condition:{expression}"),
            Self::Channel(id) => format!("channel:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_back_and_only_at_its_provider() {
        for (provider, recipient) in [
            (Provider::Apns, Recipient::Token("aabb")),
            (Provider::Apns, Recipient::Channel("c29t+/==")),
            (Provider::Fcm, Recipient::Token("dGVzdA:APA91b_-")),
            (Provider::Fcm, Recipient::Installation("cFq2")),
            (Provider::Fcm, Recipient::Topic("news")),
            (Provider::Fcm, Recipient::Condition("'a:b' in topics")),
            (Provider::WebPush, Recipient::Token("{\"endpoint\":\"https://x\"}")),
        ] {
            assert_eq!(Recipient::read(provider, &recipient.text()), recipient);
        }
        assert_eq!(Recipient::read(Provider::Apns, "topic:news"), Recipient::Token("topic:news"));
    }
}
