//! Our APNs transport alone: messages in, answers out, no queue and no database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tidings_push_gateway::provider::apns::{Apns, Authentication, Endpoint, Limits, Signer, Transport};
use tidings_push_gateway::provider::{Message, Outcome, WakeStyle};
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Environment, Push};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::process;
use super::super::table::Figures;
use super::PushBench;
use super::stage::{KEY_ID, Simulators, TEAM_ID, TOPIC};

/// Sends `--transport` pushes, `--at-once` of them at a time.
///
/// # Errors
/// When a push is not accepted.
pub(super) async fn run(simulators: &Simulators, load: &PushBench) -> anyhow::Result<Figures> {
    tidings_shared::tls::install_provider();
    let signer = Signer::new(&std::fs::read(simulators.key())?, KEY_ID, TEAM_ID, Clock::system())?;
    let tls = tidings_shared::tls::client_config(Some(&simulators.ca()), None, &[b"h2"])?;
    let url = format!("https://{}", simulators.apns);
    let endpoint = Endpoint::parse(&url).map_err(|problem| anyhow::anyhow!("{url}: {problem}"))?;
    let transport = Transport::new(endpoint, tls, Limits::default());
    let topic = TOPIC.parse().context("the topic is a header")?;
    let authentication = Authentication::Token(Arc::new(signer));
    let apns = Arc::new(Apns::new(topic, authentication, Some(transport), None, WakeStyle::Silent));
    let text = "A text of the usual length, as people write it.";
    let push = serde_json::json!({"kind": "alert", "title": "Number", "body": text});
    let push: Arc<Push> = Arc::new(serde_json::from_value(push)?);
    // The connections are opened before, as in a service that runs.
    send(&apns, &push, 0).await?;
    let (next, count) = (Arc::new(AtomicUsize::new(1)), load.transport);
    let (cpu, simulators_cpu, begin) = (process::cpu_s(std::process::id())?, simulators.cpu_s()?, Instant::now());
    let mut senders = JoinSet::new();
    for _ in 0..load.at_once {
        let (apns, push, next) = (Arc::clone(&apns), Arc::clone(&push), Arc::clone(&next));
        senders.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > count {
                    return anyhow::Ok(());
                }
                send(&apns, &push, number).await?;
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    let (took, count) = (begin.elapsed().as_secs_f64(), count as f64);
    Ok(vec![
        ("pushes/s", count / took),
        ("CPU us/push", (process::cpu_s(std::process::id())? - cpu) * 1e6 / count),
        ("simulators CPU us/push", (simulators.cpu_s()? - simulators_cpu) * 1e6 / count),
    ])
}

async fn send(apns: &Apns, push: &Arc<Push>, number: usize) -> anyhow::Result<()> {
    let message = Message {
        id: format!("00000000-0000-7000-8000-{number:012x}"),
        token: format!("{number:064x}"),
        environment: Environment::Production,
        registered_at_ms: None,
        push: Arc::clone(push),
        collapse_id: None,
        expires_at_ms: Clock::system().now_ms() + 3_600_000,
    };
    let answer = apns.send(&message).await;
    anyhow::ensure!(answer.outcome == Outcome::Accepted, "a push was answered with {answer:?}");
    Ok(())
}
