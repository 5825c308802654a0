//! What can be typed after `tidings`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidings_broker::explain::Action;

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
    /// Say whether a token may publish or subscribe somewhere, and which rule decides. Ends with 0 when it is allowed, with 1
    /// when it is denied, with 2 when that cannot be told.
    Explain(ExplainArgs),
    /// Revoke tokens: their connections end within a second, and nobody logs in with them any more.
    Revoke(RevokeArgs),
    /// List the connections of a running broker, or close them.
    Connections(ConnectionsArgs),
    /// Send notifications, see what became of them, list devices, check credentials. Ends with 0 when all is well, with 1 when a
    /// push or a credential is not, with 2 when that cannot be told.
    #[command(subcommand)]
    Push(crate::push::PushCommand),
    /// Wallet passes: templates, issuing, changes, pictures. Ends with 0 when all is well, with 1 when what was looked at is not,
    /// with 2 when that cannot be told.
    #[command(subcommand)]
    Pass(crate::pass::PassCommand),
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

/// What is to be explained.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The token; `-` reads it from standard input; `handler` means a handler with its key.
    pub(crate) token: String,
    /// What it wants to do.
    action: Verb,
    /// The topic, or the topic filter.
    pub(crate) topic: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not ask a running broker; the configuration alone decides.
    #[arg(long)]
    pub(crate) offline: bool,
    /// The broker's HTTP door (default: the one of the configuration).
    #[arg(long, value_name = "URL", conflicts_with = "offline")]
    pub(crate) url: Option<String>,
}

impl ExplainArgs {
    /// What it wants to do, in the broker's words.
    pub(crate) fn action(&self) -> Action {
        match self.action {
            Verb::Publish => Action::Publish,
            Verb::Subscribe => Action::Subscribe,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Verb {
    Publish,
    Subscribe,
}

/// Which tokens are revoked.
#[derive(Clone, Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The token with this id (its claim jti).
    #[arg(
        long,
        required_unless_present_any = ["user", "undo", "list"],
        conflicts_with_all = ["user", "undo", "list"]
    )]
    pub(crate) jti: Option<String>,
    /// When that token ends (seconds since 1970, or a time such as 2026-11-21T23:00:00Z): it is remembered until then.
    #[arg(long, requires = "jti", conflicts_with_all = ["user", "undo", "list"])]
    pub(crate) exp: Option<String>,
    /// Every token of this user, also later ones.
    #[arg(long, conflicts_with_all = ["undo", "list"])]
    pub(crate) user: Option<String>,
    /// Only those issued before this time: now, seconds since 1970, or a time such as 2026-11-21T23:00:00Z.
    #[arg(long, requires = "user", conflicts_with_all = ["jti", "undo", "list"], value_name = "TIME")]
    pub(crate) issued_before: Option<String>,
    /// Take a revocation back (its id, as --list prints it).
    #[arg(long, value_name = "ID", conflicts_with = "list")]
    pub(crate) undo: Option<String>,
    /// List the revocations in force.
    #[arg(long)]
    pub(crate) list: bool,
    /// The broker's HTTP door (default: the one of the configuration).
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// Whose connections.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConnectionsArgs {
    /// This user's (default: everybody's).
    pub(crate) user: Option<String>,
    /// The handlers'.
    #[arg(long, conflicts_with = "user")]
    pub(crate) handlers: bool,
    /// Close them; their sessions stay.
    #[arg(long)]
    pub(crate) close: bool,
    /// The broker's HTTP door (default: the one of the configuration).
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
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
    /// Measure the broker beside mosquitto and rumqttd, each in a process of its own, and print ratios.
    Broker(BrokerBench),
    /// Measure the push-gateway from the request to a simulated APNs, and its APNs transport beside other clients.
    Push(crate::bench::push::PushBench),
    /// Measure the passbook-service beside django-walletpass: lists, 304s, full passes and changes, on each database.
    Wallet(crate::bench::wallet::WalletBench),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// One message to each of many inboxes at a steady rate: latencies, loss, processor time.
    Inboxes,
    /// As fast as it goes: messages per second, processor time, memory afterwards.
    Throughput,
    /// Memory of idle connections.
    Idle,
    /// Memory of idle connections over TLS.
    IdleTls,
    /// Log-ins over TLS.
    Connects,
    /// Every client comes back at once.
    Storm,
    /// Many subscriptions on fewer connections.
    Subscriptions,
}

/// The load of `tidings bench broker`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BrokerBench {
    /// What to measure (default: inboxes, throughput, idle).
    #[arg(value_enum)]
    pub(crate) scenarios: Vec<Scenario>,
    /// Repeat everything; the medians are printed.
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: u32,
    /// Which brokers.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tidings,mosquitto,rumqttd")]
    pub(crate) brokers: Vec<crate::bench::Kind>,
    /// The rumqttd to measure (default: the one on PATH).
    #[arg(long, value_name = "PATH")]
    pub(crate) rumqttd: Option<PathBuf>,
    /// throughput: connected devices, one inbox each.
    #[arg(long, default_value_t = 1000)]
    pub(crate) devices: usize,
    /// throughput: seconds.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// inboxes: connected devices, one inbox and one message each.
    #[arg(long, default_value_t = 18_000)]
    pub(crate) inboxes: usize,
    /// inboxes: publishes per second in all.
    #[arg(long, default_value_t = 5000)]
    pub(crate) rate: u32,
    /// Connected publishers.
    #[arg(long, default_value_t = 8)]
    pub(crate) publishers: usize,
    /// Bytes of a payload, at least 8.
    #[arg(long, default_value_t = 128)]
    pub(crate) payload: usize,
    /// idle: connections.
    #[arg(long, default_value_t = 19_000)]
    pub(crate) connections: usize,
    /// idle-tls: connections.
    #[arg(long, default_value_t = 4_000)]
    pub(crate) tls_connections: usize,
    /// connects: log-ins.
    #[arg(long, default_value_t = 4_000)]
    pub(crate) tls_connects: usize,
    /// storm: clients.
    #[arg(long, default_value_t = 18_000)]
    pub(crate) storm: usize,
    /// subscriptions: how many in all.
    #[arg(long, default_value_t = 50_000)]
    pub(crate) subscriptions: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_names_one_thing_and_what_belongs_to_it() {
        let reads = |arguments: &[&str]| Cli::try_parse_from([&["tidings", "revoke"], arguments].concat()).is_ok();
        for good in [
            &["--jti", "a"][..],
            &["--jti", "a", "--exp", "5"],
            &["--user", "42"],
            &["--user", "42", "--issued-before", "now", "--url", "http://b"],
            &["--undo", "jti:a"],
            &["--list", "--url", "http://b"],
        ] {
            assert!(reads(good), "{good:?}");
        }
        for bad in [
            &[][..],
            &["--jti", "a", "--user", "b"],
            &["--user", "42", "--exp", "5"],
            &["--jti", "a", "--issued-before", "now"],
            &["--list", "--undo", "x"],
            &["--url", "http://b"],
        ] {
            assert!(!reads(bad), "{bad:?}");
        }
    }
}
