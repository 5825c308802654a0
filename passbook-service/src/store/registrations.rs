//! Which device has which pass, and the device's push token.

use sqlx::Row;
use tidings_shared::storage::StorageError;

use super::notes::Note;
use super::{PassId, Store};

/// How often `last_list_at` is written for a device that asks all the time.
const LIST_NOTE_MS: i64 = 60_000;

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The device has this pass now.
    New,
    /// It had it before; the push token was brought up to date.
    Known,
    /// The pass was deleted meanwhile.
    Gone,
}

/// What registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Apple's Wallet: its push token is APNs'.
    Apple,
    /// A wallet app on Android: its push token is its own provider's, whatever it looks like, and never goes to Apple.
    Android,
}

impl Client {
    /// The name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apple => "apple",
            Self::Android => "android",
        }
    }
}

/// A serial number and the tag of its latest change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Serial number.
    pub serial: String,
    /// 0 when it was never changed.
    pub tag: i64,
}

impl Store {
    /// Registers a device for a pass. The push token is the device's: every registration of it follows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn register(
        &self,
        device: &str,
        client: Client,
        id: &PassId,
        push_token: &str,
        now_ms: i64,
    ) -> Result<Registered, StorageError> {
        let mut left = super::REPEATS;
        loop {
            let outcome = self.register_once(device, client, id, push_token, now_ms).await;
            if !super::again(&outcome, &mut left) {
                return outcome;
            }
        }
    }

    async fn register_once(
        &self,
        device: &str,
        client: Client,
        id: &PassId,
        push_token: &str,
        now_ms: i64,
    ) -> Result<Registered, StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        // It comes back from quarantine or with another token: it hears of what it has not been told of meanwhile. Pushes
        // that are under way are settled before or after this, and find the new token.
        sqlx::query(
            "UPDATE wallet_pushes SET due_at = COALESCE(due_at, $3), \
             sent_tag = CASE WHEN sent_tag > COALESCE(listed_tag, 0) THEN COALESCE(listed_tag, 0) ELSE sent_tag END \
             WHERE device = $1 AND tag > COALESCE(listed_tag, 0) AND EXISTS (SELECT 1 FROM wallet_devices d \
             WHERE d.device = $1 AND (d.push_token <> $2 OR d.quarantined_at IS NOT NULL))",
        )
        .bind(device)
        .bind(push_token)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO wallet_devices (device, push_token, token_at, created_at, client) VALUES ($1, $2, $3, $3, $4) \
             ON CONFLICT (device) DO UPDATE SET push_token = excluded.push_token, token_at = excluded.token_at, client = excluded.client, \
             quarantined_at = NULL, quarantine_reason = NULL",
        )
        .bind(device)
        .bind(push_token)
        .bind(now_ms)
        .bind(client.as_str())
        .execute(&mut *transaction)
        .await?;
        // Only for a pass that exists; the foreign key guards against its deletion at this moment.
        let inserted = sqlx::query(
            "INSERT INTO wallet_registrations (device, pass_type, serial, registered_at) \
             SELECT $1, pass_type, serial, $4 FROM wallet_passes WHERE pass_type = $2 AND serial = $3 \
             ON CONFLICT (device, pass_type, serial) DO NOTHING",
        )
        .bind(device)
        .bind(&id.pass_type)
        .bind(&id.serial)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await;
        let inserted = match inserted {
            Ok(inserted) => inserted.rows_affected() == 1,
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => return Ok(Registered::Gone),
            Err(error) => return Err(error.into()),
        };
        let present = inserted || {
            let row = sqlx::query(
                "SELECT device FROM wallet_registrations WHERE device = $1 AND pass_type = $2 AND serial = $3",
            )
            .bind(device)
            .bind(&id.pass_type)
            .bind(&id.serial)
            .fetch_optional(&mut *transaction)
            .await?;
            row.is_some()
        };
        if !present {
            return Ok(Registered::Gone);
        }
        transaction.commit().await?;
        Ok(if inserted { Registered::New } else { Registered::Known })
    }

    /// Takes a registration back; nothing happens when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unregister(&self, device: &str, id: &PassId) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM wallet_registrations WHERE device = $1 AND pass_type = $2 AND serial = $3")
            .bind(device)
            .bind(&id.pass_type)
            .bind(&id.serial)
            .execute(&mut *transaction)
            .await?;
        // No push about passes that the device no longer has. What it was last told stays: its next pass of the type may be
        // older than that, and the list would have nothing.
        sqlx::query(
            "UPDATE wallet_pushes SET due_at = NULL, attempts = 0, unanswered = 0, unanswered_since = NULL WHERE device = $1 AND pass_type = $2 AND NOT EXISTS \
             (SELECT 1 FROM wallet_registrations WHERE device = $1 AND pass_type = $2)",
        )
        .bind(device)
        .bind(&id.pass_type)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The device's passes of a type whose latest change is after `after` (-1: all of them).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self, device: &str, pass_type: &str, after: i64) -> Result<Vec<Listing>, StorageError> {
        let rows = sqlx::query(
            "SELECT r.serial AS serial, COALESCE(t.tag, 0) AS tag FROM wallet_registrations r \
             LEFT JOIN wallet_tags t ON t.pass_type = r.pass_type AND t.serial = r.serial \
             WHERE r.device = $1 AND r.pass_type = $2 AND COALESCE(t.tag, 0) > $3 ORDER BY r.serial",
        )
        .bind(device)
        .bind(pass_type)
        .bind(after)
        .fetch_all(self.database.pool())
        .await?;
        rows.iter().map(|row| Ok(Listing { serial: row.try_get("serial")?, tag: row.try_get("tag")? })).collect()
    }

    /// Notes that a device has asked, about once a minute at most or when its list told something new, and drops a push
    /// for what it has seen already: it would be one about nothing. Only that is waited for; the rest is a hint, and written
    /// soon. `seen` is the tag that the device brought, if it was
    /// one of ours; `told` is the clock's tag that its list goes up to; `news`: the list had something.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_list(
        &self,
        device: &str,
        pass_type: &str,
        seen: Option<i64>,
        told: i64,
        news: bool,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let row = sqlx::query(
            "SELECT COALESCE(d.last_list_at, 0) AS listed, COALESCE(p.listed_at, 0) AS type_listed, \
             COALESCE(p.listed_tag, -1) AS listed_tag, \
             CASE WHEN d.quarantine_reason = 'unanswered' THEN 1 ELSE 0 END AS silent, \
             CASE WHEN p.due_at IS NULL THEN 0 ELSE p.tag END AS pending FROM wallet_devices d \
             LEFT JOIN wallet_pushes p ON p.device = d.device AND p.pass_type = $2 WHERE d.device = $1",
        )
        .bind(device)
        .bind(pass_type)
        .fetch_optional(self.database.pool())
        .await?;
        let Some(row) = row else { return Ok(()) };
        let (listed, type_listed, listed_tag, silent, pending): (i64, i64, i64, i32, i64) = (
            row.try_get("listed")?,
            row.try_get("type_listed")?,
            row.try_get("listed_tag")?,
            row.try_get("silent")?,
            row.try_get("pending")?,
        );
        // A device that was given up because it did not answer answers.
        let asked = (listed - now_ms).abs() > LIST_NOTE_MS || silent == 1;
        let listed = (type_listed - now_ms).abs() > LIST_NOTE_MS || listed_tag < 0 || (news && told > listed_tag);
        if asked || listed {
            self.notes.add(device, pass_type, Note { told, now_ms, asked, listed });
        }
        if let Some(seen) = seen
            && pending > 0
            && pending <= seen
        {
            let _turn = self.database.turn().wait().await;
            sqlx::query("UPDATE wallet_pushes SET sent_tag = tag, due_at = NULL, attempts = 0 WHERE device = $1 AND pass_type = $2 AND tag <= $3")
                .bind(device)
                .bind(pass_type)
                .bind(seen)
                .execute(self.database.pool())
                .await?;
        }
        Ok(())
    }

    /// How many devices have a pass.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn registrations_of(&self, id: &PassId) -> Result<i64, StorageError> {
        let row =
            sqlx::query("SELECT COUNT(*) AS devices FROM wallet_registrations WHERE pass_type = $1 AND serial = $2")
                .bind(&id.pass_type)
                .bind(&id.serial)
                .fetch_one(self.database.pool())
                .await?;
        Ok(row.try_get("devices")?)
    }
}
