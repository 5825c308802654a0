//! Failed log-ins over real sockets: MQTT in both versions, and HTTP.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tidings_shared::auth::http::bearer;
use tidings_shared::http::Server;
use tokio::net::TcpListener;

use super::harness::{House, KEY};
use crate::gate::raw::Connect;
use crate::gate::{BackoffLimits, Limits};

fn limits(failures: u32, failures_per_address: u32) -> Limits {
    let longest = Duration::from_secs(60);
    let backoff = BackoffLimits { failures, failures_per_address, longest, quiet: longest };
    Limits { backoff, ..Limits::default() }
}

#[tokio::test]
async fn the_same_bad_token_waits_and_a_good_one_from_the_same_address_does_not() {
    let house = House::with(limits(2, 50)).await;
    let connect = |level, token: &str| Connect::new(level, "phone").login("JWT", token).bytes();
    for _ in 0..2 {
        assert_eq!(house.send(&connect(5, "a.bad.token")).await.refused().await.0, 0x86);
    }
    let (code, why) = house.send(&connect(5, "a.bad.token")).await.refused().await;
    assert_eq!((code, why.as_str()), (0x9F, "too many failed log-ins; try again in 1 s"));
    assert_eq!(house.send(&connect(4, "a.bad.token")).await.last_words().await, [0x20, 2, 0, 3]);
    assert_eq!(house.refused("login_backoff"), 2);
    house.login(&Connect::new(5, "phone").login("JWT", &house.token("68946"))).await;
    house.handler("worker").await;
}

#[tokio::test]
async fn who_tries_keys_waits_and_who_has_the_right_one_is_let_in_all_the_same() {
    let house = House::with(limits(50, 3)).await;
    house.handler("worker").await;
    let connect = |key: &str| Connect::new(5, "guess").login("handler", key).bytes();
    let mut codes = Vec::new();
    for guess in 0..5 {
        codes.push(house.send(&connect(&format!("guess {guess}"))).await.refused().await.0);
    }
    assert_eq!(codes, [0x86, 0x86, 0x86, 0x9F, 0x9F]);
    house.login(&Connect::new(5, "phone").login("JWT", &house.token("68946"))).await;
    house.handler("worker").await;
    assert_eq!(house.send(&connect("guess 6")).await.refused().await.0, 0x86, "a good log-in clears the address");
}

#[tokio::test]
async fn http_counts_the_same_and_says_when_to_come_back() {
    let house = House::with(limits(2, 50)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // A route that knows one key, as the door's routes know theirs.
    let answer = async |headers: HeaderMap| match bearer(&headers) {
        Some(KEY) => StatusCode::OK,
        _ => StatusCode::UNAUTHORIZED,
    };
    let routes = house.gate.guard(Router::new().route("/", get(answer)));
    let gate = house.gate.clone();
    tokio::spawn(async move { gate.serve_http(listener, Server::new(routes)).await });
    let client = tidings_shared::http::client(None).unwrap();
    let ask = async |key: Option<&str>| {
        let request = client.get(&url);
        key.map_or_else(|| request.try_clone().unwrap(), |key| request.try_clone().unwrap().bearer_auth(key))
            .send()
            .await
            .unwrap()
    };
    for _ in 0..5 {
        assert_eq!(ask(None).await.status(), 401, "nothing was tried");
    }
    assert_eq!(
        (ask(Some("bad")).await.status(), ask(Some("bad")).await.status()),
        (401.try_into().unwrap(), 401.try_into().unwrap())
    );
    let held_back = ask(Some("bad")).await;
    assert_eq!(held_back.status(), 429);
    assert_eq!(held_back.headers()["retry-after"], "1");
    assert!(held_back.text().await.unwrap().contains("\"code\":\"login_backoff\""));
    assert_eq!(ask(Some(KEY)).await.status(), 200);
    // The same key over MQTT is the same credential.
    let (code, _) = house.send(&Connect::new(5, "x").login("handler", "bad").bytes()).await.refused().await;
    assert_eq!(code, 0x9F);
}
