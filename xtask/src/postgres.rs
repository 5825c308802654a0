//! A private PostgreSQL for the storage tests: its own folder, its own free port, gone at the end whatever happens.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::prerequisites::{is_root, scratch};
use crate::{shell, workspace};

/// Stops the server and removes its folder when our end of its standard input closes, which happens
/// even when this process is killed.
const KEEPER: &str = r#"
folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$folder"
"#;

/// A running server.
pub(crate) struct Postgres {
    keeper: Child,
    port: u16,
}

/// The folder with `initdb` and `postgres`: on the PATH, or the newest of Debian's.
pub(crate) fn programs() -> Option<PathBuf> {
    if let (Some(initdb), Some(_)) = (workspace::on_path("initdb"), workspace::on_path("postgres")) {
        return initdb.parent().map(Path::to_path_buf);
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .collect();
    versions.sort();
    versions.pop().map(|(_, folder)| folder)
}

impl Postgres {
    /// Makes a cluster and starts it; returns when it accepts connections.
    pub(crate) fn start() -> Result<Postgres> {
        let programs = programs().context("PostgreSQL's initdb was not found")?;
        let folder = scratch().join(format!("tidings-postgres-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("could not make {}", folder.display()))?;
        if is_root() {
            // PostgreSQL refuses to run as root; its package brings this user.
            let mut give = shell::command("chown");
            give.arg("postgres").arg(&folder);
            shell::output(give)?;
        }
        let data = folder.join("data");
        let mut initdb = unprivileged(&programs.join("initdb"));
        initdb.current_dir(&folder).arg("--pgdata").arg(&data).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        shell::output(initdb)?;

        let port = free_port()?;
        let server = unprivileged(&programs.join("postgres"));
        let mut keeper = Command::new("sh");
        keeper
            .current_dir(&folder)
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&folder)
            .args(["-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            // A crash of the machine loses nothing that anyone wants.
            .args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=200"])
            .stdin(Stdio::piped())
            // Ctrl-C in the terminal is for us; the keeper sees our end of its input close.
            .process_group(0);
        let keeper = keeper.spawn().context("could not start `sh`")?;
        let running = Postgres { keeper, port };
        Self::wait_until_ready(&folder)?;
        Ok(running)
    }

    /// Where the tests find it; the user may create databases.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn wait_until_ready(folder: &Path) -> Result<()> {
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        for _ in 0..600 {
            // The cluster was made without a locale, so these are its words.
            if log().contains("ready to accept connections") {
                return Ok(());
            }
            if log().contains("FATAL") {
                bail!("PostgreSQL does not start; its log:\n{}", log());
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("PostgreSQL did not accept connections within 60 s; its log:\n{}", log());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // The keeper ends with its server; nothing is left to do when it cannot be waited for.
        let _ = self.keeper.wait();
    }
}

fn unprivileged(program: &Path) -> Command {
    if is_root() {
        // setpriv becomes the program, so that a signal reaches it; runuser would stay in between.
        let mut command = shell::command("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
        command
    } else {
        shell::command(program)
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
