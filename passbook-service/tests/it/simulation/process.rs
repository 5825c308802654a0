//! A service process of the simulation: the whole service in a runtime of its own, which can be ended in good order, or
//! in the middle of whatever it does, as a power cut ends it.

use std::net::SocketAddr;
use std::time::Duration;

use tidings_passbook_service::{Config, Listeners, run};
use tidings_shared::clock::Clock;
use tidings_shared::config::Settings;
use tidings_shared::lifecycle::Shutdown;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::support::{BOUND, KEY, eventually};

/// A running service.
pub(super) struct Process {
    pub(super) address: SocketAddr,
    shutdown: Shutdown,
    ended: oneshot::Receiver<anyhow::Result<()>>,
    runtime: Option<Runtime>,
}

impl Process {
    /// Starts one and waits until it is ready.
    pub(super) async fn start(settings: Settings, clock: Clock, client: &reqwest::Client) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shutdown = Shutdown::new();
        let (tell_address, address) = oneshot::channel();
        let (tell_end, mut ended) = oneshot::channel();
        let its_shutdown = shutdown.clone();
        runtime.spawn(async move {
            let result = async {
                let config = Config::from_settings(&settings)?;
                let listeners = Listeners::bind(&config).await?;
                let _told = tell_address.send(listeners.http.local_addr()?);
                run(config, listeners, its_shutdown, clock).await
            };
            let _told = tell_end.send(result.await);
        });
        let Ok(address) = address.await else { panic!("the service did not start: {:?}", ended.await) };
        eventually("the service to be ready", async || {
            if let Ok(end) = ended.try_recv() {
                panic!("the service ended: {end:?}");
            }
            // Not /readyz: that speaks of the gateway too, which may be overloaded at this moment.
            let answer = client.get(format!("http://{address}/api/templates")).bearer_auth(KEY).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        Self { address, shutdown, ended, runtime: Some(runtime) }
    }

    /// Ends it in good order.
    pub(super) async fn stop(mut self) {
        self.shutdown.begin();
        let end: Result<_, _> = tokio::time::timeout(BOUND, &mut self.ended).await.expect("the service ends in time");
        end.expect("the service says how it ended").expect("the service ends well");
    }

    /// Ends it between any two instructions.
    pub(super) fn crash(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How long one turn of a loop that waits may take before the clocks are moved on.
pub(super) const NUDGE: Duration = Duration::from_millis(40);
