//! Promises: a push for each changed device, after the change is listed; coalesced; durable; never to a token that
//! cannot be real.

use serde_json::json;
use tidings_passbook_service::package::PassState;
use tidings_passbook_service::store::{Batch, Client, DuePush, NewPass, PassId, PassUpdate, PushResult, Store};
use tidings_shared::clock::Clock;
use tidings_shared::storage::{Database, testing};

use crate::support::{KEY, PASS_TYPE, Running, eventually, push_token};

#[tokio::test]
async fn a_change_is_pushed_once_to_exactly_the_devices_that_have_the_pass() {
    for service in Running::on_each_database(&[]).await {
        let (one, two) = (service.create("1").await, service.create("2").await);
        service.register("a", &one, &push_token(1)).await;
        service.register("b", &one, &push_token(2)).await;
        service.register("c", &two, &push_token(3)).await;
        service.register("gone", &one, &push_token(4)).await;
        service.unregister("gone", &one).await;
        let change = service.patch("1", json!({"points": 1})).await;
        let mut pushed = service.gateway.wait_for(2).await;
        pushed.sort_by(|a, b| a.token.cmp(&b.token));
        assert_eq!(pushed.iter().map(|push| push.token.clone()).collect::<Vec<_>>(), [push_token(1), push_token(2)]);
        for push in &pushed {
            assert_eq!(push.authorization, format!("Bearer {KEY}"));
            assert_eq!(push.body["push"], json!({"kind": "pass"}));
            assert_eq!(push.body["to"]["token"]["app"], PASS_TYPE);
            assert_eq!(push.body["to"]["token"]["provider"], "apns");
        }
        assert_ne!(pushed[0].idempotency_key, pushed[1].idempotency_key);
        // By the time of the push the change is listed.
        assert_eq!(service.list("a", None).await.unwrap().tag, change["tag"]);
        service.patch("2", json!({"points": 1})).await;
        let pushed = service.gateway.wait_for(3).await;
        assert_eq!(pushed[2].token, push_token(3), "nobody else was pushed in between");
    }
}

#[tokio::test]
async fn changes_within_the_interval_share_one_push() {
    for service in Running::on_each_database(&[("wallet.push.interval", "10s")]).await {
        let (one, two) = (service.create("1").await, service.create("2").await);
        service.register("a", &one, &push_token(1)).await;
        service.register("a", &two, &push_token(1)).await;
        service.patch("1", json!({"points": 1})).await;
        service.gateway.wait_for(1).await;
        for points in 2..6 {
            service.patch("1", json!({"points": points})).await;
            service.patch("2", json!({"points": points})).await;
        }
        assert_eq!(service.gateway.pushed().len(), 1, "the interval is not over");
        eventually("the second push", async || {
            service.clock.advance(1_000);
            (service.gateway.pushed().len() == 2).then_some(())
        })
        .await;
        // A further device shows that nothing else was waiting before it.
        let three = service.create("3").await;
        service.register("b", &three, &push_token(2)).await;
        service.patch("3", json!({"points": 1})).await;
        let pushed = service.gateway.wait_for(3).await;
        assert_eq!(pushed.iter().filter(|push| push.token == push_token(1)).count(), 2, "eight changes, one push");
    }
}

#[tokio::test]
async fn a_failing_gateway_is_tried_again_with_the_same_key_and_nothing_is_lost_over_a_restart() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("a", &pass, &push_token(1)).await;
        service.gateway.answer(503);
        service.patch("1", json!({"points": 1})).await;
        service.gateway.wait_for(1).await;
        eventually("readiness to say that the gateway fails", async || {
            let answer = service.request(reqwest::Method::GET, "/readyz").send().await.unwrap();
            (answer.status() == 503 && answer.text().await.unwrap().contains("push-gateway")).then_some(())
        })
        .await;
        let (gateway, clock) = (service.gateway.clone(), service.clock.clone());
        let again = service
            .restart(&[], async move |_| {
                gateway.answer(202);
                // Past the pause before the next attempt, and past any lease.
                clock.advance(120_000);
            })
            .await;
        let pushed = again.gateway.wait_for(2).await;
        assert!(pushed.windows(2).all(|pair| pair[0].idempotency_key == pair[1].idempotency_key), "{pushed:?}");
        again.stop().await;
    }
}

#[tokio::test]
async fn tokens_that_cannot_be_real_are_never_handed_on() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        for (device, token) in [
            ("a", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
            ("b", "abc"),
            ("c", &"z".repeat(64)),
            ("d", &"0".repeat(300)),
        ] {
            assert_eq!(service.register(device, &pass, token).await, 201, "the registration itself is fine");
        }
        service.register("e", &pass, &push_token(5)).await;
        service.patch("1", json!({"points": 1})).await;
        eventually("all five to be settled", async || {
            let metrics = service.request(reqwest::Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
            metrics.contains("tidings_wallet_pushes_total{outcome=\"dropped\"} 4").then_some(())
        })
        .await;
        let pushed = service.gateway.wait_for(1).await;
        assert_eq!(pushed.iter().map(|push| push.token.as_str()).collect::<Vec<_>>(), [push_token(5)]);
    }
}

