//! What the scenes are played on: addresses, keys, and how to make a phone.

use std::time::Duration;

use anyhow::Context;
use tidings_shared::identity::UserId;
use tidings_simulators::phone::{BrokerAddress, Entry, Event, Phone, PhoneConfig, Received};
use tidings_simulators::push_source::PushSource;

use crate::up::wiring::reach;
use crate::up::{Up, development};

/// How long one step may take on a slow machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The running backend, as its users see it.
pub(super) struct Stage {
    pub(super) client: reqwest::Client,
    pub(super) broker_url: String,
    pub(super) gateway_url: String,
    pub(super) wallet_url: String,
    pub(super) service_key: String,
    pub(super) handler_key: String,
    pub(super) pushes: PushSource,
    pub(super) grace: Duration,
    mqtt: std::net::SocketAddr,
    simulators: tidings_simulators::Simulators,
}

impl Stage {
    pub(super) fn new(up: &Up) -> anyhow::Result<Self> {
        let settings = &up.settings;
        let url = |setting: &str| format!("http://{}", reach(settings.address(setting)));
        let key =
            |setting: &str| settings.texts(setting).into_iter().next().with_context(|| format!("{setting} is empty"));
        Ok(Self {
            client: tidings_shared::http::client(None)?,
            broker_url: url("broker.http.listen"),
            gateway_url: url("push.listen"),
            wallet_url: url("wallet.listen"),
            service_key: key("keys.service")?,
            handler_key: key("keys.handler")?,
            pushes: PushSource::Inbox(up.simulators.inbox().clone()),
            grace: settings.duration("broker.wake.grace"),
            mqtt: reach(settings.address("broker.mqtt.listen")),
            simulators: up.simulators.clone(),
        })
    }

    /// A connected phone of a user.
    pub(super) async fn phone(&self, user: &str, client: &str) -> anyhow::Result<Phone> {
        let user = UserId::new(user)?;
        let token = development::token(self.simulators.issuer(), &user, "1h")?;
        let broker = BrokerAddress::Tcp { host: self.mqtt.ip().to_string(), port: self.mqtt.port() };
        let phone = Phone::start(PhoneConfig::new(&user, client, &token, broker))?;
        phone.connected(PATIENCE).await?;
        Ok(phone)
    }

    /// Publishes to a user's topic over the HTTP door, as a handler does.
    pub(super) async fn publish_as_handler(&self, topic: &str, body: &str) -> anyhow::Result<()> {
        let request =
            self.client.post(format!("{}/v1/publish/{topic}", self.broker_url)).bearer_auth(&self.handler_key);
        let answer = request.body(body.to_owned()).send().await?;
        let status = answer.status();
        anyhow::ensure!(
            status.is_success(),
            "the publish to {topic} was answered with {status}: {}",
            answer.text().await?
        );
        Ok(())
    }
}

/// Waits for a message on a topic, among what comes after entry `after`.
///
/// # Errors
/// When it does not come.
pub(super) async fn message_on(phone: &Phone, after: usize, topic: &str) -> anyhow::Result<Received> {
    let wanted = |entry: &Entry| matches!(&entry.event, Event::Received(message) if message.topic == topic);
    let entry = phone.timeline().wait_after(after, PATIENCE, wanted).await;
    match entry.map(|entry| entry.event) {
        Some(Event::Received(message)) => Ok(message),
        _ => anyhow::bail!(
            "no message came on {topic} within {PATIENCE:?}; the last on that phone: {}",
            phone.timeline().last_words()
        ),
    }
}

/// A payload for people.
pub(super) fn text(message: &Received) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}
