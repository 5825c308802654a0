//! The push providers: how a push is put into each one's words, and what each one's answer means for us.
//! Nothing outside this room knows a provider's protocol. No database, no queue: a push goes in, an
//! [`Answer`] comes out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidings_shared::push_api::{Environment, Push};

pub mod apns;
mod dial;
pub mod fcm;
pub(crate) mod handover;
mod payload;
mod preview;
mod recipient;
mod retry_after;
pub mod webpush;

#[cfg(test)]
pub(crate) use payload::check;
pub use payload::{Refusal, WakeStyle};
pub(crate) use preview::preview;
pub use recipient::Recipient;

/// One app at one provider: credentials, addresses, connections.
pub trait PushProvider: Send + Sync + std::fmt::Debug {
    /// Hands one push over and says what came of it; signs anew by itself, and otherwise tries once.
    /// Dropping the future gives the attempt up: the provider may have taken the push all the same.
    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Answer>;

    /// Refuses what the provider would refuse for its form, before it is stored.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what is allowed.
    fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal>;

    /// Whether it has an address for this environment.
    fn serves(&self, environment: Environment) -> bool;

    /// Refuses an addressee (in the form of [`Recipient`]) that the provider would refuse, or that this push cannot go
    /// to.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what is allowed.
    fn check_recipient(&self, _recipient: &str, _push: &Push) -> Result<(), Refusal> {
        Ok(())
    }

    /// The provider's own verdict on a push that is not delivered; `None` where it has no way to ask.
    fn validate<'a>(&'a self, _message: &'a Message) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(std::future::ready(None))
    }
}

impl PushProvider for apns::Apns {
    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Answer> {
        Box::pin(self.send(message))
    }

    fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        self.check(push, collapse_id)
    }

    fn serves(&self, environment: Environment) -> bool {
        self.serves(environment)
    }

    fn check_recipient(&self, recipient: &str, push: &Push) -> Result<(), Refusal> {
        self.check_recipient(recipient, push)
    }
}

impl PushProvider for fcm::Fcm {
    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Answer> {
        Box::pin(self.send(message))
    }

    fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        self.check(push, collapse_id)
    }

    fn serves(&self, environment: Environment) -> bool {
        environment == Environment::Production
    }

    fn check_recipient(&self, recipient: &str, _push: &Push) -> Result<(), Refusal> {
        fcm::check_recipient(recipient)
    }

    fn validate<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async move { Some(self.validate(message).await) })
    }
}

impl PushProvider for webpush::WebPush {
    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Answer> {
        Box::pin(self.send(message))
    }

    fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        self.check(push, collapse_id)
    }

    fn serves(&self, environment: Environment) -> bool {
        environment == Environment::Production
    }

    fn check_recipient(&self, recipient: &str, _push: &Push) -> Result<(), Refusal> {
        self.check_recipient(recipient)
    }
}

/// One push for one push token.
#[derive(Clone, Debug)]
pub struct Message {
    /// A UUID in text form; APNs sees it as `apns-id`, the same on every attempt.
    pub id: String,
    /// The push token or registration token, or another addressee in the form of [`Recipient`].
    pub token: String,
    /// APNs: which world the token is thought to belong to.
    pub environment: Environment,
    /// When the token was last confirmed (ms since 1970), where that is known.
    pub registered_at_ms: Option<i64>,
    /// What is sent.
    pub push: Arc<Push>,
    /// A later push with the same id replaces this one on the phone.
    pub collapse_id: Option<String>,
    /// After this time (ms since 1970) it is not worth delivering.
    pub expires_at_ms: i64,
}

/// What a provider said, or why it said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What to do.
    pub outcome: Outcome,
    /// The HTTP status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The provider's own word, or ours (`timeout`, `connection_cut`, …) when there was no answer.
    pub reason: Option<String>,
    /// The provider's name for the push.
    pub provider_id: Option<String>,
}

impl Answer {
    fn accepted(status: u16, provider_id: Option<String>) -> Self {
        Self { outcome: Outcome::Accepted, status: Some(status), reason: None, provider_id }
    }

    fn without_status(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, status: None, reason: Some(reason.into()), provider_id: None }
    }
}

/// What an answer means for the push. The tables of both providers end here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider has it.
    Accepted,
    /// It will never be taken.
    Dead,
    /// It will never be taken, and the token is gone.
    DropToken(TokenGone),
    /// The token may belong to the other environment, which has not been tried: once, at once.
    OtherEnvironment,
    /// Try again later.
    Retry(Retry),
    /// The app's credentials are refused: nothing of this app is sent until that is repaired; the push stays queued.
    Pause,
    /// Our provider or access token is out of date: once, with a new one.
    SignAnew,
    /// The token is one of another project: the push will never be taken, which says nothing about the credentials. No
    /// provider says so; it is found out from several answers.
    ForeignToken,
}

/// How sure it is that a token is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenGone {
    /// APNs: it was gone at that time (ms since 1970). A registration after it is good.
    At(i64),
    /// The token as it was sent is gone; a registration that has changed since is good.
    Now,
}

/// How a push is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// What the provider asked for: not before this time has passed.
    pub after: Option<Duration>,
    /// The push was handed over and no answer came: it may have been taken.
    pub maybe_taken: bool,
    /// The provider was not reached: this says nothing about the push, so it is tried as long as it is worth it.
    pub unreached: bool,
    /// It says nothing about other pushes: our own pace, or one push service among many.
    pub isolated: bool,
}

impl Retry {
    pub(crate) fn after(time: Duration) -> Outcome {
        Outcome::Retry(Self { after: Some(time), ..Self::default() })
    }

    pub(crate) fn soon() -> Outcome {
        Outcome::Retry(Self::default())
    }

    pub(crate) fn unreached() -> Outcome {
        Outcome::Retry(Self { unreached: true, ..Self::default() })
    }

    pub(crate) fn unanswered() -> Outcome {
        Outcome::Retry(Self { maybe_taken: true, unreached: true, ..Self::default() })
    }
}