#[tokio::test]
async fn a_device_that_has_seen_the_change_is_not_pushed_for_it() {
    for service in Running::on_each_database(&[("wallet.push.interval", "10s")]).await {
        let pass = service.create("1").await;
        service.register("a", &pass, &push_token(1)).await;
        service.patch("1", json!({"points": 1})).await;
        service.gateway.wait_for(1).await;
        let change = service.patch("1", json!({"points": 2})).await;
        // The device asks by itself, twice: with the second request it says that it has the answer of the first.
        let listed = service.list("a", None).await.unwrap();
        assert_eq!(listed.tag, change["tag"]);
        assert_eq!(service.list("a", Some(&listed.tag)).await, None);
        service.clock.advance(20_000);
        let other = service.create("2").await;
        service.register("b", &other, &push_token(2)).await;
        service.patch("2", json!({"points": 1})).await;
        let pushed = service.gateway.wait_for(2).await;
        assert_eq!(pushed[1].token, push_token(2), "a push about nothing new would be spurious");
    }
}

#[tokio::test]
async fn a_change_that_was_committed_before_a_crash_is_listed_and_pushed_after_it() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("a", &pass, &push_token(1)).await;
        let tag = service.list("a", None).await.unwrap().tag;
        let clock = service.clock.clone();
        let again = service.restart(&[], async |url| commit_without_tag(url, &clock).await).await;
        again.gateway.wait_for(1).await;
        assert_eq!(again.list("a", Some(&tag)).await.unwrap().serials, ["1"]);
        again.stop().await;
    }
}

/// What a process leaves that dies between the commit of a change and its tag.
async fn commit_without_tag(url: &str, clock: &Clock) {
    let database = Database::connect(url, 2).await.unwrap();
    let id = PassId { pass_type: PASS_TYPE.to_owned(), serial: "1".to_owned() };
    let store = Store::new(database.clone());
    let change = store.update_pass::<()>(&id, clock.now_ms(), |pass| {
        Ok(Some(PassUpdate {
            fields: pass.fields.clone(),
            user_info: None,
            state: pass.state.clone(),
            basis: pass.basis.clone(),
            fingerprint: "another".to_owned(),
            keep: 0,
        }))
    });
    assert!(change.await.unwrap().unwrap().unwrap().change.is_some());
    database.close().await;
}

