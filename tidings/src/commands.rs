//! What each command does, in a few lines each.

use std::io::Write;
use std::process::ExitCode;

use tidings_shared::clock::Clock;
use tidings_shared::config::{default_file, reference_page};
use tidings_shared::identity::UserId;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::telemetry;

use crate::cli::{BenchCommand, Cli, Command, Common, ConfigCommand, Service, UpArgs};
use crate::up::{self, development};
use crate::{bench, demo, operate, pass, push, services};

/// Carries out a command line.
///
/// # Errors
/// What went wrong, for the person at the terminal.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let (common, args) = (&cli.common, &cli.up);
    let settings = || up::settings::load(common, args, &up::settings::Defaults::default());
    match &cli.command {
        Some(Command::Explain(asked)) => {
            // 1 says "denied", so everything else that can go wrong is 2.
            let asked = async { operate::explain(&settings()?, asked).await }.await;
            return Ok(match asked {
                Ok(allowed) => ExitCode::from(u8::from(!allowed)),
                Err(error) => {
                    let _ = tidings_shared::service::fail("tidings", &format!("{error:#}"));
                    ExitCode::from(2)
                }
            });
        }
        Some(Command::Revoke(asked)) => operate::revoke(&settings()?, asked).await?,
        Some(Command::Connections(asked)) => operate::connections(&settings()?, asked).await?,
        Some(Command::Push(command)) => return push::run(&settings()?, command).await,
        Some(Command::Pass(command)) => return pass::run(&settings()?, command).await,
        _ => carry_out(cli).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None | Some(Command::Up) => up::run(&cli.common, &cli.up).await,
        Some(Command::Run { service }) => run_one(&cli.common, &cli.up, service).await,
        Some(Command::Demo { verbose }) => demo::run(&cli.common, verbose).await,
        Some(Command::Token { user, ttl }) => token(&cli.common, &cli.up, &user, &ttl),
        Some(Command::Config(command)) => config(&cli.common, &cli.up, &command),
        Some(Command::Health { url }) => {
            tidings_shared::service::health(&url).await?;
            say("ready\n")
        }
        // Answered above.
        Some(
            Command::Explain(_) | Command::Revoke(_) | Command::Connections(_) | Command::Push(_) | Command::Pass(_),
        ) => Ok(()),
        Some(Command::Bench(BenchCommand::Broker(load))) => bench::broker::run(&load).await,
        Some(Command::Bench(BenchCommand::Push(load))) => bench::push::run(&load).await,
        Some(Command::Bench(BenchCommand::Wallet(load))) => bench::wallet::run(&load).await,
    }
}

/// Writes to standard output; a reader that went away (`| head`) is no failure.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn run_one(common: &Common, up: &UpArgs, service: Service) -> anyhow::Result<()> {
    let settings = up::settings::load(common, up, &up::settings::Defaults::default())?;
    let loggly = telemetry::init(&settings, "tidings")?;
    let shutdown = Shutdown::on_signals()?;
    let bound = services::bind(service, &settings).await?;
    let mut together = services::Together::new(shutdown);
    together.start(bound, &Clock::system());
    let result = together.wait().await;
    if let Some(loggly) = loggly {
        loggly.flush().await;
    }
    result
}

fn token(common: &Common, up: &UpArgs, user: &str, ttl: &str) -> anyhow::Result<()> {
    let settings = up::settings::load(common, up, &up::settings::Defaults::default())?;
    let token = development::mint(&settings, &UserId::new(user)?, ttl, &Clock::system())?;
    say(&format!("{token}\n"))
}

fn config(common: &Common, up: &UpArgs, command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Reference => return say(&reference_page(&services::TABLES)),
        ConfigCommand::Default => return say(&default_file(&services::TABLES)),
        ConfigCommand::Check | ConfigCommand::Show => {}
    }
    let settings = up::settings::load(common, up, &up::settings::Defaults::default())?;
    if matches!(command, ConfigCommand::Check) {
        services::check(common, up, &settings)?;
        return say("the configuration is good\n");
    }
    let rows = settings.show();
    let width = |column: fn(&tidings_shared::config::Shown) -> &str, most: usize| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0).min(most)
    };
    let (path, value) = (width(|row| &row.path, 60), width(|row| &row.value, 60));
    for row in &rows {
        say(&format!("{:path$}  {:value$}  {}\n", row.path, row.value, row.source))?;
    }
    Ok(())
}
