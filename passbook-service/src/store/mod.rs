//! Everything that is kept in the database, and the only SQL of this service. One text per query for SQLite and
//! PostgreSQL.

mod campaigns;
mod changes;
mod diagnoses;
mod google;
mod group;
mod imports;
mod jobs;
mod leases;
mod load;
mod notes;
mod passes;
mod personalizations;
mod pruning;
mod pushes;
mod query;
mod registrations;
mod templates;
mod versions;
mod walk;

use std::sync::{Arc, OnceLock};

use sqlx::{Any, Transaction};
use tidings_shared::storage::{Database, StorageError};

pub use campaigns::{LEASE as CAMPAIGN_LEASE, Portion, Pushed};
pub use changes::{Batch, Clocks};
pub use diagnoses::{Alert, Diagnosis, Reports};
pub use google::{GoogleObject, Told};
pub use imports::{ImportResult, ImportState};
pub use jobs::{Job, JobFault};
pub use passes::{NewPass, PassRow, PassUpdate, Stored, Unread};
pub use personalizations::Personalization;
pub use pruning::{Cohorts, Quarantine};
pub use pushes::{DuePush, PushResult};
pub use query::{MOST_SERIALS, PassQuery};
pub use registrations::{Client, Listing, Registered};
pub use templates::TemplateHead;
pub use versions::Version;
pub use walk::{Candidate, Step as WalkStep};

/// A pass's name: its type and serial number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PassId {
    /// Pass type identifier.
    pub pass_type: String,
    /// Serial number.
    pub serial: String,
}

/// The service's tables. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Database,
    group: group::Group,
    notes: notes::Notes,
    epoch: Arc<OnceLock<String>>,
}

impl Store {
    /// The tables of a migrated database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            group: group::Group::new(database.clone()),
            notes: notes::Notes::new(database.clone()),
            database,
            epoch: Arc::default(),
        }
    }

    /// Whether only one change is written at a time.
    #[must_use]
    pub fn has_one_writer(&self) -> bool {
        self.database.dialect() == tidings_shared::storage::Dialect::Sqlite
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// What it said.
    pub async fn ping(&self) -> Result<(), StorageError> {
        self.database.ping().await
    }

    async fn begin(&self) -> Result<Transaction<'static, Any>, StorageError> {
        self.database.begin().await
    }
}

/// How often a transaction is repeated that PostgreSQL ended because it and another waited for each other.
const REPEATS: u32 = 3;

/// Whether a transaction is to be repeated at once; counts down what is left.
fn again<T>(outcome: &Result<T, StorageError>, left: &mut u32) -> bool {
    let again = *left > 0 && outcome.as_ref().is_err_and(StorageError::is_deadlock);
    if again {
        *left -= 1;
        tracing::debug!("two transactions waited for each other; one is repeated");
    }
    again
}
