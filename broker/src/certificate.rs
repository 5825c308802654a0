//! Looks after the broker's certificate: takes changed files over, shows when it expires, and warns in time.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::{Hangup, Shutdown};
use tidings_shared::tls::{Contents, Loaded, ServerTls, TlsError, TlsFiles};
use tokio::time::{Instant, sleep_until};

use crate::gate::GateMetrics;

/// The protocol that clients may ask for (ALPN).
const ALPN: &[&[u8]] = &[b"mqtt"];
/// From so long before its end on, a certificate that is not replaced is warned of.
const WARN_MS: i64 = 30 * 24 * 3_600_000;
/// Between two warnings.
const WARN_AGAIN_MS: i64 = 24 * 3_600_000;
/// How often the time left is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// The certificate of a running broker.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    tls: ServerTls,
    /// What is in use.
    contents: Option<Contents>,
    /// What could not be used (`None`: not even be read), and whether that was told.
    broken: Option<(Option<Contents>, bool)>,
    expires_at_ms: i64,
    warned_at_ms: Option<i64>,
    /// How often the files are looked at; zero: only when asked.
    every: Duration,
    metrics: GateMetrics,
    clock: Clock,
}

impl Certificate {
    /// Loads the files, which must be good at the start.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub(crate) fn load(files: TlsFiles, every: Duration, metrics: GateMetrics, clock: Clock) -> Result<Self, TlsError> {
        let contents = files.contents().ok();
        let Loaded { config, expires_at_ms } = files.load(ALPN)?;
        let tls = ServerTls::from(config);
        let mut certificate =
            Self { files, tls, contents, broken: None, expires_at_ms, warned_at_ms: None, every, metrics, clock };
        certificate.tell_expiry();
        Ok(certificate)
    }

    /// What the listeners use.
    pub(crate) fn tls(&self) -> ServerTls {
        self.tls.clone()
    }

    /// Keeps up with the files until the shutdown.
    pub(crate) async fn keep(mut self, mut hangup: Hangup, shutdown: Shutdown) {
        let step = if self.every.is_zero() { LOOK } else { self.every.min(LOOK) };
        let mut next = Instant::now() + step;
        loop {
            let asked = tokio::select! {
                () = shutdown.wait() => return,
                () = hangup.asked() => true,
                () = sleep_until(next) => false,
            };
            next = Instant::now() + step;
            if asked {
                tracing::info!("SIGHUP: reading the TLS files again");
            }
            if asked || !self.every.is_zero() {
                self.look(asked).await;
            }
            self.tell_expiry();
        }
    }

    /// Takes the files over when they have changed.
    async fn look(&mut self, asked: bool) {
        let files = self.files.clone();
        let found = tokio::task::spawn_blocking(move || {
            let contents = files.contents();
            let loaded = contents.as_ref().ok().map(|_| files.load(ALPN));
            (contents, loaded)
        });
        let Ok((contents, loaded)) = found.await else { return };
        let (contents, loaded) = match (contents, loaded) {
            (Ok(contents), Some(loaded)) => (Some(contents), loaded),
            // A file that is being replaced may be missing for a moment.
            (Err(error), _) => (None, Err(error)),
            (Ok(_), None) => return,
        };
        if contents.is_some() && contents == self.contents && !asked {
            self.broken = None;
            return;
        }
        match loaded {
            Ok(Loaded { config, expires_at_ms }) => {
                self.tls.replace(Arc::clone(&config));
                (self.contents, self.broken) = (contents, None);
                (self.expires_at_ms, self.warned_at_ms) = (expires_at_ms, None);
                self.metrics.tls_reloads.inc();
                tracing::info!(
                    certificate = %self.files.certificate().display(),
                    days_left = self.left_ms() / 86_400_000,
                    "the TLS files were taken over; open connections stay as they are"
                );
            }
            Err(error) => {
                // Certificate and key are written one after the other: what is broken at two looks is told, and once.
                let seen = self.broken.as_ref().filter(|(known, _)| *known == contents).map(|(_, told)| *told);
                let tell = asked || seen == Some(false);
                if tell {
                    self.metrics.tls_reload_failures.inc();
                    tracing::error!(
                        %error,
                        "the changed TLS files cannot be used; the broker goes on with the certificate that it has: put a certificate and the key that belongs to it in place"
                    );
                }
                self.broken = Some((contents, tell || seen == Some(true)));
            }
        }
    }

    fn left_ms(&self) -> i64 {
        self.expires_at_ms.saturating_sub(self.clock.now_ms())
    }

    /// Shows the time left, and warns once a day when it is short.
    fn tell_expiry(&mut self) {
        let left_ms = self.left_ms();
        self.metrics.certificate_expiry.set(left_ms.div_euclid(1_000));
        let now_ms = self.clock.now_ms();
        if left_ms > WARN_MS || self.warned_at_ms.is_some_and(|at| now_ms < at + WARN_AGAIN_MS) {
            return;
        }
        self.warned_at_ms = Some(now_ms);
        let certificate = self.files.certificate().display();
        if left_ms <= 0 {
            tracing::error!(%certificate, "the TLS certificate has expired: clients refuse the connection; replace it, which needs no restart");
        } else {
            let days_left = left_ms / 86_400_000;
            tracing::warn!(%certificate, days_left, "the TLS certificate expires soon; replace it, which needs no restart");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tidings_shared::tls::DevAuthority;

    fn certificate(folder: &std::path::Path) -> (DevAuthority, Certificate) {
        let authority = DevAuthority::load_or_create(folder).unwrap();
        let issued = authority.issue_server("broker", &["localhost"]).unwrap();
        let files = TlsFiles { certificate: issued.certificate, key: issued.key, client_roots: None };
        let clock = Clock::manual(1_800_000_000_000);
        let every = Duration::from_secs(2);
        (authority, Certificate::load(files, every, GateMetrics::default(), clock).unwrap())
    }

    #[tokio::test]
    async fn a_changed_pair_is_taken_over_and_a_broken_one_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let (authority, mut certificate) = certificate(folder.path());
        let tls = certificate.tls();
        let first = tls.current();
        certificate.look(false).await;
        assert!(Arc::ptr_eq(&first, &tls.current()), "nothing has changed");

        let other = authority.issue_server("other", &["localhost"]).unwrap();
        fs::copy(&other.certificate, &certificate.files.certificate).unwrap();
        for expected in [0, 1, 1, 1] {
            certificate.look(false).await;
            assert_eq!(certificate.metrics.tls_reload_failures.get(), expected);
        }
        assert!(Arc::ptr_eq(&first, &tls.current()), "the old pair stays");
        fs::copy(&other.key, &certificate.files.key).unwrap();
        certificate.look(false).await;
        assert!(!Arc::ptr_eq(&first, &tls.current()));
        assert_eq!(certificate.metrics.tls_reloads.get(), 1);

        fs::remove_file(&certificate.files.key).unwrap();
        certificate.look(true).await;
        assert_eq!(certificate.metrics.tls_reload_failures.get(), 2, "who asks is told at once");
        fs::copy(&other.key, &certificate.files.key).unwrap();
        certificate.look(false).await;
        assert_eq!(certificate.metrics.tls_reload_failures.get(), 2);
    }

    #[tokio::test]
    async fn the_time_left_is_shown_and_warned_of_once_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut certificate) = certificate(folder.path());
        assert_eq!(
            certificate.metrics.certificate_expiry.get(),
            (certificate.expires_at_ms - 1_800_000_000_000) / 1_000
        );
        assert!(certificate.warned_at_ms.is_none());
        certificate.expires_at_ms = 1_800_000_000_000 + WARN_MS;
        certificate.tell_expiry();
        let first = certificate.warned_at_ms;
        assert!(first.is_some());
        certificate.clock.advance(WARN_AGAIN_MS - 1);
        certificate.tell_expiry();
        assert_eq!(certificate.warned_at_ms, first);
        certificate.clock.advance(1);
        certificate.tell_expiry();
        assert_ne!(certificate.warned_at_ms, first);
    }
}
