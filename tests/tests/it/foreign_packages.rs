//! Packages between strangers: ours, of every style, before two verifiers that nobody here wrote, and those of another
//! builder before our device; and what another builder made, issued again by us, with nothing lost on the way.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidings_simulators::wallet::{Package as Opened, TrustedRoot};
use tidings_tests::passbook::{PASS_TYPE, Pass, Passbook};
use tidings_tests::pkpass::Package;
use tidings_tests::python;

const CLIENT: &str = "pkpass_foreign.py";
const TEAM: &str = "TIDINGSDEV";

/// What pyHanko says of each package's signature.
fn verdicts(root: &Path, packages: &[PathBuf]) -> Vec<Value> {
    let output = python::command(CLIENT).arg("verify").arg(root).args(packages).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn assert_good(verdict: &Value) {
    for (key, expected) in [
        ("intact", json!(true)),
        ("valid", json!(true)),
        ("trusted", json!(true)),
        ("pass_type", json!(PASS_TYPE)),
        ("team", json!(TEAM)),
        ("digest", json!("sha256")),
    ] {
        assert_eq!(verdict[key], expected, "{key}: {verdict}");
    }
    assert!(verdict["signed_at"].is_string(), "{verdict}");
}

/// A template for each of Apple's styles.
fn styles() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let icon = Path::new(env!("CARGO_MANIFEST_DIR")).join("../passbook-service/templates/example/icon.png");
    for style in ["boardingPass", "coupon", "eventTicket", "generic", "storeCard"] {
        let name = style.to_lowercase();
        fs::create_dir(folder.path().join(&name)).expect("a folder");
        fs::copy(&icon, folder.path().join(&name).join("icon.png")).expect("an icon");
        let mut fields = json!({ "primaryFields": [{ "key": "one", "label": "One", "value": "{{one}}" }] });
        if style == "boardingPass" {
            fields["transitType"] = json!("PKTransitTypeTrain");
        }
        let pass = json!({ "formatVersion": 1, "organizationName": "Tests", "description": style, style: fields });
        fs::write(folder.path().join(&name).join("pass.json"), pass.to_string()).expect("a template");
    }
    folder
}

fn issue(service: &Passbook, template: &str, fields: &Value) -> Vec<u8> {
    let body = json!({ "template": template, "serial": template, "fields": fields });
    let made = service.api("POST", "/api/passes").json(&body).send().expect(201).json();
    let token = made["authenticationToken"].as_str().expect("a token").to_owned();
    service.fetch("GET", &Pass { serial: template.to_owned(), token }).send().expect(200).body
}

#[test]
fn every_style_is_verified_by_strangers() {
    let templates = styles();
    let service = Passbook::start_with(&[("wallet.templates", &templates.path().display().to_string())]);
    let root = service.root_certificate();
    let trusted = TrustedRoot::from_pem(&fs::read(&root).expect("the root")).expect("a root");
    let out = tempfile::tempdir().expect("a folder");
    let mut packages = Vec::new();
    for template in ["boardingpass", "coupon", "eventticket", "generic", "storecard", "example"] {
        let fields = if template == "example" { json!({ "points": 1, "name": "Ada" }) } else { json!({ "one": "1" }) };
        let bytes = issue(&service, template, &fields);
        Package::unpack(&bytes).verify(&root);
        Opened::open(&bytes).and_then(|package| package.check_signature(&trusted)).expect("a device takes it");
        let file = out.path().join(format!("{template}.pkpass"));
        fs::write(&file, bytes).expect("a package");
        packages.push(file);
    }
    let verdicts = verdicts(&root, &packages);
    assert_eq!(verdicts.len(), packages.len());
    verdicts.iter().for_each(assert_good);
}

#[test]
fn what_another_builder_made_goes_through_us_and_comes_out_the_same() {
    let mut service = Passbook::start();
    let root = service.root_certificate();
    let certificates = root.parent().expect("the folder of the certificates").to_owned();
    let file = |name: &str| certificates.join(name).display().to_string();
    let out = tempfile::tempdir().expect("a folder");
    let theirs = out.path().join("theirs.pkpass");
    let output = python::command(CLIENT)
        .args(["build", &file("pass.pem"), &file("pass.key"), &file("intermediate.pem"), PASS_TYPE, TEAM])
        .arg(&theirs)
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // Our device takes it.
    let bytes = fs::read(&theirs).expect("their package");
    let trusted = TrustedRoot::from_pem(&fs::read(&root).expect("the root")).expect("a root");
    let opened = Opened::open(&bytes).expect("a package");
    opened.check_signature(&trusted).expect("a good signature");
    assert_eq!(opened.serial, "stranger-1");

    // Its files are a template, from which we issue.
    let unpacked = Package::unpack(&bytes);
    let templates = out.path().join("templates");
    fs::create_dir_all(templates.join("stranger")).expect("a folder");
    for name in unpacked.files().iter().filter(|name| !matches!(name.as_str(), "manifest.json" | "signature")) {
        fs::copy(unpacked.path(name), templates.join("stranger").join(name)).expect("a file of the package");
    }
    service.restart_with(&[("wallet.templates", &templates.display().to_string())]);
    let ours = issue(&service, "stranger", &json!({}));
    let package = Package::unpack(&ours);
    package.verify(&root);
    let again = out.path().join("ours.pkpass");
    fs::write(&again, &ours).expect("our package");
    verdicts(&root, &[theirs, again]).iter().for_each(assert_good);

    // Every file and every key is there again, but those that say whose pass it is.
    assert_eq!(package.files(), unpacked.files());
    for name in unpacked.files().iter().filter(|name| name.ends_with(".png")) {
        let bytes = |package: &Package| fs::read(package.path(name)).expect("an image");
        assert_eq!(bytes(&package), bytes(&unpacked), "{name}");
    }
    let (mut before, mut after) = (unpacked.pass(), package.pass());
    assert_eq!(after["serialNumber"], "stranger");
    for key in ["serialNumber", "authenticationToken", "webServiceURL"] {
        before.as_object_mut().expect("an object").remove(key);
        after.as_object_mut().expect("an object").remove(key);
    }
    assert_eq!(after, before);
}
