//! Putting the service together and running it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tidings_shared::clock::Clock;
use tidings_shared::health::Health;
use tidings_shared::http::{client, operations_router, serve};
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::service::bind;
use tidings_shared::storage::Database;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::catalog::Catalog;
use crate::config::{Config, TokenMode};
use crate::diagnose::Recorder;
use crate::google::teller::Teller;
use crate::google::{Google, GoogleMetrics};
use crate::link::Links;
use crate::metrics::Metrics;
use crate::moving::Moving;
use crate::order::OrderCatalog;
use crate::package::development::DevelopmentCertificates;
use crate::package::{Builder, CertificateSource, Identities, Issuer, Issuers, Kind, Rules};
use crate::secret_file::open_mode;
use crate::store::Store;
use crate::token::{TokenMaker, key_file, random_hex};
use crate::update::pusher::Pusher;
use crate::update::sequencer::Sequencer;
use crate::update::{Jobs, Passes, keep_current};
use crate::watch;
use crate::web::{Door, Limits, Service, router};

/// How long to wait before the first row is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// The sockets that the service listens on.
pub struct Listeners {
    /// HTTP: Apple's routes, the API, health and metrics.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds what the configuration says.
    ///
    /// # Errors
    /// Names the address, the setting and what to do.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { http: bind(config.listen, "wallet.listen").await? })
    }
}

/// Runs the service until the shutdown begins.
///
/// # Errors
/// What keeps it from starting: a certificate that fails a check, a template that breaks a rule, a file that cannot be
/// read. A database or a push-gateway that is away does not: `/readyz` says so, and it is tried again.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown, clock: Clock) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let google_metrics = GoogleMetrics::register(&mut registry);
    let health = Health::default();
    let database_health = health.register("database");
    let gateway_health = health.register("push-gateway");

    let port = listeners.http.local_addr()?.port();
    let issuers = issuers(&config, port, &clock)?;
    let catalog = Catalog::load(config.templates.as_deref(), &issuers)?;
    check_secrets(&config)?;
    let tokens = TokenMaker::new(&config.tokens, &config.data)?;
    let links = Links::new(&links_key(&config)?)?;
    let orders = OrderCatalog::load(config.order_templates.as_deref())?;
    let google = config.google.clone().map(|google| Google::new(google, google_metrics, &clock)).transpose()?;
    let http_client = client(config.gateway_ca.as_deref())?;
    if config.service_keys.is_empty() {
        tracing::warn!("keys.service is empty: the API refuses every call, and the push-gateway will refuse pushes");
    }

    let door = Door::default();
    let limits = Arc::new(Limits::new(config.limits.clone(), clock.clone()));
    let routes = operations_router(health, Arc::new(registry)).merge(router(door.clone(), metrics.clone(), limits));
    let server = tokio::spawn(serve(listeners.http, routes, shutdown.clone()));
    // Requests that are still answered after the shutdown began may wait for a tag: these tasks end after the server.
    let after = Shutdown::new();
    let mut tasks = JoinSet::new();
    let database =
        Database::connect_patiently(&config.database, config.database_connections, &database_health, &shutdown).await;
    if let Some(database) = database.context("wallet.database")? {
        let store = Store::new(database.clone());
        if let Some(()) = start_clock(&store, &database_health, &shutdown).await {
            let (mut sequencer, waiter) =
                Sequencer::new(store.clone(), clock.clone(), metrics.clone(), config.tag_wait);
            sequencer.interval = config.sequencer_interval;
            sequencer.batch = config.sequencer_batch;
            sequencer.push_interval_ms = config.push_interval_ms;
            let pusher = Pusher {
                store: store.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                client: http_client.clone(),
                gateway_url: config.gateway_url.clone(),
                keys: config.service_keys.clone(),
                interval_ms: config.push_interval_ms,
                health: gateway_health,
                wake: sequencer.pushes.clone(),
                refusal: Arc::default(),
            };
            let moving = Moving {
                store: store.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                client: http_client,
                campaigns: Arc::default(),
            };
            let campaigns = moving.campaigns.clone();
            moving.spawn(&config, &mut tasks, &after)?;
            let recorder = Recorder::new(store.clone(), clock.clone(), metrics.clone())
                .telling(config.diagnosis_webhook.is_some());
            let (signing, watch_clock, watch_metrics) = (issuers.clone(), clock.clone(), metrics.clone());
            let public_url = issuers.default_builder().issuer().web_service_url.clone();
            let passes = Passes::new(store.clone(), issuers, catalog, tokens, waiter, metrics.clone(), clock.clone())
                .with_history(config.history_versions);
            let jobs = Jobs::new(store.clone(), clock.clone()).with_connections(config.database_connections);
            let service = Arc::new(Service {
                store: store.clone(),
                passes,
                jobs: jobs.clone(),
                links,
                links_ttl_ms: config.links_ttl_ms,
                recorder: recorder.clone(),
                keys: config.service_keys,
                public_url,
                campaigns,
                counting: Arc::default(),
                quarantine_ms: config.prune.quarantine_ms,
                clock,
                metrics,
                google: google.clone(),
                orders,
            });
            door.open(service.clone());
            tasks.spawn(sequencer.run(after.clone()));
            tasks.spawn(pusher.run(after.clone()));
            tasks.spawn(recorder.run(after.clone()));
            tasks.spawn({
                let (service, after) = (service.clone(), after.clone());
                async move { crate::order::sweep(&service, &after).await }
            });
            if let Some(google) = google {
                tasks.spawn(Teller { service: service.clone(), google }.run(after.clone()));
            }
            tasks.spawn({
                let (service, after) = (service.clone(), after.clone());
                async move { jobs.run(service.as_ref(), after).await }
            });
            tasks.spawn(watch::history(store.clone(), service.clock.clone(), config.history_age_ms, after.clone()));
            tasks.spawn({
                let (store, after) = (store.clone(), after.clone());
                async move { keep_current(&service.passes, &store, &after).await }
            });
            tasks.spawn(watch::database(store, database_health, after.clone()));
            tasks.spawn(watch::certificates(signing, config.signing_watch, watch_clock, watch_metrics, after.clone()));
        }
        let served = server.await;
        after.begin();
        while tasks.join_next().await.is_some() {}
        database.close().await;
        served?;
    } else {
        server.await?;
    }
    Ok(())
}

