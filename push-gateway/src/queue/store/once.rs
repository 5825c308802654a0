//! What a device is to get once: the same news within a window, and of the pushes that replace each other the newest.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use sqlx::{AnyConnection, Row};
use tidings_shared::storage::StorageError;

use super::rows;
use crate::events;
use crate::queue::NewTarget;

/// Why a target was not sent.
pub(super) const DUPLICATE: &str = "duplicate";
/// The same.
pub(super) const SUPERSEDED: &str = "superseded";

/// Ends those targets whose device has had, or is about to get, the same news. `until` says for each target how long
/// its key is remembered from now on.
pub(super) async fn leave_out_duplicates(
    connection: &mut AnyConnection,
    targets: &mut [(&mut NewTarget, i64)],
    now_ms: i64,
) -> Result<(), StorageError> {
    let mut first: HashMap<String, i64> = HashMap::new();
    for (target, until) in targets.iter_mut() {
        let Some(key) = target.dedup_key.clone() else { continue };
        match first.entry(key) {
            Entry::Occupied(_) => target.ended = Some(DUPLICATE),
            Entry::Vacant(place) => drop(place.insert(*until)),
        }
    }
    // In one order, so that two transactions that meet wait for each other in one direction only.
    let mut keys: Vec<(String, i64)> = first.into_iter().collect();
    keys.sort_unstable();
    let mut new = HashSet::new();
    for portion in rows::portions(&keys) {
        let text = format!(
            "INSERT INTO push_dedup (dedup_key, until_at) VALUES {} \
             ON CONFLICT (dedup_key) DO UPDATE SET until_at = excluded.until_at WHERE push_dedup.until_at <= ? \
             RETURNING dedup_key",
            rows::values(portion.len(), 2)
        );
        let mut query = sqlx::query(rows::statement(connection, &text));
        for (key, until) in portion {
            query = query.bind(key.as_str()).bind(*until);
        }
        for row in query.bind(now_ms).fetch_all(&mut *connection).await? {
            new.insert(row.try_get::<String, _>("dedup_key")?);
        }
    }
    for (target, _) in targets {
        if target.dedup_key.as_ref().is_some_and(|key| !new.contains(key)) {
            target.ended = Some(DUPLICATE);
        }
    }
    Ok(())
}

/// Ends what waits under the collapse key of a new target and would not reach its device before it: stored targets in
/// the database, and those of the same transaction in `targets`, which are in the order in which they came.
pub(super) async fn take_the_place(
    connection: &mut AnyConnection,
    targets: &mut [(&mut NewTarget, i64)],
    now_ms: i64,
) -> Result<(), StorageError> {
    // From the newest to the oldest: what was seen already is newer.
    let mut newest: HashMap<String, i64> = HashMap::new();
    for (target, created_at) in targets.iter_mut().rev() {
        if target.ended.is_some() {
            continue;
        }
        let Some(key) = &target.collapse_key else { continue };
        let due_at = target.due_at.unwrap_or(*created_at).max(now_ms);
        match newest.get_mut(key) {
            Some(newer) if due_at >= *newer => target.ended = Some(SUPERSEDED),
            Some(newer) => *newer = due_at,
            None => drop(newest.insert(key.clone(), due_at)),
        }
    }
    let mut keys: Vec<(String, i64)> = newest.into_iter().collect();
    keys.sort_unstable();
    let mut ended = Vec::new();
    for portion in rows::portions(&keys) {
        // A scheduled push leaves alone what is sent before it.
        let text = format!(
            "UPDATE push_targets SET state = CASE WHEN maybe_taken = 1 THEN 'unknown' ELSE 'expired' END, \
             reason = '{SUPERSEDED}', due_at = NULL, lease = NULL, updated_at = ? \
             FROM (VALUES {}) AS v \
             WHERE push_targets.collapse_key = v.column1 AND push_targets.due_at IS NOT NULL \
             AND push_targets.state <> 'sending' AND (v.column2 <= ? OR push_targets.due_at >= v.column2) \
             RETURNING id",
            rows::values(portion.len(), 2)
        );
        let mut query = sqlx::query(rows::statement(connection, &text)).bind(now_ms);
        for (key, due_at) in portion {
            query = query.bind(key.as_str()).bind(*due_at);
        }
        for row in query.bind(now_ms).fetch_all(&mut *connection).await? {
            ended.push(row.try_get::<String, _>("id")?);
        }
    }
    let ended: Vec<&str> = ended.iter().map(String::as_str).collect();
    events::store::of_ended(connection, &ended, now_ms).await?;
    Ok(())
}
