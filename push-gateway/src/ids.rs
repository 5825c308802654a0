//! Names for registrations, notifications and targets: UUIDv7, so that they sort by time.

use tidings_shared::clock::Clock;
use tidings_shared::message_id::MessageId;

/// Makes names. Time is passed in; the random part only has to be different every time.
#[derive(Clone, Debug)]
pub(crate) struct Ids(Clock);

impl Ids {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(clock)
    }

    /// A UUID in its text form.
    pub(crate) fn next(&self) -> String {
        MessageId::from_parts(self.0.now_ms(), rand::random()).to_string()
    }
}
