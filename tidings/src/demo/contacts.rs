//! Scene one: the two contact scenarios.

use tidings_shared::identity::UserId;
use tidings_shared::topic::{names, user_topic};

use super::stage::{Stage, message_on, text};
use super::story::Story;

pub(super) async fn play(story: &Story, stage: &Stage) -> anyhow::Result<()> {
    story.scene("Adding a contact")?;
    let anna = stage.phone("68946", "anna-phone").await?;
    let ben = stage.phone("23412", "ben-phone-1").await?;
    let own = |id: &str, name: &str| UserId::new(id).map(|user| user_topic(&user, name));
    let (approved, list) = (own("68946", names::CONTACT_APPROVED)?, own("68946", names::CONTACT_LIST)?);
    let requested = own("23412", names::CONTACT_REQUESTED)?;
    anna.subscribe(&approved).await?;
    anna.subscribe(&list).await?;
    ben.subscribe(&requested).await?;
    story.say("phones", "68946 and 23412 are connected with their tokens and listen on their own topics")?;

    let foreign = anna.subscribe(&requested).await;
    anyhow::ensure!(foreign.is_err(), "68946 could listen on {requested}");
    story.say("broker", &format!("68946 tried to listen on {requested}, too: refused, it belongs to 23412"))?;

    let (from, at) = (anna.timeline().len(), ben.timeline().len());
    anna.publish(names::REQUEST_CONTACT, r#"{"user":"23412"}"#).await?;
    story.say(
        "68946",
        &format!("publishes {{\"user\":\"23412\"}} to {}; acknowledged when it is on the disk", names::REQUEST_CONTACT),
    )?;
    let message = message_on(&ben, at, &requested).await?;
    story.say("23412", &format!("gets {requested}: {}", text(&message)))?;
    ben.publish(names::ACCEPT_CONTACT, r#"{"user":"68946"}"#).await?;
    story.say("23412", &format!("publishes {{\"user\":\"68946\"}} to {}", names::ACCEPT_CONTACT))?;
    let message = message_on(&anna, from, &approved).await?;
    story.say("68946", &format!("gets {approved}: {}", text(&message)))?;

    story.scene("Listing contacts")?;
    anna.publish(names::GET_CONTACT_LIST, "").await?;
    story.say("68946", &format!("publishes to {}", names::GET_CONTACT_LIST))?;
    let message = message_on(&anna, from, &list).await?;
    let contacts: serde_json::Value = serde_json::from_slice(&message.payload)?;
    anyhow::ensure!(contacts["contacts"][0]["user"] == "23412", "the list is {contacts}");
    story.say("68946", &format!("gets {list}: {}", contacts["contacts"]))?;
    anna.disconnect().await;
    ben.disconnect().await;
    Ok(())
}
