//! The services as this program knows them: their tables of settings, their sockets, and how they run together.

use std::future::Future;
use std::pin::Pin;

use anyhow::Context;
use tidings_shared::auth::{Verifier, VerifierConfig};
use tidings_shared::clock::Clock;
use tidings_shared::config::{Setting, Settings};
use tidings_shared::lifecycle::Shutdown;
use tokio::task::JoinSet;

use crate::cli::{Common, Service, UpArgs};
use crate::up::settings::{self, Defaults};

/// Every table of settings, in the order of the reference page.
pub(crate) const TABLES: [&[Setting]; 6] = [
    tidings_shared::config::SETTINGS,
    tidings_broker::SETTINGS,
    tidings_handlers::SETTINGS,
    tidings_push_gateway::SETTINGS,
    tidings_passbook_service::SETTINGS,
    tidings_simulators::SETTINGS,
];

/// What the services say about settings that are fine each by itself: pairs that belong together, files that cannot be
/// used. Keys that `tidings up` would make are taken as made.
///
/// # Errors
/// All faults, a line each.
pub(crate) fn check(common: &Common, up: &UpArgs, settings: &Settings) -> anyhow::Result<()> {
    let mut defaults = Defaults::default();
    for keys in ["keys.handler", "keys.service", "keys.admin"] {
        if settings.texts(keys).is_empty() {
            defaults.set(keys, "made-at-the-start");
        }
    }
    let settings = settings::load(common, up, &defaults)?;
    let results = [
        ("broker", tidings_broker::Config::from_settings(&settings).map(drop)),
        ("handlers", tidings_handlers::Config::from_settings(&settings).map(drop)),
        ("push-gateway", tidings_push_gateway::check(&settings)),
        ("passbook-service", tidings_passbook_service::Config::from_settings(&settings).map(drop)),
        (
            "tokens",
            Verifier::new(VerifierConfig::from_settings(&settings), Clock::system()).map(drop).map_err(Into::into),
        ),
    ];
    let faults: Vec<String> =
        results.into_iter().filter_map(|(name, result)| Some(format!("  {name}: {:#}", result.err()?))).collect();
    anyhow::ensure!(faults.is_empty(), "the configuration has faults:\n{}", faults.join("\n"));
    Ok(())
}

/// A service whose sockets are bound, ready to run.
pub(crate) struct Bound {
    name: &'static str,
    run: Box<dyn FnOnce(Shutdown, Clock) -> Running + Send>,
}

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

impl Bound {
    fn new<F>(name: &'static str, run: impl FnOnce(Shutdown, Clock) -> F + Send + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self { name, run: Box::new(|shutdown, clock| Box::pin(run(shutdown, clock))) }
    }
}

/// Checks the configuration of one service and binds its sockets.
///
/// # Errors
/// What is wrong, with the setting.
pub(crate) async fn bind(service: Service, settings: &Settings) -> anyhow::Result<Bound> {
    Ok(match service {
        Service::Broker => {
            let config = tidings_broker::Config::from_settings(settings)?;
            let listeners = tidings_broker::Listeners::bind(&config).await?;
            Bound::new("broker", |shutdown, clock| tidings_broker::run(config, listeners, shutdown, clock))
        }
        Service::Handlers => {
            let config = tidings_handlers::Config::from_settings(settings)?;
            let listeners = tidings_handlers::Listeners::bind(&config).await?;
            Bound::new("handlers", |shutdown, clock| tidings_handlers::run(config, listeners, shutdown, clock))
        }
        Service::PushGateway => {
            let config = tidings_push_gateway::Config::from_settings(settings);
            let listeners = tidings_push_gateway::Listeners::bind(&config).await?;
            Bound::new("push-gateway", |shutdown, clock| tidings_push_gateway::run(config, listeners, shutdown, clock))
        }
        Service::Passbook => {
            let config = tidings_passbook_service::Config::from_settings(settings)?;
            let listeners = tidings_passbook_service::Listeners::bind(&config).await?;
            Bound::new("passbook-service", |shutdown, clock| {
                tidings_passbook_service::run(config, listeners, shutdown, clock)
            })
        }
        Service::Simulators => {
            let config = tidings_simulators::Config::from_settings(settings);
            let listeners = tidings_simulators::Listeners::bind(&config).await?;
            Bound::new("simulators", |shutdown, clock| tidings_simulators::run(config, listeners, shutdown, clock))
        }
    })
}

/// Binds the four services; every taken port is told, not only the first.
///
/// # Errors
/// All faults, a line each.
pub(crate) async fn bind_all(settings: &Settings) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    let mut faults = Vec::new();
    for service in [Service::Broker, Service::PushGateway, Service::Passbook, Service::Handlers] {
        match bind(service, settings).await {
            Ok(service) => bound.push(service),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(bound)
}

/// The services of one process, running.
pub(crate) struct Together {
    tasks: JoinSet<anyhow::Result<()>>,
    shutdown: Shutdown,
    /// The first failure, until a `wait` tells it; kept here because a `wait` may be given up.
    failure: Option<anyhow::Error>,
}

impl Together {
    /// Starts nothing yet.
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self { tasks: JoinSet::new(), shutdown, failure: None }
    }

    /// Starts a service.
    pub(crate) fn start(&mut self, service: Bound, clock: &Clock) {
        let running = (service.run)(self.shutdown.clone(), clock.clone());
        let name = service.name;
        self.tasks.spawn(async move { running.await.with_context(|| format!("the {name} stopped")) });
    }

    /// Starts something else that ends with the services.
    pub(crate) fn start_task(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { task.await.with_context(|| format!("{name} stopped")) });
    }

    /// Waits until all have ended. The first that fails ends the others.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn wait(&mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(anyhow::anyhow!("a service broke down: {error}")));
            if !self.shutdown.is_down() || ended.is_err() {
                self.shutdown.begin();
            }
            if self.failure.is_none() {
                self.failure = ended.err();
            }
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::config::reference_page;

    use super::TABLES;

    /// The committed page is what the code says now.
    #[test]
    fn the_configuration_reference_is_up_to_date() {
        let committed = include_str!("../../docs/configuration.md");
        let made = reference_page(&TABLES);
        assert!(
            committed == made,
            "run `cargo run -p tidings -- config reference > docs/configuration.md` and commit it"
        );
    }
}
