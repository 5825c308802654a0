//! The parts of the service and their life: start, work, stop.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use prometheus_client::registry::Registry;
use tidings_shared::auth::{ServiceKeys, Verifier};
use tidings_shared::clock::Clock;
use tidings_shared::config::Settings;
use tidings_shared::health::Health;
use tidings_shared::http::egress::EgressPolicy;
use tidings_shared::http::{operations_router, serve};
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::time_zone;
use tidings_shared::storage::Database;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api::expand::Expander;
use crate::api::gorush::GorushSettings;
use crate::api::rooms::Rooms;
use crate::api::{self, Gateway};
use crate::apps::{Apps, watch};
use crate::config::Config;
use crate::devices::pruning::{self, PruningSettings};
use crate::events::{self, EventLog, Keep};
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::queue::intake::Intake;
use crate::queue::janitor::{self, Janitor};
use crate::queue::lane::{LaneSettings, Surroundings};
use crate::queue::load::{Bounds, Load};
use crate::queue::{Recorder, RetryPolicy};
use crate::send::BreakerSettings;
use crate::templates;
use crate::wake::{BrokerLogin, Waker, listen};
use crate::webhooks::WebhookSettings;
use crate::webhooks::deliver::Courier;

/// How long a stop waits for pushes under way.
const DRAIN: Duration = Duration::from_secs(10);

/// The sockets of the service.
#[derive(Debug)]
pub struct Listeners {
    /// The HTTP interface.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// The address, the setting, and what to do.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { http: tidings_shared::service::bind(config.listen, "push.listen").await? })
    }
}

/// Reads what the settings name, without starting anything.
///
/// # Errors
/// Credentials or keys that cannot be used.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    let (config, clock) = (Config::from_settings(settings), Clock::system());
    Apps::load(&config, &clock).context("the push apps cannot be used")?;
    broker_login(&config)?;
    fallback_zone(&config)?;
    Verifier::new(config.auth, clock).context("tokens cannot be verified")?;
    Ok(())
}

/// Runs the gateway until the shutdown. A database or broker that is away is waited for; `/readyz` says so.
///
/// # Errors
/// Credentials or keys that cannot be used, or a listener that fails.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown, clock: Clock) -> anyhow::Result<()> {
    let apps = Arc::new(Apps::load(&config, &clock).context("the push apps cannot be used")?);
    let verifier = Verifier::new(config.auth.clone(), clock.clone()).context("tokens cannot be verified")?;
    let login = broker_login(&config)?;
    if apps.lanes().next().is_none() {
        tracing::warn!("no app is configured (push.apps.NAME…): devices cannot register and nothing is pushed");
    }
    let health = Health::default();
    let database_health = health.register("database");
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let ids = Ids::new(clock.clone());
    let load = Arc::new(Load::new(Bounds {
        all: i64::try_from(config.limits.queue).unwrap_or(i64::MAX),
        app: i64::try_from(config.limits.queue_per_app).unwrap_or(i64::MAX),
    }));
    let gateway = Arc::new(Gateway {
        database: OnceLock::new(),
        intake: OnceLock::new(),
        load: Arc::clone(&load),
        time_zone: fallback_zone(&config)?,
        apps: Arc::clone(&apps),
        verifier,
        service_keys: ServiceKeys::new(config.service_keys.clone()),
        ids: ids.clone(),
        clock: clock.clone(),
        metrics: Arc::clone(&metrics),
        ttl: config.ttl,
        max_devices: config.max_devices,
        rooms: rooms(&config, &clock, &metrics, &shutdown)?,
    });
    let router = api::router(Arc::clone(&gateway), config.max_body, config.max_batch_body)
        .merge(operations_router(health.clone(), Arc::new(registry)));
    // Registered before the database is there, so that /readyz never skips it.
    let broker_health = login.as_ref().map(|_| health.register("broker"));
    let mut parts = JoinSet::new();
    let served = serve(listeners.http, router, shutdown.clone());
    parts.spawn(async move {
        served.await;
        Ok(())
    });

    let database =
        Database::connect_patiently(&config.database, config.database_connections, &database_health, &shutdown).await;
    let Some(database) = database.context("push.database")? else { return ended(parts).await };
    // Set once, here.
    let _ = gateway.database.set(database.clone());
    let (intake, mut taking) = Intake::start(&database, &clock);
    // Set once, here.
    let _ = gateway.intake.set(intake);
    let (recorder, mut recording) = Recorder::start(&database, &clock, &gateway.rooms.events);
    let around = Surroundings {
        database: database.clone(),
        load: Arc::clone(&load),
        recorder,
        clock: clock.clone(),
        ids: ids.clone(),
        metrics: Arc::clone(&metrics),
        settings: lane_settings(&config),
    };
    for lane in apps.lanes() {
        let lane = Arc::clone(lane).run(around.clone(), shutdown.clone());
        parts.spawn(async move {
            lane.await;
            Ok(())
        });
    }
    drop(around);
    for part in registry_parts(&config, &gateway, &database, &shutdown) {
        parts.spawn(async move {
            part.await;
            Ok(())
        });
    }
    let watching = watch::keep(Arc::clone(&apps), config.credentials_check, Arc::clone(&metrics), shutdown.clone());
    parts.spawn(async move {
        watching.await;
        Ok(())
    });
    let janitor = Janitor {
        database: database.clone(),
        apps: Arc::clone(&apps),
        load,
        metrics: Arc::clone(&metrics),
        clock: clock.clone(),
        keep: config.keep,
    };
    let upkeep = janitor::run(janitor, database_health, shutdown.clone());
    parts.spawn(async move {
        upkeep.await;
        Ok(())
    });
    if let (Some(login), Some(health)) = (login, broker_health) {
        let ttl_ms = i64::try_from(config.wake_ttl.as_millis()).unwrap_or(i64::MAX);
        let waker = Waker { database: database.clone(), apps, ids, clock, metrics, ttl_ms };
        let listening = listen(waker, login, health, shutdown.clone());
        parts.spawn(async move {
            listening.await;
            Ok(())
        });
    }
    let result = ended(parts).await;
    // The lanes are gone; what they had to record is written before the database is closed.
    while let Some(ended) = recording.join_next().await {
        ended.context("the recorder of results failed")?;
    }
    // The door is closed. Its tasks wait for requests that cannot come any more.
    taking.shutdown().await;
    database.close().await;
    result
}

