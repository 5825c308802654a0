//! The Wallet device follows the protocol, and writes the texts of real devices when the web service does not.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tidings_shared::clock::Clock;
use tidings_simulators::inbox::{Inbox, Provider, Push};
use tidings_simulators::push_source::PushSource;
use tidings_simulators::wallet::{Package, PassId, WalletDevice};

use crate::common::BOUND;
use crate::pass_server::{Fault, PASS_TYPE, PassServer, zip_files, zip_package};

fn device() -> WalletDevice {
    let client = tidings_shared::http::client(None).unwrap();
    WalletDevice::new(client, Clock::manual(1_355_348_894_000))
}

fn push(token: &str) -> Push {
    Push {
        seq: 0,
        provider: Provider::Apns,
        token: token.to_owned(),
        id: String::new(),
        at_ms: 0,
        topic: PASS_TYPE.to_owned(),
        headers: std::collections::BTreeMap::new(),
        sender: String::new(),
        connection: 0,
        payload: json!({}),
    }
}

fn id(serial: &str) -> PassId {
    PassId { pass_type: PASS_TYPE.to_owned(), serial: serial.to_owned() }
}

fn balance(device: &WalletDevice, serial: &str) -> u64 {
    device.pass(&id(serial)).unwrap().package.pass["storeCard"]["primaryFields"][0]["value"].as_u64().unwrap()
}

/// A device with one registered pass whose first update went well.
async fn updated_device(server: &PassServer) -> WalletDevice {
    let mut device = device();
    device.add(&server.change("s1")).await.unwrap();
    server.change("s1");
    device.on_push(&push(device.push_token())).await;
    assert_eq!(device.log().collect::<Vec<_>>(), [""; 0]);
    device
}

#[tokio::test]
async fn a_pass_is_added_updated_and_removed() {
    let server = PassServer::start(Fault::None).await;
    let mut device = updated_device(&server).await;
    assert_eq!(balance(&device, "s1"), 2);
    assert_eq!(device.pass(&id("s1")).unwrap().updates, 1);
    assert_eq!(server.push_token(device.device()).as_deref(), Some(device.push_token()));
    let before = device.push_token().to_owned();
    device.rotate_push_token().await;
    assert_ne!(device.push_token(), before);
    assert_eq!(server.push_token(device.device()).as_deref(), Some(device.push_token()));
    device.remove(&id("s1")).await;
    assert_eq!(server.registrations(), 0);
    assert_eq!(device.log().count(), 0);
}

