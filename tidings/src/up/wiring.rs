//! What development adds to the settings, so that the services find each other and the simulators. Anything that the
//! operator has set stays as it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use tidings_passbook_service::DevelopmentCertificates;
use tidings_shared::clock::Clock;
use tidings_shared::config::Settings;
use tidings_shared::tls::DevAuthority;
use tidings_simulators::Simulators;

use super::development;
use super::settings::Defaults;

/// The app of the development set-up.
pub(crate) const APP: &str = "default";
/// The issuer of Google Wallet in development.
const DEVELOPMENT_ISSUER: &str = "3388000000000000001";
/// Its bundle id, which is its APNs topic.
pub(crate) const BUNDLE: &str = "dev.tidings.example";

/// Keys, certificates and the addresses under which the services reach each other.
///
/// # Errors
/// When something cannot be made in the data folder.
pub(super) fn before_simulators(settings: &Settings, defaults: &mut Defaults, clock: &Clock) -> anyhow::Result<()> {
    let data = settings.path("data");
    if settings.texts("keys.handler").is_empty() {
        defaults.set("keys.handler", development::shared_key(&data, "handler")?);
    }
    if settings.texts("keys.service").is_empty() {
        defaults.set("keys.service", development::shared_key(&data, "service")?);
    }
    if settings.texts("keys.admin").is_empty() {
        defaults.set("keys.admin", development::shared_key(&data, "admin")?);
    }
    let authority_folder = data.join("ca");
    let authority = DevAuthority::load_or_create(&authority_folder)?;
    if settings.optional_path("broker.tls.cert").is_none() {
        let issued = authority.issue_server("broker", &["localhost", "127.0.0.1", "::1", "broker"])?;
        defaults.set("broker.tls.cert", issued.certificate.display());
        defaults.set("broker.tls.key", issued.key.display());
    }
    let mqtt = reach(settings.address("broker.mqtt.listen"));
    let gateway = reach(settings.address("push.listen"));
    defaults.set("handlers.broker", format!("mqtt://{mqtt}"));
    defaults.set("push.broker", format!("mqtt://{mqtt}"));
    defaults.set("handlers.gateway.url", format!("http://{gateway}"));
    defaults.set("wallet.gateway.url", format!("http://{gateway}"));
    if settings.optional_text("wallet.public_url").is_none() {
        defaults.set("wallet.public_url", format!("http://{}", reach(settings.address("wallet.listen"))));
        defaults.set("wallet.allow_http", true);
    }
    if development_passes(settings) {
        let certificates = pass_certificates(settings, &data, clock)?;
        defaults.set("simulators.apns.client_roots", certificates.root.display());
    }
    Ok(())
}

