//! From the API call to the new package on the device: listed, pushed, fetched, and signed so that a stranger verifies it.

use serde_json::{Value, json};
use tidings_tests::curl::{Answer, Request};
use tidings_tests::passbook::{PASS_TYPE, Passbook, serials, tag};
use tidings_tests::pkpass::Package;
use tidings_tests::world::{SERVICE_KEY, World};

const PHONE: &str = "0123456789abcdef0123456789abcdef";
const PUSH_TOKEN: &str = "b1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";

fn primary_value(package: &Package) -> Value {
    package.pass()["storeCard"]["primaryFields"][0]["value"].clone()
}

#[test]
fn a_package_is_what_apple_describes_and_openssl_verifies_it() {
    let service = Passbook::start();
    let pass = service.create("one");
    let package = Package::unpack(&service.fetch("GET", &pass).send().expect(200).body);
    package.verify(&service.root_certificate());
    let json = package.pass();
    assert_eq!(json["formatVersion"], 1);
    assert_eq!(json["passTypeIdentifier"], PASS_TYPE);
    assert_eq!(json["serialNumber"], "one");
    assert_eq!(json["authenticationToken"], Value::from(pass.token.clone()));
    for key in ["teamIdentifier", "organizationName", "description", "webServiceURL"] {
        assert!(json[key].is_string(), "{key} is in {json}");
    }
    assert!(!json["webServiceURL"].as_str().unwrap().ends_with('/'), "webServiceURL ends in no slash");
    for file in ["pass.json", "manifest.json", "signature", "icon.png"] {
        assert!(package.files().iter().any(|present| present == file), "{file}");
    }
    // A byte that changes breaks it.
    std::fs::write(package.path("pass.json"), "{}").unwrap();
    let root = service.root_certificate();
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| package.verify(&root)));
    assert!(broken.is_err(), "the check itself would notice");
}

#[test]
fn a_change_reaches_the_device_by_push_list_and_package() {
    let world = World::up();
    let request = |method: &str, path: &str| Request::new(method, world.url(8082, path));
    let api = |method: &str, path: &str, body: &Value| -> Answer {
        request(method, path).bearer(SERVICE_KEY).json(body).send()
    };
    let fields = json!({ "name": "Ada", "points": "10" });
    let made = api("POST", "/api/passes", &json!({ "template": "example", "fields": fields })).expect(201).json();
    let serial = made["serialNumber"].as_str().unwrap().to_owned();
    let authorization = format!("ApplePass {}", made["authenticationToken"].as_str().unwrap());
    let pass = format!("/v1/passes/{PASS_TYPE}/{serial}");
    let fetch = |modified: Option<&str>| {
        let request = request("GET", &pass).header("Authorization", &authorization);
        match modified {
            Some(modified) => request.header("If-Modified-Since", modified).send(),
            None => request.send(),
        }
    };
    let list = |since: Option<&str>| {
        let query = since.map_or(String::new(), |tag| format!("?passesUpdatedSince={tag}"));
        request("GET", &format!("/v1/devices/{PHONE}/registrations/{PASS_TYPE}{query}")).send()
    };

    let first = fetch(None).expect(200);
    assert_eq!(primary_value(&Package::unpack(&first.body)), "10");
    let register = format!("/v1/devices/{PHONE}/registrations/{PASS_TYPE}/{serial}");
    let body = json!({ "pushToken": PUSH_TOKEN });
    let _ = request("POST", &register).header("Authorization", &authorization).json(&body).send().expect(201);
    let known = tag(&list(None).expect(200));

    let changed = api("PATCH", &format!("/api/passes/{PASS_TYPE}/{serial}"), &json!({ "fields": { "points": "25" } }));
    assert_eq!(changed.expect(200).json()["changed"], true);

    let pushes = world.pushes(PUSH_TOKEN, 0, "30s");
    assert_eq!(pushes.len(), 1, "one push for one change: {pushes:?}");
    let push = pushes[0].to_string();
    assert!(push.contains(PASS_TYPE), "the topic is the pass type: {push}");

    // The push came after the change can be listed: a phone that asks now is never told of nothing.
    let answer = list(Some(&known)).expect(200);
    assert_eq!(serials(&answer), std::slice::from_ref(&serial));
    let second = fetch(first.header("last-modified")).expect(200);
    assert_eq!(primary_value(&Package::unpack(&second.body)), "25");
    let _ = fetch(second.header("last-modified")).expect(304);
    let _ = list(Some(&tag(&answer))).expect(204);

    // The same values again: nothing is listed, nothing is pushed.
    let same = api("PATCH", &format!("/api/passes/{PASS_TYPE}/{serial}"), &json!({ "fields": { "points": "25" } }));
    assert_eq!(same.expect(200).json()["changed"], false);
    let seen = pushes[0]["seq"].as_u64().unwrap();
    assert_eq!(world.pushes(PUSH_TOKEN, seen, "2s"), Vec::<Value>::new());
}