/// Each classic mistake in turn, and the text that a device writes about it.
#[tokio::test]
async fn each_mistake_of_a_server_has_its_text() {
    for (fault, expected) in [
        (
            Fault::GreaterOrEqual,
            "Web service error for TYPE (URL): Response to 'What changed?' request included 1 serial numbers but the lastUpdated tag (2) remained the same.",
        ),
        (
            Fault::NeverNotModified,
            "Web service error for TYPE (URL): Server ignored the 'if-modified-since' header (Tue, 14 Nov 2023 22:13:21 GMT) and returned the full unchanged pass data for serial number 's1'.",
        ),
        (
            Fault::NoOpListed,
            "Web service error for TYPE (URL): Server requested update to serial number 's1', but the pass was unchanged.",
        ),
        (
            Fault::PushBeforeCommit,
            "Web service error for TYPE (URL): Device received spurious push. Request for passesUpdatedSince '2' returned no serial numbers. (Device = DEVICE)",
        ),
        (
            Fault::DateTags,
            "Web service error for TYPE (URL): Device received spurious push. Request for passesUpdatedSince '2' returned no serial numbers. (Device = DEVICE)",
        ),
        (
            Fault::NoLastModified,
            "Web service error for TYPE (URL): Server returned the pass data for serial number 's1' but did not provide a 'last-modified' header.",
        ),
        (
            Fault::WrongSerial,
            "Get pass task (pass type TYPE, serial number s1, if-modified-since Tue, 14 Nov 2023 22:13:21 GMT; with web service url URL) encountered error: Requested serial number s1, received serial number somebody-else-s",
        ),
        (
            Fault::UnregisteredSerial,
            "Web service error for TYPE (URL): Update requested for unregistered serial number stranger",
        ),
        (
            Fault::ListIsNoJson,
            "Get serial #s task (for device DEVICE, pass type TYPE, last updated 2; with web service url URL) encountered error: Server response was malformed (Invalid JSON)",
        ),
        (
            Fault::TagIsNumber,
            "Get serial #s task (for device DEVICE, pass type TYPE, last updated 2; with web service url URL) encountered error: Server response was malformed (lastUpdated is not a string)",
        ),
        (
            Fault::NoTag,
            "Web service error for TYPE (URL): Response to 'What changed?' request included 1 serial numbers but omitted a lastUpdated tag.",
        ),
        (
            Fault::CorruptPackage,
            "Get pass task (pass type TYPE, serial number s1, if-modified-since Tue, 14 Nov 2023 22:13:21 GMT; with web service url URL) encountered error: Received invalid pass data (the manifest does not list pass.json)",
        ),
        (
            Fault::PassUnauthorized,
            "Get pass task (pass type TYPE, serial number s1, if-modified-since Tue, 14 Nov 2023 22:13:21 GMT; with web service url URL) encountered error: Authentication failure",
        ),
        (
            Fault::ListFails,
            "Get serial #s task (for device DEVICE, pass type TYPE, last updated 2; with web service url URL) encountered error: Unexpected response code 504",
        ),
    ] {
        let server = PassServer::start(Fault::None).await;
        let mut device = updated_device(&server).await;
        server.set_fault(fault);
        match fault {
            // What is wrong shows without any further change.
            Fault::GreaterOrEqual => {}
            Fault::NoOpListed | Fault::NeverNotModified => server.touch("s1"),
            _ => drop(server.change("s1")),
        }
        device.on_push(&push(device.push_token())).await;
        let lines: Vec<String> = device.log().map(str::to_owned).collect();
        let expected =
            expected.replace("TYPE", PASS_TYPE).replace("URL", server.url()).replace("DEVICE", device.device());
        let expected = format!("[2012-12-12 21:48:14 +0000] {expected}");
        assert!(lines.contains(&expected), "{fault:?}:\nexpected {expected}\nfound    {lines:#?}");
        assert_eq!(device.send_log().await, 0);
        assert_eq!(server.log(), lines, "{fault:?}");
        assert_eq!(device.send_log().await, 0);
        assert_eq!(server.log(), lines, "a line is sent once");
    }
}

#[tokio::test]
async fn refused_registrations_are_reported() {
    let server = PassServer::start(Fault::RegistrationUnauthorized).await;
    let mut device = device();
    device.add(&server.change("s1")).await.unwrap();
    let line = device.log().next().unwrap().to_owned();
    assert!(line.ends_with("encountered error: Authentication failure"), "{line}");
    assert!(line.contains("Register task (for device "), "{line}");
    assert!(!device.pass(&id("s1")).unwrap().registered);
}

#[tokio::test]
async fn a_failed_fetch_is_tried_again_with_the_next_push() {
    let server = PassServer::start(Fault::None).await;
    let mut device = updated_device(&server).await;
    server.change("s1");
    // The pass is gone for a moment: 404 is no reason to try again, a 5xx would be; the registration is.
    server.forget_registrations();
    device.on_push(&push(device.push_token())).await;
    assert!(device.log().next().unwrap().contains("spurious push"));
    device.register(&id("s1")).await;
    device.refresh(PASS_TYPE).await;
    assert_eq!(balance(&device, "s1"), 3);
    assert_eq!(device.log().count(), 1);
}

