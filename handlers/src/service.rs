//! The service's life: start, work, stop.

use std::sync::Arc;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use tidings_shared::clock::Clock;
use tidings_shared::health::Health;
use tidings_shared::http::{self, operations_router, serve};
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::service;
use tidings_shared::storage::Database;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::contacts::{self, Contacts};
use crate::push_token::{self, Gateway};
use crate::runtime::{InvalidRouter, Jitter, Metrics, Router, Routes, Runtime};

/// The sockets of the service.
#[derive(Debug)]
pub struct Listeners {
    /// Health and metrics.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// The address, the setting, and what to do.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { http: service::bind(config.listen, "handlers.listen").await? })
    }
}

/// Every handler of this service.
///
/// # Errors
/// Patterns that cannot be used.
pub fn routes(contacts: Contacts, gateway: Gateway) -> Result<Routes, InvalidRouter> {
    Router::new().merge(contacts::router().with_state(contacts)).merge(push_token::router().with_state(gateway)).build()
}

/// Runs the handlers until the shutdown. A database or broker that is away is waited for; `/readyz` says so.
///
/// # Errors
/// Certificates that cannot be used, or a listener that fails.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown, clock: Clock) -> anyhow::Result<()> {
    let gateway = Gateway {
        url: config.gateway_url.clone(),
        keys: config.service_keys.clone(),
        http: http::client(config.ca_file.as_deref()).context("handlers.ca_file")?,
    };
    let health = Health::default();
    // Both are named before the database is there, so that /readyz never skips one.
    let database_health = health.register("database");
    let _ = health.register("broker");
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let router = operations_router(health.clone(), Arc::new(registry));
    let serving = tokio::spawn(serve(listeners.http, router, shutdown.clone()));

    let connecting =
        Database::connect_patiently(&config.database, config.database_connections, &database_health, &shutdown);
    if let Some(database) = connecting.await.context("handlers.database")? {
        let contacts = Contacts { database: database.clone(), clock: clock.clone(), limits: config.limits };
        let routes = routes(contacts, gateway)?;
        let runtime =
            Runtime::new(routes, database.clone(), config.runtime, &health, &metrics, clock, Jitter::from_machine());
        runtime.run(shutdown.clone()).await;
        database.close().await;
    }
    serving.await.context("the HTTP interface ended early")
}
