//! Contacts in the database: one row for a pair of users, so that a contact is never one-sided and two requests that
//! cross each other meet in the same row.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use tidings_shared::identity::UserId;
use tidings_shared::storage::{Database, StorageError};

use super::list::{Contact, ContactList, Pending};

/// What is between two users, seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// One has asked; perhaps the other has, too.
    Asked { at: i64, asked_back: bool },
    /// They are contacts; `asked` says whether the one had asked for it.
    Contacts { since: i64, asked: bool },
}

/// How many a user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) contacts: i64,
    pub(super) requests: i64,
}

/// `one` asks `other`. Gives back what is between them now, as `one` sees it.
pub(super) async fn ask(
    connection: &mut AnyConnection,
    one: &UserId,
    other: &UserId,
    now_ms: i64,
) -> Result<Relation, StorageError> {
    let (low, high) = ordered(one, other);
    let (low_asked, high_asked) = if one == low { (Some(now_ms), None) } else { (None, Some(now_ms)) };
    let row = sqlx::query(
        "INSERT INTO handlers_contacts (low, high, low_asked_at_ms, high_asked_at_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (low, high) DO UPDATE SET
           low_asked_at_ms = CASE WHEN handlers_contacts.since_ms IS NULL
             THEN COALESCE(handlers_contacts.low_asked_at_ms, excluded.low_asked_at_ms) ELSE handlers_contacts.low_asked_at_ms END,
           high_asked_at_ms = CASE WHEN handlers_contacts.since_ms IS NULL
             THEN COALESCE(handlers_contacts.high_asked_at_ms, excluded.high_asked_at_ms) ELSE handlers_contacts.high_asked_at_ms END
         RETURNING low, high, low_asked_at_ms, high_asked_at_ms, since_ms",
    )
    .bind(low.as_str())
    .bind(high.as_str())
    .bind(low_asked)
    .bind(high_asked)
    .fetch_one(connection)
    .await?;
    Pair::read(&row)?
        .seen_by(one)
        .ok_or_else(|| StorageError::Corrupt(format!("the request of {one} to {other} was not stored")))
}

/// What is between two users, as `one` sees it; `None` when `one` has asked nothing and they are no contacts. The row
/// stays as it is until the transaction ends.
pub(super) async fn relation(
    connection: &mut AnyConnection,
    one: &UserId,
    other: &UserId,
) -> Result<Option<Relation>, StorageError> {
    let (low, high) = ordered(one, other);
    // An update that changes nothing holds the row on both databases.
    let row = sqlx::query(
        "UPDATE handlers_contacts SET low = low WHERE low = $1 AND high = $2
         RETURNING low, high, low_asked_at_ms, high_asked_at_ms, since_ms",
    )
    .bind(low.as_str())
    .bind(high.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.as_ref().map(Pair::read).transpose()?.and_then(|pair| pair.seen_by(one)))
}

/// Both are contacts of each other from now on.
pub(super) async fn become_contacts(
    connection: &mut AnyConnection,
    one: &UserId,
    other: &UserId,
    now_ms: i64,
) -> Result<(), StorageError> {
    let (low, high) = ordered(one, other);
    sqlx::query("UPDATE handlers_contacts SET since_ms = $3 WHERE low = $1 AND high = $2 AND since_ms IS NULL")
        .bind(low.as_str())
        .bind(high.as_str())
        .bind(now_ms)
        .execute(connection)
        .await?;
    Ok(())
}

/// How many contacts and open requests a user has.
pub(super) async fn count(connection: &mut AnyConnection, user: &UserId) -> Result<Counts, StorageError> {
    let row = sqlx::query(
        "SELECT
           COUNT(CASE WHEN since_ms IS NOT NULL THEN 1 END) AS contacts,
           COUNT(CASE WHEN since_ms IS NULL AND
             ((low = $1 AND low_asked_at_ms IS NOT NULL) OR (high = $1 AND high_asked_at_ms IS NOT NULL)) THEN 1 END) AS requests
         FROM handlers_contacts WHERE low = $1 OR high = $1",
    )
    .bind(user.as_str())
    .fetch_one(connection)
    .await?;
    Ok(Counts { contacts: row.try_get("contacts")?, requests: row.try_get("requests")? })
}

/// Everything of a user, unsorted.
pub(super) async fn list(database: &Database, user: &UserId) -> Result<ContactList, StorageError> {
    let rows = sqlx::query(
        "SELECT low, high, low_asked_at_ms, high_asked_at_ms, since_ms FROM handlers_contacts WHERE low = $1 OR high = $1",
    )
    .bind(user.as_str())
    .fetch_all(database.pool())
    .await?;
    let mut list = ContactList::default();
    for row in &rows {
        let pair = Pair::read(row)?;
        let (mine, theirs, other) = if pair.low == *user {
            (pair.low_asked, pair.high_asked, pair.high)
        } else {
            (pair.high_asked, pair.low_asked, pair.low)
        };
        if let Some(since) = pair.since {
            list.contacts.push(Contact { user: other, since });
            continue;
        }
        if let Some(at) = mine {
            list.requests_out.push(Pending { user: other.clone(), at });
        }
        if let Some(at) = theirs {
            list.requests_in.push(Pending { user: other, at });
        }
    }
    Ok(list)
}

struct Pair {
    low: UserId,
    high: UserId,
    low_asked: Option<i64>,
    high_asked: Option<i64>,
    since: Option<i64>,
}

impl Pair {
    fn read(row: &AnyRow) -> Result<Self, StorageError> {
        let user = |column| -> Result<UserId, StorageError> {
            let id: String = row.try_get(column)?;
            UserId::new(&id).map_err(|error| StorageError::Corrupt(error.to_string()))
        };
        Ok(Self {
            low: user("low")?,
            high: user("high")?,
            low_asked: row.try_get("low_asked_at_ms")?,
            high_asked: row.try_get("high_asked_at_ms")?,
            since: row.try_get("since_ms")?,
        })
    }

    fn seen_by(&self, user: &UserId) -> Option<Relation> {
        let (mine, theirs) =
            if self.low == *user { (self.low_asked, self.high_asked) } else { (self.high_asked, self.low_asked) };
        match (self.since, mine) {
            (Some(since), _) => Some(Relation::Contacts { since, asked: mine.is_some() }),
            (None, Some(at)) => Some(Relation::Asked { at, asked_back: theirs.is_some() }),
            (None, None) => None,
        }
    }
}

fn ordered<'a>(one: &'a UserId, other: &'a UserId) -> (&'a UserId, &'a UserId) {
    if one <= other { (one, other) } else { (other, one) }
}
