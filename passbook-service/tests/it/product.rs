//! Passes as a product: changes with their messages, void and ended passes, history, changes of many passes, uploaded
//! templates, pictures, links and bundles.

use std::io::{Cursor, Read, Write};

use reqwest::Method;
use serde_json::{Value, json};
use tidings_passbook_service::package::starter;
use tidings_passbook_service::store::Store;
use tidings_shared::storage::Database;

use crate::support::{PASS_TYPE, Running, eventually, number, push_token};

fn zipped(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn pass_json(package: &[u8]) -> Value {
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    let mut text = String::new();
    archive.by_name("pass.json").unwrap().read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Running {
    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.api(method, path);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn upload(&self, name: &str, files: &[(String, Vec<u8>)]) -> (u16, Value) {
        let request = self.api(Method::PUT, &format!("/api/templates/{name}")).body(zipped(files));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

fn address(serial: &str) -> String {
    format!("/api/passes/{PASS_TYPE}/{serial}")
}

#[tokio::test]
async fn a_void_and_an_ended_pass_are_changes_like_any_other_and_tell_what_phones_show() {
    for running in Running::on_each_database(&[]).await {
        let pass = running.create("1").await;
        assert_eq!(running.register("phone", &pass, &push_token(1)).await, 201);
        let (status, rehearsed) = running
            .ask(Method::PATCH, &format!("{}?dryRun=true", address("1")), json!({"fields": {"points": 5}}))
            .await;
        assert_eq!((status, &rehearsed["changed"]), (200, &json!(true)), "{rehearsed}");
        assert!(rehearsed["messages"][0]["message"].as_str().unwrap().contains('5'), "{rehearsed}");
        assert_eq!(running.list("phone", None).await.map(|listed| number(&listed.tag)), Some(0), "nothing changed");

        let (status, changed) = running.ask(Method::PATCH, &address("1"), json!({"fields": {"points": 5}})).await;
        assert_eq!(status, 200);
        assert_eq!(changed["messages"], rehearsed["messages"]);
        let (status, changed) = running.ask(Method::PATCH, &address("1"), json!({"voided": true})).await;
        assert_eq!((status, &changed["changed"]), (200, &json!(true)));
        let end = "2027-01-31T23:59:00Z";
        let (status, _) = running.ask(Method::PATCH, &address("1"), json!({"expirationDate": end})).await;
        assert_eq!(status, 200);
        let package = running.fetch(&pass, None).await.bytes().await.unwrap();
        let inside = pass_json(&package);
        assert_eq!((&inside["voided"], &inside["expirationDate"]), (&json!(true), &json!(end)));
        assert_eq!(number(&running.list("phone", None).await.unwrap().tag), 3);

        let (_, again) = running.ask(Method::PATCH, &address("1"), json!({"voided": true})).await;
        assert_eq!(again["changed"], false, "void twice is void once");
        let (_, valid) =
            running.ask(Method::PATCH, &address("1"), json!({"voided": false, "expirationDate": null})).await;
        assert_eq!(valid["changed"], true);
        let inside = pass_json(&running.fetch(&pass, None).await.bytes().await.unwrap());
        assert!(inside.get("voided").is_none() && inside.get("expirationDate").is_none(), "{inside}");
        let (status, refused) = running.ask(Method::PATCH, &address("1"), json!({"expirationDate": "tomorrow"})).await;
        assert_eq!((status, &refused["error"]["code"]), (422, &json!("pass_invalid")));
        running.stop().await;
    }
}

#[tokio::test]
async fn what_a_pass_was_is_kept_and_compared() {
    for running in Running::on_each_database(&[]).await {
        let _pass = running.create("1").await;
        for points in 1..=3 {
            running.patch("1", json!({"points": points})).await;
        }
        let (status, found) =
            running.ask(Method::GET, &format!("{}/versions?limit=3", address("1")), Value::Null).await;
        assert_eq!(status, 200);
        let versions = found["versions"].as_array().unwrap();
        let seen: Vec<_> =
            versions.iter().map(|v| (v["revision"].as_i64().unwrap(), v["fields"]["points"].clone())).collect();
        assert_eq!(seen, [(4, json!(3)), (3, json!(2)), (2, json!(1))]);
        assert_eq!((&versions[0]["present"], &found["next"]), (&json!(true), &json!(2)));
        let (_, rest) = running.ask(Method::GET, &format!("{}/versions?before=2", address("1")), Value::Null).await;
        assert_eq!((rest["versions"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
        let (_, one) = running.ask(Method::GET, &format!("{}/versions/2", address("1")), Value::Null).await;
        assert_eq!(one["fields"]["points"], 1);

        let (_, diff) = running.ask(Method::GET, &format!("{}/diff?from=1&to=4", address("1")), Value::Null).await;
        assert_eq!(diff["changes"], json!([{"key": "fields.points", "from": 0, "to": 3}]));
        let pass = diff["pass"].as_array().unwrap();
        assert!(
            pass.iter().any(|change| change["key"] == "storeCard.primaryFields[0].value" && change["to"] == 3),
            "{diff}"
        );
        assert!(diff["messages"][0]["message"].as_str().unwrap().contains('3'), "{diff}");
        let (_, latest) = running.ask(Method::GET, &format!("{}/diff", address("1")), Value::Null).await;
        assert_eq!((&latest["from"], &latest["to"]), (&json!(3), &json!(4)));
        let (status, none) = running.ask(Method::GET, &format!("{}/versions/9", address("1")), Value::Null).await;
        assert_eq!((status, &none["error"]["code"]), (404, &json!("version_unknown")));

        let database = Database::connect(&running.database, 2).await.unwrap();
        let store = Store::new(database.clone());
        assert_eq!(store.forget_versions(0, 100).await.unwrap(), 0, "none is that old");
        assert_eq!(store.forget_versions(i64::MAX, 100).await.unwrap(), 3, "by age");
        database.close().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn no_history_is_kept_where_none_is_wanted() {
    let running = Running::on_sqlite(&[("wallet.history.versions", "0")]).await;
    let _pass = running.create("1").await;
    running.patch("1", json!({"points": 1})).await;
    let (_, found) = running.ask(Method::GET, &format!("{}/versions", address("1")), Value::Null).await;
    assert_eq!(found["versions"].as_array().unwrap().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn many_passes_are_changed_at_once_and_each_is_listed() {
    for running in Running::on_each_database(&[]).await {
        let mut passes = Vec::new();
        for serial in 1..=130 {
            passes.push(running.create(&serial.to_string()).await);
        }
        running.patch("7", json!({"name": "Bea"})).await;
        assert_eq!(running.register("phone", &passes[0], &push_token(1)).await, 201);
        let query = json!({"template": "example", "fields": {"name": "Ada"}});
        let change = json!({"fields": {"offer": "2 for 1"}});
        let ask = json!({"query": query, "change": change, "dryRun": true});
        let (status, rehearsed) = running.ask(Method::POST, "/api/jobs", ask).await;
        assert_eq!((status, &rehearsed["total"]), (200, &json!(129)), "{rehearsed}");
        assert_eq!(rehearsed["sample"].as_array().unwrap().len(), 10);
        assert_eq!(rehearsed["sample"][0]["messages"][0]["message"], "2 for 1");

        let (status, job) = running.ask(Method::POST, "/api/jobs", json!({"query": query, "change": change})).await;
        assert_eq!(status, 202, "{job}");
        let path = format!("/api/jobs/{}", job["id"].as_str().unwrap());
        let done = eventually("the job to be done", async || {
            let (_, shown) = running.ask(Method::GET, &path, Value::Null).await;
            (shown["state"] == "done").then_some(shown)
        })
        .await;
        assert_eq!((&done["done"], &done["changed"], &done["failed"]), (&json!(129), &json!(129), &json!(0)));
        assert!(running.list("phone", None).await.unwrap().serials.contains(&"1".to_owned()));
        let (_, left) = running.ask(Method::GET, &address("7"), Value::Null).await;
        assert!(left["fields"].get("offer").is_none(), "another pass stays as it is");

        for (ask, part) in [
            (json!({"query": {}, "change": {}}), "change"),
            (json!({"query": {"serials": []}, "change": change}), "serials"),
            (json!({"query": {"nonsense": 1}, "change": change}), "nonsense"),
        ] {
            let (status, refused) = running.ask(Method::POST, "/api/jobs", ask).await;
            assert!(status == 400 && refused["error"]["message"].as_str().unwrap().contains(part), "{refused}");
        }
        let wrong = json!({"query": {"serials": ["1", "2"]}, "change": {"fields": {"nosuch": 1}}});
        let (_, job) = running.ask(Method::POST, "/api/jobs", wrong).await;
        let path = format!("/api/jobs/{}", job["id"].as_str().unwrap());
        let done = eventually("the second job to be done", async || {
            let (_, shown) = running.ask(Method::GET, &path, Value::Null).await;
            (shown["state"] == "done").then_some(shown)
        })
        .await;
        assert_eq!((&done["failed"], done["faults"].as_array().unwrap().len()), (&json!(2), 2), "{done}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_job_whose_process_died_is_taken_up_where_it_was() {
    for running in Running::on_each_database(&[]).await {
        for serial in ["a", "b", "c"] {
            running.create(serial).await;
        }
        let database = Database::connect(&running.database, 2).await.unwrap();
        let store = Store::new(database.clone());
        // A process took the job, changed the first pass, noted that, and died.
        let jobs = tidings_passbook_service::update::Jobs::new(store.clone(), running.clock.clone());
        let now = running.clock.now_ms();
        let elsewhere = Database::connect(&running.database, 2).await.unwrap();
        let query = serde_json::from_value(json!({"template": "example"})).unwrap();
        let change = serde_json::from_value(json!({"fields": {"offer": "x"}})).unwrap();
        let job = jobs.start(query, change).await.unwrap();
        // The running service may be faster: then there is nothing left to take up, and the end is the same.
        let taken = Store::new(elsewhere.clone()).claim_job(now, now + 60_000).await.unwrap();
        if let Some(mut taken) = taken {
            taken.after = Some(tidings_passbook_service::store::PassId {
                pass_type: PASS_TYPE.to_owned(),
                serial: "a".to_owned(),
            });
            taken.done = 1;
            assert!(store.save_job(&taken, now + 60_000).await.unwrap());
            running.clock.advance(61_000);
        }
        let done = eventually("the job to be done", async || {
            store.job(&job.id).await.unwrap().filter(|job| job.state == "done")
        })
        .await;
        assert_eq!(done.done, 3);
        let (_, last) = running.ask(Method::GET, &address("c"), Value::Null).await;
        assert_eq!(last["fields"]["offer"], "x");
        for database in [database, elsewhere] {
            database.close().await;
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn an_uploaded_template_is_seen_by_every_process_and_its_passes_follow_it() {
    for running in Running::on_each_database(&[]).await {
        let other =
            Running::start_in(&running.data, &running.database, running.gateway.clone(), running.clock.clone(), &[])
                .await;
        let mut files = starter("storeCard").unwrap();
        let (status, shown) = running.upload("card", &files).await;
        assert_eq!((status, &shown["revision"], &shown["style"]), (201, &json!(1), &json!("storeCard")), "{shown}");
        assert_eq!(running.upload("card", &files).await.0, 200, "the same files again are the same version");

        let body = json!({"template": "card", "serial": "u1", "fields": {"points": 1, "name": "Ada"}});
        let (status, made) = running.ask(Method::POST, "/api/passes", body).await;
        assert_eq!(status, 201, "{made}");
        let pass = crate::support::Pass {
            serial: "u1".to_owned(),
            token: made["authenticationToken"].as_str().unwrap().to_owned(),
        };
        assert_eq!(running.register("phone", &pass, &push_token(1)).await, 201);
        // The other process has never heard of the template until it looks.
        eventually("the other process to serve the pass", async || {
            (other.fetch(&pass, None).await.status() == 200).then_some(())
        })
        .await;

        for (name, bytes) in &mut files {
            if name == "pass.json" {
                let text = String::from_utf8(bytes.clone()).unwrap().replace("rgb(28, 61, 90)", "rgb(9, 9, 9)");
                *bytes = text.into_bytes();
            }
        }
        let (status, shown) = running.upload("card", &files).await;
        assert_eq!((status, &shown["revision"]), (200, &json!(2)), "{shown}");
        let package = eventually("the pass to follow", async || {
            let listed = running.list("phone", None).await?;
            (number(&listed.tag) > 0).then_some(())?;
            Some(running.fetch(&pass, None).await.bytes().await.unwrap())
        })
        .await;
        assert_eq!(pass_json(&package)["backgroundColor"], "rgb(9, 9, 9)");
        let tag = running.list("phone", None).await.unwrap().tag;
        // A process with the older version must not take the pass back.
        let answer = other.fetch(&pass, None).await.bytes().await.unwrap();
        assert_eq!(pass_json(&answer)["backgroundColor"], "rgb(9, 9, 9)");
        assert_eq!(running.list("phone", None).await.unwrap().tag, tag);

        let (_, versions) = running.ask(Method::GET, "/api/templates/card/versions", Value::Null).await;
        let versions = versions["versions"].as_array().unwrap();
        assert_eq!((versions.len(), &versions[0]["present"]), (2, &json!(true)));
        let (status, refused) = running.ask(Method::DELETE, "/api/templates/card", Value::Null).await;
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("template_in_use")));
        assert_eq!(running.ask(Method::DELETE, &address("u1"), Value::Null).await.0, 204);
        assert_eq!(running.ask(Method::DELETE, "/api/templates/card", Value::Null).await.0, 204);
        assert_eq!(running.ask(Method::GET, "/api/templates/card", Value::Null).await.0, 404);
        let (status, refused) = running.upload("example", &files).await;
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("template_fixed")));
        other.stop().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_template_that_breaks_rules_is_refused_with_key_value_and_rule() {
    let running = Running::on_sqlite(&[]).await;
    let mut files = starter("generic").unwrap();
    for (name, bytes) in &mut files {
        if name == "pass.json" {
            let text = String::from_utf8(bytes.clone()).unwrap().replace("rgb(28, 61, 90)", "#123456");
            *bytes = text.into_bytes();
        }
    }
    let (status, refused) = running.upload("bad", &files).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("template_invalid")));
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("backgroundColor") && message.contains("#123456") && message.contains("rgb("),
        "{message}"
    );
    let check = running.api(Method::POST, "/api/templates/bad/check").body(zipped(&files)).send().await.unwrap();
    let report: Value = check.json().await.unwrap();
    assert_eq!((&report["valid"], &report["faults"][0]["key"]), (&json!(false), &json!("backgroundColor")), "{report}");
    let check = running.api(Method::POST, "/api/templates/bad/check").body("no archive").send().await.unwrap();
    assert_eq!(check.json::<Value>().await.unwrap()["faults"][0]["key"], "archive");
    assert_eq!(running.ask(Method::GET, "/api/templates/bad", Value::Null).await.0, 404, "nothing was stored");
    running.stop().await;
}

#[tokio::test]
async fn passes_are_found_and_drawn() {
    let running = Running::on_sqlite(&[]).await;
    for serial in ["1", "2", "3"] {
        running.create(serial).await;
    }
    running.patch("2", json!({"points": 9})).await;
    let (status, found) =
        running.ask(Method::POST, "/api/passes/search", json!({"query": {"fields": {"points": 9}}})).await;
    assert_eq!(
        (status, &found["total"], &found["passes"][0]["serialNumber"]),
        (200, &json!(1), &json!("2")),
        "{found}"
    );
    let (_, first) = running.ask(Method::POST, "/api/passes/search", json!({"limit": 2})).await;
    let next = first["next"].clone();
    let (_, rest) = running.ask(Method::POST, "/api/passes/search", json!({"limit": 2, "after": next})).await;
    assert_eq!((rest["passes"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));

    for (path, part) in [
        (format!("{}/preview", address("2")), ">9<"),
        (format!("{}/preview?side=back&language=de", address("2")), "Kartennummer"),
    ] {
        let answer = running.api(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "image/svg+xml");
        assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("sandbox"));
        let picture = answer.text().await.unwrap();
        assert!(picture.starts_with("<svg") && picture.contains(part), "{path}: {picture}");
    }
    let (status, _) =
        running.ask(Method::POST, "/api/templates/example/preview", json!({"fields": {"points": 7}})).await;
    assert_eq!(status, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_link_gives_the_pass_to_whoever_has_it_until_its_end() {
    for mode in ["derived", "random"] {
        let running = Running::on_sqlite(&[("wallet.tokens", mode)]).await;
        let body = json!({"template": "example", "serial": "1", "fields": {"points": 3, "name": "Ada"}});
        let (_, made) = running.ask(Method::POST, "/api/passes", body).await;
        let token = made["authenticationToken"].as_str().unwrap();
        let url = made["downloadUrl"].as_str().unwrap();
        assert!(url.starts_with("https://wallet.example.org/get/") && !url.contains(token), "{url}");
        let path = url.strip_prefix("https://wallet.example.org").unwrap().to_owned();
        let page = running.request(Method::GET, &path).header("accept-language", "de").send().await.unwrap();
        assert_eq!((page.status().as_u16(), page.headers()["referrer-policy"].to_str().unwrap()), (200, "no-referrer"));
        assert_eq!(page.headers()["cache-control"], "private, no-store");
        let html = page.text().await.unwrap();
        assert!(html.contains("Zu Apple Wallet hinzufügen") && html.contains("pass.pkpass") && !html.contains(token));
        let package = running.request(Method::GET, &format!("{path}/pass.pkpass")).send().await.unwrap();
        assert_eq!(package.headers()["content-type"], "application/vnd.apple.pkpass");
        assert_eq!(pass_json(&package.bytes().await.unwrap())["authenticationToken"], token);
        for part in ["qr.svg", "front/0.svg"] {
            let picture = running.request(Method::GET, &format!("{path}/{part}")).send().await.unwrap();
            assert_eq!(picture.status(), 200, "{part}");
            assert!(picture.text().await.unwrap().starts_with("<svg"));
        }
        // Another character than the one that is there; the last one has spare bits.
        let (start, rest) = path.split_at(path.len() - 9);
        let changed = format!("{start}{}{}", if rest.starts_with('A') { 'B' } else { 'A' }, &rest[1..]);
        assert_eq!(running.request(Method::GET, &changed).send().await.unwrap().status(), 404);
        let (status, short) = running
            .ask(Method::POST, "/api/links", json!({"passes": [{"serial": "1", "token": token}], "ttl": 60}))
            .await;
        assert_eq!(status, 201, "{short}");
        running.clock.advance(61_000);
        let ended = short["url"].as_str().unwrap().strip_prefix("https://wallet.example.org").unwrap().to_owned();
        assert_eq!(running.request(Method::GET, &ended).send().await.unwrap().status(), 410);
        assert_eq!(running.request(Method::GET, &format!("{ended}/pass.pkpass")).send().await.unwrap().status(), 410);
        assert_eq!(running.request(Method::GET, &path).send().await.unwrap().status(), 200, "the other lasts longer");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_bundle_has_ten_passes_at_most_and_the_right_media_type() {
    let running = Running::on_sqlite(&[]).await;
    for serial in 1..=3 {
        running.create(&serial.to_string()).await;
    }
    let given =
        |count: usize| (0..count).map(|index| json!({"serial": (index % 3 + 1).to_string()})).collect::<Vec<_>>();
    let answer = running.api(Method::POST, "/api/bundles").json(&json!({"passes": given(3)})).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/vnd.apple.pkpasses");
    let bundle = answer.bytes().await.unwrap();
    let mut archive = zip::ZipArchive::new(Cursor::new(&bundle[..])).unwrap();
    assert_eq!(archive.len(), 3);
    for index in 0..3 {
        let mut package = Vec::new();
        archive.by_index(index).unwrap().read_to_end(&mut package).unwrap();
        assert_eq!(pass_json(&package)["serialNumber"], (index + 1).to_string());
    }
    let (status, link) = running.ask(Method::POST, "/api/links", json!({"passes": given(2)})).await;
    assert_eq!(status, 201);
    let path = link["url"].as_str().unwrap().strip_prefix("https://wallet.example.org").unwrap().to_owned();
    let page = running.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("passes.pkpasses"));
    let bundle = running.request(Method::GET, &format!("{path}/passes.pkpasses")).send().await.unwrap();
    assert_eq!(bundle.headers()["content-type"], "application/vnd.apple.pkpasses");
    for count in [0, 11] {
        let (status, _) = running.ask(Method::POST, "/api/bundles", json!({"passes": given(count)})).await;
        assert_eq!(status, 400);
    }
    running.stop().await;
}
