//! Our own service, one process or several, with passes that are made and registered.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use tidings_passbook_service::DevelopmentCertificates;
use tokio::task::JoinSet;

use super::super::door::Door;
use super::super::peer::free_address;
use super::super::process;
use super::super::program::Program;
use super::sink::Sink;
use super::{Store, WalletBench};

/// The key of the load.
pub(super) const KEY: &str = "bench-service-key";
/// The pass type of the passes.
pub(super) const PASS_TYPE: &str = "pass.dev.tidings.example";
/// The team of the certificates.
pub(super) const TEAM: &str = "TIDINGSDEV";
/// How many are made at once.
const AT_ONCE: usize = 16;

/// A pass, the device that has it, and what the device knows.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) serial: String,
    pub(super) token: String,
    pub(super) device: String,
}

impl Card {
    /// Where it is fetched.
    pub(super) fn path(&self) -> String {
        format!("/v1/passes/{PASS_TYPE}/{}", self.serial)
    }

    /// What fetches it.
    pub(super) fn authorization(&self) -> String {
        format!("authorization: ApplePass {}\r\n", self.token)
    }
}

/// Where a device asks what changed.
pub(super) fn list_path(device: &str, tag: Option<&str>) -> String {
    let tag = tag.map_or_else(String::new, |tag| format!("?passesUpdatedSince={}", tag.replace('+', "%2B")));
    format!("/v1/devices/{device}/registrations/{PASS_TYPE}{tag}")
}

/// A running pass service.
pub(super) struct Stage {
    pub(super) services: Vec<SocketAddr>,
    pub(super) cards: Arc<Vec<Card>>,
    pub(super) sink: Sink,
    programs: Vec<Program>,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Starts it with as many passes as the load says.
    ///
    /// # Errors
    /// When a program does not start, or a pass cannot be made.
    pub(super) async fn start(load: &WalletBench, store: Store) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let sink = Sink::start().await?;
        let database = database(load, store, folder.path()).await?;
        let mut stage = Self { services: Vec::new(), cards: Arc::default(), sink, programs: Vec::new(), folder };
        for _ in 0..load.processes {
            let http = free_address()?;
            let settings = [
                ("data", stage.folder.path().display().to_string()),
                ("wallet.listen", http.to_string()),
                ("wallet.database", database.clone()),
                ("wallet.public_url", "https://wallet.example.org".to_owned()),
                ("wallet.gateway.url", format!("http://{}", stage.sink.address)),
                // The limits are looked at, as always, and never met.
                ("wallet.limits.list_per_device", "1000000".to_owned()),
                ("keys.service", KEY.to_owned()),
            ];
            // The first one makes the certificates and the tables.
            stage.programs.push(Program::start("passbook-service", &settings, http, KEY).await?);
            stage.services.push(http);
        }
        stage.cards = Arc::new(stage.make_all(load).await?);
        Ok(stage)
    }

    async fn make_all(&self, load: &WalletBench) -> anyhow::Result<Vec<Card>> {
        let (http, passes, on_device) = (self.services[0], load.passes, load.on_device);
        let mut making = JoinSet::new();
        for first in 0..AT_ONCE.min(passes) {
            making.spawn(async move {
                let mut door = Door::open(http, KEY).await?;
                let mut made = Vec::new();
                for number in (first..passes).step_by(AT_ONCE) {
                    made.push((number, make(&mut door, number, number / on_device).await?));
                }
                anyhow::Ok(made)
            });
        }
        let mut cards = Vec::with_capacity(passes);
        while let Some(made) = making.join_next().await {
            cards.extend(made??);
        }
        cards.sort_by_key(|(number, _)| *number);
        Ok(cards.into_iter().map(|(_, card)| card).collect())
    }

    /// A whole package, and the certificates that sign: what the peer's passes are made from.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) async fn package(&self) -> anyhow::Result<(Vec<u8>, DevelopmentCertificates)> {
        let mut door = Door::open(self.services[0], KEY).await?;
        let card = self.cards.first().context("there is no pass")?;
        let answer = door.send("GET", &card.path(), &card.authorization(), "").await?;
        anyhow::ensure!(answer.status == 200, "a package: {}", answer.status);
        Ok((answer.body, DevelopmentCertificates::paths(self.folder.path())))
    }

    /// Processor time of all processes so far, in seconds.
    ///
    /// # Errors
    /// When one has ended.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        self.programs.iter().map(|program| process::cpu_s(program.id()?)).sum()
    }

    /// Resident memory of all processes, in MiB.
    ///
    /// # Errors
    /// When one has ended.
    pub(super) fn rss_mib(&self) -> anyhow::Result<f64> {
        self.programs.iter().map(|program| Ok(process::rss_kib(program.id()?)? / 1024.0)).sum()
    }

    /// Ends the processes.
    pub(super) async fn end(self) {
        for program in self.programs {
            program.end().await;
        }
    }
}

/// The address of a fresh database.
///
/// # Errors
/// When PostgreSQL is asked for and not named.
pub(super) async fn database(load: &WalletBench, store: Store, folder: &std::path::Path) -> anyhow::Result<String> {
    Ok(match store {
        Store::Sqlite => format!("sqlite://{}", folder.join("wallet.db").display()),
        Store::Postgres => {
            let server = load.postgres.as_deref().context("no PostgreSQL is named")?;
            tidings_shared::storage::testing::create_postgres(server).await
        }
    })
}

async fn make(door: &mut Door, number: usize, device: usize) -> anyhow::Result<Card> {
    let body =
        json!({"template": "example", "serial": format!("bench-{number}"), "fields": {"name": "Ada", "points": 0}});
    let made = door.json("POST", "/api/passes", &body.to_string()).await?;
    let text = |key: &str| made[key].as_str().map(str::to_owned).with_context(|| format!("a new pass without {key}"));
    let card = Card {
        serial: text("serialNumber")?,
        token: text("authenticationToken")?,
        device: format!("bench-device-{device}"),
    };
    register(door, &card, &card.device).await?;
    Ok(card)
}

/// Registers a device for a pass.
///
/// # Errors
/// When that is refused.
pub(super) async fn register(door: &mut Door, card: &Card, device: &str) -> anyhow::Result<()> {
    let path = format!("/v1/devices/{device}/registrations/{PASS_TYPE}/{}", card.serial);
    let token = format!("{:0>64}", hex(device));
    let body: Value = json!({ "pushToken": token });
    let answer = door.send("POST", &path, &card.authorization(), &body.to_string()).await?;
    anyhow::ensure!(matches!(answer.status, 200 | 201), "a registration: {}", answer.status);
    Ok(())
}

/// A text as hexadecimal digits, its last 64 at most.
fn hex(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    digits.chars().skip(digits.len().saturating_sub(64)).collect()
}