/// What the routes of the registry need.
fn rooms(config: &Config, clock: &Clock, metrics: &Arc<Metrics>, shutdown: &Shutdown) -> anyhow::Result<Rooms> {
    let policy = EgressPolicy { allow_private: config.webhooks.allow_private };
    let client = policy.client(config.ca_file.as_deref(), config.webhooks.timeout).context("push.ca_file")?;
    let courier = Courier {
        client,
        policy,
        clock: clock.clone(),
        metrics: Arc::clone(metrics),
        settings: WebhookSettings {
            disable_after: config.webhooks.disable_after,
            secret_overlap: config.webhooks.secret_overlap,
            timeout: config.webhooks.timeout,
            concurrency: config.webhooks.concurrency,
        },
        changed: Arc::default(),
    };
    if config.gorush.enabled && config.gorush.key.is_none() {
        tracing::warn!("push.gorush.enabled without push.gorush.key: everybody who reaches /api/push may send");
    }
    let topics = config.apps.iter().filter_map(|app| Some((app.apns.as_ref()?.topic.clone()?, app.name.clone())));
    Ok(Rooms {
        events: EventLog::default(),
        templates: templates::Cache::default(),
        courier,
        expand: Arc::default(),
        shutdown: shutdown.clone(),
        heartbeat: config.registry.heartbeat,
        gorush: GorushSettings {
            enabled: config.gorush.enabled,
            key: config.gorush.key.clone(),
            app: config.gorush.app.clone(),
            production: config.gorush.production,
            topics: topics.collect(),
        },
    })
}

/// What works beside the routes: webhooks, segments, and forgetting what is old.
fn registry_parts(
    config: &Config,
    gateway: &Arc<Gateway>,
    database: &Database,
    shutdown: &Shutdown,
) -> Vec<BoxFuture<'static, ()>> {
    let (events, clock) = (gateway.rooms.events.clone(), gateway.clock.clone());
    let pruning = PruningSettings { quarantine: config.registry.quarantine, unseen: config.registry.forget_unseen };
    let keep = Keep { events: config.registry.keep_events, deliveries: config.keep };
    let expander = Expander { gateway: Arc::clone(gateway), database: database.clone() };
    vec![
        Box::pin(events.clone().follow(database.clone(), clock.clone(), shutdown.clone())),
        Box::pin(events::forget(database.clone(), clock.clone(), keep, shutdown.clone())),
        Box::pin(gateway.rooms.courier.clone().run(database.clone(), events, shutdown.clone())),
        Box::pin(expander.run(shutdown.clone())),
        Box::pin(pruning::run(database.clone(), Arc::clone(&gateway.metrics), clock, pruning, shutdown.clone())),
    ]
}

/// Waits for all parts; the first failure is the service's.
async fn ended(mut parts: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut result = Ok(());
    while let Some(part) = parts.join_next().await {
        let part = part.context("a part of the push-gateway panicked").and_then(|part| part);
        if result.is_ok() && part.is_err() {
            return part;
        }
        result = result.and(part);
    }
    result
}

fn broker_login(config: &Config) -> anyhow::Result<Option<BrokerLogin>> {
    if !config.broker.enabled {
        return Ok(None);
    }
    let tls = config
        .broker
        .url
        .starts_with("mqtts://")
        .then(|| tidings_shared::tls::client_config(config.ca_file.as_deref(), None, &[b"mqtt"]))
        .transpose()
        .context("push.ca_file")?;
    let login = BrokerLogin::new(&config.broker.url, tls, config.handler_keys.clone(), &config.broker.client_id)
        .context("push.broker")?;
    Ok(Some(login))
}

fn fallback_zone(config: &Config) -> anyhow::Result<TimeZone> {
    time_zone(&config.time_zone).map_err(|problem| anyhow::anyhow!("push.time_zone: {problem}"))
}

fn lane_settings(config: &Config) -> LaneSettings {
    LaneSettings {
        concurrency: config.concurrency,
        reserved: config.reserved,
        per_second: config.limits.per_app,
        per_device: config.limits.per_device,
        device_window: config.limits.device_window,
        breaker: BreakerSettings {
            failures: config.breaker.failures,
            window: config.breaker.window,
            pause: config.breaker.pause,
            longest: config.breaker.longest,
        },
        lease: config.lease,
        recheck: config.recheck,
        drain: DRAIN,
        retry: RetryPolicy { first: config.retry.first, longest: config.retry.longest, give_up: config.retry.give_up },
    }
}
