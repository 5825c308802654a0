//! A simulated phone with an app on it: an MQTT 5 client with a persistent session that can fall asleep (its connection
//! is lost without a word), is woken by a push, can fetch over the HTTP door instead, and keeps a timeline of what
//! happened to it.

mod connection;
mod doors;
mod timeline;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use rumqttc::{
    AsyncClient, Broker, BrokerSessionResumePolicy, MqttOptions, PublishOptions, QoS, SessionMode, TlsConfiguration,
    Transport,
};
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::push_api::Provider;
use tokio::sync::{mpsc, oneshot};

pub use doors::Fetched;
pub use timeline::{Door, Entry, Event, Received, Timeline};

use crate::push_source::PushSource;

/// How a phone reaches the broker.
#[derive(Clone, Debug)]
pub enum BrokerAddress {
    /// MQTT over TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// MQTT over TLS.
    Tls {
        /// Name or address; the certificate must be for it.
        host: String,
        /// Port.
        port: u16,
        /// A certificate to trust besides the system's.
        ca_file: Option<PathBuf>,
    },
    /// MQTT over WebSocket: `ws://host:port/mqtt`.
    WebSocket(String),
}

/// A phone before it is switched on.
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// Whose phone it is; only for people, the token decides.
    pub user: UserId,
    /// The MQTT client id, also its name at the HTTP door and for pushes.
    pub client: String,
    /// The signed token.
    pub token: String,
    /// Where the broker is.
    pub broker: BrokerAddress,
    /// MQTT's keep-alive.
    pub keep_alive: Duration,
    /// How long the broker keeps the session of a phone that is away.
    pub session_expiry: Duration,
    /// Which provider its push token is of.
    pub push_provider: Provider,
    /// The clock of its timeline.
    pub clock: Clock,
}

impl PhoneConfig {
    /// A phone with the usual settings.
    #[must_use]
    pub fn new(user: &UserId, client: &str, token: &str, broker: BrokerAddress) -> Self {
        Self {
            user: user.clone(),
            client: client.to_owned(),
            token: token.to_owned(),
            broker,
            keep_alive: Duration::from_secs(30),
            session_expiry: Duration::from_secs(7 * 86_400),
            push_provider: Provider::Apns,
            clock: Clock::system(),
        }
    }
}

/// A phone that is switched on. It is switched off, without a word to the broker, when this is dropped.
pub struct Phone {
    config: PhoneConfig,
    push_token: String,
    client: AsyncClient,
    commands: mpsc::UnboundedSender<Command>,
    timeline: Timeline,
    cursor: Mutex<Option<String>>,
}

enum Command {
    Sleep(oneshot::Sender<()>),
    Wake,
    Disconnect(oneshot::Sender<()>),
}

impl Phone {
    /// Switches the phone on: it connects, and connects again whenever the connection is lost, until it falls asleep.
    ///
    /// # Errors
    /// When the broker's address or certificate cannot be used.
    pub fn start(config: PhoneConfig) -> anyhow::Result<Self> {
        let options = mqtt_options(&config)?;
        let (client, event_loop) = AsyncClient::builder(options).capacity(1_000).try_build().context("MQTT client")?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let timeline = Timeline::new(config.clock.clone());
        tokio::spawn(connection::drive(event_loop, receiver, timeline.clone()));
        let push_token = match config.push_provider {
            Provider::Apns => {
                format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
            }
            Provider::Fcm => format!("simulated:{}", uuid::Uuid::new_v4().simple()),
            Provider::WebPush => {
                anyhow::bail!("a phone's push token is of APNs or FCM; a browser subscribes by itself")
            }
        };
        Ok(Self { config, push_token, client, commands, timeline, cursor: Mutex::new(None) })
    }