/// A builder for each configured type.
fn issuers(config: &Config, port: u16, clock: &Clock) -> anyhow::Result<Issuers> {
    let now_ms = clock.now_ms();
    let development = config.types.iter().all(|one| one.certificates.is_empty());
    let web_service_url = config.public_url.clone().unwrap_or_else(|| format!("http://localhost:{port}"));
    let allow_http = config.allow_http || (development && config.public_url.is_none());
    let mut builders = Vec::new();
    for (index, one) in config.types.iter().enumerate() {
        let sources =
            if development { development_certificate(config, index, now_ms)? } else { one.certificates.clone() };
        let identities = Identities::load(&one.identifier, &one.team, sources, config.check_key_permissions, now_ms)?;
        for identity in identities.all().iter() {
            tracing::info!(pass_type = one.identifier, certificate = identity.name(), "signing certificate loaded");
        }
        let issuer = Issuer {
            kind: Kind::of(&one.identifier),
            pass_type: one.identifier.clone(),
            team: one.team.clone(),
            web_service_url: web_service_url.clone(),
            rules: Rules { allow_http },
        };
        builders.push(Builder::new(issuer, identities));
    }
    let first = builders.remove(0);
    Ok(Issuers::new(first, builders))
}

fn development_certificate(config: &Config, index: usize, now_ms: i64) -> anyhow::Result<Vec<CertificateSource>> {
    let one = &config.types[index];
    let made = if index == 0 {
        let made = DevelopmentCertificates::load_or_create(&config.data, &one.identifier, &one.team, now_ms)?;
        tracing::warn!(root = %made.root.display(), "passes are signed with a development certificate: no phone accepts them. Set wallet.signing.* for real ones");
        made
    } else {
        DevelopmentCertificates::load_or_create_for(&config.data, &one.identifier, &one.team, now_ms)?
    };
    Ok(vec![CertificateSource { place: "the development certificate".to_owned(), files: made.files() }])
}

/// Makes sure that the database has its clock; `None` when the shutdown came first.
async fn start_clock(store: &Store, health: &tidings_shared::health::Dependency, shutdown: &Shutdown) -> Option<()> {
    loop {
        let attempt = match random_hex::<4>() {
            Ok(epoch) => store.start_clock(&epoch).await.map_err(anyhow::Error::new),
            Err(error) => Err(error),
        };
        match attempt {
            Ok(_) => {
                health.ready();
                return Some(());
            }
            Err(error) => {
                tracing::error!(%error, "the database does not take the service's first row; trying again");
                health.missing(error.to_string());
            }
        }
        tokio::select! {
            () = shutdown.wait() => return None,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// That nobody but the service may read its other keys; those of certificates are checked where they are loaded.
fn check_secrets(config: &Config) -> anyhow::Result<()> {
    let made = ["token.key", "links.key"].map(|name| config.data.join("wallet").join(name));
    let google = config.google.as_ref().map(|google| google.service_account_file.clone());
    for file in made.into_iter().chain(google).filter(|_| config.check_key_permissions) {
        if let Some(mode) = open_mode(&file) {
            let file = file.display();
            anyhow::bail!(
                "{file} has mode {mode:04o}: other users of this machine may use the key; chmod 600 {file} (and let the \
                 service's user own it); where a container's volumes have group rights, set wallet.check_key_permissions = false"
            );
        }
    }
    Ok(())
}

/// What seals links: a key of its own, or the tokens' master key, or a file of the data folder.
fn links_key(config: &Config) -> anyhow::Result<String> {
    match (&config.links_key, &config.tokens) {
        (Some(key), _) | (None, TokenMode::Derived(Some(key))) => Ok(key.clone()),
        _ => key_file(&config.data, "links.key", "the key of download links (setting wallet.links.key)"),
    }
}
