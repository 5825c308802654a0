//! Where histories are played: one database, two processes with clocks of their own, what stands before them, and the
//! gateway behind them. Histories follow each other on the same stage, each with passes and devices of its own.

use std::path::Path;

use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::Row;
use tempfile::TempDir;
use tidings_passbook_service::DevelopmentCertificates;
use tidings_shared::clock::Clock;
use tidings_shared::storage::Database;
use tidings_simulators::wallet::TrustedRoot;

use super::front::Front;
use super::network::{Manner, Network};
use super::process::{NUDGE, Process};
use crate::support::{BOUND, KEY, NOW, settings};

pub(super) const PROCESSES: usize = 2;
const DAY_MS: i64 = 86_400_000;

pub(super) struct Stage {
    pub(super) network: Network,
    pub(super) client: reqwest::Client,
    pub(super) database: Database,
    pub(super) clocks: Vec<Clock>,
    processes: Vec<Option<Process>>,
    front: Front,
    url: String,
    folder: TempDir,
}

impl Stage {
    pub(super) async fn set(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        rewards(&folder.path().join("templates/rewards"));
        tidings_shared::tls::install_provider();
        // A connection for each request: the next one may go to another process.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(BOUND).build().unwrap();
        // The certificates begin to be valid an hour before they are made: no clock may step back beyond that.
        let certified = Clock::manual(NOW);
        let mut stage = Self {
            network: Network::start().await,
            client,
            database: Database::connect(url, 2).await.unwrap(),
            clocks: (0..PROCESSES).map(|_| Clock::manual(NOW)).collect(),
            processes: (0..PROCESSES).map(|_| None).collect(),
            front: Front::start(1).await,
            url: url.to_owned(),
            folder,
        };
        stage.processes[0] = Some(Process::start(stage.settings(), certified, &stage.client).await);
        stage.processes[0].take().unwrap().stop().await;
        for (index, clock) in stage.clocks.iter().enumerate() {
            clock.advance(2 * DAY_MS + i64::try_from(index).unwrap() * 700);
        }
        for index in 0..PROCESSES {
            stage.start(index).await;
        }
        stage
    }

    fn settings(&self) -> tidings_shared::config::Settings {
        let front = format!("http://{}", self.front.address);
        let templates = self.folder.path().join("templates").display().to_string();
        let extra = [
            ("wallet.public_url", front.as_str()),
            ("wallet.allow_http", "true"),
            ("wallet.templates", templates.as_str()),
            ("wallet.token_key", "a-master-key-of-the-simulation-0123456789"),
            ("wallet.database_connections", "4"),
        ];
        settings(Path::new(self.folder.path()), &self.url, &self.network.url, &extra)
    }

    fn lead(&self) {
        self.front.lead_to(self.processes.iter().flatten().map(|process| process.address).collect());
    }

    /// What the packages' signatures lead to.
    pub(super) fn root(&self) -> TrustedRoot {
        let file = DevelopmentCertificates::paths(self.folder.path()).root;
        TrustedRoot::from_pem(&std::fs::read(file).unwrap()).unwrap()
    }

    pub(super) fn lives(&self, index: usize) -> bool {
        self.processes[index].is_some()
    }

    pub(super) fn living(&self) -> usize {
        self.processes.iter().flatten().count()
    }

    pub(super) async fn start(&mut self, index: usize) {
        if self.processes[index].is_none() {
            let process = Process::start(self.settings(), self.clocks[index].clone(), &self.client).await;
            self.processes[index] = Some(process);
            self.lead();
        }
    }

    /// Takes a process out of service, to be ended.
    pub(super) fn withdraw(&mut self, index: usize) -> Option<Process> {
        let process = self.processes[index].take();
        self.lead();
        process
    }

    /// Asks the API of any process that lives, again and again while one dies under it.
    pub(super) async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Vec<u8>) {
        let asking = async {
            loop {
                let url = format!("http://{}{path}", self.front.address);
                let mut request = self.client.request(method.clone(), url).bearer_auth(KEY);
                if let Some(body) = body {
                    request = request.json(body);
                }
                if let Ok(answer) = request.send().await {
                    let status = answer.status();
                    if let Ok(body) = answer.bytes().await
                        && status != StatusCode::SERVICE_UNAVAILABLE
                    {
                        return (status, body.to_vec());
                    }
                }
                tokio::time::sleep(NUDGE / 8).await;
            }
        };
        tokio::time::timeout(BOUND, asking).await.unwrap_or_else(|_| panic!("{method} {path} finds nobody"))
    }

    /// Waits until every change has its tag and, for these devices, every push is handed over. Where something waits for a
    /// clock, or for a lease, the clocks go on.
    pub(super) async fn quiet(&self, devices: &[&str]) {
        let waiting = async {
            let mut turns = 0_u32;
            while !self.is_quiet(devices).await {
                turns += 1;
                if turns > 5 {
                    self.network.behave(Manner::Right);
                    for clock in &self.clocks {
                        clock.advance(i64::from(turns.min(60)) * 1_000);
                    }
                }
                tokio::time::sleep(NUDGE.min(NUDGE / 8 * turns)).await;
            }
        };
        tokio::time::timeout(BOUND, waiting).await.expect("changes get tags, and pushes are sent");
    }

    async fn is_quiet(&self, devices: &[&str]) -> bool {
        let changes = sqlx::query("SELECT id FROM wallet_changes LIMIT 1").fetch_optional(self.database.pool());
        if changes.await.unwrap().is_some() {
            return false;
        }
        let query = "SELECT device FROM wallet_pushes WHERE due_at IS NOT NULL";
        let pushes = sqlx::query(query).fetch_all(self.database.pool()).await.unwrap();
        !pushes.iter().any(|row| devices.contains(&row.get::<String, _>("device").as_str()))
    }

    /// Steps a process's clock, but no two clocks further apart than a minute.
    pub(super) fn step_clock(&self, index: usize, random: &mut StdRng) {
        let others = self.clocks.iter().map(Clock::now_ms);
        let (earliest, latest) = (others.clone().min().unwrap(), others.max().unwrap());
        let step = random.random_range(-30_000..30_000);
        let to = (self.clocks[index].now_ms() + step).clamp(latest - 60_000, earliest + 60_000);
        self.clocks[index].advance(to - self.clocks[index].now_ms());
    }

    /// Everything is well again: both processes live, the gateway takes what it gets, the clocks agree.
    pub(super) async fn calm(&mut self) {
        self.network.behave(Manner::Right);
        for index in 0..PROCESSES {
            self.start(index).await;
        }
        let latest = self.clocks.iter().map(Clock::now_ms).max().unwrap();
        for clock in &self.clocks {
            clock.advance(latest - clock.now_ms());
        }
    }
}

/// A template whose holders are asked to sign up.
fn rewards(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/example");
    for (from, to) in [("pass.json", "pass.json"), ("icon.png", "icon.png"), ("logo.png", "personalizationLogo.png")] {
        std::fs::copy(example.join(from), folder.join(to)).unwrap();
    }
    let asks = serde_json::json!({
        "requiredPersonalizationFields": ["PKPassPersonalizationFieldName"], "description": "Join and earn points",
    });
    std::fs::write(folder.join("personalization.json"), asks.to_string()).unwrap();
}
