//! The certificates of one type: several at once while one takes over from another, and looked at again while the
//! service runs, so that a renewed certificate needs no restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::identity::{CertificateFiles, IdentityError, SigningIdentity};

/// One configured certificate.
#[derive(Clone)]
pub struct CertificateSource {
    /// The table of the configuration that names it: `wallet.signing`, `wallet.certificates."2027"`.
    pub place: String,
    /// Its files.
    pub files: CertificateFiles,
}

/// What signs a type: each usable certificate, of which the newest that is valid signs.
pub struct Identities {
    type_identifier: String,
    team: String,
    sources: Vec<CertificateSource>,
    private: bool,
    current: ArcSwap<Vec<Arc<SigningIdentity>>>,
    seen: Mutex<Vec<Stamp>>,
}

/// Tells whether a file was replaced; `None`: there is none.
type Stamp = Option<(SystemTime, u64)>;

impl Identities {
    /// Reads and checks all certificates of a type. `private`: refuse key files that others than their owner may read.
    ///
    /// # Errors
    /// Every failed check of every certificate. One that has ended, or has yet to begin, is an error only when no other
    /// is valid now.
    pub fn load(
        type_identifier: &str,
        team: &str,
        sources: Vec<CertificateSource>,
        private: bool,
        now_ms: i64,
    ) -> Result<Self, IdentityError> {
        let seen = stamps(&sources);
        let identities = read(type_identifier, team, &sources, private, now_ms)?;
        Ok(Self {
            type_identifier: type_identifier.to_owned(),
            team: team.to_owned(),
            sources,
            private,
            current: ArcSwap::from_pointee(identities),
            seen: Mutex::new(seen),
        })
    }

    /// What signs now: of the certificates that are valid at `now_ms` the one that began last. `None`: all have ended.
    #[must_use]
    pub fn signing(&self, now_ms: i64) -> Option<Arc<SigningIdentity>> {
        self.current
            .load()
            .iter()
            .filter(|identity| identity.is_valid(now_ms))
            .max_by_key(|one| one.valid_ms())
            .cloned()
    }

    /// Until when the type can be signed with what is there, ms since 1970; `None`: not even now.
    #[must_use]
    pub fn signs_until(&self, now_ms: i64) -> Option<i64> {
        let current = self.current.load();
        let mut until = None;
        // A certificate that begins before the others end goes on from there.
        let mut reach = now_ms;
        while let Some(end) = current
            .iter()
            .filter(|one| one.valid_ms().0 <= reach && one.valid_ms().1 >= reach)
            .map(|one| one.valid_ms().1)
            .max()
            && Some(end) > until
        {
            until = Some(end);
            reach = end;
        }
        until
    }

    /// All of them, the ended ones too, as configured.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Arc<SigningIdentity>>> {
        self.current.load_full()
    }

    /// Reads the files again if one of them was replaced since; `true`: there are new certificates. The present ones
    /// stay when the new ones fail a check.
    ///
    /// # Errors
    /// The failed checks, once for each state of the files.
    pub fn look_again(&self, now_ms: i64) -> Result<bool, IdentityError> {
        let found = stamps(&self.sources);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == found {
                return Ok(false);
            }
            *seen = found;
        }
        let identities = read(&self.type_identifier, &self.team, &self.sources, self.private, now_ms)?;
        self.current.store(Arc::new(identities));
        Ok(true)
    }
}

impl From<SigningIdentity> for Identities {
    /// One certificate that is never looked at again.
    fn from(identity: SigningIdentity) -> Self {
        Self {
            type_identifier: String::new(),
            team: String::new(),
            sources: Vec::new(),
            private: false,
            current: ArcSwap::from_pointee(vec![Arc::new(identity)]),
            seen: Mutex::default(),
        }
    }
}

fn read(
    type_identifier: &str,
    team: &str,
    sources: &[CertificateSource],
    private: bool,
    now_ms: i64,
) -> Result<Vec<Arc<SigningIdentity>>, IdentityError> {
    let (mut identities, mut failed, mut ended) = (Vec::new(), IdentityError::default(), IdentityError::default());
    for source in sources {
        let loaded = if private { source.files.check_private() } else { Ok(()) }
            .and_then(|()| SigningIdentity::load_at_any_time(&source.files, type_identifier, team));
        match loaded {
            Ok(identity) => {
                if let Err(error) = identity.check_time(now_ms) {
                    ended.extend(&source.place, error);
                }
                identities.push(Arc::new(identity));
            }
            Err(error) => failed.extend(&source.place, error),
        }
    }
    failed.into_result()?;
    if !identities.iter().any(|identity| identity.is_valid(now_ms)) {
        ended.into_result()?;
    }
    Ok(identities)
}

fn stamps(sources: &[CertificateSource]) -> Vec<Stamp> {
    sources.iter().flat_map(|source| source.files.paths()).map(stamp).collect()
}

fn stamp(path: &Path) -> Stamp {
    let known = std::fs::metadata(path).ok()?;
    Some((known.modified().unwrap_or(SystemTime::UNIX_EPOCH), known.len()))
}

impl CertificateFiles {
    /// The files, those of secrets first.
    fn paths(&self) -> Vec<&Path> {
        let (own, intermediate): (Vec<&PathBuf>, _) = match self {
            Self::Pem { certificate, key, intermediate } => (vec![key, certificate], intermediate),
            Self::Pkcs12 { file, intermediate, .. } => (vec![file], intermediate),
        };
        own.into_iter().chain(intermediate).map(PathBuf::as_path).collect()
    }

    /// That nobody but its owner may read the private key.
    ///
    /// # Errors
    /// Names the file, its mode, and the command that mends it.
    fn check_private(&self) -> Result<(), IdentityError> {
        let Some(secret) = self.paths().first().copied() else { return Ok(()) };
        // A file that cannot be read is told of when it is.
        let Some(mode) = crate::secret_file::open_mode(secret) else { return Ok(()) };
        Err(IdentityError::one(
            "key readable by the service alone",
            format!("{} has mode {mode:04o}: other users of this machine may use the key", secret.display()),
            format!(
                "chmod 600 {} (and let the service's user own it); where a container's volumes have group rights, set wallet.check_key_permissions = false",
                secret.display()
            ),
        ))
    }
}

#[cfg(test)]
mod tests;
