//! What is looked at now and then while the service runs: the database, and how long the signing certificate lasts.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::health::Dependency;
use tidings_shared::lifecycle::Shutdown;

use crate::metrics::Metrics;
use crate::package::{Builder, DAY_MS};
use crate::store::Store;

/// How often the database is asked whether it is still there.
const PING: Duration = Duration::from_secs(5);
/// How often the certificate is looked at.
const CERTIFICATE: Duration = Duration::from_secs(60);

/// Keeps readiness true about the database.
pub(crate) async fn database(store: Store, health: Dependency, shutdown: Shutdown) {
    while pause(&shutdown, PING).await {
        match store.ping().await {
            Ok(()) => health.ready(),
            Err(error) => health.missing(error.to_string()),
        }
    }
}

/// Keeps the metric of the certificate's end, and warns once a day from 30 days before it.
pub(crate) async fn certificate(builder: Arc<Builder>, clock: Clock, metrics: Metrics, shutdown: Shutdown) {
    let identity = builder.identity();
    let mut warned_at = i64::MIN;
    loop {
        let now_ms = clock.now_ms();
        metrics.certificate_expires.set((identity.expires_at_ms() - now_ms).div_euclid(1000));
        if let Some(days) = identity.expires_soon(now_ms)
            && now_ms.saturating_sub(warned_at) >= DAY_MS
        {
            warned_at = now_ms;
            tracing::warn!(
                days,
                certificate = identity.name(),
                "the signing certificate or its intermediate ends soon: renew it in the developer account, replace the file and restart"
            );
        }
        if !pause(&shutdown, CERTIFICATE).await {
            return;
        }
    }
}

/// `false`: the shutdown came first.
async fn pause(shutdown: &Shutdown, time: Duration) -> bool {
    tokio::select! {
        () = shutdown.wait() => false,
        () = tokio::time::sleep(time) => true,
    }
}