/// The development issuer's keys, and apps that push through the simulators.
///
/// # Errors
/// When the simulators' key cannot be handed over.
pub(super) fn after_simulators(
    settings: &Settings,
    simulators: &Simulators,
    defaults: &mut Defaults,
) -> anyhow::Result<()> {
    let credentials = simulators.credentials();
    if !has_own_issuer(settings) {
        defaults.set("auth.jwks_url", &credentials.jwks_url);
        let issuer = simulators.issuer();
        // Whoever brings a secret has another issuer besides this one, whose tokens may say anything there.
        if settings.optional_text("auth.secret").is_none() {
            defaults.set("auth.issuers", issuer.url());
            defaults.set("auth.audiences", "tidings");
        }
    }
    if let Some(ca) = &credentials.ca_file {
        defaults.set("push.ca_file", ca.display());
    }
    if settings.optional_text("wallet.google.issuer_id").is_none()
        && settings.optional_path("wallet.google.service_account_file").is_none()
    {
        defaults.set("wallet.google.issuer_id", DEVELOPMENT_ISSUER);
        defaults.set("wallet.google.service_account_file", credentials.fcm_account_file.display());
        defaults.set("wallet.google.url", &credentials.fcm_url);
        defaults.set("wallet.google.save_url", format!("{}/gp/v/save", credentials.fcm_url));
        if let Some(ca) = &credentials.ca_file {
            defaults.set("wallet.google.ca_file", ca.display());
        }
    }
    if !settings.names("push.apps").is_empty() {
        return Ok(());
    }
    // The simulated browsers' push service is on this machine.
    if settings.texts("push.webpush.allow").is_empty() {
        defaults.set("push.webpush.allow", "127.0.0.0/8,::1,localhost");
    }
    let mut app = |name: &str, key: &str, value: &dyn std::fmt::Display| {
        defaults.set(Settings::named("push.apps", name, key), value);
    };
    app(APP, "apns.topic", &BUNDLE);
    app(APP, "apns.key_file", &credentials.apns_key.file.display());
    app(APP, "apns.key_id", &credentials.apns_key.key_id);
    app(APP, "apns.team_id", &credentials.apns_key.team_id);
    app(APP, "apns.url", &credentials.apns_url);
    app(APP, "apns.sandbox_url", &credentials.apns_sandbox_url);
    app(APP, "fcm.service_account_file", &credentials.fcm_account_file.display());
    app(APP, "fcm.url", &credentials.fcm_url);
    app(APP, "webpush.private_key_file", &credentials.webpush_key_file.display());
    app(APP, "webpush.contact", &"mailto:development@tidings.example");
    if development_passes(settings) {
        let data = settings.path("data");
        let first = (settings.text("wallet.pass_type"), DevelopmentCertificates::paths(&data));
        let further = settings.names("wallet.types").into_iter().map(|name| {
            let paths = DevelopmentCertificates::paths_for(&data, &name);
            (name, paths)
        });
        for (pass_type, certificates) in std::iter::once(first).chain(further) {
            app(&pass_type, "apns.topic", &pass_type);
            app(&pass_type, "apns.certificate_file", &certificates.certificate_chain.display());
            app(&pass_type, "apns.certificate_key_file", &certificates.key.display());
            app(&pass_type, "apns.url", &credentials.apns_url);
        }
    }
    Ok(())
}

/// Whether the operator has named the keys of an issuer of their own; then development tokens are not accepted.
pub(crate) fn has_own_issuer(settings: &Settings) -> bool {
    settings.optional_text("auth.jwks_url").is_some()
        || settings.optional_path("auth.jwks_file").is_some()
        || settings.optional_path("auth.public_key_file").is_some()
}

/// Where a client on this machine reaches a listening address.
pub(crate) fn reach(listen: SocketAddr) -> SocketAddr {
    let ip = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    SocketAddr::new(ip, listen.port())
}

/// Whether no certificate is configured: then the passbook-service signs with its own.
fn development_passes(settings: &Settings) -> bool {
    let named = |table: &str, part: &str| {
        settings.names(table).into_iter().map(|name| Settings::named(table, &name, part)).collect::<Vec<_>>()
    };
    let mut unset = vec!["wallet.signing.certificate".to_owned(), "wallet.signing.p12".to_owned()];
    for file in ["certificate", "p12"] {
        unset.extend(named("wallet.types", &format!("signing.{file}")));
        unset.extend(named("wallet.certificates", file));
    }
    unset.iter().all(|path| settings.optional_path(path).is_none())
}

fn pass_certificates(settings: &Settings, data: &Path, clock: &Clock) -> anyhow::Result<DevelopmentCertificates> {
    let (pass_type, team, now_ms) = (settings.text("wallet.pass_type"), settings.text("wallet.team"), clock.now_ms());
    let first = DevelopmentCertificates::load_or_create(data, &pass_type, &team, now_ms);
    let further = settings.names("wallet.types").into_iter().try_for_each(|name| {
        let own = settings.optional_text(&Settings::named("wallet.types", &name, "team"));
        DevelopmentCertificates::load_or_create_for(data, &name, own.as_ref().unwrap_or(&team), now_ms).map(drop)
    });
    first.and_then(|first| further.map(|()| first)).context("the development certificates for passes cannot be made")
}
