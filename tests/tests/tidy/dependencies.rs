//! Imports point one way: tidings → services → shared; simulators stand on shared alone; no service imports another.

use std::collections::BTreeMap;
use std::process::Command;
use std::{env, fs};

use crate::source::{members, nothing_at, root};

/// Which members each member may depend on. A member that is not here may depend on none.
const ALLOWED: &[(&str, &[&str])] = &[
    ("shared", &[]),
    ("broker", &["shared"]),
    ("handlers", &["shared"]),
    ("push-gateway", &["shared"]),
    ("passbook-service", &["shared"]),
    ("simulators", &["shared"]),
    ("tidings", &["shared", "broker", "handlers", "push-gateway", "passbook-service", "simulators"]),
    ("tests", &["shared"]),
    ("xtask", &[]),
];

/// In tests a service may stand against the simulators.
const ALLOWED_IN_TESTS: &[&str] = &["simulators"];

#[test]
fn imports_point_one_way() {
    let folders = members();
    let names: BTreeMap<String, String> =
        folders.iter().map(|folder| (package_name(&manifest(folder)), folder.clone())).collect();
    let mut places = Vec::new();
    for folder in &folders {
        let allowed = ALLOWED.iter().find(|(member, _)| member == folder).map_or(&[][..], |(_, allowed)| allowed);
        for (section, package) in dependencies(&manifest(folder)) {
            let Some(target) = names.get(&package) else { continue };
            let in_tests = section == "dev-dependencies" && ALLOWED_IN_TESTS.contains(&target.as_str());
            if !allowed.contains(&target.as_str()) && !in_tests {
                places.push(format!("{folder}/Cargo.toml [{section}]: {package}"));
            }
        }
    }
    nothing_at("imports point one way (architecture, Rooms)", &places);
}

#[test]
fn there_is_one_tls_stack() {
    // What is built here, not what Cargo.lock names: a weak feature leaves crates there that nothing uses, and those of
    // other systems may not have been downloaded.
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--workspace", "--locked", "--offline"])
        .args(["--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(tree.contains("\naws-lc-rs v"), "the tree was read");
    let forbidden = ["openssl", "openssl-sys", "native-tls", "ring"];
    let found: Vec<&str> =
        tree.lines().filter(|line| forbidden.iter().any(|name| line.split(' ').next() == Some(name))).collect();
    assert!(found.is_empty(), "the one TLS stack is rustls with aws-lc-rs, and these are built too: {found:?}");
}

fn manifest(folder: &str) -> String {
    let file = root().join(folder).join("Cargo.toml");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn package_name(manifest: &str) -> String {
    let line = manifest.lines().find(|line| line.starts_with("name = ")).expect("a package has a name");
    line.trim_start_matches("name = ").trim_matches('"').to_owned()
}

/// (section, package) of every dependency.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies")
            && let Some(package) = line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty())
        {
            found.push((section.clone(), package.to_owned()));
        }
    }
    found
}
