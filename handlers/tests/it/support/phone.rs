//! A device: publishes with the stamps that our broker would add, and collects what it receives.

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishNotice, PublishOptions, PublishProperties, QoS};
use tidings_shared::identity::UserId;
use tidings_shared::properties;
use tokio::sync::mpsc;

use super::{Mosquitto, PATIENCE};

pub(crate) struct Phone {
    user: UserId,
    client_id: String,
    client: AsyncClient,
    received: mpsc::UnboundedReceiver<Received>,
}

/// A message as a device gets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) message_id: Option<String>,
    pub(crate) correlation_data: Option<Vec<u8>>,
}

impl Received {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.payload).unwrap()
    }
}

impl Phone {
    /// Connects and subscribes to `<user>_#`-like topics: here, to the given filters.
    pub(crate) async fn connect(broker: &Mosquitto, user: &str, filters: &[&str]) -> Self {
        let client_id = format!("phone-{user}-{}", rand::random::<u32>());
        let mut options = MqttOptions::new(&client_id, ("127.0.0.1", broker.port()));
        options.set_session_expiry_interval(Some(600)).set_clean_start(false);
        let (client, mut events) = AsyncClient::builder(options).unbounded().build();
        let (sender, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let properties = publish.properties.unwrap_or_default();
                        let id = properties.user_properties.iter().find(|(key, _)| key == properties::MESSAGE_ID);
                        let received = Received {
                            topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                            payload: String::from_utf8(publish.payload.to_vec()).unwrap(),
                            message_id: id.map(|(_, id)| id.clone()),
                            correlation_data: properties.correlation_data.map(|data| data.to_vec()),
                        };
                        if sender.send(received).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(rumqttc::ConnectionError::RequestsDone) => return,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                }
            }
        });
        for filter in filters {
            let notice = client.subscribe_tracked(*filter, QoS::AtLeastOnce).await.unwrap();
            tokio::time::timeout(PATIENCE, notice.wait_completion_async()).await.expect("SUBACK").unwrap();
        }
        Self { user: UserId::new(user).unwrap(), client_id, client, received }
    }

    /// Publishes with the sender's stamps and the given message id; waits for the acknowledgement.
    pub(crate) async fn send(&self, topic: &str, payload: impl Into<String>, id: &str) {
        let notice = self.begin_send(topic, payload, id);
        tokio::time::timeout(PATIENCE, notice.wait_completion_async()).await.expect("PUBACK").unwrap();
    }

    pub(crate) fn begin_send(&self, topic: &str, payload: impl Into<String>, id: &str) -> PublishNotice {
        let stamps = [
            (properties::USER, self.user.as_str()),
            (properties::CLIENT, &self.client_id),
            (properties::MESSAGE_ID, id),
        ];
        let properties = PublishProperties {
            user_properties: stamps.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            correlation_data: Some(id.as_bytes().to_vec().into()),
            ..PublishProperties::default()
        };
        let options = PublishOptions::at_least_once().properties(properties);
        self.client.try_publish_tracked(topic, payload.into(), options).unwrap()
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(PATIENCE, self.received.recv()).await;
        next.expect("a message arrives in time").expect("the phone is connected")
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What has arrived and was not asked for.
    pub(crate) fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }
}
