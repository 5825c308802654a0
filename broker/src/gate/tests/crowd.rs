//! Bounds before the log-in when many come at once: a rate, places, and who may dawdle.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::future::join_all;
use tidings_shared::http::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::{Client, House, KEY, PATIENCE};
use crate::gate::raw::Connect;
use crate::gate::{Limits, Rate};

const NEVER: Duration = Duration::from_secs(3600);

async fn http(house: &House) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(Router::new().route("/", get(async || "hello")));
    let gate = house.gate.clone();
    tokio::spawn(async move { gate.serve_http(listener, server).await });
    address
}

#[tokio::test]
async fn too_many_connections_in_a_second_are_told_so() {
    let rate = Rate { per_second: 1, burst: Duration::from_secs(3) };
    let house = House::with(Limits { connects_per_address: rate, ..Limits::default() }).await;
    let mut codes = Vec::new();
    for level in [5, 5, 5, 5, 5, 5, 4, 4] {
        let connect = Connect::new(level, "c").login("handler", KEY);
        let mut client = house.send(&connect.bytes()).await;
        let mut words = [0; 4];
        client.stream.read_exact(&mut words).await.unwrap();
        codes.push(words[3]);
    }
    assert_eq!(codes[..2], [0, 0]);
    assert!(codes[3..6].contains(&0x9F) && codes[6..].contains(&3), "{codes:x?}");
    assert!(house.refused("connect_rate") > 0);
    let answer = reqwest::get(format!("http://{}/", http(&house).await)).await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(answer.text().await.unwrap().contains("connect_rate"));
}

#[tokio::test]
async fn in_a_crowd_the_silent_lose_their_places_and_others_get_in() {
    let limits = Limits { connect_deadline: NEVER, unauthenticated_per_address: 6, ..Limits::default() };
    let house = House::with(limits).await;
    let mut silent = vec![house.knock().await, house.knock().await];
    let mut slow = house.knock().await;
    slow.send(&[0x10]).await;
    silent.push(slow);
    silent.push(Client::new(TcpStream::connect(http(&house).await).await.unwrap()));
    // Four of six places are taken; who knows what to say is served at once.
    house.handler("quick").await;
    let ends = silent.iter_mut().map(|client| tokio::time::timeout(Duration::from_secs(5), client.last_words()));
    let ended = join_all(ends).await.into_iter().filter(Result::is_ok).count();
    assert!(ended >= 1, "as many leave as are too many");
    assert!(house.refused("unauthenticated_limit") >= 1);
    house.handler("quick").await;
}

#[tokio::test]
async fn a_handshake_that_stalls_gives_its_place_to_one_that_goes_on() {
    let limits = Limits { connect_deadline: NEVER, tls_handshakes: 1, ..Limits::default() };
    let house = super::tls::TlsHouse::open(limits).await;
    let mut half = Client::new(TcpStream::connect(house.address).await.unwrap());
    half.send(&[0x16, 3, 1, 2, 0, 1, 0]).await;
    let mut quick = house.connect(&rustls::version::TLS13, &[]).await.unwrap();
    quick.send(&Connect::new(4, "c").login("handler", KEY).bytes()).await;
    assert!(quick.packet_v3().await.is_some());
}

#[tokio::test]
async fn http_connections_are_bounded_and_the_silent_ones_too() {
    let limits = Limits { connect_deadline: Duration::from_secs(1), http_connections: 2, ..Limits::default() };
    let house = House::with(limits).await;
    let address = http(&house).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET / HT").await.unwrap();
    let mut third = TcpStream::connect(address).await.unwrap();
    let mut bytes = Vec::new();
    let ends = async {
        // Either is an end: what a refused client has sent is not read, so the system may say it with a reset.
        let _ = third.read_to_end(&mut bytes).await;
        assert_eq!(bytes, b"", "there is no place for a third");
        let _ = silent.read_to_end(&mut bytes).await;
        let _ = half.read_to_end(&mut bytes).await;
    };
    tokio::time::timeout(PATIENCE, ends).await.expect("each of them is closed");
    assert_eq!(house.refused("http_connections_limit"), 1);
    assert_eq!(reqwest::get(format!("http://{address}/")).await.unwrap().text().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_storm_of_log_ins_is_served_whole_with_one_turn_at_a_time() {
    let house = std::sync::Arc::new(House::with(Limits { at_once: 1, ..Limits::default() }).await);
    let token = house.token("68946");
    let clients = (0..300).map(|number| {
        let (house, token) = (house.clone(), token.clone());
        tokio::spawn(async move {
            let client = format!("phone-{}", number % 50);
            let client = house.send(&Connect::new(4, &client).login("JWT", &token).bytes()).await.packet_v3().await;
            assert!(client.is_some(), "{number}");
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert_eq!(house.metrics.waiting.get(), 0);
}
