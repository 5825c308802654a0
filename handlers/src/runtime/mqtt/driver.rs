//! Keeps one connection to the broker, hands arriving messages to their handlers and acknowledges them afterwards.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rumqttc::{AsyncClient, ConnAck, ConnectionError, Event, ManualAck, Packet, Publish};
use tidings_shared::health::Dependency;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::message_id::MessageId;
use tidings_shared::topic::shared_filter;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::connection::{BrokerOptions, key_refused};
use super::outlet::Inlet;
use super::subscription::{self, Subscribing};
use crate::runtime::backoff::Backoff;
use crate::runtime::lanes::Lanes;
use crate::runtime::message::{Message, Properties};
use crate::runtime::metrics::{Finished, Metrics};
use crate::runtime::process::{Job, Processor};

/// How long the last acknowledgements may take to leave at the end.
const GOODBYE: Duration = Duration::from_secs(5);
/// A connection that has lasted so long was a good one: the next attempt need not wait for long.
const STABLE: Duration = Duration::from_secs(10);
/// How long to wait before a subscription that was refused is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// The owner of the connection and of everything in flight.
pub(crate) struct Driver {
    pub(crate) options: BrokerOptions,
    pub(crate) processor: Arc<Processor>,
    pub(crate) health: Dependency,
    pub(crate) metrics: Metrics,
    /// How long messages in flight may take after the stop began.
    pub(crate) drain: Duration,
    inlet: Inlet,
    lanes: Lanes<Job, Delivery>,
    tasks: JoinSet<(MessageId, Finished)>,
    connection: u64,
    key: usize,
    drained_by: Option<Instant>,
    up_since: Option<Instant>,
}

/// A message as it came over one connection: only there can it be acknowledged.
struct Delivery {
    connection: u64,
    ack: ManualAck,
}

impl Driver {
    pub(crate) fn new(
        options: BrokerOptions,
        processor: Arc<Processor>,
        inlet: Inlet,
        health: Dependency,
        drain: Duration,
    ) -> Self {
        let metrics = processor.metrics.clone();
        Self {
            options,
            processor,
            health,
            metrics,
            drain,
            inlet,
            lanes: Lanes::default(),
            tasks: JoinSet::new(),
            connection: 0,
            key: 0,
            drained_by: None,
            up_since: None,
        }
    }

