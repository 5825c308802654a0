//! The keys that may sign provider tokens: what is known of each, and a development key of our own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use anyhow::{Context, anyhow};
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};

use super::Environment;

/// The team of the development key.
pub const DEVELOPMENT_TEAM: &str = "TIDINGSDEV";

/// The id of the development key.
pub const DEVELOPMENT_KEY: &str = "TIDINGSKEY";

/// A key as its owner registers it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderKey {
    /// The `kid` of the tokens that it signs.
    pub key_id: String,
    /// The `iss` that these tokens must have.
    pub team_id: String,
    /// The public key (or the private `.p8` itself) as PEM.
    pub pem: String,
    /// Set when the key is bound to one environment.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// Set when the key is bound to topics.
    #[serde(default)]
    pub topics: Vec<String>,
}

/// A key that tokens can be checked against.
pub(crate) struct KnownKey {
    pub(crate) team_id: String,
    pub(crate) environment: Option<Environment>,
    pub(crate) topics: Vec<String>,
    pub(crate) decoding: DecodingKey,
}

/// All keys by their id.
#[derive(Default)]
pub(crate) struct Keys(RwLock<HashMap<String, std::sync::Arc<KnownKey>>>);

impl Keys {
    pub(crate) fn add(&self, key: &ProviderKey) -> anyhow::Result<()> {
        let public =
            public_pem(&key.pem).with_context(|| format!("the key {} is no P-256 key in PEM form", key.key_id))?;
        let decoding = DecodingKey::from_ec_pem(public.as_bytes())
            .map_err(|error| anyhow!("the key {} is no P-256 key in PEM form: {error}", key.key_id))?;
        let known = KnownKey {
            team_id: key.team_id.clone(),
            environment: key.environment,
            topics: key.topics.clone(),
            decoding,
        };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key.key_id.clone(), known.into());
        Ok(())
    }

    pub(crate) fn get(&self, key_id: &str) -> Option<std::sync::Arc<KnownKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key_id).cloned()
    }
}

fn public_pem(pem: &str) -> anyhow::Result<String> {
    if pem.contains("PUBLIC KEY") {
        return Ok(pem.to_owned());
    }
    let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_ECDSA_P256_SHA256)?;
    Ok(pair.public_key_pem())
}

/// A private key with which a push gateway signs for the simulator: what Apple's portal gives as `AuthKey_ID.p8`.
#[derive(Clone, Debug)]
pub struct DevelopmentKey {
    /// Where the private key is.
    pub file: PathBuf,
    /// Its id, 10 characters: [`DEVELOPMENT_KEY`] unless the file is named otherwise.
    pub key_id: String,
    /// Its team.
    pub team_id: String,
    /// The private key as PEM (PKCS #8), the file's content.
    pub pem: String,
}

impl DevelopmentKey {
    /// The key in `folder`; a new one is made when there is none.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or the key in it is damaged.
    pub fn load_or_create(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        files.sort();
        for file in files {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(key_id) = name.strip_prefix("AuthKey_").and_then(|name| name.strip_suffix(".p8")) else {
                continue;
            };
            let key_id = key_id.to_owned();
            let pem = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            public_pem(&pem).with_context(|| {
                format!("{} is damaged; delete it and a new one is made at the next start", file.display())
            })?;
            return Ok(Self { file, key_id, team_id: DEVELOPMENT_TEAM.to_owned(), pem });
        }
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        // Always the same, so that a configuration written beforehand (docker/development.toml) can name it.
        let key_id = DEVELOPMENT_KEY.to_owned();
        let file = folder.join(format!("AuthKey_{key_id}.p8"));
        let pem = pair.serialize_pem();
        tidings_shared::tls::write_private(&file, &pem)?;
        Ok(Self { file, key_id, team_id: DEVELOPMENT_TEAM.to_owned(), pem })
    }

    /// The same key as the simulator registers it.
    #[must_use]
    pub fn provider_key(&self) -> ProviderKey {
        ProviderKey {
            key_id: self.key_id.clone(),
            team_id: self.team_id.clone(),
            pem: self.pem.clone(),
            environment: None,
            topics: Vec::new(),
        }
    }
}
