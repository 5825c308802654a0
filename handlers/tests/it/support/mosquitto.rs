//! A mosquitto broker of one test: stopped with the test, restarted in the middle of it.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
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
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nuser root\n\
             max_queued_messages 0\nmax_inflight_messages 0\n{extra}\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let mut broker = Self { folder, port, child: None };
        broker.resume().await;
        broker
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts it (again) and waits until it accepts connections.
    pub(crate) async fn resume(&mut self) {
        let program = if std::path::Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let child = Command::new(program)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("mosquitto is needed by this test and cannot be started: {error}"));
        self.child = Some(child);
        let up = tokio::time::timeout(PATIENCE, async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        up.await.expect("mosquitto accepts connections");
    }

    /// Stops it softly: it writes its sessions to the disk.
    pub(crate) async fn pause(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let id = child.id().expect("it runs").to_string();
        Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        tokio::time::timeout(PATIENCE, child.wait()).await.expect("mosquitto stops").unwrap();
    }

    /// Loses everything that it had kept.
    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_file(self.folder.path().join("mosquitto.db"));
    }
}
