//! What the `main` of every service does: read the flags and the configuration, start logging, run until a signal,
//! and say in plain words why it could not.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::{self, Loader, Setting, Settings, default_config_file};
use crate::lifecycle::Shutdown;
use crate::telemetry;

const USAGE: &str = "  --config FILE   TOML file (default: TIDINGS_CONFIG, else tidings.toml here)\n  \
     --set KEY=VALUE any setting, for example --set telemetry.level=debug\n  \
     --check         check the configuration and end\n  \
     --health URL    ask a running service (its /readyz) and end with 0 when it is ready\n  \
     --version, --help";

/// On how many processors a process computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processors {
    /// On all of them.
    All,
    /// On all but one (of one: on it), for a process that hands most of its work on to a thread of its own and to the system's
    /// network stack: what they need would otherwise be taken back from a worker in the middle of its work, and every message
    /// would wake a second worker for nothing (docs/decisions/0008).
    AllButOne,
}

/// The runtime of a process; `TOKIO_WORKER_THREADS` says otherwise.
///
/// # Errors
/// The system gives no threads.
pub fn runtime(processors: Processors) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if processors == Processors::AllButOne && std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        builder.worker_threads(all.saturating_sub(1).max(1));
    }
    builder.enable_all().build()
}

/// Runs one service as a process. `check` says what the service itself has against settings that are fine each alone;
/// `run` gets the checked settings and ends when the shutdown begins.
pub fn main<C, F, R>(name: &'static str, tables: &[&[Setting]], check: C, run: F) -> ExitCode
where
    C: FnOnce(&Settings) -> anyhow::Result<()>,
    F: FnOnce(Settings, Shutdown, Clock) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    main_on(Processors::All, name, tables, check, run)
}

/// As [`main`], on the processors that are said.
pub fn main_on<C, F, R>(processors: Processors, name: &'static str, tables: &[&[Setting]], check: C, run: F) -> ExitCode
where
    C: FnOnce(&Settings) -> anyhow::Result<()>,
    F: FnOnce(Settings, Shutdown, Clock) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let runtime = match runtime(processors) {
        Ok(runtime) => runtime,
        Err(error) => return fail(name, &format!("the runtime cannot start: {error}")),
    };
    let arguments = match Arguments::parse(name, std::env::args().skip(1)) {
        Ok(Wish::Run(arguments)) => arguments,
        Ok(Wish::Print(text)) => {
            say(&text);
            return ExitCode::SUCCESS;
        }
        Ok(Wish::Health(url)) => return runtime.block_on(ask_health(name, &url)),
        Err(problem) => return fail(name, &problem),
    };
    let settings = match arguments.settings(tables) {
        Ok(settings) => settings,
        Err(faults) => return fail(name, &faults.to_string()),
    };
    if arguments.check {
        let _inside = runtime.enter();
        return match check(&settings) {
            Ok(()) => {
                say("the configuration is good");
                ExitCode::SUCCESS
            }
            Err(error) => fail(name, &format!("{error:#}")),
        };
    }
    let result = runtime.block_on(async {
        let loggly = telemetry::init(&settings, name)?;
        let shutdown = Shutdown::on_signals()?;
        let result = run(settings, shutdown, Clock::system()).await;
        if let Some(loggly) = loggly {
            loggly.flush().await;
        }
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &format!("{error:#}")),
    }
}

struct Arguments {
    config: Option<PathBuf>,
    sets: Vec<(String, String)>,
    check: bool,
}

enum Wish {
    Run(Arguments),
    Print(String),
    Health(String),
}

