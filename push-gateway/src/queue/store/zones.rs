//! Where devices are, for pushes at a time of their own clocks.

use std::collections::HashMap;

use sqlx::{AnyConnection, Row};
use tidings_shared::storage::StorageError;

use super::rows;

/// The time zones of those of these devices that have told one.
pub(crate) async fn time_zones(
    connection: &mut AnyConnection,
    devices: &[&str],
) -> Result<HashMap<String, String>, StorageError> {
    let mut zones = HashMap::new();
    for portion in rows::portions(devices) {
        let text = format!(
            "SELECT id, time_zone FROM push_devices WHERE time_zone IS NOT NULL AND id IN ({})",
            rows::parameters(portion.len())
        );
        let mut query = sqlx::query(rows::statement(connection, &text));
        for device in portion {
            query = query.bind(*device);
        }
        for row in query.fetch_all(&mut *connection).await? {
            zones.insert(row.try_get("id")?, row.try_get("time_zone")?);
        }
    }
    Ok(zones)
}
