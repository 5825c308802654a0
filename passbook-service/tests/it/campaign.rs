//! Promises: a campaign pushes every device once that has something to fetch, and no other; it goes on after a pause and
//! after a crash without pushing twice; a second sweep goes to those alone that have not asked.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Pass, Running, eventually, push_token};

/// As another provider's file has it.
pub(crate) fn token_of(serial: u32) -> String {
    format!("token-of-the-pass-{serial:08}")
}

/// Takes `devices` passes over, each on one device.
pub(crate) async fn take_over(service: &Running, devices: u32) {
    let rows: Vec<_> = (1..=devices)
        .map(|n| {
            json!({"line": n, "serial": format!("old-{n:05}"), "token": token_of(n), "fields": {"points": n, "name": "Ada"},
                "device": format!("device-{n:05}"), "pushToken": push_token(n)})
        })
        .collect();
    let body = json!({"name": "test", "last": devices, "template": "example", "rows": rows, "complete": true});
    let answer = service.api(Method::POST, "/api/imports/test/rows").json(&body).send().await.unwrap();
    let status = answer.status();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((status.as_u16(), &answer["registrations"]), (200, &json!(devices)), "{answer}");
}

async fn ask(service: &Running, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = service.api(method, path);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn start(service: &Running, body: Value) -> String {
    let (status, campaign) = ask(service, Method::POST, "/api/campaigns", Some(body)).await;
    assert_eq!(status, 201, "{campaign}");
    campaign["id"].as_str().unwrap().to_owned()
}

async fn in_state(service: &Running, id: &str, state: &str) -> Value {
    eventually(&format!("the campaign to be {state}"), async || {
        let (_, campaign) = ask(service, Method::GET, &format!("/api/campaigns/{id}"), None).await;
        (campaign["state"] == state).then_some(campaign)
    })
    .await
}

/// At once, and without a limit that matters.
fn fast(name: &str) -> Value {
    json!({"name": name, "rate": {"floor": 5000, "ceiling": 5000}})
}

fn tokens(service: &Running) -> Vec<String> {
    service.gateway.pushed().into_iter().map(|push| push.token).collect()
}

#[tokio::test]
async fn each_device_that_has_never_asked_here_is_pushed_once_and_those_that_have_are_not() {
    for service in Running::on_each_database(&[]).await {
        take_over(&service, 30).await;
        // Three phones have found the new service by themselves, with a tag of the old one.
        for n in 1..=3 {
            let listed = service.list(&format!("device-{n:05}"), Some("another-systems-tag")).await.unwrap();
            assert_eq!(listed.serials, [format!("old-{n:05}")]);
        }
        // One has several passes, one has a token that cannot be one.
        let second = service.create("extra").await;
        service.register("device-00010", &second, &push_token(10)).await;
        let fake = service.create("fake").await;
        service.register("no-push", &fake, "6f9619ff-8b86-d011-b42d-00cf4fc964ff").await;
        let id = start(&service, fast("Move")).await;
        let done = in_state(&service, &id, "done").await;
        let pushed = tokens(&service);
        let expected: BTreeSet<_> = (4..=30).map(push_token).collect();
        assert_eq!(pushed.iter().cloned().collect::<BTreeSet<_>>(), expected);
        assert_eq!(pushed.len(), expected.len(), "once each");
        assert_eq!(done["counts"]["pushed"], 27);
        assert_eq!(done["counts"]["current"], 3);
        assert_eq!(done["counts"]["unpushable"], 1);
        assert_eq!((&done["lookedAt"], &done["total"]), (&json!(32), &json!(32)));
        let push = &service.gateway.pushed()[0];
        assert_eq!((&push.body["push"], &push.body["priority"]), (&json!({"kind": "pass"}), &json!("bulk")));
        // Whoever was pushed finds something: nobody's push is spurious.
        for n in 4..=30 {
            assert!(service.list(&format!("device-{n:05}"), Some("another-systems-tag")).await.is_some());
        }
        service.stop().await;
    }
}

#[tokio::test]
async fn a_second_sweep_goes_to_those_alone_that_have_not_asked_and_coverage_says_how_many() {
    for service in Running::on_each_database(&[]).await {
        take_over(&service, 10).await;
        let id = start(&service, fast("Move")).await;
        in_state(&service, &id, "done").await;
        assert_eq!(tokens(&service).len(), 10);
        service.clock.advance(1);
        for n in 1..=6 {
            let tag = service.list(&format!("device-{n:05}"), None).await.unwrap().tag;
            let pass = Pass { serial: format!("old-{n:05}"), token: token_of(n) };
            assert_eq!(service.fetch(&pass, None).await.status(), 200);
            assert!(service.list(&format!("device-{n:05}"), Some(&tag)).await.is_none(), "it has everything");
        }
        let path = format!("/api/campaigns/{id}/coverage");
        let (_, mut coverage) = ask(&service, Method::GET, &path, None).await;
        assert!(coverage.as_object_mut().unwrap().remove("countedAt").is_some());
        assert_eq!(coverage, json!({"devices": 10, "asked": 6, "current": 0, "uncovered": 4, "quarantined": 0}));
        service.clock.advance(24 * 3_600_000);
        let (status, again) = ask(&service, Method::POST, &format!("/api/campaigns/{id}/sweep"), None).await;
        assert_eq!((status, &again["sweep"]), (200, &json!(2)));
        in_state(&service, &id, "done").await;
        let late: BTreeSet<_> = tokens(&service).split_off(10).into_iter().collect();
        assert_eq!(late, (7..=10).map(push_token).collect::<BTreeSet<_>>());
        service.stop().await;
    }
}

#[tokio::test]
async fn a_campaign_repeats_by_itself_until_enough_have_asked() {
    for service in Running::on_each_database(&[]).await {
        take_over(&service, 4).await;
        let mut asked = fast("Move");
        asked["repeat"] = json!({"everySeconds": 3600, "atMost": 5, "coverage": 75});
        let id = start(&service, asked).await;
        in_state(&service, &id, "waiting").await;
        service.clock.advance(1);
        for n in 1..=2 {
            service.list(&format!("device-{n:05}"), None).await.unwrap();
        }
        service.clock.advance(3_600_001);
        eventually("the second sweep", async || {
            let (_, campaign) = ask(&service, Method::GET, &format!("/api/campaigns/{id}"), None).await;
            (campaign["sweep"] == 2 && campaign["state"] == "waiting").then_some(())
        })
        .await;
        assert_eq!(tokens(&service).len(), 6, "two had not asked");
        service.list("device-00003", None).await.unwrap();
        service.clock.advance(3_600_001);
        in_state(&service, &id, "done").await;
        assert_eq!(tokens(&service).len(), 6, "three of four are enough");
        service.stop().await;
    }
}

#[tokio::test]
async fn a_pause_holds_and_after_it_the_campaign_goes_on_where_it_stood() {
    for service in Running::on_each_database(&[]).await {
        take_over(&service, 60).await;
        // Twenty a second.
        let id = start(&service, json!({"name": "Move", "rate": {"floor": 20, "ceiling": 20}})).await;
        service.gateway.wait_for(1).await;
        let (status, _) = ask(&service, Method::POST, &format!("/api/campaigns/{id}/pause"), None).await;
        assert_eq!(status, 200);
        in_state(&service, &id, "paused").await;
        // Another campaign runs meanwhile and ends: the paused one had its turn long before.
        let other = start(&service, json!({"name": "Other", "query": {"serials": ["old-00060"]}})).await;
        in_state(&service, &other, "done").await;
        let before = tokens(&service).len();
        assert!(before < 60, "it was paused in the middle: {before}");
        ask(&service, Method::POST, &format!("/api/campaigns/{id}/resume"), None).await;
        in_state(&service, &id, "done").await;
        let pushed = tokens(&service);
        assert_eq!(pushed.len(), 60);
        assert_eq!(pushed.into_iter().collect::<BTreeSet<_>>().len(), 60, "each once");
        let (status, refusal) = ask(&service, Method::POST, &format!("/api/campaigns/{id}/resume"), None).await;
        assert_eq!((status, &refusal["error"]["code"]), (409, &json!("campaign_state")));
        service.stop().await;
    }
}

#[tokio::test]
async fn a_gateway_that_refuses_for_now_holds_a_campaign_up_and_nobody_is_left_out_or_pushed_twice() {
    for service in Running::on_each_database(&[]).await {
        take_over(&service, 20).await;
        service.gateway.answer(429);
        service.gateway.code("app_queue_full");
        let id = start(&service, fast("Move")).await;
        eventually("the campaign to say what keeps it", async || {
            let (_, campaign) = ask(&service, Method::GET, &format!("/api/campaigns/{id}"), None).await;
            campaign["lastError"].as_str()?.contains("app_queue_full").then_some(())
        })
        .await;
        service.gateway.answer(202);
        let done = in_state(&service, &id, "done").await;
        assert_eq!((&done["counts"]["pushed"], &done["lastError"]), (&json!(20), &Value::Null));
        assert_eq!(tokens(&service).into_iter().collect::<BTreeSet<_>>().len(), 20);
        service.stop().await;
    }
}

#[tokio::test]
async fn over_a_stop_in_the_middle_each_device_is_pushed_once() {
    for service in Running::on_each_database(&[]).await {
        take_over(&service, 60).await;
        let id = start(&service, json!({"name": "Move", "rate": {"floor": 20, "ceiling": 20}})).await;
        service.gateway.wait_for(1).await;
        let again = service.restart(&[], async |_| ()).await;
        in_state(&again, &id, "done").await;
        let keys: Vec<_> = again.gateway.pushed().into_iter().map(|push| push.idempotency_key).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 60);
        // What was under way may have been asked for again: the gateway knows the key.
        assert!(keys.len() <= 80, "{}", keys.len());
        again.stop().await;
    }
}

