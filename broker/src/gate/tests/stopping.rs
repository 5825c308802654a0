//! The stop: clients are told, also where to go instead, and who arrives is told too.

use rmqtt_codec::v5::{ConnectAckReason, DisconnectReasonCode, Packet};

use super::harness::{House, KEY, PATIENCE};
use crate::gate::Limits;
use crate::gate::raw::Connect;

#[tokio::test]
async fn clients_and_arrivals_are_sent_elsewhere_when_there_is_an_elsewhere() {
    let elsewhere = "mqtts://b.example";
    let house = House::with(Limits { server_reference: Some(elsewhere.into()), ..Limits::default() }).await;
    let mut five = house.handler("five").await;
    let mut three = house.login(&Connect::new(4, "three").login("handler", KEY)).await;
    let mut early = house.knock().await;
    house.stop().await;
    let Some(Packet::Disconnect(told)) = five.packet().await else { panic!("no DISCONNECT") };
    assert_eq!(told.reason_code, DisconnectReasonCode::UseAnotherServer);
    assert_eq!(told.server_reference.as_deref(), Some(elsewhere));
    assert_eq!((five.last_words().await, three.last_words().await), (vec![], vec![]));
    // One was there before the stop, one comes while it goes on.
    let mut late = house.knock().await;
    for client in [&mut early, &mut late] {
        client.send(&Connect::new(5, "late").login("handler", KEY).bytes()).await;
        let Some(Packet::ConnectAck(ack)) = client.packet().await else { panic!("no CONNACK") };
        assert_eq!(ack.reason_code, ConnectAckReason::UseAnotherServer);
        assert_eq!(ack.server_reference.as_deref(), Some(elsewhere));
        assert_eq!(client.last_words().await, b"");
    }
    house.gate.close();
    house.gate.drained(PATIENCE).await;
    assert!(tokio::net::TcpStream::connect(house.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn without_an_elsewhere_they_are_told_that_the_server_stops() {
    let house = House::open().await;
    let mut five = house.handler("five").await;
    let (mut early, mut silent) = (house.knock().await, house.knock().await);
    house.stop().await;
    assert_eq!(five.disconnected().await, 0x8B);
    early.send(&Connect::new(4, "early").login("handler", KEY).bytes()).await;
    assert_eq!(early.last_words().await, [0x20, 2, 0, 3]);
    assert_eq!(silent.last_words().await, b"");
    house.gate.drained(PATIENCE).await;
}
