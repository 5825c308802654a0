//! Scene two: a phone falls asleep, is woken by one push, and misses nothing.

use std::time::Duration;

use tidings_simulators::phone::{Entry, Event};

use super::stage::{PATIENCE, Stage, message_on, text};
use super::story::Story;
use crate::up::wiring::APP;

const USER: &str = "77";
const TOPIC: &str = "77_news";

pub(super) async fn play(story: &Story, stage: &Stage) -> anyhow::Result<()> {
    story.scene("A phone falls asleep and is woken")?;
    let phone = stage.phone(USER, "cleo-phone").await?;
    phone.subscribe(TOPIC).await?;
    phone.register_push_token(&stage.client, &stage.gateway_url, APP).await?;
    story.say("77", "registers the phone's push token at the push-gateway")?;

    let before = phone.timeline().len();
    stage.publish_as_handler(TOPIC, "first").await?;
    message_on(&phone, before, TOPIC).await?;
    tokio::time::sleep(stage.grace + Duration::from_secs(1)).await;
    let early = stage.pushes.wait(phone.push_token(), 0, Duration::ZERO).await?;
    anyhow::ensure!(early.is_empty(), "a push was sent for a message that was acknowledged");
    story
        .say("push-gateway", &format!("a message came and was acknowledged: no push, also after {:?}", stage.grace))?;

    phone.wake_on_push(stage.pushes.clone());
    phone.fall_asleep().await;
    story.say("77", "the phone loses its connection without a word")?;
    let asleep = phone.timeline().len();
    for text in ["second", "third", "fourth"] {
        stage.publish_as_handler(TOPIC, text).await?;
    }
    story.say("handler", &format!("publishes second, third and fourth to {TOPIC}"))?;
    let woken = |entry: &Entry| matches!(entry.event, Event::Push(_));
    let push = phone.timeline().wait_after(asleep, stage.grace + PATIENCE, woken).await;
    anyhow::ensure!(push.is_some(), "no push came for messages that nobody acknowledged");
    story.say(
        "APNs simulator",
        &format!("delivers one silent push, {:?} after the first message that nobody acknowledged", stage.grace),
    )?;

    let mut got = Vec::new();
    let mut at = asleep;
    while got.len() < 3 {
        let message = message_on(&phone, at, TOPIC).await?;
        got.push(text(&message));
        let entries = phone.timeline().entries();
        at += entries[at..].iter().position(|entry| entry.event == Event::Received(message.clone())).unwrap_or(0) + 1;
    }
    anyhow::ensure!(got == ["second", "third", "fourth"], "the phone got {got:?}");
    story.say("77", &format!("wakes up, connects, and gets what it missed, in order: {}", got.join(", ")))?;
    let pushes = stage.pushes.wait(phone.push_token(), 0, Duration::ZERO).await?;
    anyhow::ensure!(pushes.len() == 1, "{} pushes came for one sleep", pushes.len());
    story.say("push-gateway", "three messages, one push; the next sleep may be ended by a push again")?;
    phone.disconnect().await;
    Ok(())
}
