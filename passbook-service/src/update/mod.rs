//! Changes of passes, from the call that makes one to the push that announces it.
//!
//! [`Passes`] commits a change together with a row in an outbox. The [`sequencer`] gives tags to committed changes
//! and, in the same transaction, notes which devices are to hear of it. The [`pusher`] hands those to the
//! push-gateway. So a push is never sent before its change is listed, and a change never listed before it is there.

mod change;
mod diff;
mod jobs;
mod passes;
pub mod pusher;
pub mod sequencer;
mod sweep;
mod tag;

pub use change::{ChangeError, Changed, Create, Created, Patch, Prepared};
pub use diff::{Difference, differences};
pub use jobs::Jobs;
pub use passes::Passes;
pub(crate) use pusher::{LONGEST_COLLAPSE_ID, is_push_token};
pub use sweep::keep_current;
pub use tag::{Since, since, tag_text};
