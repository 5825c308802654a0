//! Listens to what the broker says about unacknowledged messages and returning devices: the only MQTT in this
//! service. An event is acknowledged after its consequences are committed, so none is lost; it may come twice.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Packet, Publish, QoS, SubscribeFilter, SubscribeReasonCode,
};
use tidings_shared::clock::Clock;
use tidings_shared::events::{DeviceReturned, UserUnacked};
use tidings_shared::health::Dependency;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::properties;
use tidings_shared::push_api::Provider;
use tidings_shared::storage::{Database, StorageError};
use tidings_shared::topic::names::{EVENT_RETURNED, EVENT_UNACKED};
use tokio::sync::mpsc;

use crate::apps::Apps;
use crate::ids::Ids;
use crate::metrics::Metrics;

mod blank_session;
mod connection;
pub(crate) mod store;

#[cfg(test)]
mod tests;

pub use connection::BrokerLogin;
use connection::RECEIVE_MAXIMUM;

/// The longest pause between attempts to reach the broker or the database.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the last acknowledgements may take to leave at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Turns events into wake pushes.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    pub(crate) database: Database,
    pub(crate) apps: Arc<Apps>,
    pub(crate) ids: Ids,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ttl_ms: i64,
}

impl Waker {
    /// Deals with one event. Doing so twice changes nothing more.
    pub(crate) async fn handle(
        &self,
        topic: &str,
        payload: &[u8],
        published_at: Option<i64>,
    ) -> Result<(), StorageError> {
        match topic {
            EVENT_UNACKED => match serde_json::from_slice::<UserUnacked>(payload) {
                Ok(event) => self.unacked(&event, published_at).await,
                Err(error) => self.not_understood(topic, &error),
            },
            EVENT_RETURNED => match serde_json::from_slice::<DeviceReturned>(payload) {
                Ok(event) => {
                    self.metrics.event("returned");
                    store::returned(&self.database, &event, self.clock.now_ms()).await
                }
                Err(error) => self.not_understood(topic, &error),
            },
            _ => Ok(()),
        }
    }

    async fn unacked(&self, event: &UserUnacked, published_at: Option<i64>) -> Result<(), StorageError> {
        self.metrics.event("unacked");
        // The message was still unacknowledged when the broker said so: a device that came back before that and left
        // again without it is asleep.
        let happened_at = published_at.map_or(event.stored_at_ms, |at| at.max(event.stored_at_ms));
        let deliverable = |provider: Provider, app: &str| self.apps.lane(provider, app).is_some();
        let push = store::WakePush {
            ids: &self.ids,
            now_ms: self.clock.now_ms(),
            ttl_ms: self.ttl_ms,
            deliverable: &deliverable,
        };
        let lanes = store::unacked(&self.database, event, happened_at, push).await?;
        self.metrics.woken(lanes.len());
        self.apps.wake_lanes(&lanes);
        Ok(())
    }

    fn not_understood(&self, topic: &str, error: &serde_json::Error) -> Result<(), StorageError> {
        self.metrics.event("not_understood");
        tracing::error!(topic, %error, "an event of the broker is not understood; it is left out");
        Ok(())
    }
}

/// Listens until the shutdown; reconnects by itself. `health` says what is missing.
pub(crate) async fn listen(waker: Waker, login: BrokerLogin, health: Dependency, shutdown: Shutdown) {
    let mut key = 0;
    let mut pause = Duration::from_millis(100);
    while !shutdown.is_down() {
        let (client, events) = login.connect(key);
        let mut subscribed = false;
        let ended = session(&waker, &client, events, &health, &mut subscribed, &shutdown).await;
        let Some(error) = ended else { return };
        let why = login.explain(&error);
        tracing::warn!("{why}");
        health.missing(why);
        if connection::key_refused(&error) {
            key += 1;
        }
        pause = if subscribed { Duration::from_millis(100) } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::select! {
            () = shutdown.wait() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One connection: its error, or nothing when the service stops.
async fn session(
    waker: &Waker,
    client: &AsyncClient,
    mut events: EventLoop,
    health: &Dependency,
    subscribed: &mut bool,
    shutdown: &Shutdown,
) -> Option<ConnectionError> {
    // As deep as the broker may send without acknowledgement, so that the connection is always served.
    let (publishes, waiting) = mpsc::channel(usize::from(RECEIVE_MAXIMUM));
    let session_over = shutdown.child();
    let worker = tokio::spawn(work(waker.clone(), client.clone(), waiting, session_over.clone()));
    let mut leaving = false;
    let ended = loop {
        let event = tokio::select! {
            event = events.poll() => event,
            () = shutdown.wait(), if !leaving => {
                leaving = true;
                if !*subscribed || client.try_disconnect_with_timeout(GOODBYE).is_err() {
                    break None;
                }
                continue;
            }
        };
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let filters =
                    [EVENT_UNACKED, EVENT_RETURNED].map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
                if let Err(error) = client.try_subscribe_many(filters) {
                    tracing::error!(%error, "the broker's events cannot be subscribed");
                }
            }
            Ok(Event::Incoming(Packet::SubAck(answer))) => {
                let granted = answer.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_)));
                *subscribed = granted;
                if granted {
                    tracing::info!("listening to the broker's events");
                    health.ready();
                } else {
                    tracing::error!(codes = ?answer.return_codes, "the broker refuses its events; is this a handler key?");
                    health.missing("the broker refuses the subscription to its events");
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                // Full only when the broker sends more than it may.
                let _ = publishes.try_send(publish);
            }
            Ok(_) => {}
            Err(_) if leaving => break None,
            Err(error) => break Some(error),
        }
    };
    drop(publishes);
    // The worker's acknowledgements are worth nothing on another connection.
    session_over.begin();
    let _ = worker.await;
    ended
}

async fn work(waker: Waker, client: AsyncClient, mut waiting: mpsc::Receiver<Publish>, over: Shutdown) {
    while let Some(publish) = waiting.recv().await {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let published_at = stamped_time(&publish);
        let mut pause = Duration::from_millis(100);
        loop {
            if over.is_down() {
                return;
            }
            match waker.handle(&topic, &publish.payload, published_at).await {
                Ok(()) => break,
                Err(error) => tracing::error!(%error, "an event of the broker waits for the database"),
            }
            tokio::select! {
                () = over.wait() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
        if let Err(error) = client.try_ack(&publish) {
            tracing::debug!(%error, "an event could not be acknowledged and comes again");
        }
    }
}

/// When the broker published the event: the property that only the broker can set.
fn stamped_time(publish: &Publish) -> Option<i64> {
    let properties = &publish.properties.as_ref()?.user_properties;
    properties.iter().find(|(name, _)| name == properties::TIME)?.1.parse().ok()
}
