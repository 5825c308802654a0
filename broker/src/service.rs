//! Wires log, engine, gate and HTTP door together, and takes them down in the order in which nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tidings_shared::auth::{ServiceKeys, Verifier};
use tidings_shared::clock::Clock;
use tidings_shared::health::{Dependency, Health};
use tidings_shared::http::{operations_router, serve};
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::service::bind;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::core::EngineHandle;
use crate::gate::{Gate, GateMetrics, GateParts};
use crate::log::{EmbeddedLog, LogMetrics, MessageLog, Options};
use crate::metrics::Metrics;
use crate::{core, http};

/// How long connections may take to close after the engine has stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// The broker's sockets.
#[derive(Debug)]
pub struct Listeners {
    /// MQTT over TCP.
    pub mqtt: TcpListener,
    /// MQTT over TLS; only with a certificate.
    pub mqtt_tls: Option<TcpListener>,
    /// HTTP and MQTT over WebSocket.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds the sockets that the configuration names.
    ///
    /// # Errors
    /// A taken or impossible address, with its setting.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let mqtt_tls = match config.tls {
            Some(_) => Some(bind(config.mqtt_tls, "broker.mqtt_tls.listen").await?),
            None => None,
        };
        Ok(Self {
            mqtt: bind(config.mqtt, "broker.mqtt.listen").await?,
            mqtt_tls,
            http: bind(config.http, "broker.http.listen").await?,
        })
    }
}

/// Runs the broker until the shutdown: listeners close, clients are told, cursors are stored, then the log is closed.
///
/// # Errors
/// A certificate, key file or message log that cannot be used, with what to do.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown, clock: Clock) -> anyhow::Result<()> {
    let tls = match &config.tls {
        Some(tls) => Some(
            tidings_shared::tls::server_config(&tls.cert, &tls.key, &[b"mqtt"])
                .context("broker.tls.cert and broker.tls.key")?,
        ),
        None => None,
    };
    let verifier = Verifier::new(config.auth.clone(), clock.clone())?;
    let keys = ServiceKeys::new(config.handler_keys.clone());
    if keys.is_empty() {
        tracing::warn!("keys.handler is empty: no handler can log in");
    }
    let metrics = Metrics::default();
    let health = Health::default();
    let log = open_log(&config, clock.clone(), metrics.log.clone(), health.register("log")).await?;
    let engine = start_engine(&config, &log, &clock).await?;
    let gate_metrics = GateMetrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    gate_metrics.register(&mut registry);
    registry.register_collector(Box::new(crate::metrics::EngineCollector::new(engine.clone())));
    let gate = Gate::new(GateParts {
        engine: engine.clone(),
        verifier: verifier.clone(),
        keys: keys.clone(),
        limits: config.gate.clone(),
        metrics: gate_metrics,
        clock: clock.clone(),
        shutdown: shutdown.clone(),
    });
    let door = http::router(http::Parts {
        engine: engine.clone(),
        log: Arc::clone(&log),
        verifier,
        keys,
        service_keys: ServiceKeys::new(config.service_keys),
        limits: config.door,
        clock,
        metrics: metrics.http.clone(),
        shutdown: shutdown.clone(),
        admin: config.admin.clone(),
    });
    let router = operations_router(health, Arc::new(registry))
        .merge(gate.websocket_routes())
        .merge(door)
        .fallback(async || http::not_found());
    announce(&listeners);
    let tls = listeners.mqtt_tls.zip(tls);
    tokio::join!(
        gate.serve_tcp(listeners.mqtt),
        async {
            if let Some((listener, tls)) = tls {
                gate.serve_tls(listener, tls).await;
            }
        },
        serve(listeners.http, router, shutdown.clone()),
        stop(&engine, &gate, &shutdown),
    );
    drop(engine);
    close(log).await;
    tracing::info!("the broker has stopped");
    Ok(())
}

async fn stop(engine: &EngineHandle, gate: &Gate, shutdown: &Shutdown) {
    shutdown.wait().await;
    engine.stop().await;
    gate.drained(PATIENCE).await;
}

fn announce(listeners: &Listeners) {
    let address =
        |listener: &TcpListener| listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    tracing::info!(
        mqtt = address(&listeners.mqtt),
        mqtt_tls =
            listeners.mqtt_tls.as_ref().map(address).unwrap_or_else(|| "off: broker.tls.cert is not set".to_owned()),
        http = address(&listeners.http),
        "the broker is listening"
    );
}

async fn open_log(
    config: &Config,
    clock: Clock,
    metrics: LogMetrics,
    health: Dependency,
) -> anyhow::Result<Arc<dyn MessageLog>> {
    let state = health.clone();
    let options = Options {
        limits: config.log.limits,
        segment_bytes: config.log.segment_bytes,
        total_bytes: config.log.total_bytes,
        waiting_bytes: config.log.waiting_bytes,
        message_bytes: config.log.message_bytes,
        metrics,
        on_trouble: Some(Box::new(move |trouble| match trouble {
            Some(error) => state.missing(error.to_string()),
            None => state.ready(),
        })),
        ..Options::new(&config.log.folder, clock)
    };
    let log = tokio::task::spawn_blocking(|| EmbeddedLog::open(options)).await.context("opening the message log")??;
    health.ready();
    Ok(Arc::new(log))
}

async fn start_engine(config: &Config, log: &Arc<dyn MessageLog>, clock: &Clock) -> anyhow::Result<EngineHandle> {
    let seed = uuid::Uuid::new_v4().as_u64_pair();
    let engine = core::start(config.engine.clone(), Arc::clone(log), clock.clone(), seed.0 ^ seed.1);
    engine.context("the broker's sessions could not be read from the message log")
}

/// Closes the log off the runtime's threads: it writes what waits.
async fn close(log: Arc<dyn MessageLog>) {
    if tokio::task::spawn_blocking(|| drop(log)).await.is_err() {
        tracing::error!("closing the message log ended early");
    }
}
