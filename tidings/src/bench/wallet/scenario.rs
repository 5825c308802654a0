//! The scenarios, the same for us and for the peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::super::table::Figures;
use super::load::{Request, Requests, Visitor, hammer};
use super::peer::Walletpass;
use super::stage::{Card, KEY, PASS_TYPE, Stage, list_path};
use super::{Peer, Scenario, Store, WalletBench, changes};

const WARM_UP: Duration = Duration::from_secs(1);

/// Who is asked.
enum Host {
    Ours(Stage),
    Theirs(Walletpass),
}

impl Host {
    fn services(&self) -> &[SocketAddr] {
        match self {
            Self::Ours(stage) => &stage.services,
            Self::Theirs(peer) => &peer.services,
        }
    }

    fn cards(&self) -> Arc<Vec<Card>> {
        match self {
            Self::Ours(stage) => Arc::clone(&stage.cards),
            Self::Theirs(peer) => Arc::clone(&peer.cards),
        }
    }

    fn cpu_s(&self) -> anyhow::Result<f64> {
        match self {
            Self::Ours(stage) => stage.cpu_s(),
            Self::Theirs(peer) => peer.cpu_s(),
        }
    }

    fn rss_mib(&self) -> anyhow::Result<f64> {
        match self {
            Self::Ours(stage) => stage.rss_mib(),
            Self::Theirs(peer) => peer.rss_mib(),
        }
    }

    fn change(&self, card: &Card, points: usize) -> Request {
        match self {
            Self::Ours(_) => Request {
                method: "PATCH",
                path: format!("/api/passes/{PASS_TYPE}/{}", card.serial),
                headers: format!("authorization: Bearer {KEY}\r\n"),
                body: format!("{{\"fields\":{{\"points\":{points}}}}}"),
            },
            Self::Theirs(_) => Request {
                method: "POST",
                path: format!("/change/{}", card.serial),
                headers: String::new(),
                body: format!("{{\"points\":{points}}}"),
            },
        }
    }
}

/// One service on one database: every scenario.
///
/// # Errors
/// When the service does not start, or answers as it should not.
pub(super) async fn all(
    load: &WalletBench,
    store: Store,
    peer: Peer,
    scenarios: &[Scenario],
) -> anyhow::Result<Figures> {
    let stage = Stage::start(load, store).await?;
    let host = match peer {
        Peer::Tidings => Host::Ours(stage),
        Peer::Walletpass => {
            let made = stage.package().await?;
            let started = Walletpass::start(load, store, &made.0, &made.1).await;
            stage.end().await;
            Host::Theirs(started?)
        }
    };
    let measured = measure(load, &host, scenarios).await;
    match host {
        Host::Ours(stage) => stage.end().await,
        Host::Theirs(peer) => peer.end().await,
    }
    measured
}

async fn measure(load: &WalletBench, host: &Host, scenarios: &[Scenario]) -> anyhow::Result<Figures> {
    let mut figures = Figures::new();
    for scenario in scenarios {
        let (names, connections, requests, expected): (_, _, Requests, &[u16]) = match scenario {
            Scenario::List => (LIST, load.connections, list(&host.cards()), &[200]),
            Scenario::Nothing => (NOTHING, load.connections, nothing(host).await?, &[204]),
            Scenario::Unchanged => (UNCHANGED, load.connections, unchanged(host).await?, &[304]),
            Scenario::Full => (FULL, load.connections, full(&host.cards()), &[200]),
            Scenario::Changes => (CHANGES, load.writers, writes(host, load.writers), &[200]),
        };
        hammer(host.services(), connections, WARM_UP, Arc::clone(&requests), expected).await?;
        let watch = match host {
            Host::Ours(stage) if *scenario == Scenario::Changes => {
                Some((changes::Watch::begin(stage, load.watchers).await?, stage.sink.taken()))
            }
            _ => None,
        };
        let cpu = host.cpu_s()?;
        let time = Duration::from_secs(load.seconds);
        let measured = hammer(host.services(), connections, time, requests, expected).await?;
        let cpu = host.cpu_s()? - cpu;
        figures.extend([
            (names[0], measured.rate()),
            (names[1], measured.ms(50.0)),
            (names[2], measured.ms(99.0)),
            (names[3], cpu * 1e6 / measured.count as f64),
        ]);
        if let (Some((watch, taken)), Host::Ours(stage)) = (watch, host) {
            let seen = watch.end(stage).await?;
            figures.extend([
                ("changes: lists of the watching devices/s", seen.lists as f64 / measured.seconds),
                ("changes: pushes/s", (stage.sink.taken() - taken) as f64 / measured.seconds),
                ("changes: passes checked", seen.checked as f64),
                ("changes: updates lost", seen.lost as f64),
                ("changes: tags that stood still", seen.stood_still as f64),
            ]);
        }
    }
    figures.push(("memory MiB", host.rss_mib()?));
    Ok(figures)
}

