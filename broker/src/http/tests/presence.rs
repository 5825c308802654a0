//! Who may ask who is there, and what is answered.

use super::*;

#[tokio::test]
async fn a_service_asks_for_anybody_and_a_device_for_its_own_user() {
    let house = House::open().await;
    let own = house.token("68946");
    for credential in [KEY, SERVICE_KEY, &own] {
        let answer = house.client.get(house.url("/v1/presence/68946")).bearer_auth(credential).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(json(answer).await, json!({ "user": "68946", "online": false, "sessions": [] }));
    }
    refused(house.get("23412", "/v1/presence/68946"), 403, "user_not_yours").await;
    refused(house.get("23412", "/v1/presence?user=23412&user=68946"), 403, "user_not_yours").await;
    refused(house.client.get(house.url("/v1/presence/68946")), 401, "token_missing").await;
    refused(house.client.get(house.url("/v1/presence/68946")).bearer_auth("no-key"), 401, "token_malformed").await;
    let mine = json(house.get("23412", "/v1/presence").send().await.unwrap()).await;
    assert_eq!(mine["users"][0]["user"], "23412");
}

#[tokio::test]
async fn many_users_are_answered_in_their_order() {
    let house = House::open().await;
    assert_eq!(house.get("b", "/v1/messages?wait=0").send().await.unwrap().status(), 200);
    let ask = |query: &str| house.client.get(house.url(&format!("/v1/presence{query}"))).bearer_auth(SERVICE_KEY);
    let body = json(ask("?user=c&user=b&user=%C3%A9t%C3%A9&user=a%2Fb").send().await.unwrap()).await;
    let users: Vec<_> = body["users"].as_array().unwrap().iter().map(|user| user["user"].as_str().unwrap()).collect();
    assert_eq!(users, ["c", "b", "été", "a/b"]);
    let seen = body["users"][1]["last_seen"].as_i64().unwrap();
    assert!((house.clock.now_ms() - 60_000..=house.clock.now_ms()).contains(&seen), "one who polls was seen");
    let one = json(ask("/a%2Fb").send().await.unwrap()).await;
    assert_eq!(one["user"], "a/b");
    let full = format!("?{}", vec!["user=x"; 100].join("&"));
    assert_eq!(json(ask(&full).send().await.unwrap()).await["users"].as_array().unwrap().len(), 100);
    refused(ask(&format!("{full}&user=y")), 400, "query_invalid").await;
    refused(ask(""), 400, "query_invalid").await;
    refused(ask("?user="), 400, "user_invalid").await;
}
