//! A client that never reads: bounded in memory, and of no concern to others.

use std::time::Duration;

use rmqtt_codec::v5::Packet;

use super::harness::{Client, House, PATIENCE};
use crate::gate::Limits;
use crate::gate::raw::{field, packet, properties};

async fn subscriber(house: &House, name: &str) -> Client<tokio::net::TcpStream> {
    let mut client = house.handler(name).await;
    let filter = [&[0, 1][..], &properties(&[]), &field("command"), &[1]].concat();
    client.send(&packet(0x82, &filter)).await;
    assert!(matches!(client.packet().await, Some(Packet::SubscribeAck(_))));
    client
}

#[tokio::test]
async fn a_client_that_never_reads_keeps_little_and_slows_nobody() {
    const OF_EACH: u16 = 4_000;
    let limits = Limits { outbox: 64 * 1024, write_deadline: Duration::from_secs(600), ..Limits::default() };
    let house = House::with(limits).await;
    let _stuck = subscriber(&house, "stuck").await;
    let mut good = subscriber(&house, "good").await;
    let mut writer = house.handler("writer").await;
    let payload = vec![b'x'; 4_000];
    // Two thousand in a second are no hurry: one of each, then their turn to be read and acknowledged.
    let all = async {
        for id in 1..=OF_EACH {
            let zero = packet(0x30, &[&field("command")[..], &[0], &payload].concat());
            let one = packet(0x32, &[&field("command")[..], &id.to_be_bytes(), &[0], &payload].concat());
            writer.send(&[zero, one].concat()).await;
            assert!(matches!(writer.packet().await, Some(Packet::PublishAck(_))));
            for _ in 0..2 {
                let Some(Packet::Publish(message)) = good.packet().await else { panic!("no message") };
                if let Some(id) = message.packet_id {
                    good.send(&packet(0x40, &id.get().to_be_bytes())).await;
                }
            }
        }
    };
    tokio::time::timeout(6 * PATIENCE, all).await.expect("nobody waits for the client that does not read");
    let dropped = house.gate.0.engine.stats().dropped;
    // What is not dropped: what its socket and its outbox hold, and the window of QoS 1.
    assert!(dropped > u64::from(OF_EACH) / 4, "{dropped}");
}