const LIST: [&str; 4] = ["list/s", "list: p50 ms", "list: p99 ms", "list: CPU us"];
const NOTHING: [&str; 4] =
    ["list, nothing new/s", "list, nothing new: p50 ms", "list, nothing new: p99 ms", "list, nothing new: CPU us"];
const UNCHANGED: [&str; 4] = ["304/s", "304: p50 ms", "304: p99 ms", "304: CPU us"];
const FULL: [&str; 4] = ["full get/s", "full get: p50 ms", "full get: p99 ms", "full get: CPU us"];
const CHANGES: [&str; 4] = ["changes/s", "changes: p50 ms", "changes: p99 ms", "changes: CPU us"];

fn list(cards: &Arc<Vec<Card>>) -> Requests {
    let cards = Arc::clone(cards);
    Arc::new(move |number| Request::get(list_path(&cards[number % cards.len()].device, None), String::new()))
}

/// Every device brings the tag of its latest list.
async fn nothing(host: &Host) -> anyhow::Result<Requests> {
    let cards = host.cards();
    let mut visitor = Visitor::new(host.services()[0]);
    let mut paths = Vec::new();
    for card in cards.iter() {
        let answer = visitor.ask(&Request::get(list_path(&card.device, None), String::new())).await?;
        anyhow::ensure!(answer.status == 200, "a list: {}", answer.status);
        let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let tag = body["lastUpdated"].as_str().context("a list without a tag")?;
        paths.push(list_path(&card.device, Some(tag)));
    }
    Ok(Arc::new(move |number| Request::get(paths[number % paths.len()].clone(), String::new())))
}

/// Every device brings the date of the version that it has.
async fn unchanged(host: &Host) -> anyhow::Result<Requests> {
    let cards = host.cards();
    let mut visitor = Visitor::new(host.services()[0]);
    let mut asked = Vec::new();
    for card in cards.iter() {
        let answer = visitor.ask(&Request::get(card.path(), card.authorization())).await?;
        anyhow::ensure!(answer.status == 200, "a pass: {}", answer.status);
        let date = answer.header("last-modified").context("a pass without Last-Modified")?;
        asked.push((card.path(), format!("{}if-modified-since: {date}\r\n", card.authorization())));
    }
    Ok(Arc::new(move |number| {
        let (path, headers) = &asked[number % asked.len()];
        Request::get(path.clone(), headers.clone())
    }))
}

fn full(cards: &Arc<Vec<Card>>) -> Requests {
    let cards = Arc::clone(cards);
    Arc::new(move |number| {
        let card = &cards[number % cards.len()];
        Request::get(card.path(), card.authorization())
    })
}

/// Each writer has passes of its own; no two changes are alike.
fn writes(host: &Host, writers: usize) -> Requests {
    let cards = host.cards();
    let each = cards.len() / writers;
    // Numbers begin again after the warm-up; the values must not.
    let next = std::sync::atomic::AtomicUsize::new(1);
    let ours = matches!(host, Host::Ours(_));
    let template: Vec<Request> = cards.iter().map(|card| host.change(card, 0)).collect();
    Arc::new(move |number| {
        let (writer, turn) = (number % writers, number / writers);
        let request = &template[writer * each + turn % each];
        let points = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body =
            if ours { format!("{{\"fields\":{{\"points\":{points}}}}}") } else { format!("{{\"points\":{points}}}") };
        Request { method: request.method, path: request.path.clone(), headers: request.headers.clone(), body }
    })
}
