//! MQTT over WebSocket with a client library that nobody here wrote.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tidings_shared::lifecycle::Shutdown;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::harness::{House, KEY, PATIENCE};
use crate::gate::raw::{Connect, field, packet};

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn http(house: &House) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = house.gate.websocket_routes();
    tokio::spawn(tidings_shared::http::serve(listener, routes, Shutdown::new()));
    address
}

async fn open(address: SocketAddr, subprotocol: Option<&str>) -> Result<Socket, Error> {
    let mut request = format!("ws://{address}/mqtt").into_client_request().unwrap();
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
    }
    tokio_tungstenite::connect_async(request).await.map(|(socket, _)| socket)
}

async fn next(socket: &mut Socket) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.expect("an answer").expect("a message").expect("a good frame")
}

async fn bytes(socket: &mut Socket) -> Vec<u8> {
    match next(socket).await {
        Message::Binary(bytes) => bytes.to_vec(),
        other => panic!("no binary frame but {other:?}"),
    }
}

#[tokio::test]
async fn packets_may_be_split_and_joined_over_frames_at_any_boundary() {
    let house = House::open().await;
    let address = http(&house).await;
    let connect = Connect::new(4, "ws").login("handler", KEY).bytes();
    let subscribe = packet(0x82, &[&[0, 7][..], &field("command"), &[0]].concat());
    let publish = packet(0x30, &[&field("command")[..], b"hi"].concat());
    let stream = [connect, subscribe, publish].concat();
    for size in [1, 2, 7, stream.len()] {
        let mut socket = open(address, Some("mqtt")).await.unwrap();
        for piece in stream.chunks(size) {
            socket.send(Message::binary(piece.to_vec())).await.unwrap();
        }
        let mut received = Vec::new();
        while received.len() < 4 + 5 + 13 {
            received.extend(bytes(&mut socket).await);
        }
        assert_eq!(&received[..9], [0x20, 2, 0, 0, 0x90, 3, 0, 7, 0], "in pieces of {size}");
        assert_eq!(&received[9..], [&[0x30, 11][..], &field("command"), b"hi"].concat());
    }
}

#[tokio::test]
async fn both_subprotocols_are_spoken_and_none_is_refused() {
    let house = House::open().await;
    let address = http(&house).await;
    for name in ["mqtt", "mqttv3.1", "x, mqtt"] {
        assert!(open(address, Some(name)).await.is_ok(), "{name}");
    }
    for name in [None, Some("soap")] {
        match open(address, name).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 400),
            other => panic!("{name:?}: {:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn a_text_frame_closes_the_connection_and_says_why() {
    let house = House::open().await;
    let mut socket = open(http(&house).await, Some("mqtt")).await.unwrap();
    socket.send(Message::text("CONNECT")).await.unwrap();
    match next(&mut socket).await {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Unsupported),
        other => panic!("no close frame but {other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_arrives_before_the_close() {
    let house = House::open().await;
    let mut socket = open(http(&house).await, Some("mqtt")).await.unwrap();
    socket.send(Message::binary(Connect::new(4, "ws").bytes())).await.unwrap();
    assert_eq!(bytes(&mut socket).await, [0x20, 2, 0, 4]);
    assert!(matches!(next(&mut socket).await, Message::Close(_)));
}

#[tokio::test]
async fn a_ping_frame_is_answered() {
    let house = House::open().await;
    let mut socket = open(http(&house).await, Some("mqtt")).await.unwrap();
    socket.send(Message::binary(Connect::new(4, "ws").login("handler", KEY).bytes())).await.unwrap();
    assert_eq!(bytes(&mut socket).await, [0x20, 2, 0, 0]);
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong("are you there".into()));
}
