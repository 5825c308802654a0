//! `tidings bench push`: the push-gateway from the request to the simulated APNs, through each database, and our APNs
//! transport beside other clients. Simulators, gateway and peers are processes of their own; the load is in this one.

mod load;
mod peers;
mod queue;
mod stage;
mod transport;

use clap::{Args, ValueEnum};

use super::process;
use super::table::{self, Column};
use crate::commands::say;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// End to end: requests, one by one and in batches, through the queue to the simulator.
    Queue,
    /// Our APNs transport alone, beside other clients.
    Transport,
}

/// Where the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// A file.
    Sqlite,
    /// A server, see --postgres.
    Postgres,
}

/// How notifications are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// `POST /v1/notifications/batch`.
    Batch,
    /// `POST /v1/notifications`.
    Single,
}

/// The load of `tidings bench push`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PushBench {
    /// What to measure (default: both).
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Repeat everything; the medians are printed.
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// queue: which databases.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sqlite,postgres")]
    stores: Vec<Store>,
    /// queue: how notifications are sent.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "batch,single")]
    modes: Vec<Mode>,
    /// queue: a server on which databases may be created, for example postgres://postgres@127.0.0.1:5432/postgres;
    /// without it PostgreSQL is left out.
    #[arg(long, value_name = "URL", env = "TIDINGS_BENCH_POSTGRES")]
    postgres: Option<String>,
    /// queue: pushes, as fast as they are taken.
    #[arg(long, default_value_t = 100_000)]
    pushes: usize,
    /// queue: notifications in a batch.
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// queue: connections that send one by one.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// queue: then so many pushes a second, for the latencies.
    #[arg(long, default_value_t = 2_000)]
    rate: usize,
    /// queue: for so many seconds.
    #[arg(long, default_value_t = 5)]
    seconds: usize,
    /// transport: pushes.
    #[arg(long, default_value_t = 100_000)]
    transport: usize,
    /// transport: pushes of each other client.
    #[arg(long, default_value_t = 10_000)]
    peer_pushes: usize,
    /// transport: under way at once.
    #[arg(long, default_value_t = 500)]
    at_once: usize,
    /// transport: the Python that has the other clients (aioapns, httpx); what it has not is left out.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: std::path::PathBuf,
}

/// Runs the scenarios and prints the figures.
///
/// # Errors
/// When one of our own programs cannot be started or fails.
pub(crate) async fn run(load: &PushBench) -> anyhow::Result<()> {
    let counts = [load.pushes, load.batch, load.connections, load.rate, load.seconds, load.transport, load.peer_pushes];
    anyhow::ensure!(
        counts.iter().all(|count| *count > 0) && load.runs > 0 && load.at_once > 0,
        "pushes, batch, connections, rate, seconds and runs are at least 1"
    );
    anyhow::ensure!(load.batch <= 1000, "a batch has at most 1000 notifications");
    say(&format!("load of this machine before: {}\n", process::load_average()))?;
    let all = [Scenario::Queue, Scenario::Transport];
    let scenarios = if load.scenarios.is_empty() { &all[..] } else { &load.scenarios[..] };
    for scenario in scenarios {
        match scenario {
            Scenario::Queue => queue(load).await?,
            Scenario::Transport => transport(load).await?,
        }
    }
    Ok(())
}

async fn queue(load: &PushBench) -> anyhow::Result<()> {
    say(&format!(
        "\nqueue: {} pushes from the request to the simulated APNs as fast as they are taken (batches of {}; {} connections one \
         by one), then {}/s for {} s; concurrent processes on this machine: the load, the gateway, the simulators\n",
        load.pushes, load.batch, load.connections, load.rate, load.seconds
    ))?;
    let mut columns = Vec::new();
    for store in &load.stores {
        if *store == Store::Postgres && load.postgres.is_none() {
            say("PostgreSQL is left out: name a server with --postgres\n")?;
            continue;
        }
        for mode in &load.modes {
            let name = match (store, mode) {
                (Store::Sqlite, Mode::Batch) => "sqlite",
                (Store::Sqlite, Mode::Single) => "sqlite/1",
                (Store::Postgres, Mode::Batch) => "postgres",
                (Store::Postgres, Mode::Single) => "postgres/1",
            };
            columns.push((*store, *mode, Column { name, runs: Vec::new() }));
        }
    }
    for _ in 0..load.runs {
        for (store, mode, column) in &mut columns {
            column.runs.push(queue::run(load, *store, *mode).await?);
        }
    }
    let columns: Vec<Column> = columns.into_iter().map(|(_, _, column)| column).collect();
    say(&table::text("queue (/1: one by one)", &columns))
}

async fn transport(load: &PushBench) -> anyhow::Result<()> {
    say(&format!(
        "\ntransport: {} pushes (other clients: {}), {} under way at once, straight to the simulated APNs\n",
        load.transport, load.peer_pushes, load.at_once
    ))?;
    let mut columns = vec![Column { name: "tidings", runs: Vec::new() }];
    columns.extend(peers::PEERS.iter().map(|peer| Column { name: peer.name, runs: Vec::new() }));
    for run in 1..=load.runs {
        let simulators = stage::Simulators::start().await?;
        columns[0].runs.push(transport::run(&simulators, load).await?);
        for (peer, column) in peers::PEERS.iter().zip(&mut columns[1..]) {
            match peers::run(peer, &simulators, load).await {
                Ok(figures) => column.runs.push(figures),
                Err(error) => say(&format!("{} (run {run}) is left out: {error:#}\n", peer.name))?,
            }
        }
        simulators.end().await;
    }
    columns.retain(|column| !column.runs.is_empty());
    say(&table::text("transport", &columns))
}
