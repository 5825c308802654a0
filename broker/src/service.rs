//! Wires log, engine, gate and HTTP door together, and takes them down in the order in which nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use prometheus_client::registry::Registry;
use tidings_shared::auth::{ServiceKeys, Verifier};
use tidings_shared::clock::Clock;
use tidings_shared::health::{Dependency, Health};
use tidings_shared::http::{Server, operations_router};
use tidings_shared::lifecycle::{Hangup, Shutdown};
use tidings_shared::service::bind_all;
use tidings_shared::tls::ServerTls;
use tokio::net::TcpListener;

use crate::certificate::Certificate;
use crate::config::Config;
use crate::core::EngineHandle;
use crate::gate::{Gate, GateMetrics, GateParts};
use crate::log::{EmbeddedLog, LogMetrics, MessageLog, Options};
use crate::metrics::Metrics;
use crate::{core, http};

/// The broker's sockets.
#[derive(Debug)]
pub struct Listeners {
    /// MQTT over TCP; at least one.
    pub mqtt: Vec<TcpListener>,
    /// MQTT over TLS; only with a certificate.
    pub mqtt_tls: Vec<TcpListener>,
    /// HTTP and MQTT over WebSocket; at least one.
    pub http: Vec<TcpListener>,
}

impl Listeners {
    /// Binds the sockets that the configuration names.
    ///
    /// # Errors
    /// A taken or impossible address, with its setting.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let mqtt_tls = match config.tls {
            Some(_) => bind_all(&config.mqtt_tls, "broker.mqtt_tls.listen").await?,
            None => Vec::new(),
        };
        Ok(Self {
            mqtt: bind_all(&config.mqtt, "broker.mqtt.listen").await?,
            mqtt_tls,
            http: bind_all(&config.http, "broker.http.listen").await?,
        })
    }
}

/// Runs the broker until the shutdown: listeners close, clients are told, cursors are stored, then the log is closed.
///
/// # Errors
/// A certificate, key file or message log that cannot be used, with what to do.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown, clock: Clock) -> anyhow::Result<()> {
    let gate_metrics = GateMetrics::default();
    let certificate = match &config.tls {
        Some(tls) => Some(
            Certificate::load(tls.files.clone(), tls.reload, gate_metrics.clone(), clock.clone())
                .context("broker.tls.cert, broker.tls.key and broker.tls.client_ca")?,
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
        throttles: gate.throttles(),
        shutdown: shutdown.clone(),
        admin: config.admin.clone(),
    });
    let router = operations_router(health, Arc::new(registry))
        .merge(gate.websocket_routes())
        .merge(gate.guard(door))
        .fallback(async || http::not_found());
    announce(&listeners);
    let server = Server::new(router);
    tokio::join!(
        serve(&gate, listeners, certificate.as_ref().map(Certificate::tls), server),
        keep(certificate, &shutdown),
        stop(&engine, &gate, &shutdown, config.stop_patience),
    );
    drop(engine);
    close(log).await;
    tracing::info!("the broker has stopped");
    Ok(())
}

/// Serves every listener until the shutdown, then lets HTTP requests under way finish.
async fn serve(gate: &Gate, listeners: Listeners, tls: Option<ServerTls>, server: Server) {
    let mqtt = listeners.mqtt.into_iter().map(|listener| gate.serve_tcp(listener));
    let mqtt_tls =
        listeners.mqtt_tls.into_iter().zip(std::iter::repeat(tls)).filter_map(|(listener, tls)| Some((listener, tls?)));
    let mqtt_tls = mqtt_tls.map(|(listener, tls)| gate.serve_tls(listener, tls));
    let http = listeners.http.into_iter().map(|listener| gate.serve_http(listener, server.clone()));
    tokio::join!(join_all(mqtt), join_all(mqtt_tls), async {
        join_all(http).await;
        server.drain().await;
    });
}

/// Keeps the certificate up with its files, which SIGHUP asks for too; without one the signal has nothing to do.
async fn keep(certificate: Option<Certificate>, shutdown: &Shutdown) {
    let mut hangup = match Hangup::new(shutdown.clone()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(%error, "SIGHUP cannot be listened for; changed TLS files need a restart");
            return;
        }
    };
    match certificate {
        Some(certificate) => certificate.keep(hangup, shutdown.clone()).await,
        None => loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = hangup.asked() => tracing::info!("SIGHUP: there is no certificate to read again"),
            }
        },
    }
}

async fn stop(engine: &EngineHandle, gate: &Gate, shutdown: &Shutdown, patience: Duration) {
    shutdown.wait().await;
    engine.stop().await;
    gate.close();
    gate.drained(patience).await;
}

fn announce(listeners: &Listeners) {
    let addresses = |listeners: &[TcpListener]| {
        let texts = listeners.iter().map(|listener| match listener.local_addr() {
            Ok(address) => address.to_string(),
            Err(_) => "?".to_owned(),
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    let mqtt_tls = match listeners.mqtt_tls.as_slice() {
        [] => "off: broker.tls.cert is not set".to_owned(),
        listeners => addresses(listeners),
    };
    tracing::info!(
        mqtt = addresses(&listeners.mqtt),
        mqtt_tls,
        http = addresses(&listeners.http),
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
