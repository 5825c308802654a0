//! Promises: a device whose token Apple calls gone, or that does not answer many pushes over many days, is sent nothing more,
//! comes back when it is heard of, and is forgotten when it is not.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Pass, Running, eventually, push_token};

const DAY: i64 = 86_400_000;
const SETTINGS: [(&str, &str); 4] = [
    ("wallet.devices.check", "20ms"),
    ("wallet.devices.unanswered", "3"),
    ("wallet.devices.silent", "10d"),
    ("wallet.devices.quarantine", "30d"),
];

async fn cohorts(service: &Running) -> Value {
    service.api(Method::GET, "/api/devices").send().await.unwrap().json().await.unwrap()
}

async fn until(service: &Running, field: &str, count: i64) {
    eventually(&format!("{field} to be {count}"), async || (cohorts(service).await[field] == count).then_some(()))
        .await;
}

async fn change(service: &Running, pass: &Pass, points: i64) {
    let pushed = service.gateway.pushed().len();
    service.patch(&pass.serial, json!({"points": points})).await;
    // The push before may be noted as late as now: time goes on, or the interval after it never ends.
    eventually("the change to be pushed", async || {
        service.clock.advance(100);
        (service.gateway.pushed().len() > pushed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_that_apple_calls_gone_is_pushed_no_more_until_the_device_registers_again() {
    for service in Running::on_each_database(&SETTINGS).await {
        let pass = service.create("1").await;
        service.register("phone", &pass, &push_token(1)).await;
        service.register("tablet", &pass, &push_token(2)).await;
        service.patch("1", json!({"points": 1})).await;
        let pushed = service.gateway.wait_for(2).await;
        let key = &pushed.iter().find(|push| push.token == push_token(1)).unwrap().idempotency_key;
        service.gateway.token_gone(1, "n-of-somebody-else").await;
        service.gateway.token_gone(2, &format!("n-{key}")).await;
        until(&service, "tokenGone", 1).await;
        service.clock.advance(10_000);
        service.patch("1", json!({"points": 2})).await;
        let pushed = service.gateway.wait_for(3).await;
        assert_eq!(pushed[2].token, push_token(2));
        assert_eq!(service.register("phone", &pass, &push_token(3)).await, 200);
        assert_eq!(cohorts(&service).await["tokenGone"], 0);
        service.clock.advance(10_000);
        service.patch("1", json!({"points": 3})).await;
        let pushed = service.gateway.wait_for(5).await;
        assert_eq!(pushed.iter().filter(|push| push.token == push_token(3)).count(), 1);
        service.stop().await;
    }
}

#[tokio::test]
async fn silence_after_many_pushes_over_many_days_ends_in_quarantine_and_then_in_oblivion() {
    for service in Running::on_each_database(&SETTINGS).await {
        let (one, two, three) = (service.create("1").await, service.create("2").await, service.create("3").await);
        service.register("silent", &one, &push_token(1)).await;
        service.register("asks", &two, &push_token(2)).await;
        service.register("returns", &three, &push_token(3)).await;
        for round in 1..=3 {
            for pass in [&one, &two, &three] {
                change(&service, pass, round).await;
            }
            service.list("asks", None).await.unwrap();
            service.clock.advance(4 * DAY);
        }
        until(&service, "unanswered", 2).await;
        // One comes back by itself; the other one is sent nothing.
        service.list("returns", None).await.unwrap();
        until(&service, "unanswered", 1).await;
        let before = service.gateway.pushed().len();
        service.patch("1", json!({"points": 9})).await;
        change(&service, &two, 9).await;
        assert_eq!(service.gateway.pushed().len(), before + 1, "the silent one got none");
        service.clock.advance(29 * DAY);
        service.list("asks", None).await.unwrap();
        service.list("returns", None).await.unwrap();
        assert_eq!(cohorts(&service).await["devices"], 3);
        service.clock.advance(2 * DAY);
        until(&service, "devices", 2).await;
        assert!(service.list("silent", None).await.is_none(), "it is a stranger now");
        assert_eq!(service.register("silent", &one, &push_token(1)).await, 201, "and may come back at any time");
        let known = cohorts(&service).await;
        assert_eq!((&known["within7Days"], &known["devices"]), (&json!(3), &json!(3)));
        service.clock.advance(20 * DAY);
        let later = cohorts(&service).await;
        assert_eq!((&later["within7Days"], &later["within30Days"]), (&json!(0), &json!(3)));
        service.stop().await;
    }
}

#[tokio::test]
async fn a_device_that_answers_is_never_given_up_however_many_pushes_it_gets() {
    for service in Running::on_each_database(&SETTINGS).await {
        let pass = service.create("1").await;
        service.register("phone", &pass, &push_token(1)).await;
        for round in 1..=12 {
            change(&service, &pass, round).await;
            service.list("phone", None).await.unwrap();
            service.clock.advance(5 * DAY);
        }
        let gone = service.create("2").await;
        service.register("other", &gone, &push_token(2)).await;
        for round in 1..=3 {
            change(&service, &gone, round).await;
            service.clock.advance(5 * DAY);
        }
        // The other one is found, so it was looked.
        until(&service, "unanswered", 1).await;
        assert_eq!(cohorts(&service).await["devices"], 2);
        service.stop().await;
    }
}

#[tokio::test]
async fn a_device_of_an_import_that_may_still_ask_the_other_provider_is_not_given_up_for_its_silence() {
    for service in Running::on_each_database(&SETTINGS).await {
        let body = json!({"last": 1, "template": "example", "rows": [{"line": 1, "serial": "old", "token": "the-token-of-the-first",
            "fields": {"points": 1, "name": "Ada"}, "device": "elsewhere", "pushToken": push_token(1)}]});
        assert_eq!(service.api(Method::POST, "/api/imports/f/rows").json(&body).send().await.unwrap().status(), 200);
        let (old, own) = (
            Pass { serial: "old".to_owned(), token: "the-token-of-the-first".to_owned() },
            service.create("own").await,
        );
        service.register("silent", &own, &push_token(2)).await;
        for round in 2..=5 {
            change(&service, &old, round).await;
            change(&service, &own, round).await;
            service.clock.advance(4 * DAY);
        }
        until(&service, "unanswered", 1).await;
        let before = service.gateway.pushed().len();
        service.patch("own", json!({"points": 9})).await;
        change(&service, &old, 9).await;
        assert_eq!(service.gateway.pushed()[before].token, push_token(1));
        assert_eq!(cohorts(&service).await["unanswered"], 1, "the one that registered here");
        service.stop().await;
    }
}
