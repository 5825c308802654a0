//! Senders above their rate: slowed without loss, without a delay for others, and closed when they do not stop.

use std::time::Duration;

use rmqtt_codec::v5::Packet;
use tokio::time::Instant;

use super::harness::{Client, House};
use crate::gate::raw::{Connect, field, packet, properties};
use crate::gate::{Limits, Rate, Rates};

fn rate(per_second: u64, burst_ms: u64) -> Rate {
    Rate { per_second, burst: Duration::from_millis(burst_ms) }
}

fn limited(device: Rates, patience: Duration) -> Limits {
    Limits { device, patience, ..Limits::default() }
}

async fn device(house: &House, user: &str, client: &str) -> Client<tokio::net::TcpStream> {
    house.login(&Connect::new(5, client).login("JWT", &house.token(user)).keep_alive(1)).await
}

async fn reader(house: &House) -> Client<tokio::net::TcpStream> {
    let mut reader = house.handler("reader").await;
    let filter = [&[0, 1][..], &properties(&[]), &field("command"), &[0]].concat();
    reader.send(&packet(0x82, &filter)).await;
    assert!(matches!(reader.packet().await, Some(Packet::SubscribeAck(_))));
    reader
}

fn publish(payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&field("command")[..], &[0], payload].concat())
}

async fn message(reader: &mut Client<tokio::net::TcpStream>) -> Vec<u8> {
    match reader.packet().await {
        Some(Packet::Publish(message)) => message.payload.to_vec(),
        other => panic!("no message but {other:?}"),
    }
}

#[tokio::test]
async fn who_sends_too_much_is_slowed_loses_nothing_and_delays_nobody() {
    let rates = Rates { messages_per_connection: rate(100, 500), ..Rates::OFF };
    let house = House::with(limited(rates, Duration::from_secs(60))).await;
    let mut reader = reader(&house).await;
    let (mut fast, mut calm) = (device(&house, "1", "fast").await, device(&house, "2", "calm").await);
    let began = Instant::now();
    let all: Vec<u8> = (0..250_u32).flat_map(|number| publish(number.to_string().as_bytes())).collect();
    fast.send(&all).await;
    let first = message(&mut reader).await;
    assert_eq!(first, b"0");
    calm.send(&publish(b"calm")).await;
    let (mut expected, mut calm_at) = (1, None);
    while expected < 250 || calm_at.is_none() {
        let payload = message(&mut reader).await;
        if payload == b"calm" {
            calm_at = Some(expected);
        } else {
            assert_eq!(payload, expected.to_string().as_bytes());
            expected += 1;
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    assert!(calm_at.is_some_and(|at| at < 200), "{calm_at:?}");
    assert!(house.throttled("messages_per_connection") > 0);
    // It has kept its connection, although a keep-alive of one second has passed while it was held back.
    fast.send(&[0xC0, 0]).await;
    assert!(matches!(fast.packet().await, Some(Packet::PingResponse)));
}

#[tokio::test]
async fn the_keep_alive_of_who_is_held_back_stands_still() {
    let rates = Rates { bytes_per_connection: rate(1_000, 1_000), ..Rates::OFF };
    let house = House::with(limited(rates, Duration::from_secs(60))).await;
    let mut client = device(&house, "1", "large").await;
    let began = Instant::now();
    client.send(&[publish(&[0; 4_000]), vec![0xC0, 0]].concat()).await;
    assert!(matches!(client.packet().await, Some(Packet::PingResponse)));
    assert!(began.elapsed() >= Duration::from_millis(2_900), "{:?}", began.elapsed());
    assert!(house.throttled("bytes_per_connection") > 0);
}

#[tokio::test]
async fn who_does_not_stop_is_closed_with_its_code() {
    let rates = Rates { messages_per_user: rate(1, 0), ..Rates::OFF };
    let house = House::with(limited(rates, Duration::from_millis(300))).await;
    let (mut one, mut two) = (device(&house, "1", "one").await, device(&house, "1", "two").await);
    let mut other = device(&house, "2", "other").await;
    one.send(&publish(b"x").repeat(10)).await;
    assert_eq!(one.disconnected().await, 0x96);
    two.send(&publish(b"x").repeat(10)).await;
    assert_eq!(two.disconnected().await, 0x96, "the rate is the user's");
    other.send(&[0xC0, 0]).await;
    assert!(matches!(other.packet().await, Some(Packet::PingResponse)));
    assert_eq!(house.closed("message_rate"), 2);
}
