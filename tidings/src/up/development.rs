//! Keys and tokens of a development machine, kept in the data folder.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::RngExt;
use tidings_shared::clock::Clock;
use tidings_shared::config::Settings;
use tidings_shared::identity::UserId;
use tidings_shared::tls::write_private;
use tidings_simulators::control::{Issuer, TokenRequest, parse_ttl};

use super::wiring::{has_own_issuer, reach};

/// The shared key of this name, if a start on this data folder has made it.
pub(crate) fn known_key(data: &Path, name: &str) -> Option<String> {
    let key = std::fs::read_to_string(data.join("dev").join(format!("{name}.key"))).ok()?;
    Some(key.trim().to_owned()).filter(|key| !key.is_empty())
}

/// A shared key, made at the first start and read at the next ones (`DATA/dev/NAME.key`).
///
/// # Errors
/// When it cannot be read or written.
pub(crate) fn shared_key(data: &Path, name: &str) -> anyhow::Result<String> {
    if let Some(key) = known_key(data, name) {
        return Ok(key);
    }
    let folder = data.join("dev");
    let file = folder.join(format!("{name}.key"));
    std::fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let key = format!("dev-{name}-{:032x}", random_u128());
    write_private(&file, &format!("{key}\n"))?;
    Ok(key)
}

#[expect(clippy::disallowed_methods, reason = "a secret must not be predictable")]
fn random_u128() -> u128 {
    rand::rng().random()
}

/// Where the last start on this data folder says who issues its tokens.
fn issuer_file(data: &Path) -> PathBuf {
    data.join("dev").join("issuer")
}

/// Notes who issues tokens here, so that [`mint`] makes good ones whatever ports were chosen.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn note_issuer(data: &Path, url: &str) -> anyhow::Result<()> {
    let file = issuer_file(data);
    std::fs::create_dir_all(data.join("dev"))
        .and_then(|()| std::fs::write(&file, format!("{url}\n")))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// A token of the development issuer, for `tidings token` beside a running `tidings up`.
///
/// # Errors
/// When the configuration names an issuer of its own, or the issuer's key cannot be used.
pub(crate) fn mint(settings: &Settings, user: &UserId, ttl: &str, clock: &Clock) -> anyhow::Result<String> {
    anyhow::ensure!(
        !has_own_issuer(settings),
        "the configuration names an issuer of its own (auth.jwks_url, auth.jwks_file or auth.public_key_file); ask that one for a token"
    );
    token(&issuer(settings, clock)?, user, ttl)
}

fn issuer(settings: &Settings, clock: &Clock) -> anyhow::Result<Issuer> {
    let config = tidings_simulators::Config::from_settings(settings);
    let noted = std::fs::read_to_string(issuer_file(&settings.path("data"))).ok();
    let url = noted
        .map(|url| url.trim().to_owned())
        .or_else(|| config.control_url.clone())
        .unwrap_or_else(|| format!("http://{}", reach(config.control_listen)));
    Issuer::load_or_create(&config.folder.join("issuer"), &url, clock.clone())
}

/// The development issuer, if a start on this data folder has made one.
///
/// # Errors
/// When its key cannot be used.
pub(crate) fn known_issuer(settings: &Settings, clock: &Clock) -> anyhow::Result<Option<Issuer>> {
    let folder = tidings_simulators::Config::from_settings(settings).folder.join("issuer");
    if folder.exists() { issuer(settings, clock).map(Some) } else { Ok(None) }
}

/// A token of this issuer.
///
/// # Errors
/// When `ttl` is no time.
pub(crate) fn token(issuer: &Issuer, user: &UserId, ttl: &str) -> anyhow::Result<String> {
    let ttl_ms = parse_ttl(ttl).map_err(anyhow::Error::msg)?;
    Ok(issuer.mint(user, &TokenRequest::ttl_ms(ttl_ms))?.0)
}
