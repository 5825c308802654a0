//! What is looked at now and then while the service runs: the database, and how long the signing certificate lasts.

use std::collections::HashMap;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::health::Dependency;
use tidings_shared::lifecycle::Shutdown;

use crate::metrics::Metrics;
use crate::package::{Builder, DAY_MS, Issuers};
use crate::store::Store;

/// How often the database is asked whether it is still there.
const PING: Duration = Duration::from_secs(5);

/// Keeps readiness true about the database.
pub(crate) async fn database(store: Store, health: Dependency, shutdown: Shutdown) {
    while pause(&shutdown, PING).await {
        match store.ping().await {
            Ok(()) => health.ready(),
            Err(error) => health.missing(error.to_string()),
        }
    }
}

/// Takes over certificates whose files were replaced, keeps the metric of their end, and warns once a day about each
/// from 30 days before it.
pub(crate) async fn certificates(
    issuers: Issuers,
    interval: Duration,
    clock: Clock,
    metrics: Metrics,
    shutdown: Shutdown,
) {
    let mut warned_at = HashMap::new();
    loop {
        let now_ms = clock.now_ms();
        for builder in issuers.iter() {
            look_again(builder, now_ms).await;
            warn(builder, now_ms, &mut warned_at);
            let until = builder.identities().signs_until(now_ms).unwrap_or(now_ms);
            metrics.certificate_expires(&builder.issuer().pass_type, (until - now_ms).div_euclid(1000));
        }
        if !pause(&shutdown, interval).await {
            return;
        }
    }
}

async fn look_again(builder: &std::sync::Arc<Builder>, now_ms: i64) {
    let reading = builder.clone();
    let pass_type = &builder.issuer().pass_type;
    match tokio::task::spawn_blocking(move || reading.identities().look_again(now_ms)).await {
        Ok(Ok(false)) => {}
        Ok(Ok(true)) => {
            let certificate = builder.identities().signing(now_ms).map(|identity| identity.name());
            tracing::info!(
                pass_type,
                certificate,
                "the files of the signing certificate were replaced and are used from now on"
            );
        }
        Ok(Err(error)) => {
            tracing::error!(pass_type, %error, "the replaced files are not used, the certificates of before go on signing");
        }
        Err(error) => tracing::error!(pass_type, %error, "looking at the certificate files ended in a panic"),
    }
}

fn warn(builder: &Builder, now_ms: i64, warned_at: &mut HashMap<String, i64>) {
    let pass_type = &builder.issuer().pass_type;
    let signing = builder.identities().signing(now_ms).map(|identity| identity.fingerprint());
    for identity in builder.identities().all().iter() {
        let Some(days) = identity.expires_soon(now_ms) else { continue };
        let fingerprint = identity.fingerprint();
        let last = warned_at.entry(fingerprint.clone()).or_insert(i64::MIN);
        if now_ms.saturating_sub(*last) < DAY_MS {
            continue;
        }
        *last = now_ms;
        let certificate = identity.name();
        if signing.as_ref().is_some_and(|newer| *newer != fingerprint) {
            tracing::info!(
                pass_type,
                days,
                certificate,
                fingerprint,
                "a signing certificate ends soon; a newer one signs already: take the old one out of the configuration"
            );
        } else {
            tracing::warn!(
                pass_type,
                days,
                certificate,
                fingerprint,
                "the signing certificate or its intermediate ends soon: renew it in the developer account and replace the files, or add the new one under wallet.certificates"
            );
        }
    }
}

/// Forgets former versions of passes that are too old.
pub(crate) async fn history(store: Store, clock: Clock, age_ms: i64, shutdown: Shutdown) {
    loop {
        match store.forget_versions(clock.now_ms() - age_ms, HISTORY_PORTION).await {
            Ok(gone) if gone >= HISTORY_PORTION.unsigned_abs() => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "former versions of passes cannot be forgotten; trying again later"),
        }
        if !pause(&shutdown, HISTORY).await {
            return;
        }
    }
}

/// How often former versions of passes are looked through, and how many are forgotten at a time.
const HISTORY: Duration = Duration::from_secs(300);
const HISTORY_PORTION: i64 = 1000;

/// `false`: the shutdown came first.
async fn pause(shutdown: &Shutdown, time: Duration) -> bool {
    tokio::select! {
        () = shutdown.wait() => false,
        () = tokio::time::sleep(time) => true,
    }
}
