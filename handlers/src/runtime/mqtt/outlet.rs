//! Publishing: on whichever connection there is, until the broker has acknowledged.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, PubAckReason, Publish, PublishNoticeError, PublishOptions, PublishProperties, QoS};
use tidings_shared::properties;
use tokio::sync::watch;
use tracing::debug;

use crate::runtime::backoff::{Backoff, Jitter};
use crate::runtime::metrics::Metrics;
use crate::runtime::publisher::Outgoing;

/// Where messages leave. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outlet {
    client: watch::Receiver<Option<AsyncClient>>,
    largest: Arc<AtomicU32>,
    jitter: Jitter,
    metrics: Metrics,
}

/// The broker's half of an [`Outlet`]: says which connection is in use.
pub(crate) struct Inlet {
    client: watch::Sender<Option<AsyncClient>>,
    largest: Arc<AtomicU32>,
}

/// The broker will never take this message.
#[derive(Debug)]
pub(crate) struct Refused {
    topic: String,
    why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the broker does not take the message to {}: {}", self.topic, self.why)
    }
}

impl Inlet {
    /// A connection is up. It takes packets of up to `largest` bytes.
    pub(super) fn up(&self, client: &AsyncClient, largest: u32) {
        self.largest.store(largest, Ordering::Relaxed);
        self.client.send_replace(Some(client.clone()));
    }

    /// There is no connection.
    pub(super) fn down(&self) {
        self.client.send_replace(None);
    }
}

impl Outlet {
    pub(crate) fn new(jitter: Jitter, metrics: Metrics) -> (Inlet, Self) {
        let (sender, client) = watch::channel(None);
        let largest = Arc::new(AtomicU32::new(u32::MAX));
        (Inlet { client: sender, largest: largest.clone() }, Self { client, largest, jitter, metrics })
    }

    /// Finds out before anything is committed whether the broker can take the messages at all.
    pub(crate) fn check(&self, messages: &[Outgoing]) -> Result<(), Refused> {
        let largest = self.largest.load(Ordering::Relaxed);
        for message in messages {
            let size =
                Publish::new(&*message.topic, QoS::AtLeastOnce, message.payload.clone(), Some(properties_of(message)))
                    .size();
            if size > largest as usize {
                let why = format!("it has {size} bytes with its properties; the broker's largest packet is {largest}");
                return Err(Refused { topic: message.topic.clone(), why });
            }
        }
        Ok(())
    }

    /// Publishes all, in order, and waits until the broker has acknowledged each, however often the connection is lost.
    pub(crate) async fn publish_all(&self, messages: &[Outgoing]) -> Result<(), Refused> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5), self.jitter.clone());
        let mut left = messages;
        while !left.is_empty() {
            let mut clients = self.client.clone();
            let Ok(client) = clients.wait_for(Option::is_some).await.map(|client| client.clone()) else {
                // The driver is gone: the process ends.
                return std::future::pending().await;
            };
            let Some(client) = client else { continue };
            self.check(left)?;
            let acknowledged = self.publish_some(&client, left).await?;
            left = &left[acknowledged..];
            if !left.is_empty() {
                self.metrics.publish_retries.inc();
                tokio::time::sleep(backoff.next()).await;
            }
        }
        Ok(())
    }

    /// How many of the messages, from the first on, are acknowledged.
    async fn publish_some(&self, client: &AsyncClient, messages: &[Outgoing]) -> Result<usize, Refused> {
        let mut notices = Vec::with_capacity(messages.len());
        for message in messages {
            let options = PublishOptions::at_least_once().retain(message.retain).properties(properties_of(message));
            match client.try_publish_tracked(message.topic.clone(), message.payload.clone(), options) {
                Ok(notice) => notices.push(notice),
                Err(error) => {
                    debug!(%error, "the connection ended before a message could be published");
                    break;
                }
            }
        }
        let sent = notices.len();
        for (index, (notice, message)) in notices.into_iter().zip(messages).enumerate() {
            match notice.wait_completion_async().await {
                Ok(()) => {
                    self.metrics.published.inc();
                }
                Err(error) => match never(&error) {
                    Some(why) => return Err(Refused { topic: message.topic.clone(), why: why.to_owned() }),
                    None => {
                        debug!(%error, topic = message.topic, "a message was not acknowledged and is published again");
                        return Ok(index);
                    }
                },
            }
        }
        Ok(sent)
    }
}

/// Why trying again cannot help.
fn never(error: &PublishNoticeError) -> Option<&'static str> {
    match error {
        PublishNoticeError::V5PubAck(PubAckReason::NotAuthorized) => {
            Some("not authorized (0x87): handlers may not publish there")
        }
        PublishNoticeError::V5PubAck(PubAckReason::TopicNameInvalid) => Some("topic name invalid (0x90)"),
        PublishNoticeError::V5PubAck(PubAckReason::PayloadFormatInvalid) => Some("payload format invalid (0x99)"),
        PublishNoticeError::RetainNotSupported => Some("this broker keeps no retained messages"),
        _ => None,
    }
}

fn properties_of(message: &Outgoing) -> PublishProperties {
    let id = message.message_id.as_ref().map(|id| (properties::MESSAGE_ID.to_owned(), id.as_str().to_owned()));
    PublishProperties {
        message_expiry_interval: message.expiry_s,
        correlation_data: message.correlation_data.clone().map(Into::into),
        content_type: message.content_type.clone(),
        user_properties: id.into_iter().collect(),
        ..PublishProperties::default()
    }
}