impl Arguments {
    fn parse(name: &str, mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
        let mut parsed = Self { config: None, sets: Vec::new(), check: false };
        while let Some(argument) = arguments.next() {
            let (flag, inline) = match argument.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
                _ => (argument, None),
            };
            let mut value =
                |what: &str| inline.clone().or_else(|| arguments.next()).ok_or(format!("{flag} needs {what}"));
            match flag.as_str() {
                "--config" => parsed.config = Some(value("a file")?.into()),
                "--set" => {
                    let pair = value("KEY=VALUE")?;
                    let (key, text) = pair.split_once('=').ok_or(format!("--set needs KEY=VALUE, found `{pair}`"))?;
                    parsed.sets.push((key.to_owned(), text.to_owned()));
                }
                "--health" => return Ok(Wish::Health(value("an address such as http://127.0.0.1:8080")?)),
                "--check" => parsed.check = true,
                "--version" => return Ok(Wish::Print(format!("tidings-{name} {}", env!("CARGO_PKG_VERSION")))),
                "--help" | "-h" => {
                    return Ok(Wish::Print(format!("tidings-{name}: one service of Tidings\n\n{USAGE}")));
                }
                _ => return Err(format!("`{flag}` is no flag of this program; it knows\n{USAGE}")),
            }
        }
        Ok(Wish::Run(parsed))
    }

    fn settings(&self, tables: &[&[Setting]]) -> Result<Settings, config::ConfigFaults> {
        let variables: Vec<_> = environment();
        let mut loader = Loader::new(tables);
        if let Some(file) = self.config.clone().or_else(|| default_config_file(&variables)) {
            loader = loader.file(&file);
        }
        loader = loader.env_file(".env".as_ref()).environment(variables);
        for (key, value) in &self.sets {
            loader = loader.flag("--set", key, value);
        }
        loader.load()
    }
}

/// The environment's variables that are UTF-8; the others are nobody's settings.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

async fn ask_health(name: &str, url: &str) -> ExitCode {
    match health(url).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &format!("{error:#}")),
    }
}

/// Asks a running service whether it is ready.
///
/// # Errors
/// When it is not, with what it said.
pub async fn health(url: &str) -> anyhow::Result<()> {
    let url = format!("{}/readyz", url.trim_end_matches('/').trim_end_matches("/readyz"));
    let answer = crate::http::client(None)?.get(&url).send().await?;
    let status = answer.status();
    anyhow::ensure!(status.is_success(), "{url} answered {status}: {}", answer.text().await.unwrap_or_default());
    Ok(())
}

/// Says on standard error why the program ends, in plain words.
#[expect(clippy::print_stderr, reason = "this is what the person at the terminal must see, also before logging starts")]
pub fn fail(name: &str, problem: &str) -> ExitCode {
    eprintln!("{name}: {problem}");
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "the answer to a flag such as --version")]
fn say(text: &str) {
    println!("{text}");
}

/// Connections that the system keeps until they are accepted; it shortens this to what it allows
/// (`net.core.somaxconn`). Large, so that every client may come back at the same moment.
const BACKLOG: i32 = 4096;

/// Binds a listening socket, or says which setting to change when the port is taken.
///
/// # Errors
/// The address, the setting, and what to do.
pub async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    listen(address, false).map_err(|error| cannot_listen(address, setting, &error))
}

/// Binds all of a setting's addresses, as [`bind`] does. `[::]` takes IPv4 too, unless an IPv4 address has its port.
///
/// # Errors
/// The first address that cannot be had, as [`bind`] says it.
pub async fn bind_all(addresses: &[SocketAddr], setting: &str) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let shared = addresses.iter().any(|other| other.is_ipv4() && other.port() == address.port());
        listeners.push(listen(*address, shared).map_err(|error| cannot_listen(*address, setting, &error))?);
    }
    Ok(listeners)
}

fn listen(address: SocketAddr, only_v6: bool) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn cannot_listen(address: SocketAddr, setting: &str, error: &std::io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there; stop it, or choose another port",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher one",
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address; use 0.0.0.0 for all of its own",
        _ => "choose another address",
    };
    anyhow::anyhow!("cannot listen on {address} (setting `{setting}`): {error}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn several_addresses_of_one_port_are_bound_side_by_side() {
        // A port that is free on one address may be taken on another meanwhile: then another port is tried.
        let mut bound = None;
        for _ in 0..50 {
            let first = bind(([127, 0, 0, 1], 0).into(), "x.listen").await.unwrap();
            let port = first.local_addr().unwrap().port();
            drop(first);
            let addresses: [SocketAddr; 3] =
                [format!("127.0.0.1:{port}"), format!("[::]:{port}"), format!("127.0.0.2:{port}")]
                    .map(|text| text.parse().unwrap());
            if let Ok(listeners) = bind_all(&addresses, "x.listen").await {
                bound = Some((addresses, listeners));
                break;
            }
        }
        let (addresses, listeners) = bound.expect("one of fifty ports is free on every address");
        for (listener, address) in listeners.iter().zip(addresses) {
            assert_eq!(listener.local_addr().unwrap(), address);
        }
        let taken = bind_all(&addresses[..1], "x.listen").await.unwrap_err().to_string();
        assert!(taken.contains("`x.listen`") && taken.contains("another program"), "{taken}");
    }
}
