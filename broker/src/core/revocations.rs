//! The revocations as the doors see them: asked at a log-in, and heard of while somebody waits.

use std::sync::{Arc, PoisonError, RwLock};

use tidings_shared::auth::{Claims, TokenError};
use tokio::sync::watch;

use crate::engine::{Change, Revocation, RevocationList, Target, TokenFacts};

/// The engine's revocations, for reading. Cheap to clone; clones are the same list.
#[derive(Clone, Debug)]
pub struct Revocations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    list: RwLock<RevocationList>,
    changed: watch::Sender<()>,
}

impl Revocations {
    pub(super) fn new(list: RevocationList) -> Self {
        Self(Arc::new(Inner { list: RwLock::new(list), changed: watch::channel(()).0 }))
    }

    pub(super) fn apply(&self, change: &Change) {
        self.0.list.write().unwrap_or_else(PoisonError::into_inner).apply(change);
        if matches!(change, Change::Set(_)) {
            self.0.changed.send_replace(());
        }
    }

    /// Looks at the list; nothing else can change it meanwhile, so be quick.
    pub fn read<T>(&self, look: impl FnOnce(&RevocationList) -> T) -> T {
        look(&self.0.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this token has been revoked.
    #[must_use]
    pub fn revoked(&self, claims: &Claims) -> bool {
        self.read(|list| !list.is_empty() && list.find(&claims.user, &TokenFacts::from(claims)).is_some())
    }

    /// Refuses a revoked token.
    ///
    /// # Errors
    /// [`TokenError::Revoked`] (HTTP 401 `token_revoked`, MQTT 0x87).
    pub fn admit(&self, claims: &Claims) -> Result<(), TokenError> {
        if self.revoked(claims) { Err(TokenError::Revoked) } else { Ok(()) }
    }

    /// Returns as soon as this token is revoked, at once when it is already. For `select!` beside a wait; may be
    /// dropped and called again.
    pub async fn until_revoked(&self, claims: &Claims) {
        let mut changed = self.0.changed.subscribe();
        while !self.revoked(claims) {
            if changed.changed().await.is_err() {
                // The sender lives in `self`; should it not, nobody will revoke anything any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The revocation of this target, if there is one.
    #[must_use]
    pub fn get(&self, target: &Target) -> Option<Revocation> {
        self.read(|list| list.get(target).cloned())
    }
}
