//! That devices have asked what changed: noted after they are answered, many notes in one transaction. A note that is lost is
//! none the worse: it is a hint, and the device's next list brings it again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_shared::storage::{Database, StorageError};

/// Most notes that wait; further ones are dropped.
const MOST: usize = 4096;
/// Most notes of one transaction.
const PORTION: usize = 128;

/// What is to be noted of a device and a pass type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// Its list goes up to this tag.
    pub(super) told: i64,
    /// When it asked, ms since 1970.
    pub(super) now_ms: i64,
    /// Note that the device has asked.
    pub(super) asked: bool,
    /// Note what it was told of this type.
    pub(super) listed: bool,
}

/// Notes that wait to be written. Cheap to clone.
#[derive(Clone)]
pub(super) struct Notes {
    database: Database,
    gathered: Arc<Mutex<Gathered>>,
}

#[derive(Default)]
struct Gathered {
    /// By device and pass type, in the order in which everybody locks pushes.
    waiting: BTreeMap<(String, String), Note>,
    /// Somebody is writing.
    writing: bool,
}

impl Notes {
    pub(super) fn new(database: Database) -> Self {
        Self { database, gathered: Arc::default() }
    }

    /// Has a note written soon.
    pub(super) fn add(&self, device: &str, pass_type: &str, note: Note) {
        let mut gathered = self.gathered();
        if gathered.waiting.len() >= MOST {
            return;
        }
        let entry = gathered.waiting.entry((device.to_owned(), pass_type.to_owned())).or_insert(note);
        *entry = Note {
            told: entry.told.max(note.told),
            now_ms: note.now_ms,
            asked: entry.asked || note.asked,
            listed: entry.listed || note.listed,
        };
        if !std::mem::replace(&mut gathered.writing, true) {
            let notes = self.clone();
            tokio::spawn(async move { notes.write_all().await });
        }
    }

    async fn write_all(&self) {
        while let Some(portion) = self.portion() {
            if let Err(error) = self.write(&portion).await {
                tracing::warn!(%error, notes = portion.len(), "that devices have asked cannot be noted");
            }
        }
    }

    /// The next ones to write; `None`: there are none, and the writer ends.
    fn portion(&self) -> Option<Vec<((String, String), Note)>> {
        let mut gathered = self.gathered();
        let mut portion = Vec::new();
        while portion.len() < PORTION
            && let Some(note) = gathered.waiting.pop_first()
        {
            portion.push(note);
        }
        gathered.writing = !portion.is_empty();
        gathered.writing.then_some(portion)
    }

    async fn write(&self, notes: &[((String, String), Note)]) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.database.begin().await?;
        // Pushes before devices, as everybody does.
        for ((device, pass_type), note) in notes.iter().filter(|(_, note)| note.listed) {
            // Only for a type of which the device has passes: the address is anybody's text.
            sqlx::query(
                "INSERT INTO wallet_pushes (device, pass_type, tag, sent_tag, attempts, listed_tag, listed_at) \
                 SELECT $1, $2, 0, 0, 0, $3, $4 WHERE EXISTS \
                 (SELECT 1 FROM wallet_registrations r WHERE r.device = $1 AND r.pass_type = $2) \
                 ON CONFLICT (device, pass_type) DO UPDATE SET listed_tag = excluded.listed_tag, listed_at = excluded.listed_at",
            )
            .bind(device)
            .bind(pass_type)
            .bind(note.told)
            .bind(note.now_ms)
            .execute(&mut *transaction)
            .await?;
        }
        for ((device, _), note) in notes.iter().filter(|(_, note)| note.asked) {
            sqlx::query(
                "UPDATE wallet_devices SET last_list_at = $1, \
                 quarantined_at = CASE WHEN quarantine_reason = 'unanswered' THEN NULL ELSE quarantined_at END, \
                 quarantine_reason = CASE WHEN quarantine_reason = 'unanswered' THEN NULL ELSE quarantine_reason END \
                 WHERE device = $2",
            )
            .bind(note.now_ms)
            .bind(device)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
