//! `tidings bench wallet`: what phones and backends ask of the pass service, through each database, beside
//! django-walletpass under gunicorn with the same passes, certificates and database. Services and peers are processes of
//! their own; the load, and a gateway that takes every push, are in this one.

mod changes;
mod load;
mod peer;
mod scenario;
mod sink;
mod stage;

use clap::{Args, ValueEnum};

use super::process;
use super::table::{self, Column};
use crate::commands::say;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// "What changed?", all of a device's passes.
    List,
    /// "What changed?", nothing.
    Nothing,
    /// A pass that has not changed: 304.
    Unchanged,
    /// A whole package.
    Full,
    /// Passes are changed, each answered when it is committed and listed; devices look on whether an update is lost.
    Changes,
}

/// Where the passes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// A file.
    Sqlite,
    /// A server, see --postgres.
    Postgres,
}

/// Whose pass service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Ours.
    Tidings,
    /// django-walletpass under gunicorn, in the Python of --python.
    Walletpass,
}

/// The load of `tidings bench wallet`.
#[derive(Clone, Debug, Args)]
pub(crate) struct WalletBench {
    /// What to measure (default: everything).
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Repeat everything; the medians are printed.
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Which databases.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sqlite,postgres")]
    stores: Vec<Store>,
    /// Whose services.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tidings,walletpass")]
    peers: Vec<Peer>,
    /// A server on which databases may be created, for example postgres://postgres@127.0.0.1:5432/postgres; without it
    /// PostgreSQL is left out.
    #[arg(long, value_name = "URL", env = "TIDINGS_BENCH_POSTGRES")]
    postgres: Option<String>,
    /// Passes, each on one device.
    #[arg(long, default_value_t = 1_000)]
    passes: usize,
    /// Passes on each device.
    #[arg(long, default_value_t = 2)]
    on_device: usize,
    /// Connections that ask at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// changes: writers at once.
    #[arg(long, default_value_t = 16)]
    writers: usize,
    /// changes: devices that ask all the time, to see whether an update is lost.
    #[arg(long, default_value_t = 4)]
    watchers: usize,
    /// Seconds of each scenario, after one that is not counted.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Our own processes on one database.
    #[arg(long, default_value_t = 1)]
    processes: usize,
    /// gunicorn's worker processes, with four threads each.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// The Python that has django-walletpass, gunicorn and psycopg; without them that peer is left out.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: std::path::PathBuf,
}

const ALL: [Scenario; 5] = [Scenario::List, Scenario::Nothing, Scenario::Unchanged, Scenario::Full, Scenario::Changes];

/// Runs the scenarios and prints the figures.
///
/// # Errors
/// When one of our own programs cannot be started or fails.
pub(crate) async fn run(load: &WalletBench) -> anyhow::Result<()> {
    let counts = [load.passes, load.on_device, load.connections, load.writers, load.processes, load.workers];
    anyhow::ensure!(
        counts.iter().all(|count| *count > 0) && load.runs > 0 && load.seconds > 0,
        "passes, on-device, connections, writers, processes, workers, seconds and runs are at least 1"
    );
    anyhow::ensure!(load.passes >= load.writers, "each writer needs a pass of its own: name more --passes");
    say(&format!("load of this machine before: {}\n", process::load_average()))?;
    say(&format!(
        "{} passes, {} on each device; {} connections, {} writers, {} s each; processes of tidings: {}, of gunicorn: {}\n",
        load.passes, load.on_device, load.connections, load.writers, load.seconds, load.processes, load.workers
    ))?;
    for store in &load.stores {
        if *store == Store::Postgres && load.postgres.is_none() {
            say("PostgreSQL is left out: name a server with --postgres\n")?;
            continue;
        }
        one_store(load, *store).await?;
    }
    Ok(())
}

async fn one_store(load: &WalletBench, store: Store) -> anyhow::Result<()> {
    let scenarios = if load.scenarios.is_empty() { &ALL[..] } else { &load.scenarios[..] };
    let mut columns: Vec<(Peer, Column)> = load
        .peers
        .iter()
        .map(|peer| {
            let name = match peer {
                Peer::Tidings => "tidings",
                Peer::Walletpass => "walletpass",
            };
            (*peer, Column { name, runs: Vec::new() })
        })
        .collect();
    for run in 1..=load.runs {
        for (peer, column) in &mut columns {
            match (*peer, scenario::all(load, store, *peer, scenarios).await) {
                (_, Ok(figures)) => column.runs.push(figures),
                (Peer::Tidings, Err(error)) => return Err(error),
                (Peer::Walletpass, Err(error)) => {
                    say(&format!("django-walletpass (run {run}) is left out: {error:#}\n"))?;
                }
            }
        }
    }
    let columns: Vec<Column> =
        columns.into_iter().map(|(_, column)| column).filter(|column| !column.runs.is_empty()).collect();
    let title = match store {
        Store::Sqlite => "SQLite",
        Store::Postgres => "PostgreSQL",
    };
    say(&table::text(title, &columns))
}
