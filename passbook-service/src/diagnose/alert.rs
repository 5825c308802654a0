//! Tells somebody of the first report of a cause: a signed request to a webhook, tried again until it is taken. What is to be
//! told stands in the database, so that no crash loses it.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::StorageError;

use super::{cause_with_code, meaning_of};
use crate::store::{Alert, Store};

/// How often it is looked whether there is something to tell.
const LOOK: Duration = Duration::from_secs(1);
/// While one process tells it, no other does; then another may.
const LEASE_MS: i64 = 60_000;
const FIRST_PAUSE_MS: i64 = 5_000;
const LONGEST_PAUSE_MS: i64 = 3_600_000;
/// After this many attempts it is given up: about a day.
const ATTEMPTS: i64 = 30;

/// The task.
pub struct Alerter {
    /// The tables.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// HTTP client.
    pub client: reqwest::Client,
    /// Who is told.
    pub url: String,
    /// Signs what is told (Standard Webhooks); unset: unsigned.
    pub secret: Option<String>,
}

impl Alerter {
    /// Works until the shutdown begins.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Err(error) = self.turn().await {
                tracing::debug!(%error, "alerts wait for the database");
            }
        }
    }

    async fn turn(&self) -> Result<(), StorageError> {
        let now = self.clock.now_ms();
        while let Some(alert) = self.store.claim_alert(now, now + LEASE_MS).await? {
            let next = match self.tell(&alert).await {
                Ok(()) => None,
                Err(why) => {
                    if alert.attempts == 0 {
                        tracing::warn!(why, "the webhook of diagnoses did not take an alert; trying again");
                    }
                    let doublings = u32::try_from(alert.attempts.clamp(0, 12)).unwrap_or(12);
                    let pause = (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS);
                    (alert.attempts + 1 < ATTEMPTS).then_some(now + pause)
                }
            };
            self.store.settle_alert(&alert.diagnosis.id, next).await?;
        }
        Ok(())
    }

    async fn tell(&self, alert: &Alert) -> Result<(), String> {
        let found = &alert.diagnosis;
        let cause = cause_with_code(&found.cause);
        let facts: Vec<_> = found
            .facts
            .iter()
            .map(|(fact, count)| json!({"fact": fact, "count": count, "meaning": meaning_of(fact)}))
            .collect();
        let body = json!({
            "type": "wallet.diagnosis",
            "data": {"id": found.id, "cause": found.cause, "meaning": cause.meaning, "remedy": cause.remedy,
                "pattern": found.pattern, "count": found.count, "firstAt": found.first_at_ms, "lastAt": found.last_at_ms, "facts": facts},
        })
        .to_string();
        let id = format!("wallet-{}-{}", found.id, found.first_at_ms);
        let timestamp = self.clock.now_s();
        let mut request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp);
        if let Some(secret) = &self.secret {
            request = request.header("webhook-signature", signature(secret, &id, timestamp, &body));
        }
        match request.body(body).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(error) => {
                Err(if error.is_timeout() { "it did not answer in time" } else { "it cannot be reached" }.to_owned())
            }
        }
    }
}

/// As Standard Webhooks have it: `whsec_` and Base64, or else the bytes of the text.
fn signature(secret: &str, id: &str, timestamp: i64, body: &str) -> String {
    let key = secret.strip_prefix("whsec_").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_deref().unwrap_or(secret.as_bytes()));
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specifications_libraries() {
        let signed = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
