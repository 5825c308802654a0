//! The Wallet device follows the protocol, and writes the texts of real devices when the web service does not.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tidings_shared::clock::Clock;
use tidings_simulators::inbox::{Inbox, Provider, Push};
use tidings_simulators::push_source::PushSource;
use tidings_simulators::wallet::{Package, PassId, Personal, TrustedRoot, WalletDevice};

use crate::authority::Authority;
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

/// Mistakes that need a story of their own, and the text that a device writes in the end.
#[tokio::test]
async fn each_mistake_that_takes_time_has_its_text() {
    let web = |text: &str| format!("Web service error for TYPE (URL): {text}");
    let unchanged = web("Server requested update to serial number 's1', but the pass was unchanged.");
    let spurious = |tag: u64| {
        web(&format!(
            "Device received spurious push. Request for passesUpdatedSince '{tag}' returned no serial numbers. (Device = DEVICE)"
        ))
    };

    // Two changes within a second, and a Last-Modified that does not move between them.
    let (server, mut device) = started(Fault::LastModifiedStandsStill).await;
    drop(server.change("s1"));
    device.on_push(&push(device.push_token())).await;
    expect(&server, &device, &unchanged);
    assert_eq!(balance(&device, "s1"), 2, "and so it keeps the old version");

    // A registration that was taken back, and is listed all the same.
    let (server, mut device) = started(Fault::None).await;
    device.add(&server.change("s2")).await.unwrap();
    device.refresh(PASS_TYPE).await;
    server.set_fault(Fault::NeverUnregisters);
    device.remove(&id("s2")).await;
    drop(server.change("s2"));
    device.on_push(&push(device.push_token())).await;
    expect(&server, &device, &web("Update requested for unregistered serial number s2"));

    // The same push twice.
    let (server, mut device) = started(Fault::None).await;
    drop(server.change("s1"));
    device.on_push(&push(device.push_token())).await;
    device.on_push(&push(device.push_token())).await;
    expect(&server, &device, &spurious(3));

    // Tags of a sequence: the change with the smaller tag is committed last, and never listed.
    let (server, mut device) = started(Fault::SequenceTags).await;
    device.add(&server.change("s2")).await.unwrap();
    device.refresh(PASS_TYPE).await;
    let commit = server.begin("s1");
    drop(server.change("s2"));
    device.on_push(&push(device.push_token())).await;
    commit();
    device.on_push(&push(device.push_token())).await;
    expect(&server, &device, &spurious(5));
    device.refresh(PASS_TYPE).await;
    assert_eq!(balance(&device, "s1"), 2, "an update that is lost for good");

    // A token that is not accepted any more when the pass is taken away.
    let (server, mut device) = started(Fault::UnregistrationUnauthorized).await;
    device.remove(&id("s1")).await;
    let task = "Unregister task (for device DEVICE, pass type TYPE, serial number s1; with web service url URL)";
    expect(&server, &device, &format!("{task} encountered error: Authentication failure"));

    // Personalizations that are refused, and that change nothing.
    let person = Personal { full_name: Some("Ada Lovelace".to_owned()), ..Personal::default() };
    let (server, mut device) = started(Fault::PersonalizationUnauthorized).await;
    assert!(!device.personalize(&id("s1"), &person).await);
    let task = "Personalize pass task (pass type TYPE, serial number s1; with web service url URL)";
    expect(&server, &device, &format!("{task} encountered error: Authentication failure"));
    let (server, mut device) = started(Fault::NeverPersonalizes).await;
    assert!(!device.personalize(&id("s1"), &person).await);
    expect(
        &server,
        &device,
        &web("Personalization request was issued for serial number 's1', but the pass was unchanged."),
    );
    server.set_fault(Fault::None);
    assert!(device.personalize(&id("s1"), &person).await);
    assert_eq!(device.log().count(), 1, "a personalization that does what it should is not worth a line");

    // Statuses of servers and of the proxies before them.
    for status in [403, 404, 408, 500, 504, 596] {
        let (server, mut device) = started(Fault::Status(status)).await;
        drop(server.change("s1"));
        device.on_push(&push(device.push_token())).await;
        let date = "Tue, 14 Nov 2023 22:13:21 GMT";
        let task = format!(
            "Get pass task (pass type TYPE, serial number s1, if-modified-since {date}; with web service url URL)"
        );
        expect(&server, &device, &format!("{task} encountered error: Unexpected response code {status}"));
    }
}

/// A device with one updated pass, and a server that is wrong from now on.
async fn started(fault: Fault) -> (PassServer, WalletDevice) {
    let server = PassServer::start(Fault::None).await;
    let device = updated_device(&server).await;
    server.set_fault(fault);
    (server, device)
}

/// The device has written this, and nothing else.
#[track_caller]
fn expect(server: &PassServer, device: &WalletDevice, text: &str) {
    let text = text.replace("TYPE", PASS_TYPE).replace("URL", server.url()).replace("DEVICE", device.device());
    assert_eq!(device.log().collect::<Vec<_>>(), [format!("[2012-12-12 21:48:14 +0000] {text}")]);
}

/// A signature that is none, or somebody else's, makes a device refuse the package, whatever else is right.
#[tokio::test]
async fn signatures_are_checked_as_wallet_checks_them() {
    let authority = Authority::new(&[
        ("ours", PASS_TYPE, "TEAM000001"),
        ("other-type", "pass.com.example.other", "TEAM000001"),
        ("other-team", PASS_TYPE, "TEAM000002"),
    ]);
    let stranger = Authority::new(&[("stranger", PASS_TYPE, "TEAM000001")]);
    let server = PassServer::start(Fault::None).await;
    server.sign_with(authority.signer("ours"));
    let mut device = device();
    device.trust(TrustedRoot::from_pem(authority.root()).unwrap());
    device.add(&server.change("s1")).await.unwrap();
    drop(server.change("s1"));
    device.on_push(&push(device.push_token())).await;
    assert_eq!((device.log().count(), balance(&device, "s1")), (0, 2), "{:?}", device.log().collect::<Vec<_>>());
    assert!(device.add(&zip_package(&[("pass.json", b"{}"), ("icon.png", b"png")])).await.is_err());

    let mut refusals = Vec::new();
    for (signer, why) in [
        (authority.signer("other-type"), "the signing certificate is for another pass type"),
        (authority.signer("other-team"), "the signing certificate is another team's"),
        (stranger.signer("stranger"), "the signing certificate does not lead to a trusted root"),
    ] {
        server.sign_with(signer);
        drop(server.change("s1"));
        device.on_push(&push(device.push_token())).await;
        refusals.push(why);
    }
    server.sign_with(authority.signer("ours"));
    server.sign_instead(b"another manifest");
    drop(server.change("s1"));
    device.on_push(&push(device.push_token())).await;
    refusals.push("the signature is over another manifest");
    let lines: Vec<&str> = device.log().collect();
    assert_eq!(lines.len(), refusals.len(), "{lines:#?}");
    for (line, why) in lines.iter().zip(refusals) {
        let end = format!("encountered error: Received invalid pass data ({why})");
        assert!(line.contains("Get pass task (") && line.ends_with(&end), "{line}");
    }
    assert_eq!(balance(&device, "s1"), 2, "none of them was installed");
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
