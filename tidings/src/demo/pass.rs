//! Scene three: a pass in Wallet updates itself.

use anyhow::Context;
use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_simulators::wallet::{PassId, WalletDevice};

use super::stage::{PATIENCE, Stage};
use super::story::Story;

pub(super) async fn play(story: &Story, stage: &Stage) -> anyhow::Result<()> {
    story.scene("A pass updates itself")?;
    let passes = format!("{}/api/passes", stage.wallet_url);
    let body = json!({"template": "example", "fields": {"name": "Anna", "points": "10"}});
    let created: Value = call(stage.client.post(&passes).bearer_auth(&stage.service_key).json(&body)).await?;
    let serial = created["serialNumber"].as_str().context("the answer has no serialNumber")?;
    let url = created["url"].as_str().context("the answer has no url")?;
    story.say("backend", &format!("POST /api/passes: a loyalty card for Anna with 10 points, serial {serial}"))?;

    let package =
        stage.client.get(url).bearer_auth(&stage.service_key).send().await?.error_for_status()?.bytes().await?;
    let mut wallet = WalletDevice::new(stage.client.clone(), Clock::system());
    let id: PassId = wallet.add(&package).await?;
    anyhow::ensure!(
        wallet.pass(&id).is_some_and(|pass| pass.registered),
        "the device could not register: {}",
        log(&wallet)
    );
    story.say("Wallet", &format!("adds the signed package ({} bytes) and registers for updates", package.len()))?;

    let patch = stage.client.patch(format!("{passes}/{}/{}", id.pass_type, id.serial)).bearer_auth(&stage.service_key);
    let changed: Value = call(patch.json(&json!({"fields": {"points": "25"}}))).await?;
    story.say("backend", &format!("PATCH: 25 points, listed under tag {}", changed["tag"].as_str().unwrap_or("-")))?;
    let pushes = wallet.take_pushes(&stage.pushes, PATIENCE).await?;
    anyhow::ensure!(pushes > 0, "no push came for the changed pass");
    story.say("APNs simulator", "delivers an empty push for the pass type")?;
    let points = wallet.pass(&id).map(|pass| pass.package.pass["storeCard"]["primaryFields"][0]["value"].clone());
    anyhow::ensure!(points == Some(json!("25")), "the pass on the device has {points:?} points; {}", log(&wallet));
    story.say("Wallet", "asks what changed, fetches the new package, shows 25 points")?;
    anyhow::ensure!(wallet.log().next().is_none(), "the device complained: {}", log(&wallet));
    story.say("Wallet", "its log, where devices write what a server does wrong, is empty")?;
    wallet.remove(&id).await;
    Ok(())
}

async fn call(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await?;
    let status = answer.status();
    let body = answer.text().await?;
    anyhow::ensure!(status.is_success(), "the passbook-service answered {status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

fn log(wallet: &WalletDevice) -> String {
    wallet.log().collect::<Vec<_>>().join("; ")
}
