//! `tidings demo`: the whole story with simulated phones and a simulated Wallet, on a backend that keeps nothing. It ends
//! with status 0 only when every step happened as it says.

mod contacts;
mod pass;
mod sleep;
mod stage;
mod story;

use std::net::{Ipv4Addr, TcpListener};

use tidings_shared::lifecycle::Shutdown;

use crate::cli::{Common, UpArgs};
use crate::up::Up;
use stage::Stage;
use story::Story;

/// Starts everything on free ports, plays the scenes, stops everything.
///
/// # Errors
/// The first step that did not happen.
pub(crate) async fn run(common: &Common, verbose: bool) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let args = UpArgs { data: None, ephemeral: true, port_offset: free_offset()? };
    let story = Story::begin();
    story.say(
        "",
        "Starting a backend that keeps nothing: broker, handlers, push-gateway, passbook-service, simulators.",
    )?;
    let mut up = Up::start(common, &args, !verbose, shutdown.clone()).await?;
    anyhow::ensure!(up.ready().await?, "stopped before everything was ready");
    let stage = Stage::new(&up)?;
    let played = tokio::select! {
        played = play(&story, &stage) => played,
        () = shutdown.wait() => Err(anyhow::anyhow!("interrupted")),
    };
    drop(stage);
    let stopped = up.stop().await;
    played?;
    stopped?;
    story.say("", "Everything happened as it should.")
}

async fn play(story: &Story, stage: &Stage) -> anyhow::Result<()> {
    contacts::play(story, stage).await?;
    sleep::play(story, stage).await?;
    pass::play(story, stage).await
}

/// The default ports of everything.
const PORTS: [u16; 9] = [1883, 8883, 8080, 8081, 8082, 8083, 8443, 8444, 8090];

/// An offset under which every port is free now.
fn free_offset() -> anyhow::Result<u16> {
    let mut offset = 20_000 + u16::try_from(std::process::id() % 20_000)?;
    for _ in 0..100 {
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port + offset)).is_ok();
        if PORTS.iter().all(free) {
            return Ok(offset);
        }
        offset = 20_000 + (offset - 20_000 + 997) % 20_000;
    }
    anyhow::bail!("no nine free ports were found for the demo; stop other programs that listen on this machine")
}
