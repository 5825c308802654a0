//! A mosquitto broker of one test: stopped with the test, restarted in the middle of it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::PATIENCE;

pub(crate) struct Mosquitto {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// `extra` are further lines of its configuration.
    pub(crate) async fn with(extra: &str) -> Self {
        for _ in 0..20 {
            let mut broker = Self::on_some_port(extra);
            if broker.try_resume().await {
                return broker;
            }
        }
        panic!("mosquitto finds no free port");
    }

    fn on_some_port(extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nuser root\n\
             max_queued_messages 0\nmax_inflight_messages 0\nlog_dest stderr\n{extra}\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        Self { folder, port, child: None }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again and waits until it accepts connections.
    pub(crate) async fn resume(&mut self) {
        assert!(self.try_resume().await, "somebody has taken the port meanwhile");
    }

    /// `false` when it ends at once: somebody else was faster to take the port.
    async fn try_resume(&mut self) -> bool {
        let program = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let mut child = Command::new(program)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("mosquitto is needed by this test and cannot be started: {error}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        self.child = Some(child);
        let running = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.ends_with(" running") {
                    return true;
                }
            }
            false
        });
        let running = running.await.expect("mosquitto starts in time");
        // It must be able to write on.
        tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
        running
    }

    /// Stops it softly: it writes its sessions to the disk.
    pub(crate) async fn pause(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let id = child.id().expect("it runs").to_string();
        let stopped = tokio::time::timeout(PATIENCE, async {
            // A signal that comes very early is forgotten by mosquitto.
            loop {
                Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
                if let Ok(ended) = tokio::time::timeout(Duration::from_millis(500), child.wait()).await {
                    return ended;
                }
            }
        });
        stopped.await.expect("mosquitto stops in time").unwrap();
    }

    /// Loses everything that it had kept.
    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_file(self.folder.path().join("mosquitto.db"));
    }
}
