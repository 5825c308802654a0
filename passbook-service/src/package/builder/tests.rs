use std::io::{Cursor, Read};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::*;
use crate::package::development::DevelopmentCertificates;
use crate::package::{Kind, PassState, Rules, example_files};

const NOW: i64 = 1_790_000_000_000;

struct Made {
    folder: tempfile::TempDir,
    paths: DevelopmentCertificates,
    builder: Builder,
    template: Template,
}

fn made() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let (pass_type, team) = ("pass.dev.tidings.example", "TIDINGSDEV");
    let paths = DevelopmentCertificates::load_or_create(folder.path(), pass_type, team, NOW).unwrap();
    let identity = SigningIdentity::load(&paths.files(), pass_type, team, NOW).unwrap();
    let issuer = Issuer {
        kind: Kind::Pass,
        pass_type: pass_type.to_owned(),
        team: team.to_owned(),
        web_service_url: "https://wallet.example.org".to_owned(),
        rules: Rules::default(),
    };
    let template = Template::from_files("example", example_files()).unwrap();
    template.check_for(&issuer).unwrap();
    Made { folder, paths, builder: Builder::new(issuer, identity), template }
}

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn unpack(package: &[u8]) -> Vec<(String, Vec<u8>, zip::CompressionMethod)> {
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut file = archive.by_index(index).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes, file.compression())
        })
        .collect()
}

