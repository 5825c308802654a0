//! Passes whose template or address has changed since they were last rendered are rendered anew, so that an edited or
//! uploaded template reaches the phones.

use std::time::Duration;

use tidings_shared::lifecycle::Shutdown;

use super::Passes;
use crate::package::Issuer;
use crate::store::Store;

const PAGE: i64 = 200;
/// How often uploads of other processes are looked for; those of this one are seen at once.
const LOOK: Duration = Duration::from_secs(2);

/// Reads uploaded templates as they come, and sweeps after a start and after each that is new, until the shutdown. A sweep may
/// take long; templates are read meanwhile.
pub async fn keep_current(passes: &Passes, store: &Store, shutdown: &Shutdown) {
    let (read, reading) = tokio::sync::oneshot::channel();
    tokio::join!(keep_reading(passes, store, shutdown, read), async {
        // What the database holds is known before the first sweep.
        let _ = reading.await;
        while !shutdown.is_down() {
            passes.catalog().take_dirty();
            sweep(passes, store, shutdown).await;
            while !passes.catalog().is_dirty() {
                tokio::select! {
                    () = shutdown.wait() => return,
                    () = passes.catalog().woken() => {}
                }
            }
        }
    });
}

async fn keep_reading(passes: &Passes, store: &Store, shutdown: &Shutdown, read: tokio::sync::oneshot::Sender<()>) {
    let mut read = Some(read);
    loop {
        if let Err(error) = passes.catalog().reload(store, passes.issuers()).await {
            tracing::error!(%error, "uploaded templates cannot be read; trying again");
        }
        if let Some(read) = read.take() {
            // Whoever waited may have gone.
            let _ = read.send(());
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Goes once through the passes that are out of date.
async fn sweep(passes: &Passes, store: &Store, shutdown: &Shutdown) {
    let builders: Vec<_> = passes.issuers().passes().cloned().collect();
    for builder in &builders {
        sweep_type(passes, store, builder.issuer(), shutdown).await;
    }
}

async fn sweep_type(passes: &Passes, store: &Store, issuer: &Issuer, shutdown: &Shutdown) {
    for name in &passes.catalog().names() {
        let Some(template) = passes.catalog().get(name) else { continue };
        let basis = template.basis(issuer);
        let (mut after, mut renewed, mut failed) = (String::new(), 0_u64, 0_u64);
        loop {
            let page = match store.outdated(&issuer.pass_type, name, &basis, &after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, template = name, "looking for outdated passes failed; they are renewed when they are next asked for");
                    break;
                }
            };
            let Some(last) = page.last() else { break };
            after.clone_from(&last.serial);
            for id in page {
                if shutdown.is_down() {
                    return;
                }
                let outcome = match store.pass(&id).await {
                    Ok(Some(pass)) => passes.renew(pass).await.map(|_| ()),
                    Ok(None) => continue,
                    Err(error) => Err(error.into()),
                };
                match outcome {
                    Ok(()) => renewed += 1,
                    Err(error) => {
                        failed += 1;
                        if failed == 1 {
                            tracing::error!(%error, template = name, "a pass cannot be rendered with the present template; give new placeholders a default");
                        }
                    }
                }
            }
        }
        if renewed + failed > 0 {
            tracing::info!(template = name, renewed, failed, "passes brought up to date with their template");
        }
    }
}