#[tokio::test]
async fn pushes_come_from_the_simulators_inbox() {
    let server = PassServer::start(Fault::None).await;
    let mut device = updated_device(&server).await;
    let inbox = Inbox::new(10);
    let source = PushSource::Inbox(inbox.clone());
    assert_eq!(device.take_pushes(&source, Duration::ZERO).await.unwrap(), 0);
    server.change("s1");
    inbox.deliver(push("somebody-else-s"));
    inbox.deliver(push(device.push_token()));
    assert_eq!(device.take_pushes(&source, BOUND).await.unwrap(), 1);
    assert_eq!(device.take_pushes(&source, Duration::ZERO).await.unwrap(), 0, "a push is taken once");
    assert_eq!(balance(&device, "s1"), 3);
}

#[tokio::test]
async fn races_that_no_server_can_avoid_are_forgiven_once_where_that_is_asked_for() {
    for (forgiving, lines) in [(false, 4), (true, 2)] {
        let server = PassServer::start(Fault::None).await;
        let mut device = updated_device(&server).await;
        device.forgive_races(forgiving);
        // As if the last fetch had brought this change already.
        server.touch("s1");
        device.on_push(&push(device.push_token())).await;
        server.touch("s1");
        device.on_push(&push(device.push_token())).await;
        // As if the last list had shown what these two pushes are about.
        device.on_push(&push(device.push_token())).await;
        device.on_push(&push(device.push_token())).await;
        assert_eq!(device.log().count(), lines, "{:?}", device.log().collect::<Vec<_>>());
    }
}

/// Against a server that does everything right, a device has nothing to say whatever happens in which order.
#[tokio::test]
async fn nothing_is_written_about_a_server_that_is_right() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let server = PassServer::start(Fault::None).await;
        let mut device = device();
        let mut newest = std::collections::BTreeMap::new();
        for _ in 0..60 {
            let serial = format!("s{}", random.random_range(0..4));
            let held = device.pass(&id(&serial)).is_some();
            match random.random_range(0..10) {
                0 | 1 if !held => {
                    device.add(&server.change(&serial)).await.unwrap();
                    *newest.entry(serial).or_insert(0) += 1;
                }
                2 if held => device.remove(&id(&serial)).await,
                3 => device.rotate_push_token().await,
                4 => device.refresh(PASS_TYPE).await,
                _ if held => {
                    server.change(&serial);
                    *newest.entry(serial).or_insert(0) += 1;
                    device.on_push(&push(device.push_token())).await;
                }
                _ => {}
            }
        }
        assert_eq!(device.log().collect::<Vec<_>>(), [""; 0], "seed {seed}");
        for (pass, added) in device.passes() {
            assert_eq!(balance(&device, &pass.serial), newest[&pass.serial], "seed {seed}: {added:?}");
        }
    }
}

#[test]
fn packages_that_cannot_be_used_are_named() {
    let pass = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut pass = json!({
            "formatVersion": 1, "passTypeIdentifier": "p", "serialNumber": "s", "generic": {},
        });
        change(&mut pass);
        zip_package(&[("pass.json", pass.to_string().as_bytes()), ("icon.png", b"png")])
    };
    assert!(Package::open(&pass(&|_| {})).is_ok());
    for (package, words) in [
        (b"nonsense".to_vec(), "cannot be unpacked"),
        (zip_files(&[("pass.json", b"{}")]), "manifest.json is missing"),
        (zip_files(&[("manifest.json", b"{}")]), "signature is missing"),
        (zip_files(&[("manifest.json", br#"{"a":"00"}"#), ("a", b"x"), ("signature", b"s")]), "hash of a is wrong"),
        (zip_files(&[("manifest.json", br#"{"a":"00"}"#), ("signature", b"s")]), "listed in the manifest but missing"),
        (zip_package(&[("icon.png", b"")]), "pass.json is missing"),
        (pass(&|pass| pass["formatVersion"] = json!(2)), "formatVersion"),
        (pass(&|pass| pass["coupon"] = json!({})), "exactly one pass style"),
        (pass(&|pass| pass["webServiceURL"] = json!("https://w")), "belong together"),
        (
            pass(&|pass| {
                pass["webServiceURL"] = json!("https://w");
                pass["authenticationToken"] = json!("short")
            }),
            "16 characters",
        ),
    ] {
        let error = Package::open(&package).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}
