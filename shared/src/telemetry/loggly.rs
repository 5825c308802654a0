//! Ships JSON log lines in bulk to Loggly (`POST /bulk/TOKEN/tag/TAG/`: one event per line, at most 5 MB a request).
//! Logging never waits for it: the buffer is bounded, and what does not fit is dropped and counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::Settings;

/// Lines that wait for shipment at most.
const BUFFERED_LINES: usize = 10_000;
/// The largest request, in bytes; Loggly's limit is 5 MB.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// How long lines are collected.
const INTERVAL: Duration = Duration::from_secs(2);

/// Where and how to ship.
#[derive(Clone, Debug)]
pub struct LogglyConfig {
    /// The bulk endpoint's base address.
    pub url: String,
    /// Customer token.
    pub token: String,
    /// The account's subdomain, sent as a tag.
    pub subdomain: Option<String>,
    /// The service, sent as a tag.
    pub service: &'static str,
}

impl LogglyConfig {
    /// `telemetry.loggly.*`; `None` when no token is set.
    #[must_use]
    pub fn from_settings(settings: &Settings, service: &'static str) -> Option<Self> {
        Some(Self {
            url: settings.text("telemetry.loggly.url"),
            token: settings.optional_text("telemetry.loggly.token")?,
            subdomain: settings.optional_text("telemetry.loggly.subdomain"),
            service,
        })
    }

    fn endpoint(&self) -> String {
        let tags = match &self.subdomain {
            Some(subdomain) => format!("tidings,{},{subdomain}", self.service),
            None => format!("tidings,{}", self.service),
        };
        format!("{}/bulk/{}/tag/{tags}/", self.url, self.token)
    }
}

enum Order {
    Line(Vec<u8>),
    Flush(oneshot::Sender<()>),
}

/// The shipper: a background task and the door to it.
#[derive(Clone, Debug)]
pub struct Loggly {
    orders: mpsc::Sender<Order>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

impl Loggly {
    /// Starts the background task (needs a tokio runtime).
    #[must_use]
    pub fn start(config: LogglyConfig) -> Self {
        let (orders, inbox) = mpsc::channel(BUFFERED_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        tokio::spawn(ship(config, inbox, dropped.clone()));
        Self { orders, dropped }
    }

    /// Ships what is buffered; waits for it at most five seconds.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).await.is_ok() {
            // Whether it was in time or not, the process ends now.
            drop(tokio::time::timeout(Duration::from_secs(5), wait).await);
        }
    }

    /// Makes writers for a JSON layer: one write is one line.
    pub(super) fn writer(&self) -> impl Fn() -> LineWriter + Send + Sync + 'static {
        let loggly = self.clone();
        move || LineWriter(loggly.clone())
    }
}

/// Hands each written line to the shipper.
#[derive(Debug)]
pub(super) struct LineWriter(Loggly);

impl io::Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.orders.try_send(Order::Line(line.to_vec())).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn ship(config: LogglyConfig, mut inbox: mpsc::Receiver<Order>, dropped: Arc<AtomicU64>) {
    let Ok(client) = crate::http::client(None) else { return };
    let endpoint = config.endpoint();
    let mut batch: Vec<u8> = Vec::new();
    let mut timer = tokio::time::interval(INTERVAL);
    loop {
        let (send, waiter) = tokio::select! {
            order = inbox.recv() => match order {
                None => return,
                Some(Order::Line(line)) => {
                    batch.extend_from_slice(&line);
                    (batch.len() >= MAX_REQUEST_BYTES, None)
                }
                Some(Order::Flush(done)) => (true, Some(done)),
            },
            _ = timer.tick() => (true, None),
        };
        if send && !batch.is_empty() {
            let lines = std::mem::take(&mut batch);
            deliver(&client, &endpoint, lines, &dropped).await;
        }
        if let Some(done) = waiter {
            // Nobody waits any more when the flush timed out.
            let _ = done.send(());
        }
    }
}

/// One bulk request, tried three times. Failures go to standard error only: a log line about them would come back here.
async fn deliver(client: &reqwest::Client, endpoint: &str, lines: Vec<u8>, dropped: &AtomicU64) {
    let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    for attempt in 0..3_u32 {
        let request = client.post(endpoint).header("content-type", "text/plain").body(lines.clone());
        if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
    }
    let total = dropped.fetch_add(count, Ordering::Relaxed) + count;
    complain(total);
}

#[expect(clippy::print_stderr, reason = "logging about the log shipper would feed the shipper")]
fn complain(total: u64) {
    eprintln!("Loggly cannot be reached; {total} log lines were not shipped so far (they are on standard error)");
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn lines_arrive_in_bulk_at_the_tagged_endpoint() {
        let (seen, mut requests) = mpsc::channel(8);
        let handler = move |uri: http::Uri, body: String| {
            let seen = seen.clone();
            async move { seen.send((uri.path().to_owned(), body)).await.unwrap() }
        };
        let router = axum::Router::new().fallback(handler);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let config = LogglyConfig { url, token: "t0k".into(), subdomain: Some("acme".into()), service: "broker" };
        let loggly = Loggly::start(config);
        let make = loggly.writer();
        make().write_all(b"{\"a\":1}\n").unwrap();
        make().write_all(b"{\"a\":2}\n").unwrap();
        loggly.flush().await;
        let mut lines = String::new();
        while lines.len() < 16 {
            let (path, body) = tokio::time::timeout(Duration::from_secs(10), requests.recv()).await.unwrap().unwrap();
            assert_eq!(path, "/bulk/t0k/tag/tidings,broker,acme/");
            lines.push_str(&body);
        }
        assert_eq!(lines, "{\"a\":1}\n{\"a\":2}\n");
        server.abort();
    }
}
