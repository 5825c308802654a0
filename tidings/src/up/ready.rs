//! Waits until every service says that it is ready.

use std::time::Duration;

use tidings_shared::config::Settings;

use super::wiring::reach;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(25);

/// The HTTP doors of the services: name, setting.
pub(super) const DOORS: [(&str, &str); 4] = [
    ("broker", "broker.http.listen"),
    ("push-gateway", "push.listen"),
    ("passbook-service", "wallet.listen"),
    ("handlers", "handlers.listen"),
];

/// Asks each `/readyz` until all say yes.
///
/// # Errors
/// After a minute, with what is missing.
pub(super) async fn wait_for_all(settings: &Settings) -> anyhow::Result<()> {
    let client = tidings_shared::http::client(None)?;
    let all = async {
        for (_, setting) in DOORS {
            let url = format!("http://{}/readyz", reach(settings.address(setting)));
            while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_ok() {
        return Ok(());
    }
    let mut missing = Vec::new();
    for (name, setting) in DOORS {
        let url = format!("http://{}/readyz", reach(settings.address(setting)));
        match client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => missing.push(format!("{name}: {}", answer.text().await.unwrap_or_default())),
            Err(error) => missing.push(format!("{name}: {error}")),
        }
    }
    anyhow::bail!("not ready after {} seconds; missing: {}", PATIENCE.as_secs(), missing.join("; "))
}
