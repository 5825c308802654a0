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

/// Reads uploaded templates as they come, and sweeps after a start and after each that is new, until the shutdown.
pub async fn keep_current(passes: &Passes, store: &Store, shutdown: &Shutdown) {
    let mut first = true;
    loop {
        let changed = match passes.catalog().reload(store, passes.issuers()).await {
            Ok(changed) => changed,
            Err(error) => {
                tracing::error!(%error, "uploaded templates cannot be read; trying again");
                false
            }
        };
        let dirty = passes.catalog().take_dirty();
        if changed || first || dirty {
            sweep(passes, store, shutdown).await;
            first = false;
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = passes.catalog().woken() => {}
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
                    Ok(Some(pass)) => passes.refresh(pass).await.map(|_| ()),
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
