//! `get_contact_list`: everything that a user may know about their contacts, on `<user>_contact_list`:
//!
//! ```json
//! {
//!   "contacts": [{"user": "23412", "since": 1767225600000}],
//!   "requests_in": [{"user": "77", "at": 1767225500000}],
//!   "requests_out": [{"user": "99", "at": 1767225400000}],
//!   "at": 1767225700000
//! }
//! ```
//!
//! Each part is sorted by the user id, bytewise. `requests_in` are those that the user may accept; when there are very
//! many (see `handlers.contacts.max_requests`), the oldest are shown, and `requests_in_total` says how many there are.

use serde::Serialize;
use tidings_shared::identity::UserId;
use tidings_shared::topic::names;

use super::{Contacts, store};
use crate::runtime::{HandlerError, Reply, Sender, State};

/// What is published.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContactList {
    /// The user's contacts.
    pub contacts: Vec<Contact>,
    /// Whom the user may accept.
    pub requests_in: Vec<Pending>,
    /// Whom the user has asked.
    pub requests_out: Vec<Pending>,
    /// How many requests there are when not all are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_in_total: Option<usize>,
    /// When the list was made (ms since 1970, UTC).
    pub at: i64,
}

/// A contact.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// Who it is.
    pub user: UserId,
    /// Since when (ms since 1970, UTC).
    pub since: i64,
}

/// A request that nobody has accepted yet.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The other user.
    pub user: UserId,
    /// When it was made (ms since 1970, UTC).
    pub at: i64,
}

pub(super) async fn get_contact_list(
    Sender { user, .. }: Sender,
    State(contacts): State<Contacts>,
) -> Result<Reply, HandlerError> {
    let mut list = store::list(&contacts.database, &user).await?;
    list.at = contacts.clock.now_ms();
    let most = usize::try_from(contacts.limits.requests).unwrap_or(usize::MAX);
    if list.requests_in.len() > most {
        list.requests_in_total = Some(list.requests_in.len());
        list.requests_in.sort_by_key(|request| request.at);
        list.requests_in.truncate(most);
    }
    list.contacts.sort_by(|a, b| a.user.cmp(&b.user));
    list.requests_in.sort_by(|a, b| a.user.cmp(&b.user));
    list.requests_out.sort_by(|a, b| a.user.cmp(&b.user));
    Ok(Reply::json(names::CONTACT_LIST, &list))
}
