//! What can be typed after `tidings`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The backend a mobile app needs beside its database: messages, wake-ups and Wallet passes.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) up: UpArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Where settings come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Common {
    /// TOML file (default: TIDINGS_CONFIG, else tidings.toml in this folder if there is one).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Any setting, for example --set telemetry.level=debug (may be repeated).
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// How `tidings up` runs.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UpArgs {
    /// Folder for everything that is kept (default: ./data).
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "ephemeral")]
    pub(crate) data: Option<PathBuf>,
    /// Keep nothing: use a temporary folder and remove it at the end.
    #[arg(long, global = true)]
    pub(crate) ephemeral: bool,
    /// Add N to every default port.
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub(crate) port_offset: u16,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process (the default).
    Up,
    /// Run one service by itself.
    Run {
        /// Which.
        service: Service,
    },
    /// Play the contact scenarios, a wake-up and a pass update, with a timeline.
    Demo {
        /// Also print what the services log.
        #[arg(long)]
        verbose: bool,
    },
    /// Make a development token for a user of the issuer that `tidings up` runs.
    Token {
        /// The user id.
        user: String,
        /// How long it is valid: 30m, 12h, 30d.
        #[arg(long, default_value = "30d")]
        ttl: String,
    },
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a service whether it is ready (its /readyz); ends with 0 when it is.
    Health {
        /// For example http://127.0.0.1:8080.
        url: String,
    },
    /// Measure.
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// The services.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Service {
    Broker,
    Handlers,
    PushGateway,
    #[value(name = "passbook-service")]
    Passbook,
    Simulators,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say every fault, or that there is none.
    Check,
    /// Every setting with its value (secrets masked) and where it came from.
    Show,
    /// A commented file with every default.
    Default,
    /// The reference page (docs/configuration.md).
    Reference,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Publishes at QoS 1 to many inboxes through a broker of its own: msgs/s, p50, p99, RSS.
    Broker(BrokerBench),
}

/// The load of `tidings bench broker`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BrokerBench {
    /// Connected devices, one inbox each.
    #[arg(long, default_value_t = 1000)]
    pub(crate) devices: usize,
    /// Connected publishers.
    #[arg(long, default_value_t = 8)]
    pub(crate) publishers: usize,
    /// Publishes at this rate in all, per second, for the latencies.
    #[arg(long, default_value_t = 2000)]
    pub(crate) rate: u32,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 128)]
    pub(crate) payload: usize,
}