    /// Its user.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.config.user
    }

    /// Its MQTT client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.config.client
    }

    /// Its push token.
    #[must_use]
    pub fn push_token(&self) -> &str {
        &self.push_token
    }

    /// What happened to it.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Waits until it is connected, for `bound` at most.
    ///
    /// # Errors
    /// When it is not by then; the text says what happened instead.
    pub async fn connected(&self, bound: Duration) -> anyhow::Result<()> {
        let connected = |entry: &Entry| matches!(entry.event, Event::Connected { .. });
        match self.timeline.wait_for(bound, connected).await {
            Some(_) => Ok(()),
            None => Err(anyhow!("the phone {} is not connected: {}", self.config.client, self.timeline.last_words())),
        }
    }

    /// Subscribes with QoS 1.
    ///
    /// # Errors
    /// When the broker refuses: the reason code. When the phone is asleep it waits.
    pub async fn subscribe(&self, filter: &str) -> anyhow::Result<()> {
        let notice = self.client.subscribe_tracked(filter, QoS::AtLeastOnce).await?;
        notice.wait_completion_async().await.with_context(|| format!("the subscription to {filter} was not accepted"))
    }

    /// Publishes with QoS 1 and waits for the acknowledgement.
    ///
    /// # Errors
    /// When the broker refuses: the reason code.
    pub async fn publish(&self, topic: &str, payload: impl Into<Bytes>) -> anyhow::Result<()> {
        let payload: Bytes = payload.into();
        let notice = self.client.publish_tracked(topic, payload, PublishOptions::new(QoS::AtLeastOnce)).await?;
        notice.wait_completion_async().await.with_context(|| format!("the publish to {topic} was not accepted"))?;
        self.timeline.add(Event::Published { topic: topic.to_owned() });
        Ok(())
    }

    /// Falls asleep: the TCP connection is closed without a DISCONNECT. Returns when it is.
    pub async fn fall_asleep(&self) {
        let (done, asleep) = oneshot::channel();
        if self.commands.send(Command::Sleep(done)).is_ok() {
            let _ = asleep.await;
        }
    }

    /// Wakes up and connects again.
    pub fn wake(&self) {
        let _ = self.commands.send(Command::Wake);
    }

    /// Says DISCONNECT; the session stays at the broker.
    pub async fn disconnect(&self) {
        if self.client.disconnect().await.is_err() {
            return;
        }
        let (done, gone) = oneshot::channel();
        if self.commands.send(Command::Disconnect(done)).is_ok() {
            let _ = gone.await;
        }
    }

    /// From now on a push to its token wakes it.
    pub fn wake_on_push(&self, source: PushSource) {
        let commands = self.commands.clone();
        let timeline = self.timeline.clone();
        let token = self.push_token.clone();
        tokio::spawn(async move {
            let mut after = 0;
            loop {
                let pushes = tokio::select! {
                    () = commands.closed() => return,
                    pushes = source.wait(&token, after, Duration::from_secs(25)) => pushes,
                };
                match pushes {
                    Ok(pushes) => {
                        for push in pushes {
                            after = after.max(push.seq);
                            timeline.add(Event::Push(Arc::clone(&push)));
                            let _ = commands.send(Command::Wake);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the phone cannot hear of its pushes");
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                }
            }
        });
    }
}

fn mqtt_options(config: &PhoneConfig) -> anyhow::Result<MqttOptions> {
    tidings_shared::tls::install_provider();
    let broker = match &config.broker {
        BrokerAddress::Tcp { host, port } | BrokerAddress::Tls { host, port, .. } => Broker::tcp(host.as_str(), *port),
        BrokerAddress::WebSocket(url) => {
            Broker::websocket(url.as_str()).with_context(|| format!("{url} is no WebSocket address"))?
        }
    };
    let mut options = MqttOptions::new(config.client.as_str(), broker);
    if let BrokerAddress::Tls { ca_file, .. } = &config.broker {
        let tls = tidings_shared::tls::client_config(ca_file.as_deref(), None, &[b"mqtt"])?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
    }
    options.set_credentials("JWT", config.token.clone());
    options.set_keep_alive(u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX));
    options.set_session_mode(SessionMode::Persistent);
    options.set_session_expiry_interval(Some(u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX)));
    // A phone that was switched off and on has lost its own state; the broker's is good all the same.
    options.set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly);
    Ok(options)
}
