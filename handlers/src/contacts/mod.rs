//! Contacts between users: asking, accepting, listing.
//!
//! | a device publishes to | with | then |
//! |---|---|---|
//! | `request_contact` | whom it asks | the target gets `<target>_contact_requested` |
//! | `accept_contact` | whose request it accepts | the requesting user gets `<requesting user>_contact_approved` |
//! | `get_contact_list` | anything | it gets `<user>_contact_list` |
//!
//! A payload names the other user as `{"user":"23412"}`, or in the other ways of [`party`]. What is published names the
//! other user too: `{"user":"68946","at":1767225600000}` (ms since 1970, UTC). The list is described at [`list`].
//!
//! # What happens in the corners
//!
//! - **The same request again**: stored once, with the time of the first; the target hears of it again.
//! - **Both ask each other**: they are contacts at once, and both get `contact_approved`.
//! - **They are contacts already**: the requesting user gets `contact_approved` again, the target hears nothing.
//! - **Any id can be asked**: whether a user exists is not known here and cannot be found out.
//! - **Accepting again** what was accepted: the requesting user gets `contact_approved` again.
//! - **Accepting without a request** to the accepting user, also when it was made to somebody else: refused, the same
//!   for each reason.
//!
//! A refusal is published to `<user>_contact_error`:
//! `{"error":{"code":"…","message":"…"},"topic":"accept_contact","user":"23412","message_id":"…"}`.
//!
//! | code | meaning |
//! |---|---|
//! | `payload_invalid` | the payload names no user (the message is kept as a dead letter, too) |
//! | `contact_self` | nobody can be their own contact |
//! | `contact_request_missing` | this user has not asked you |
//! | `contact_limit` | the sender has as many contacts or open requests as is allowed |

mod accept;
pub mod list;
pub mod party;
mod refusal;
mod request;
mod store;

use serde::Serialize;
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::storage::Database;
use tidings_shared::topic::names;

use crate::runtime::Router;

/// What the contacts handlers need.
#[derive(Clone, Debug)]
pub struct Contacts {
    /// Where contacts are kept.
    pub database: Database,
    /// The time of requests and approvals.
    pub clock: Clock,
    /// How many there may be.
    pub limits: Limits,
}

/// How many contacts and requests a user may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most contacts of a user.
    pub contacts: i64,
    /// Most open requests that a user has made.
    pub requests: i64,
}

/// The routes of this room.
#[must_use]
pub fn router() -> Router<Contacts> {
    Router::new()
        .topic(names::REQUEST_CONTACT, request::request_contact)
        .topic(names::ACCEPT_CONTACT, accept::accept_contact)
        .topic(names::GET_CONTACT_LIST, list::get_contact_list)
}

/// What is published about the other user.
#[derive(Debug, Serialize)]
struct About<'a> {
    user: &'a UserId,
    at: i64,
}

#[cfg(test)]
mod tests;
