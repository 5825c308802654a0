//! Keys in a file that may be replaced while we run.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use jsonwebtoken::DecodingKey;

use super::{Key, jwk};
use crate::auth::VerifierError;
use crate::clock::Clock;

/// How often the file is looked at, in ms; at once when a token fits no known key.
const LOOK_MS: i64 = 2_000;
/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JWKS; its keys have names.
    Jwks,
    /// A PEM public key.
    Pem,
}

/// When the file was last changed, as far as the file system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    /// Another file may have taken the name within the same moment.
    identity: (u64, i64, i64),
}

struct Seen {
    stamp: Option<Stamp>,
    looked_at_ms: i64,
}

pub(super) struct FileKeys {
    form: Form,
    setting: &'static str,
    path: PathBuf,
    keys: ArcSwap<Vec<Key>>,
    seen: Mutex<Seen>,
    clock: Clock,
}

impl FileKeys {
    pub(super) fn open(form: Form, path: PathBuf, clock: Clock) -> Result<Self, VerifierError> {
        let setting = match form {
            Form::Jwks => "auth.jwks_file",
            Form::Pem => "auth.public_key_file",
        };
        let seen = Mutex::new(Seen { stamp: None, looked_at_ms: clock.now_ms() });
        let this = Self { form, setting, path, keys: ArcSwap::default(), seen, clock };
        let stamp = this.stamp();
        let keys = this
            .load()
            .map_err(|problem| VerifierError { place: format!("{setting}: {}", this.path.display()), problem })?;
        this.keys.store(Arc::new(keys));
        this.seen.lock().unwrap_or_else(PoisonError::into_inner).stamp = stamp;
        Ok(this)
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn keys(&self) -> Arc<Vec<Key>> {
        self.keys.load_full()
    }

    /// Reads the file again if it has changed; `at_once`, or when it was not looked at for a while. Whether there are other
    /// keys now. A file that cannot be used leaves the known keys as they are, and is told once.
    pub(super) fn look(&self, at_once: bool) -> bool {
        let now = self.clock.now_ms();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !at_once && (0..LOOK_MS).contains(&(now - seen.looked_at_ms)) {
            return false;
        }
        seen.looked_at_ms = now;
        // Before it is read, so that a change meanwhile is seen the next time.
        let stamp = self.stamp();
        if stamp == seen.stamp {
            return false;
        }
        seen.stamp = stamp;
        let (setting, file) = (self.setting, self.path.display());
        match self.load() {
            Ok(keys) => {
                tracing::info!(setting, %file, keys = keys.len(), "the keys that tokens are verified with were read again");
                self.keys.store(Arc::new(keys));
                true
            }
            Err(problem) => {
                tracing::warn!(setting, %file, problem, "the changed key file cannot be used; the known keys stay");
                false
            }
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
        };
        #[cfg(not(unix))]
        let identity = (0, 0, 0);
        Some(Stamp { modified: metadata.modified().ok(), bytes: metadata.len(), identity })
    }

    fn load(&self) -> Result<Vec<Key>, String> {
        use std::io::Read;
        let what = if self.form == Form::Jwks { "the key set" } else { "the public key" };
        let unreadable = |error: std::io::Error| format!("{what} cannot be read: {error}");
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&self.path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("{what} is longer than {MAX_BYTES} bytes"));
        }
        match self.form {
            Form::Jwks => match jwk::read(&bytes)? {
                keys if keys.is_empty() => Err("the key set is empty".to_owned()),
                keys => Ok(keys),
            },
            Form::Pem => {
                let key = DecodingKey::from_ec_pem(&bytes)
                    .or_else(|_| DecodingKey::from_rsa_pem(&bytes))
                    .or_else(|_| DecodingKey::from_ed_pem(&bytes))
                    .map_err(|_| "this is not the PEM form of an EC, RSA or Ed25519 public key".to_owned())?;
                Ok(vec![Key { id: None, algorithm: None, key: Arc::new(key) }])
            }
        }
    }
}
