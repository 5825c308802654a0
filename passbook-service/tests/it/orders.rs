//! Promises: orders are tracked by Apple's protocol for them, on the engine that passes have.

use std::io::{Cursor, Read};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_simulators::wallet::{OrderDevice, TrustedRoot};

use crate::support::{PASS_TYPE, Running, eventually};

const ORDER: &str = "order.dev.tidings.shop";
const SETTINGS: &[(&str, &str)] =
    &[("wallet.types.\"order.dev.tidings.shop\".team", "ORDERTEAM"), ("wallet.public_url", "")];

fn content() -> Value {
    json!({
        "orderManagementURL": "https://shop.example.org/orders/1", "orderNumber": "HM-1",
        "merchant": {"displayName": "Shop", "merchantIdentifier": "merchant.org.example", "url": "https://shop.example.org"},
        "lineItems": [{"title": "Tea", "quantity": 2, "price": {"amount": 12.5, "currency": "EUR"}}],
        "fulfillments": [{"fulfillmentType": "shipping", "fulfillmentIdentifier": "f1", "status": "processing"}],
        "payment": {"total": {"amount": 25, "currency": "EUR"}, "status": "paid"},
    })
}

/// What a shipment changes.
fn shipped(status: &str) -> Value {
    let fulfillment =
        json!({"fulfillmentType": "shipping", "fulfillmentIdentifier": "f1", "status": status, "carrier": "Post"});
    json!({"fulfillments": [fulfillment], "statusDescription": null})
}

