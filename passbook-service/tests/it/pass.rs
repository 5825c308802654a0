//! Promises: 401 before 304 before 200; Last-Modified always, and strictly increasing within a second too.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{NOW, Pass, Running};

fn header(answer: &reqwest::Response, name: &str) -> String {
    answer.headers()[name].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_pass_comes_with_its_date_and_304_without_a_body() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        let full = service.fetch(&pass, None).await;
        assert_eq!(full.status(), 200);
        assert_eq!(header(&full, "content-type"), "application/vnd.apple.pkpass");
        assert_eq!(header(&full, "cache-control"), "private, no-cache");
        assert_eq!(header(&full, "vary"), "Authorization");
        let modified = header(&full, "last-modified");
        let length = full.headers()["content-length"].clone();
        assert!(full.bytes().await.unwrap().starts_with(b"PK"));

        let head = service
            .request(Method::HEAD, &pass.path())
            .header("Authorization", pass.authorization())
            .send()
            .await
            .unwrap();
        assert_eq!(head.status(), 200);
        for name in ["content-type", "cache-control", "vary", "last-modified"] {
            assert!(head.headers().contains_key(name), "{name}");
        }
        assert_eq!(head.headers()["content-length"], length);
        assert!(head.bytes().await.unwrap().is_empty());

        let same = service.fetch(&pass, Some(&modified)).await;
        assert_eq!(same.status(), 304);
        assert_eq!(header(&same, "last-modified"), modified);
        assert_eq!(header(&same, "cache-control"), "private, no-cache");
        assert_eq!(header(&same, "vary"), "Authorization");
        assert!(same.bytes().await.unwrap().is_empty());
        for other in ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "nonsense", ""] {
            assert_eq!(
                service.fetch(&pass, Some(other)).await.status(),
                200,
                "only the served value is a 304: {other}"
            );
        }
        let stranger = Pass { serial: "1".to_owned(), token: "wrong-wrong-wrong-wrong".to_owned() };
        assert_eq!(service.fetch(&stranger, Some(&modified)).await.status(), 401, "401 beats 304");
    }
}

#[tokio::test]
async fn last_modified_strictly_increases_even_within_one_second_and_when_the_clock_steps_back() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        let mut modified = header(&service.fetch(&pass, None).await, "last-modified");
        for (points, step) in [(1, 0), (2, 300), (3, -3_600_000), (4, 0)] {
            service.clock.advance(step);
            service.patch("1", json!({"points": points})).await;
            let full = service.fetch(&pass, Some(&modified)).await;
            assert_eq!(full.status(), StatusCode::OK, "change {points} must not hide behind a 304");
            let next = header(&full, "last-modified");
            assert!(date(&next) > date(&modified), "{next} after {modified}");
            modified = next;
        }
        assert_eq!(date(&modified), NOW / 1000 + 4, "max(now, previous + 1 s)");
        service.clock.advance(7_200_000);
        let change = service.patch("1", json!({"points": 5})).await;
        assert_eq!(date(change["lastModified"].as_str().unwrap()), service.clock.now_s());
    }
}

#[tokio::test]
async fn an_update_that_changes_nothing_does_nothing() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("device", &pass, &crate::support::push_token(1)).await;
        let first = service.patch("1", json!({"points": 1})).await;
        assert_eq!(first["changed"], true);
        service.gateway.wait_for(1).await;
        service.clock.advance(10_000);
        for fields in [json!({"points": 1}), json!({}), json!({"offer": null}), json!({"name": "Ada"})] {
            let again = service.patch("1", fields).await;
            assert_eq!(again["changed"], false);
            assert_eq!(again["tag"], first["tag"]);
            assert_eq!(again["lastModified"], first["lastModified"]);
        }
        assert_eq!(service.list("device", Some(first["tag"].as_str().unwrap())).await, None);
        let last = service.patch("1", json!({"points": 2})).await;
        assert_eq!(last["changed"], true);
        assert_eq!(service.gateway.wait_for(2).await.len(), 2, "one push for each real change");
    }
}

fn date(text: &str) -> i64 {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time::PrimitiveDateTime::parse(text, format).unwrap().assume_utc().unix_timestamp()
}
