//! Promises: what changed is listed once, under a tag that moved; any other tag lists everything; never an error.

use reqwest::Method;
use serde_json::json;

use crate::support::{PASS_TYPE, Running, number, push_token};

#[tokio::test]
async fn changes_are_daisy_chained_and_listed_once() {
    for service in Running::on_each_database(&[]).await {
        let (one, two, three) = (service.create("1").await, service.create("2").await, service.create("3").await);
        for pass in [&one, &two] {
            service.register("device", pass, &push_token(1)).await;
        }
        let all = service.list("device", None).await.unwrap();
        assert_eq!(all.serials, ["1", "2"]);
        assert_eq!(service.list("device", Some(&all.tag)).await, None, "strictly greater");

        let change = service.patch("1", json!({"points": 1})).await;
        let first = service.list("device", Some(&all.tag)).await.unwrap();
        assert_eq!(first.serials, ["1"]);
        assert_eq!(first.tag, change["tag"].as_str().unwrap(), "the greatest tag in the answer");
        assert!(number(&first.tag) > number(&all.tag));
        assert_eq!(service.list("device", Some(&first.tag)).await, None);

        let other = service.patch("3", json!({"points": 1})).await;
        assert!(number(other["tag"].as_str().unwrap()) > number(&first.tag));
        assert_eq!(service.list("device", Some(&first.tag)).await, None, "pass 3 is not on this device");
        service.patch("2", json!({"points": 1})).await;
        service.patch("2", json!({"points": 2})).await;
        let second = service.list("device", Some(&first.tag)).await.unwrap();
        assert_eq!(second.serials, ["2"], "once, however often it changed");
        assert_eq!(service.list("device", Some(&all.tag)).await.unwrap().serials, ["1", "2"], "an older tag of ours");
        assert_eq!(service.list("device", Some(&second.tag)).await, None);
        drop(three);
    }
}

#[tokio::test]
async fn foreign_future_and_unparsable_tags_list_everything() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("device", &pass, &push_token(1)).await;
        service.patch("1", json!({"points": 1})).await;
        let all = service.list("device", None).await.unwrap();
        let (epoch, last) = all.tag.rsplit_once('.').unwrap();
        let future = format!("{epoch}.{}", last.parse::<i64>().unwrap() + 1);
        for tag in [
            "",
            "0",
            "other.1",
            &future,
            "2026-01-01T00%3A00%3A00Z",
            "%FF%00",
            "Thu,%2001%20Jan%201970",
            &format!("{epoch}.-1"),
        ] {
            assert_eq!(service.list("device", Some(tag)).await.as_ref(), Some(&all), "{tag}");
        }
    }
}

#[tokio::test]
async fn an_unknown_device_gets_204_never_an_error() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("device", &pass, &push_token(1)).await;
        let long = "x".repeat(400);
        for device in ["nobody", "%00", "%FF%FE", "a%2Fb", long.as_str()] {
            assert_eq!(service.list(device, None).await, None, "{device}");
            assert_eq!(service.list(device, Some("x.1")).await, None, "{device}");
        }
        let path = "/v1/devices/device/registrations/pass.some.other.type";
        assert_eq!(service.request(Method::GET, path).send().await.unwrap().status(), 204);
    }
}

#[tokio::test]
async fn a_deleted_pass_is_never_listed_again() {
    for service in Running::on_each_database(&[]).await {
        let (one, two) = (service.create("1").await, service.create("2").await);
        service.register("device", &one, &push_token(1)).await;
        service.register("device", &two, &push_token(1)).await;
        service.patch("1", json!({"points": 1})).await;
        let path = format!("/api/passes/{PASS_TYPE}/1");
        assert_eq!(service.api(Method::DELETE, &path).send().await.unwrap().status(), 204);
        assert_eq!(service.list("device", None).await.unwrap().serials, ["2"]);
        let again = service.create("1").await;
        assert_ne!(again.token, one.token, "a pass made anew is another pass");
        assert_eq!(service.list("device", None).await.unwrap().serials, ["2"]);
    }
}
