//! Who waits for messages of a user (the HTTP door's long polls).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_shared::identity::UserId;
use tokio::sync::watch;

use crate::log::Offset;

/// All who wait, by user.
#[derive(Default)]
pub(super) struct Watchers {
    users: Mutex<HashMap<UserId, watch::Sender<Offset>>>,
}

/// Waits for messages of one user.
pub struct Watch {
    user: UserId,
    watchers: Arc<Watchers>,
    latest: watch::Receiver<Offset>,
}

impl Watchers {
    fn users(&self) -> MutexGuard<'_, HashMap<UserId, watch::Sender<Offset>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(watchers: &Arc<Self>, user: &UserId) -> Watch {
        let latest =
            watchers.users().entry(user.clone()).or_insert_with(|| watch::channel(Offset::START).0).subscribe();
        Watch { user: user.clone(), watchers: watchers.clone(), latest }
    }

    pub(super) fn notify(&self, user: &UserId, offset: Offset) {
        if let Some(sender) = self.users().get(user) {
            sender.send_replace(offset);
        }
    }
}

impl Watch {
    /// Returns when a message of the user was stored since this was made or last returned. May be dropped and
    /// called again without missing one.
    pub async fn changed(&mut self) {
        if self.latest.changed().await.is_err() {
            // The sender lives as long as this receiver; should it not, waiting for ever is what "no news" means.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut users = self.watchers.users();
        if users.get(&self.user).is_some_and(|sender| sender.receiver_count() <= 1) {
            users.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_hears_of_its_user_and_leaves_nothing_behind() {
        let watchers = Arc::new(Watchers::default());
        let (a, b) = (UserId::new("a").unwrap(), UserId::new("b").unwrap());
        let mut watch = Watchers::watch(&watchers, &a);
        let second = Watchers::watch(&watchers, &a);
        watchers.notify(&b, Offset(1));
        assert!(futures_util::poll!(Box::pin(watch.changed())).is_pending());
        watchers.notify(&a, Offset(2));
        watch.changed().await;
        assert!(futures_util::poll!(Box::pin(watch.changed())).is_pending());
        drop(second);
        assert_eq!(watchers.users().len(), 1);
        drop(watch);
        assert!(watchers.users().is_empty());
    }
}
