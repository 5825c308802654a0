//! After a start: orders whose template has changed since they were last rendered are rendered anew, so that an edited
//! template reaches the phones.

use tidings_shared::lifecycle::Shutdown;

use super::Orders;
use crate::package::Kind;
use crate::web::Service;

const PAGE: i64 = 200;

/// Goes once through the orders that are out of date.
pub async fn sweep(service: &Service, shutdown: &Shutdown) {
    let issuers = service.passes.issuers().iter().map(|builder| builder.issuer());
    for issuer in issuers.filter(|issuer| issuer.kind == Kind::Order) {
        for name in service.orders.names() {
            let Some(template) = service.orders.get(&name) else { continue };
            let basis = template.basis(issuer);
            let mut after = String::new();
            loop {
                let page = match service.store.outdated(&issuer.pass_type, &name, &basis, &after, PAGE).await {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::error!(%error, template = name, "looking for outdated orders failed; they are renewed when they are next asked for");
                        break;
                    }
                };
                let Some(last) = page.last() else { break };
                after.clone_from(&last.serial);
                for id in page {
                    if shutdown.is_down() {
                        return;
                    }
                    let Ok(Some(order)) = service.store.pass(&id).await else { continue };
                    if let Err(error) = Orders(service).renew(order).await {
                        tracing::error!(%error, template = name, "an order cannot be rendered with the present template");
                    }
                }
            }
        }
    }
}