#[tokio::test]
async fn a_gateway_that_does_not_know_the_pass_type_is_said_and_the_push_is_kept() {
    let service = Running::on_sqlite(&[]).await;
    let pass = service.create("1").await;
    service.register("a", &pass, &push_token(1)).await;
    service.gateway.answer(422);
    service.gateway.code("app_unknown");
    service.patch("1", json!({"points": 1})).await;
    eventually("readiness to name the missing app", async || {
        let answer = service.request(reqwest::Method::GET, "/readyz").send().await.unwrap();
        answer.text().await.unwrap().contains(PASS_TYPE).then_some(())
    })
    .await;
    // The pause begins when the answer is stored, so the clock goes on until the next attempt is there.
    let attempts = async |count: usize| {
        eventually("further attempts", async || {
            service.clock.advance(3_600_000);
            (service.gateway.pushed().len() >= count).then_some(())
        })
        .await;
    };
    attempts(20).await;
    service.gateway.answer(202);
    attempts(service.gateway.pushed().len() + 1).await;
    eventually("readiness to be back", async || {
        let answer = service.request(reqwest::Method::GET, "/readyz").send().await.unwrap();
        answer.status().is_success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_push_token_that_rotates_while_a_push_is_under_way_gets_the_push_too() {
    for database in testing::databases().await {
        let store = Store::new(database.clone());
        store.start_clock("e").await.unwrap();
        let id = PassId { pass_type: PASS_TYPE.to_owned(), serial: "1".to_owned() };
        let pass = NewPass {
            id: id.clone(),
            template: "example".to_owned(),
            fields: serde_json::Map::new(),
            user_info: None,
            state: PassState::NONE,
            token_hash: "h".to_owned(),
            token_nonce: None,
            basis: "b".to_owned(),
            fingerprint: "f".to_owned(),
        };
        assert!(store.insert_pass(&pass, 0).await.unwrap());
        store.register("a", Client::Apple, &id, &push_token(1), 1).await.unwrap();
        let change = store.update_pass::<()>(&id, 2, |pass| {
            Ok(Some(PassUpdate {
                fields: pass.fields.clone(),
                user_info: None,
                state: pass.state.clone(),
                basis: pass.basis.clone(),
                fingerprint: "another".to_owned(),
                keep: 0,
            }))
        });
        change.await.unwrap().unwrap().unwrap();
        assert!(matches!(store.give_tags(10, 3, 0).await.unwrap(), Batch::Given { pushes: 1, .. }));
        let claim = async |now: i64| store.claim_pushes(now, now + 1000, 10, 0).await.unwrap();
        let claimed = claim(4).await;
        assert_eq!(claimed.iter().map(|push| push.push_token.clone()).collect::<Vec<_>>(), [push_token(1)]);
        store.register("a", Client::Apple, &id, &push_token(2), 5).await.unwrap();
        let sent =
            |claimed: Vec<DuePush>| claimed.into_iter().map(|push| (push, PushResult::Sent(None))).collect::<Vec<_>>();
        store.settle_pushes(&sent(claimed), 6, 0).await.unwrap();
        let again = claim(6).await;
        assert_eq!(again.iter().map(|push| push.push_token.clone()).collect::<Vec<_>>(), [push_token(2)]);
        store.settle_pushes(&sent(again), 7, 0).await.unwrap();
        assert!(claim(100_000).await.is_empty(), "and that was all");
    }
}

/// A store with a changed pass that device `a` has, whose push is due.
async fn due_push(database: &Database, push_token: &str, now: i64) -> (Store, PassId) {
    let store = Store::new(database.clone());
    store.start_clock("e").await.unwrap();
    let id = PassId { pass_type: PASS_TYPE.to_owned(), serial: "1".to_owned() };
    let pass = NewPass {
        id: id.clone(),
        template: "example".to_owned(),
        fields: serde_json::Map::new(),
        user_info: None,
        state: PassState::NONE,
        token_hash: "h".to_owned(),
        token_nonce: None,
        basis: "b".to_owned(),
        fingerprint: "f".to_owned(),
    };
    assert!(store.insert_pass(&pass, now).await.unwrap());
    store.register("a", Client::Apple, &id, push_token, now).await.unwrap();
    let change = store.update_pass::<()>(&id, now, |pass| {
        Ok(Some(PassUpdate {
            fields: pass.fields.clone(),
            user_info: None,
            state: pass.state.clone(),
            basis: pass.basis.clone(),
            fingerprint: "another".to_owned(),
            keep: 0,
        }))
    });
    change.await.unwrap().unwrap().unwrap();
    assert!(matches!(store.give_tags(10, now, 0).await.unwrap(), Batch::Given { pushes: 1, .. }));
    (store, id)
}

#[tokio::test]
async fn a_device_that_comes_back_hears_of_what_it_missed() {
    for database in testing::databases().await {
        let (store, id) = due_push(&database, "placeholder", 1).await;
        let claim = async |now: i64| store.claim_pushes(now, now + 1000, 10, 0).await.unwrap();
        let settle = async |claimed: Vec<DuePush>, result: PushResult, now: i64| {
            let settled: Vec<_> = claimed.into_iter().map(|push| (push, result.clone())).collect();
            store.settle_pushes(&settled, now, 0).await.unwrap();
        };
        settle(claim(2).await, PushResult::Dropped("no token".to_owned()), 3).await;
        assert!(claim(10_000).await.is_empty());
        store.register("a", Client::Apple, &id, &push_token(1), 10_001).await.unwrap();
        let again = claim(10_002).await;
        assert_eq!(
            again.iter().map(|push| (push.push_token.clone(), push.wanted)).collect::<Vec<_>>(),
            [(push_token(1), true)]
        );
        // It registers once more while the push is being dropped: the reason is gone by then.
        store.register("a", Client::Apple, &id, &push_token(2), 10_003).await.unwrap();
        settle(again, PushResult::Dropped("in quarantine".to_owned()), 10_004).await;
        let again = claim(10_005).await;
        assert_eq!(again.len(), 1);
        settle(again, PushResult::Sent(None), 10_006).await;
        store.register("a", Client::Apple, &id, &push_token(2), 10_007).await.unwrap();
        assert!(claim(20_000).await.is_empty(), "the same token again is no reason");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_delays_no_push() {
    for database in testing::databases().await {
        let day = 86_400_000;
        let (store, _) = due_push(&database, &push_token(1), 10 * day).await;
        let claimed = store.claim_pushes(9 * day, 9 * day + 60_000, 10, 1000).await.unwrap();
        assert_eq!(claimed.len(), 1, "due tomorrow, by a clock that is wrong");
        let claimed = store.claim_pushes(9 * day + 1, 9 * day + 60_001, 10, 1000).await.unwrap();
        assert!(claimed.is_empty(), "a lease of today holds");
    }
}
