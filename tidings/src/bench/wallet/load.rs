//! Many connections that ask the same kind of thing, as fast as they are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::door::{Answer, Door};
use super::stage::KEY;

/// One request.
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    /// Each ends in CR LF.
    pub(super) headers: String,
    pub(super) body: String,
}

impl Request {
    /// Without a body.
    pub(super) fn get(path: String, headers: String) -> Self {
        Self { method: "GET", path, headers, body: String::new() }
    }
}

/// Makes the request with a number; the connections share the numbers among them.
pub(super) type Requests = Arc<dyn Fn(usize) -> Request + Send + Sync>;

/// What came of a load.
pub(super) struct Measured {
    pub(super) count: u64,
    pub(super) seconds: f64,
    /// Microseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Measured {
    /// Answers a second.
    pub(super) fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// So many of a hundred answers came within this time, in milliseconds.
    pub(super) fn ms(&self, percentile: f64) -> f64 {
        self.latencies.value_at_percentile(percentile) as f64 / 1000.0
    }
}

/// A connection that is opened again when its service closes it.
pub(super) struct Visitor {
    address: SocketAddr,
    door: Option<Door>,
}

impl Visitor {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, door: None }
    }

    /// Asks once more where a connection was closed while nobody used it.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) async fn ask(&mut self, request: &Request) -> anyhow::Result<Answer> {
        for last in [false, true] {
            let mut door = match self.door.take() {
                Some(door) => door,
                None => Door::open(self.address, KEY).await?,
            };
            match door.send(request.method, &request.path, &request.headers, &request.body).await {
                Ok(answer) => {
                    let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                    self.door = (!closes).then_some(door);
                    return Ok(answer);
                }
                Err(error) if last => return Err(error),
                Err(_) => {}
            }
        }
        anyhow::bail!("nobody answers at {}", self.address)
    }
}

/// Asks for `time` over `connections`, spread over the services; every answer must have one of these statuses.
///
/// # Errors
/// When an answer has another one, or none comes.
pub(super) async fn hammer(
    services: &[SocketAddr],
    connections: usize,
    time: Duration,
    requests: Requests,
    expected: &'static [u16],
) -> anyhow::Result<Measured> {
    let begin = Instant::now();
    let end = begin + time;
    let mut asking = JoinSet::new();
    for connection in 0..connections {
        let address = *services.get(connection % services.len().max(1)).context("there is no service")?;
        let requests = Arc::clone(&requests);
        asking.spawn(async move {
            let mut visitor = Visitor::new(address);
            let mut latencies = Histogram::<u64>::new(3)?;
            let mut number = connection;
            while Instant::now() < end {
                let request = requests(number);
                number += connections;
                let asked = Instant::now();
                let answer = visitor.ask(&request).await?;
                latencies.record(u64::try_from(asked.elapsed().as_micros())?)?;
                anyhow::ensure!(
                    expected.contains(&answer.status),
                    "{} {}: {}: {}",
                    request.method,
                    request.path,
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                );
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Histogram::<u64>::new(3)?;
    while let Some(one) = asking.join_next().await {
        latencies.add(one??)?;
    }
    Ok(Measured { count: latencies.len(), seconds: begin.elapsed().as_secs_f64(), latencies })
}