async fn create(service: &Running, identifier: &str) -> Value {
    let body = json!({"orderIdentifier": identifier, "order": content()});
    let answer = service.api(Method::POST, "/api/orders").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

async fn patch(service: &Running, identifier: &str, order: Value) -> Value {
    let path = format!("/api/orders/{ORDER}/{identifier}");
    let answer = service.api(Method::PATCH, &path).json(&json!({ "order": order })).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

async fn package(service: &Running, identifier: &str) -> Vec<u8> {
    let path = format!("/api/orders/{ORDER}/{identifier}/package");
    let answer = service.api(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/vnd.apple.order");
    answer.bytes().await.unwrap().to_vec()
}

/// The root of the order type's development certificate.
fn root(service: &Running) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![service.data.join("wallet")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() == "root.pem" {
                found.push(path);
            }
        }
    }
    // Each type has a folder of its own, or all share one root.
    let own = found.iter().find(|path| path.to_string_lossy().contains(ORDER));
    own.or(found.first()).unwrap().clone()
}

fn device(service: &Running) -> OrderDevice {
    let root = TrustedRoot::from_pem(&std::fs::read(root(service)).unwrap()).unwrap();
    OrderDevice::new(service.client.clone()).trusting(root, "ORDERTEAM")
}

#[tokio::test]
async fn a_tracked_order_follows_every_change_and_its_device_has_nothing_to_complain_about() {
    for service in Running::on_each_database(SETTINGS).await {
        create(&service, "1").await;
        create(&service, "2").await;
        let mut phone = device(&service);
        assert_eq!(phone.add(&package(&service, "1").await).await, Ok(201));
        assert_eq!(phone.add(&package(&service, "1").await).await, Ok(200), "known already");
        assert_eq!(phone.add(&package(&service, "2").await).await, Ok(201));
        let mut last = String::new();
        for (round, status) in ["shipped", "onTheWay", "outForDelivery", "delivered"].into_iter().enumerate() {
            let changed = patch(&service, "1", shipped(status)).await;
            assert_eq!(changed["changed"], true);
            let pushed = service.gateway.wait_for(round + 1).await;
            let push = &pushed[round];
            assert_eq!(push.body.pointer("/to/token/app"), Some(&json!(ORDER)), "the topic is the order type");
            assert_eq!(push.token, phone.push_token());
            phone.update(ORDER, true).await;
            let order = &phone.order(ORDER, "1").unwrap().package.order;
            assert_eq!(order["fulfillments"][0]["status"], status);
            let updated = order["updatedAt"].as_str().unwrap().to_owned();
            assert!(updated > last, "{updated} after {last}: strictly increasing");
            last = updated;
        }
        assert_eq!(phone.order(ORDER, "1").unwrap().updates, 4);
        assert_eq!(phone.order(ORDER, "2").unwrap().updates, 0, "the other order was not touched");
        // The same again is no change: no push, no new tag.
        let before = patch(&service, "1", json!({})).await;
        let again = patch(&service, "1", shipped("delivered")).await;
        assert_eq!((&again["changed"], &again["tag"]), (&json!(false), &before["tag"]));
        assert_eq!(service.gateway.pushed().len(), 4);
        assert_eq!(phone.remove(ORDER, "1").await, 200);
        assert_eq!(phone.complaints(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_list_speaks_of_orders_and_its_tag_is_daisy_chained() {
    for service in Running::on_each_database(SETTINGS).await {
        let made = create(&service, "1").await;
        let authorization = format!("AppleOrder {}", made["authenticationToken"].as_str().unwrap());
        let place = format!("/v1/devices/d/registrations/{ORDER}/1");
        let register = |authorization: &str| {
            service
                .request(Method::POST, &place)
                .header("Authorization", authorization)
                .json(&json!({"pushToken": "ab".repeat(32)}))
                .send()
        };
        assert_eq!(register("AppleOrder wrong-wrong-wrong-wrong").await.unwrap().status(), 401);
        assert_eq!(register(&authorization).await.unwrap().status(), 201);
        let list = async |since: &str| {
            let path = format!("/v1/devices/d/registrations/{ORDER}{since}");
            let answer = service.request(Method::GET, &path).send().await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.json::<Value>().await.unwrap_or_default())
        };
        let (status, all) = list("").await;
        assert_eq!((status, &all["orderIdentifiers"]), (200, &json!(["1"])));
        let tag = all["lastModified"].as_str().expect("a text").to_owned();
        assert_eq!(list(&format!("?ordersModifiedSince={tag}")).await.0, 204);
        patch(&service, "1", shipped("shipped")).await;
        let (status, changed) = list(&format!("?ordersModifiedSince={tag}")).await;
        assert_eq!((status, &changed["orderIdentifiers"]), (200, &json!(["1"])));
        assert_ne!(changed["lastModified"], tag.as_str());
        assert_eq!(
            list("?ordersModifiedSince=2026-01-01T00:00:00Z").await.0,
            200,
            "another provider's tag: everything"
        );
        let unregister = service.request(Method::DELETE, &place).header("Authorization", &authorization);
        assert_eq!(unregister.send().await.unwrap().status(), 200);
        assert_eq!(list("").await.0, 204);
    }
}

#[tokio::test]
async fn an_order_is_served_with_caching_and_only_to_its_own_token() {
    let service = Running::on_sqlite(SETTINGS).await;
    let made = create(&service, "1").await;
    let pass = service.create("1").await;
    let authorization = format!("AppleOrder {}", made["authenticationToken"].as_str().unwrap());
    let path = format!("/v1/orders/{ORDER}/1");
    let get =
        |authorization: &str, path: &str| service.request(Method::GET, path).header("Authorization", authorization);
    let first = get(&authorization, &path).send().await.unwrap();
    assert_eq!(first.status(), 200);
    assert_eq!(first.headers()["content-type"], "application/vnd.apple.order");
    let modified = first.headers()["last-modified"].to_str().unwrap().to_owned();
    let unchanged = get(&authorization, &path).header("If-Modified-Since", &modified).send().await.unwrap();
    assert_eq!(unchanged.status(), 304);
    assert!(unchanged.bytes().await.unwrap().is_empty());
    let head = service.request(Method::HEAD, &path).header("Authorization", &authorization).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["last-modified"].to_str().unwrap()), (200, modified.as_str()));
    patch(&service, "1", shipped("shipped")).await;
    let changed = get(&authorization, &path).header("If-Modified-Since", &modified).send().await.unwrap();
    assert_eq!(changed.status(), 200, "within the same second");
    for (authorization, path) in [
        ("AppleOrder nobody-knows-this-token", path.clone()),
        (pass.authorization().as_str(), path.clone()),
        (authorization.as_str(), format!("/v1/orders/{ORDER}/2")),
        // An order is no pass, and a pass is no order, whatever the address says.
        (authorization.as_str(), format!("/v1/passes/{ORDER}/1")),
        (pass.authorization().as_str(), format!("/v1/orders/{PASS_TYPE}/1")),
    ] {
        assert_eq!(get(authorization, &path).send().await.unwrap().status(), 401, "{path}");
    }
    for path in [format!("/api/orders/{PASS_TYPE}/1"), format!("/api/orders/{ORDER}/2")] {
        let answer = service.api(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "order_unknown");
    }
}

#[tokio::test]
async fn openssl_verifies_the_package_and_the_manifest_is_of_sha_256() {
    let service = Running::on_sqlite(SETTINGS).await;
    create(&service, "1").await;
    let bytes = package(&service, "1").await;
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["order.json", "manifest.json", "signature"] {
        let mut content = Vec::new();
        archive.by_name(name).unwrap().read_to_end(&mut content).unwrap();
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    let attime = (crate::support::NOW / 1000).to_string();
    let root = root(&service).display().to_string();
    let arguments = [
        "cms",
        "-verify",
        "-inform",
        "DER",
        "-in",
        &at("signature"),
        "-content",
        &at("manifest.json"),
        "-CAfile",
        &root,
        "-purpose",
        "any",
        "-binary",
        "-attime",
        &attime,
        "-out",
        "/dev/null",
    ];
    let verified = Command::new("openssl").args(arguments).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let sum = Command::new("sha256sum").arg(at("order.json")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let manifest: Value = serde_json::from_slice(&std::fs::read(at("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["order.json"], sum.split(' ').next().unwrap());
    let order: Value = serde_json::from_slice(&std::fs::read(at("order.json")).unwrap()).unwrap();
    assert_eq!(order["createdAt"], order["updatedAt"], "no update yet");
    assert_eq!((&order["schemaVersion"], &order["orderTypeIdentifier"]), (&json!(1), &json!(ORDER)));
}

#[tokio::test]
async fn an_order_that_breaks_apples_rules_is_refused_with_every_fault() {
    let service = Running::on_sqlite(SETTINGS).await;
    let mut order = content();
    order["payment"]["status"] = json!("perhaps");
    order["lineItems"][0]["image"] = json!("tea.png");
    let answer = service.api(Method::POST, "/api/orders").json(&json!({ "order": order })).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let error = answer.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(error["code"], "order_invalid");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("payment.status") && message.contains("lineItems[0].image"), "{message}");
    create(&service, "1").await;
    let path = format!("/api/orders/{ORDER}/1");
    let answer = service.api(Method::PATCH, &path).json(&json!({"order": {"merchant": null}})).send().await.unwrap();
    assert_eq!(answer.status(), 422, "a change is checked as well");
    let again = service.api(Method::POST, "/api/orders").json(&json!({"orderIdentifier": "1", "order": content()}));
    assert_eq!(again.send().await.unwrap().status(), 409);
    let other = json!({"orderType": "order.other", "order": content()});
    let answer = service.api(Method::POST, "/api/orders").json(&other).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "order_type_not_served");
}

#[tokio::test]
async fn an_edited_template_reaches_the_orders_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("tea");
    std::fs::create_dir_all(&template).unwrap();
    std::fs::write(template.join("logo.png"), include_bytes!("../../templates/example/icon.png")).unwrap();
    let write = |note: &str| {
        let base = json!({"orderType": "ecommerce", "status": "open", "statusDescription": note, "merchant": {"logo": "logo.png"}});
        std::fs::write(template.join("order.json"), base.to_string()).unwrap();
    };
    write("First");
    let templates = folder.path().display().to_string();
    let settings: Vec<(&str, &str)> =
        SETTINGS.iter().copied().chain([("wallet.orders.templates", templates.as_str())]).collect();
    let service = Running::on_sqlite(&settings).await;
    let body = json!({"orderIdentifier": "1", "template": "tea", "order": content()});
    assert_eq!(service.api(Method::POST, "/api/orders").json(&body).send().await.unwrap().status(), 201);
    let state = async |service: &Running| {
        let path = format!("/api/orders/{ORDER}/1");
        service.api(Method::GET, &path).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let before = state(&service).await;
    assert_eq!(before["order"]["statusDescription"], "First");
    assert_eq!(before["order"]["merchant"]["logo"], "logo.png", "laid over, not replaced");
    assert_eq!(before["order"].get("authenticationToken"), None);
    let service = service.restart(&settings, async |_| write("Second")).await;
    let after = eventually("the sweep", async || {
        let state = state(&service).await;
        (state["revision"] == 2).then_some(state)
    })
    .await;
    assert_eq!(after["order"]["statusDescription"], "Second");
    assert_ne!(after["tag"], before["tag"], "listed like any change");
}