    /// Runs until the shutdown, then until what is in flight has been handled or the drain time is over.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) {
        let mut backoff =
            Backoff::new(Duration::from_millis(100), Duration::from_secs(10), self.processor.jitter.clone());
        let mut pause = Duration::ZERO;
        loop {
            self.up_since = None;
            let ended = self.connection(pause, shutdown).await;
            self.inlet.down();
            if self.up_since.is_some_and(|since| since.elapsed() >= STABLE) {
                backoff.reset();
            }
            let Some(error) = ended else { break };
            let why = self.options.explain(&error);
            warn!("{why}");
            self.health.missing(why);
            self.metrics.reconnects.inc();
            if key_refused(&error) {
                self.key += 1;
            }
            pause = backoff.next();
        }
        self.tasks.shutdown().await;
    }

    /// One connection, from its beginning (after `pause`) to its end: an error, or nothing when the service has stopped.
    async fn connection(&mut self, pause: Duration, shutdown: &Shutdown) -> Option<ConnectionError> {
        self.connection += 1;
        let (client, mut events) = self.options.connect(self.key);
        let mut subscribing: Option<Subscribing> = None;
        let mut connected = false;
        let mut leaving = false;
        let mut pause = Some(pause);
        loop {
            let pause = pause.take();
            let next = async {
                if let Some(pause) = pause {
                    sleep(pause).await;
                }
                events.poll().await
            };
            // The client's own work must not be dropped halfway, so `next` stays the same until it is done.
            tokio::pin!(next);
            let event = loop {
                if self.drained_by.is_some() && self.tasks.is_empty() && !leaving {
                    if !connected || client.try_disconnect_with_timeout(GOODBYE).is_err() {
                        return None;
                    }
                    leaving = true;
                }
                let late = self.drained_by.unwrap_or_else(Instant::now);
                tokio::select! {
                    event = &mut next => break event,
                    Some(finished) = self.tasks.join_next() => self.finished(finished, &client),
                    result = subscription::finished(&mut subscribing), if subscribing.is_some() => {
                        subscribing = self.subscribed(result, &client);
                    }
                    () = shutdown.wait(), if self.drained_by.is_none() => {
                        self.drained_by = Some(Instant::now() + self.drain);
                        self.processor.stop.cancel();
                        info!(in_flight = self.tasks.len(), "stopping: finishing what is being handled");
                    }
                    () = sleep_until(late), if self.drained_by.is_some() && !leaving => {
                        warn!(abandoned = self.tasks.len(), "handlers did not finish in time; the broker delivers their messages again");
                        self.tasks.abort_all();
                        self.drained_by = Some(Instant::now() + GOODBYE);
                    }
                }
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                    connected = true;
                    self.connected(&ack, &client);
                    subscribing = Some(self.subscribe(&client, Duration::ZERO));
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => self.arrived(publish, &client),
                Ok(_) => {}
                Err(_) if leaving => return None,
                Err(error) => return Some(error),
            }
        }
    }

    fn connected(&mut self, ack: &ConnAck, client: &AsyncClient) {
        self.up_since = Some(Instant::now());
        let largest = ack.properties.as_ref().and_then(|properties| properties.max_packet_size);
        self.inlet.up(client, largest.unwrap_or(u32::MAX));
        info!(
            broker = %self.options.address,
            client_id = self.options.client_id,
            resumed = ack.session_present,
            "connected to the broker"
        );
    }

    /// Subscribes to everything, also when the session was resumed: the routes may have changed since.
    fn subscribe(&self, client: &AsyncClient, after: Duration) -> Subscribing {
        let group = &self.processor.group;
        let filters = self.processor.routes.filters().map(|filter| shared_filter(group, filter));
        subscription::subscribe(client.clone(), filters.collect(), after)
    }

    fn subscribed(&self, result: Result<(), String>, client: &AsyncClient) -> Option<Subscribing> {
        match result {
            Ok(()) => {
                self.health.ready();
                None
            }
            Err(why) => {
                error!("{why}");
                self.health.missing(why);
                Some(self.subscribe(client, ASK_AGAIN))
            }
        }
    }

    fn arrived(&mut self, publish: Publish, client: &AsyncClient) {
        if self.drained_by.is_some() {
            // Not acknowledged: the broker gives it to another instance, or to this one after its return.
            return;
        }
        let ack = client.prepare_ack(&publish);
        if ack.is_none() && self.lanes.len() >= usize::from(self.options.receive_maximum) {
            self.metrics.dropped.inc();
            return;
        }
        let message = to_message(publish);
        let id = message.id().unwrap_or_else(|| {
            // Another broker than ours: without its id a message that comes again cannot be recognised.
            MessageId::from_parts(self.processor.clock.now_ms(), self.processor.jitter.bytes())
        });
        let lane = message.sender().map(|sender| sender.user);
        let delivery = ack.map(|ack| Delivery { connection: self.connection, ack });
        let job = Job { message, id: id.clone(), replay: None };
        if let Some(job) = self.lanes.arrive(&id, lane, job, delivery) {
            self.begin(id, job);
        }
        self.metrics.in_flight.set(i64::try_from(self.lanes.len()).unwrap_or(i64::MAX));
    }

    fn begin(&mut self, id: MessageId, job: Job) {
        let processor = self.processor.clone();
        self.tasks.spawn(async move {
            let handled = AssertUnwindSafe(processor.handle(&job)).catch_unwind().await;
            (id, handled.unwrap_or(Finished::Abandoned))
        });
    }

    fn finished(&mut self, finished: Result<(MessageId, Finished), JoinError>, client: &AsyncClient) {
        // A task that was aborted at the end of the drain time: its message is not acknowledged.
        let Ok((id, finished)) = finished else { return };
        let (deliveries, next) = self.lanes.finish(&id);
        if finished != Finished::Abandoned {
            for delivery in deliveries.into_iter().filter(|delivery| delivery.connection == self.connection) {
                if let Err(error) = client.try_manual_ack(delivery.ack) {
                    warn!(%error, %id, "a message could not be acknowledged and will come again");
                }
            }
        }
        if let Some((id, job)) = next
            && self.drained_by.is_none()
        {
            self.begin(id, job);
        }
        self.metrics.in_flight.set(i64::try_from(self.lanes.len()).unwrap_or(i64::MAX));
    }
}

fn to_message(publish: Publish) -> Message {
    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
    let properties = publish.properties.unwrap_or_default();
    Message {
        topic,
        payload: publish.payload,
        properties: Properties {
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data.map(|data| data.to_vec()),
            user: properties.user_properties,
        },
    }
}
