//! Connections behind a load balancer that speaks the PROXY protocol.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::harness::{Client, House, KEY};
use crate::gate::Limits;
use crate::gate::proxy::tests::{from, header};
use crate::gate::raw::Connect;

fn trusting() -> Limits {
    Limits { proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Limits::default() }
}

fn connect() -> Vec<u8> {
    Connect::new(5, "c").login("handler", KEY).bytes()
}

fn client(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_header_is_required_from_trusted_networks_and_understood_from_no_others() {
    let house = House::with(trusting()).await;
    for head in [from(client("192.0.2.1:9")), from(client("[2001:db8::1]:9")), header(0x20, 0, &[])] {
        // In one piece, and byte by byte.
        let mut whole = house.send(&[head.clone(), connect()].concat()).await;
        assert!(whole.packet().await.is_some());
        let mut slow = house.knock().await;
        for byte in [head, connect()].concat() {
            slow.send(&[byte]).await;
        }
        assert!(slow.packet().await.is_some());
    }
    let wrong = [connect(), b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), header(0x21, 0x11, &[0; 3])];
    for (count, bytes) in (1..).zip(wrong) {
        assert_eq!(house.send(&bytes).await.last_words().await, b"");
        assert_eq!(house.refused("proxy_header"), count);
    }
    let house = House::open().await;
    assert_eq!(house.send(&from(client("192.0.2.1:9"))).await.last_words().await, b"");
    assert_eq!(house.refused("not_connect"), 1);
}

#[tokio::test]
async fn the_address_in_the_header_is_the_one_that_is_bounded() {
    let house = House::with(Limits { unauthenticated_per_address: 1, ..trusting() }).await;
    let knock = async |address: &str| house.send(&from(client(address))).await;
    let _first = knock("192.0.2.1:1").await;
    let mut neighbour = knock("192.0.2.2:1").await;
    neighbour.send(&connect()).await;
    assert!(neighbour.packet().await.is_some());
    let mut second = knock("192.0.2.1:2").await;
    assert_eq!(second.last_words().await, b"");
    assert_eq!(house.refused("unauthenticated_limit_per_address"), 1);
}

#[tokio::test]
async fn tls_and_http_begin_behind_the_header() {
    let tls = super::tls::TlsHouse::open(trusting()).await;
    let mut socket = TcpStream::connect(tls.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut socket, &from(client("192.0.2.1:9"))).await.unwrap();
    let mut secured = tls.handshake(socket).await.unwrap();
    secured.send(&connect()).await;
    assert!(secured.packet().await.is_some());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told = async |axum::extract::ConnectInfo(peer): axum::extract::ConnectInfo<SocketAddr>| peer.to_string();
    let server = tidings_shared::http::Server::new(axum::Router::new().route("/", axum::routing::get(told)));
    let gate = tls.house.gate.clone();
    tokio::spawn(async move { gate.serve_http(listener, server).await });
    let mut browser = Client::new(TcpStream::connect(address).await.unwrap());
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    browser.send(&[from(client("192.0.2.1:9")), request.to_vec()].concat()).await;
    let answer = String::from_utf8(browser.last_words().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("192.0.2.1:9"), "{answer}");
}
