//! `tidings bench broker`: starts each broker for each scenario, one after the other, and prints their figures side by
//! side. What a peer cannot do is said and does not stop the others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::peer::{Kind, Peer};
use super::table::{self, Column, Figures};
use super::{connects, handshake, idle, inboxes, process, rumqttd, storm, subscriptions, throughput};
use crate::cli::{BrokerBench, Scenario};
use crate::commands::say;

/// How long one scenario of one broker may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// Files that the process needs for other things than clients.
const OWN_FILES: usize = 200;

/// Runs the scenarios and prints the figures.
///
/// # Errors
/// When our own broker cannot be started or fails.
pub(crate) async fn run(load: &BrokerBench) -> anyhow::Result<()> {
    let load = checked(load)?;
    let brokers = brokers(&load)?;
    say(&format!("load of this machine before: {}\n", process::load_average()))?;
    for scenario in &load.scenarios {
        say(&format!("\n{}\n", describe(*scenario, &load)))?;
        if *scenario == Scenario::Connects {
            let figures = handshake::run()?;
            say(&table::text("a handshake alone", &[Column { name: "server", runs: vec![figures] }]))?;
        }
        let mut columns: Vec<Column> =
            brokers.iter().map(|(kind, _)| Column { name: kind.name(), runs: Vec::new() }).collect();
        for run in 1..=load.runs {
            for ((kind, program), column) in brokers.iter().zip(&mut columns) {
                match measure(*scenario, *kind, program, &load).await {
                    Ok(figures) => column.runs.push(figures),
                    Err(error) if *kind == Kind::Tidings => return Err(error),
                    Err(error) => say(&format!("{} (run {run}): {error:#}\n", kind.name()))?,
                }
            }
        }
        say(&table::text(name(*scenario), &columns))?;
    }
    Ok(())
}

async fn measure(scenario: Scenario, kind: Kind, program: &Path, load: &BrokerBench) -> anyhow::Result<Figures> {
    let devices = match scenario {
        Scenario::Throughput => load.devices,
        Scenario::Inboxes => load.inboxes,
        Scenario::Idle => load.connections,
        Scenario::IdleTls => load.tls_connections,
        Scenario::Connects => load.tls_connects,
        Scenario::Storm => load.storm + 1,
        Scenario::Subscriptions => load.subscriptions,
    };
    let peer = Peer::start(kind, program, devices).await?;
    let figures = async {
        match scenario {
            Scenario::Throughput => throughput::run(&peer, load).await,
            Scenario::Inboxes => inboxes::run(&peer, load).await,
            Scenario::Idle => idle::run(&peer, load, false).await,
            Scenario::IdleTls => idle::run(&peer, load, true).await,
            Scenario::Connects => connects::run(&peer, load).await,
            Scenario::Storm => storm::run(&peer, load).await,
            Scenario::Subscriptions => subscriptions::run(&peer, load).await,
        }
    };
    let figures = tokio::time::timeout(PATIENCE, figures).await;
    peer.end().await;
    figures.map_err(|_| anyhow::anyhow!("given up after {} s", PATIENCE.as_secs()))?
}

/// The brokers that are to be measured and are here. What is missing is said.
fn brokers(load: &BrokerBench) -> anyhow::Result<Vec<(Kind, PathBuf)>> {
    let mut brokers = Vec::new();
    for kind in &load.brokers {
        let (program, how) = match kind {
            Kind::Tidings => (Some(std::env::current_exe()?), ""),
            Kind::Mosquitto => {
                let usual = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
                (program("mosquitto", None, &usual), "apt-get install mosquitto")
            }
            Kind::Rumqttd => (rumqttd::find(load.rumqttd.as_deref()), rumqttd::INSTALL),
        };
        match program {
            Some(program) => brokers.push((*kind, program)),
            None => say(&format!("{} is not here and is left out; to have it: {how}\n", kind.name()))?,
        }
    }
    Ok(brokers)
}

/// A program: where it was named, in one of the usual places, or on PATH.
pub(super) fn program(name: &str, named: Option<&Path>, usual: &[&str]) -> Option<PathBuf> {
    if let Some(named) = named {
        return named.is_file().then(|| named.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    usual.iter().map(PathBuf::from).chain(on_path).find(|program| program.is_file())
}

/// The load with what this process can do: each client is an open file.
fn checked(load: &BrokerBench) -> anyhow::Result<BrokerBench> {
    let mut load = load.clone();
    let counts = [load.devices, load.inboxes, load.connections, load.tls_connections, load.storm, load.publishers];
    anyhow::ensure!(
        counts.iter().all(|count| *count > 0) && load.rate > 0 && load.runs > 0,
        "clients, rate and runs are at least 1"
    );
    let limit = process::open_files_limit().unwrap_or(usize::MAX).saturating_sub(OWN_FILES);
    let clients =
        [&mut load.devices, &mut load.inboxes, &mut load.connections, &mut load.tls_connections, &mut load.storm];
    let mut cut = false;
    for count in clients {
        cut |= *count > limit;
        *count = (*count).min(limit);
    }
    if cut {
        say(&format!("this process may open too few files: {limit} clients at most; more with `ulimit -n 20000`\n"))?;
    }
    if load.scenarios.is_empty() {
        load.scenarios = vec![Scenario::Inboxes, Scenario::Throughput, Scenario::Idle];
    }
    Ok(load)
}

fn name(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Throughput => "throughput",
        Scenario::Inboxes => "inboxes",
        Scenario::Idle => "idle",
        Scenario::IdleTls => "idle-tls",
        Scenario::Connects => "connects",
        Scenario::Storm => "storm",
        Scenario::Subscriptions => "subscriptions",
    }
}

fn describe(scenario: Scenario, load: &BrokerBench) -> String {
    let what = match scenario {
        Scenario::Throughput => format!(
            "{} publishers to {} inboxes as fast as it goes for {} s, QoS 1, {}-byte payloads",
            load.publishers, load.devices, load.seconds, load.payload
        ),
        Scenario::Inboxes => format!(
            "one message to each of {} connected inboxes, {}/s in all, QoS 1, {}-byte payloads",
            load.inboxes, load.rate, load.payload
        ),
        Scenario::Idle => format!("{} idle connections, one subscription each", load.connections),
        Scenario::IdleTls => format!("{} idle connections over TLS, one subscription each", load.tls_connections),
        Scenario::Connects => format!("{} log-ins over TLS 1.3, full handshakes, ECDSA P-256", load.tls_connects),
        Scenario::Storm => format!("{} clients lose their connections and come back at once", load.storm),
        Scenario::Subscriptions => format!("{} subscriptions, ten on each connection", load.subscriptions),
    };
    let runs = if load.runs == 1 { String::new() } else { format!("; medians of {} runs", load.runs) };
    format!("{}: {what}{runs}", name(scenario))
}
