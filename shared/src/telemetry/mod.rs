//! Structured logs: text or JSON on standard error, and in bulk to Loggly where that is configured.
//!
//! Never logged: tokens, keys, payloads, push tokens in full (`docs/logging.md`).

mod loggly;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::Settings;

pub use loggly::{Loggly, LogglyConfig};

static STARTED: OnceLock<()> = OnceLock::new();

/// Starts logging as `telemetry.*` says. Later calls in the same process do nothing. The answer, where Loggly is
/// configured, ships what is still buffered with [`Loggly::flush`]; call it before the process ends.
///
/// # Errors
/// When `telemetry.level` is no filter.
pub fn init(settings: &Settings, service: &'static str) -> anyhow::Result<Option<Loggly>> {
    let level = settings.text("telemetry.level");
    let filter = |text: &str| {
        EnvFilter::try_new(text).map_err(|error| anyhow::anyhow!("telemetry.level: `{text}` is no level or filter ({error}); use error, warn, info, debug, trace, or for example info,tidings_broker=debug"))
    };
    let console_filter = filter(&level)?;
    let loggly = LogglyConfig::from_settings(settings, service).map(Loggly::start);
    if STARTED.set(()).is_err() {
        return Ok(None);
    }
    let console = if settings.text("telemetry.format") == "json" {
        tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).with_filter(console_filter).boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .with_filter(console_filter)
            .boxed()
    };
    let shipped = match &loggly {
        Some(loggly) => {
            Some(tracing_subscriber::fmt::layer().json().with_writer(loggly.writer()).with_filter(filter(&level)?))
        }
        None => None,
    };
    tracing_subscriber::registry().with(console).with(shipped).init();
    Ok(loggly)
}