#[test]
fn openssl_verifies_the_package_and_the_manifest_names_every_file() {
    let Made { folder, paths, builder, template } = made();
    let fields = fields(json!({"points": 7, "name": "Ada"}));
    let content = PassContent { serial: "card-1", fields: &fields, user_info: None, state: &PassState::NONE };
    let package = builder.build(&template, content, "0123456789abcdef", NOW).unwrap();
    let files = unpack(&package);
    for (name, bytes, method) in &files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        let stored = name.ends_with(".png") || name == "signature";
        assert_eq!(*method == zip::CompressionMethod::Stored, stored, "{name}");
    }
    let manifest: Map<String, Value> =
        serde_json::from_slice(&std::fs::read(folder.path().join("manifest.json")).unwrap()).unwrap();
    let named: Vec<_> =
        files.iter().filter(|(name, ..)| !["manifest.json", "signature"].contains(&name.as_str())).collect();
    assert_eq!(manifest.len(), named.len());
    for (name, bytes, _) in named {
        assert_eq!(manifest[name], Value::String(sha1_hex(bytes)), "{name}");
    }
    let verify = |manifest: &str, root: &std::path::Path| {
        Command::new("openssl")
            .current_dir(folder.path())
            .args([
                "cms",
                "-verify",
                "-inform",
                "DER",
                "-in",
                "signature",
                "-content",
                manifest,
                "-purpose",
                "any",
                "-binary",
            ])
            .args(["-attime", &(NOW / 1000).to_string(), "-out", "verified", "-CAfile"])
            .arg(root)
            .output()
            .unwrap()
    };
    let good = verify("manifest.json", &paths.root);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    std::fs::write(folder.path().join("other.json"), b"{}").unwrap();
    assert!(!verify("other.json", &paths.root).status.success(), "a changed manifest");
    let other = made();
    assert!(!verify("manifest.json", &other.paths.root).status.success(), "another root");

    let printed = Command::new("openssl")
        .current_dir(folder.path())
        .args(["cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", "signature"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&printed.stdout);
    for part in
        ["signingTime", "messageDigest", "contentType", "sha256", "rsaEncryption", "Worldwide Developer Relations"]
    {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    assert!(printed.contains("eContent: <ABSENT>"), "detached");
}

#[test]
fn the_same_pass_is_the_same_bytes_and_key_order_is_kept() {
    let Made { builder, template, .. } = made();
    let one = fields(json!({"points": 7, "name": "Ada"}));
    let other_order = fields(json!({"name": "Ada", "points": 7}));
    let render = |fields: &Map<String, Value>, serial: &str| {
        template
            .render(
                builder.issuer(),
                PassContent { serial, fields, user_info: None, state: &PassState::NONE },
                "0123456789abcdef",
            )
            .unwrap()
    };
    assert_eq!(render(&one, "1"), render(&other_order, "1"));
    let text = String::from_utf8(render(&one, "1")).unwrap();
    let at = |key: &str| text.find(&format!("\"{key}\":")).unwrap();
    assert!(
        at("formatVersion") < at("organizationName")
            && at("organizationName") < at("storeCard")
            && at("storeCard") < at("sharingProhibited")
    );
    let print = |fields: &Map<String, Value>, serial: &str| {
        builder
            .fingerprint(&template, PassContent { serial, fields, user_info: None, state: &PassState::NONE })
            .unwrap()
    };
    assert_eq!(print(&one, "1"), print(&other_order, "1"));
    assert_ne!(print(&one, "1"), print(&one, "2"));
    assert_ne!(print(&one, "1"), print(&fields(json!({"points": 8, "name": "Ada"})), "1"));
    let user_info = json!({"a": 1});
    let with = builder
        .fingerprint(
            &template,
            PassContent { serial: "1", fields: &one, user_info: Some(&user_info), state: &PassState::NONE },
        )
        .unwrap();
    assert_ne!(with, print(&one, "1"));
}

#[test]
fn unknown_keys_are_kept_and_a_wrong_field_is_named() {
    let Made { builder, .. } = made();
    let mut files = example_files();
    let (_, pass) = files.iter_mut().find(|(name, _)| name == "pass.json").unwrap();
    let mut value: Value = serde_json::from_slice(pass).unwrap();
    value["featuredActions"] = json!([{"type": "x"}]);
    value["backgroundColor"] = json!("{{colour|rgb(1,2,3)}}");
    *pass = value.to_string().into_bytes();
    let template = Template::from_files("example", files).unwrap();
    template.check_for(builder.issuer()).unwrap();
    let render = |given: Value| {
        let fields = fields(given);
        template
            .render(
                builder.issuer(),
                PassContent { serial: "1", fields: &fields, user_info: None, state: &PassState::NONE },
                "0123456789abcdef",
            )
            .map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap())
            .map_err(|faults| faults.to_string())
    };
    let pass = render(json!({"points": 1, "name": "Ada"})).unwrap();
    assert_eq!(pass["featuredActions"], json!([{"type": "x"}]));
    assert_eq!(pass["backgroundColor"], "rgb(1,2,3)");
    let error = render(json!({"points": 1, "name": "Ada", "colour": "blue"})).unwrap_err();
    assert!(error.starts_with("backgroundColor: found \"blue\""), "{error}");
    let error = render(json!({"points": [1], "name": "{{x}}", "colour": "{{x}}"})).unwrap_err();
    assert!(
        error.contains("primaryFields[0].value") && error.contains("backgroundColor"),
        "a field cannot smuggle a placeholder in: {error}"
    );
}

#[test]
fn a_template_with_faults_names_them_all() {
    let files = vec![
        ("icon.png".to_owned(), b"GIF89a".to_vec()),
        ("manifest.json".to_owned(), b"{}".to_vec()),
        ("notes.txt".to_owned(), b"x".to_vec()),
        ("pass.strings".to_owned(), b"x".to_vec()),
        ("pass.json".to_owned(), b"{,}".to_vec()),
    ];
    let faults = Template::from_files("broken", files).err().unwrap();
    let keys: Vec<_> = faults.list().iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["icon.png", "manifest.json", "notes.txt", "pass.strings", "pass.json", "pass.json"]);

    let Made { builder, .. } = made();
    let mut files = example_files();
    let (_, pass) = files.iter_mut().find(|(name, _)| name == "pass.json").unwrap();
    *pass =
        br#"{"passTypeIdentifier":"pass.other","description":"d","backgroundColor":"red","coupon":{},"generic":{}}"#
            .to_vec();
    let faults = Template::from_files("wrong", files).unwrap().check_for(builder.issuer()).unwrap_err();
    let keys: Vec<_> = faults.list().iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["passTypeIdentifier", "organizationName", "backgroundColor", "style"]);
}