#[tokio::test]
async fn another_process_goes_on_where_a_dead_one_stood_and_nobody_is_pushed_twice_by_the_gateway() {
    for first in Running::on_each_database(&[]).await {
        take_over(&first, 60).await;
        let second =
            Running::start_in(&first.data, &first.database, first.gateway.clone(), first.clock.clone(), &[]).await;
        let id = start(&first, json!({"name": "Move", "rate": {"floor": 20, "ceiling": 20}})).await;
        first.gateway.wait_for(1).await;
        first.kill();
        eventually("the other one to take over when the lease has ended", async || {
            second.clock.advance(1_000);
            let (_, campaign) = ask(&second, Method::GET, &format!("/api/campaigns/{id}"), None).await;
            (campaign["state"] == "done").then_some(())
        })
        .await;
        // The gateway knows a key that comes again, and sends once for each.
        let keys: BTreeSet<_> = second.gateway.pushed().into_iter().map(|push| push.idempotency_key).collect();
        assert_eq!(keys.len(), 60);
        second.stop().await;
    }
}

#[tokio::test]
async fn slow_answers_of_another_process_slow_a_campaign_down() {
    for service in Running::on_each_database(&[]).await {
        take_over(&service, 40).await;
        let database = tidings_shared::storage::Database::connect(&service.database, 2).await.unwrap();
        let store = tidings_passbook_service::store::Store::new(database);
        let meter = tidings_passbook_service::campaign::Meter::default();
        for _ in 0..100 {
            meter.note(tidings_passbook_service::campaign::Question::List, std::time::Duration::from_secs(3), false);
        }
        service.gateway.answer(503);
        let id = start(&service, json!({"name": "Move", "rate": {"floor": 10, "ceiling": 4000}})).await;
        // It holds the campaign until there was time to look at how the other one answers.
        eventually("the campaign to wait", async || {
            store.tell_load("another-process", &meter.sample(), service.clock.now_ms()).await.unwrap();
            let (_, campaign) = ask(&service, Method::GET, &format!("/api/campaigns/{id}"), None).await;
            campaign["lastError"].as_str().map(drop)
        })
        .await;
        eventually("the rate to be reduced for the other process's sake", async || {
            // Portions are stored only when the gateway takes them.
            service.gateway.answer(202);
            let (_, campaign) = ask(&service, Method::GET, &format!("/api/campaigns/{id}"), None).await;
            campaign["rateReason"].as_str()?.contains("the list takes").then_some(())
        })
        .await;
        service.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_reason() {
    let service = Running::on_sqlite(&[]).await;
    for (body, code, word) in [
        (json!({"name": "x", "rate": {"floor": 0}}), "campaign_invalid", "floor 0"),
        (json!({"name": "x", "query": {"serials": []}}), "campaign_invalid", "serials"),
        (json!({"name": "x", "speed": 5}), "request_invalid", "speed"),
    ] {
        let (_, refusal) = ask(&service, Method::POST, "/api/campaigns", Some(body)).await;
        assert_eq!(refusal["error"]["code"], code);
        assert!(refusal["error"]["message"].as_str().unwrap().contains(word), "{refusal}");
    }
    let (status, _) = ask(&service, Method::GET, "/api/campaigns/nobody", None).await;
    assert_eq!(status, 404);
}
