//! The devices of many users at once, for batches.

use std::collections::HashMap;

use sqlx::AnyConnection;
use tidings_shared::identity::UserId;
use tidings_shared::storage::StorageError;

use super::{COLUMNS, read};
use crate::devices::Registered;
use crate::queue::store::rows;

/// The devices of these users that can be sent to, as [`super::of_user`] gives them; who has none is not in it.
pub(crate) async fn of_users(
    connection: &mut AnyConnection,
    users: &[&UserId],
) -> Result<HashMap<UserId, Vec<Registered>>, StorageError> {
    let mut devices: HashMap<UserId, Vec<Registered>> = HashMap::new();
    for portion in rows::portions(users) {
        let text = format!(
            "SELECT {COLUMNS} FROM push_devices WHERE quarantined_at IS NULL AND user_id IN ({}) ORDER BY user_id, device",
            rows::parameters(portion.len())
        );
        let mut query = sqlx::query(rows::statement(connection, &text));
        for user in portion {
            query = query.bind(user.as_str());
        }
        for row in query.fetch_all(&mut *connection).await? {
            let device = read(&row)?;
            devices.entry(device.registration.user.clone()).or_default().push(device);
        }
    }
    Ok(devices)
}
