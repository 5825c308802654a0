//! The task that owns the phone's MQTT connection.

use std::time::Duration;

use rumqttc::{ConnectReturnCode, ConnectionError, EventLoop, Incoming};
use tidings_shared::properties;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Command;
use super::timeline::{Door, Event, Received, Timeline};

/// How long the phone waits before it connects again.
const RETRY: Duration = Duration::from_millis(250);

/// Polls the connection until the phone is dropped.
pub(super) async fn drive(
    mut event_loop: EventLoop,
    mut commands: mpsc::UnboundedReceiver<Command>,
    timeline: Timeline,
) {
    let mut awake = true;
    let mut retry_at: Option<Instant> = None;
    let mut leaving = None;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Sleep(done)) => {
                    if awake {
                        // Closes the socket; whatever was not acknowledged is repeated after the next connect.
                        event_loop.clean();
                        awake = false;
                        timeline.add(Event::FellAsleep);
                    }
                    let _ = done.send(());
                }
                Some(Command::Wake) => {
                    if !awake {
                        awake = true;
                        retry_at = None;
                        timeline.add(Event::Woke);
                    }
                }
                Some(Command::Disconnect(done)) => {
                    if awake {
                        leaving = Some(done);
                    } else {
                        let _ = done.send(());
                    }
                }
            },
            () = sleep_until(retry_at), if awake && retry_at.is_some() => retry_at = None,
            event = event_loop.poll(), if awake && retry_at.is_none() => match event {
                Ok(rumqttc::Event::Incoming(packet)) => incoming(packet, &timeline),
                Ok(_) => {}
                Err(ConnectionError::RequestsDone) => {
                    timeline.add(Event::Disconnected { why: "the phone said goodbye".to_owned() });
                    awake = false;
                    if let Some(done) = leaving.take() {
                        let _ = done.send(());
                    }
                }
                Err(error) => {
                    timeline.add(match &error {
                        ConnectionError::ConnectionRefused(code) => Event::Refused { reason: name(*code) },
                        _ => Event::Disconnected { why: error.to_string() },
                    });
                    retry_at = Some(Instant::now() + RETRY);
                }
            },
        }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn name(code: ConnectReturnCode) -> String {
    format!("{code:?}")
}

fn incoming(packet: Incoming, timeline: &Timeline) {
    match packet {
        Incoming::ConnAck(ack) => timeline.add(Event::Connected { session_present: ack.session_present }),
        Incoming::Disconnect(disconnect) => {
            timeline.add(Event::Disconnected { why: format!("the broker says {:?}", disconnect.reason_code) });
        }
        Incoming::Publish(publish) => {
            let stamped = publish.properties.map(|properties| properties.user_properties).unwrap_or_default();
            let property = |name: &str| stamped.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            timeline.add(Event::Received(Received {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload,
                cursor: property(properties::CURSOR),
                message_id: property(properties::MESSAGE_ID),
                dup: publish.dup,
                retain: publish.retain,
                door: Door::Mqtt,
            }));
        }
        _ => {}
    }
}
