//! Subscribing to everything that the routes want, and what a refusal means.

use std::pin::Pin;
use std::time::Duration;

use rumqttc::{AsyncClient, QoS, SubscribeFilter, SubscribeReasonCode};

/// A subscription under way; its error is for people.
pub(super) type Subscribing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Subscribes to the filters, `after` some time.
pub(super) fn subscribe(client: AsyncClient, filters: Vec<String>, after: Duration) -> Subscribing {
    Box::pin(async move {
        tokio::time::sleep(after).await;
        let wanted: Vec<_> = filters.iter().map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce)).collect();
        let notice = client.try_subscribe_many_tracked(wanted).map_err(|error| error.to_string())?;
        let answer = notice.wait_async().await.map_err(|error| error.to_string())?;
        refused(&filters, &answer.return_codes)
    })
}

/// Waits for the subscription under way.
pub(super) async fn finished(subscribing: &mut Option<Subscribing>) -> Result<(), String> {
    match subscribing {
        Some(subscribing) => subscribing.await,
        None => std::future::pending().await,
    }
}

fn refused(filters: &[String], codes: &[SubscribeReasonCode]) -> Result<(), String> {
    let with_codes = filters.iter().zip(codes);
    let refused = with_codes.filter(|(_, code)| !matches!(code, SubscribeReasonCode::Success(_)));
    let refused: Vec<_> = refused.map(|(filter, code)| format!("{filter} ({code:?})")).collect();
    if refused.is_empty() {
        Ok(())
    } else {
        Err(format!("the broker refuses the subscription to {}", refused.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_filter_is_named_with_its_reason() {
        let filters = ["$share/g/a", "$share/g/b", "$share/g/c"].map(str::to_owned);
        let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        assert_eq!(refused(&filters, &[granted; 3]), Ok(()));
        let codes = [SubscribeReasonCode::NotAuthorized, granted, SubscribeReasonCode::QuotaExceeded];
        assert_eq!(
            refused(&filters, &codes).unwrap_err(),
            "the broker refuses the subscription to $share/g/a (NotAuthorized), $share/g/c (QuotaExceeded)"
        );
    }
}
