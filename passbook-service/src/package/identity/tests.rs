use std::process::Command;

use super::*;
use crate::package::development::DevelopmentCertificates;

const PASS_TYPE: &str = "pass.org.example.test";
const TEAM: &str = "TESTTEAM";
const NOW: i64 = 1_790_000_000_000;

struct Made {
    folder: tempfile::TempDir,
    paths: DevelopmentCertificates,
}

fn made() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let paths = DevelopmentCertificates::load_or_create(folder.path(), PASS_TYPE, TEAM, NOW).unwrap();
    Made { folder, paths }
}

fn failed(files: &CertificateFiles, pass_type: &str, team: &str, now_ms: i64) -> IdentityError {
    SigningIdentity::load(files, pass_type, team, now_ms).err().unwrap()
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_development_certificate_passes_every_check_and_openssl_agrees_with_its_chain() {
    let Made { folder: _folder, paths } = made();
    let identity = SigningIdentity::load(&paths.files(), PASS_TYPE, TEAM, NOW).unwrap();
    assert_eq!(identity.chain.len(), 1);
    assert_eq!(identity.expires_soon(NOW), None);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let verified = openssl(&[
        "verify",
        "-attime",
        &(NOW / 1000).to_string(),
        "-purpose",
        "sslclient",
        "-CAfile",
        &text(&paths.root),
        "-untrusted",
        &text(&paths.intermediate),
        &text(&paths.certificate),
    ]);
    assert!(verified.ends_with("OK\n"), "{verified}");
    let subject = openssl(&["x509", "-in", &text(&paths.certificate), "-noout", "-subject", "-nameopt", "RFC2253"]);
    assert!(subject.contains(&format!("UID={PASS_TYPE}")) && subject.contains(&format!("OU={TEAM}")), "{subject}");
}

#[test]
fn the_key_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let Made { folder: _folder, paths } = made();
    assert_eq!(std::fs::metadata(&paths.key).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn development_certificates_are_kept_and_renewed_under_the_same_root() {
    let Made { folder, paths } = made();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (root, leaf) = (read(&paths.root), read(&paths.certificate));
    DevelopmentCertificates::load_or_create(folder.path(), PASS_TYPE, TEAM, NOW + 10 * DAY_MS).unwrap();
    assert_eq!(read(&paths.certificate), leaf, "still good for a year");
    DevelopmentCertificates::load_or_create(folder.path(), PASS_TYPE, TEAM, NOW + 380 * DAY_MS).unwrap();
    assert_ne!(read(&paths.certificate), leaf, "about to end");
    DevelopmentCertificates::load_or_create(folder.path(), "pass.org.other", TEAM, NOW).unwrap();
    assert!(SigningIdentity::load(&paths.files(), "pass.org.other", TEAM, NOW).is_ok());
    assert_eq!(read(&paths.root), root);
}

#[test]
fn each_check_says_what_it_found_and_what_to_do() {
    let Made { folder: _folder, paths } = made();
    let files = paths.files();
    let error = failed(&files, "pass.org.other", TEAM, NOW);
    assert_eq!(error.checks(), ["pass type"]);
    let text = error.to_string();
    assert!(text.contains(PASS_TYPE) && text.contains("pass.org.other") && text.contains("wallet.pass_type"), "{text}");
    assert_eq!(failed(&files, PASS_TYPE, "OTHER", NOW).checks(), ["team"]);
    assert_eq!(failed(&files, "pass.x", "OTHER", NOW).checks(), ["pass type", "team"], "all at once");
    assert_eq!(failed(&files, PASS_TYPE, TEAM, NOW + 400 * DAY_MS).checks(), ["not expired"]);
    assert_eq!(failed(&files, PASS_TYPE, TEAM, NOW - 2 * DAY_MS).checks(), ["not expired", "not expired"]);

    let pem = |certificate: &Path, key: &Path, intermediate: Option<&Path>| CertificateFiles::Pem {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        intermediate: intermediate.map(Path::to_owned),
    };
    let alone = pem(&paths.certificate, &paths.key, None);
    let error = failed(&alone, PASS_TYPE, TEAM, NOW);
    assert_eq!(error.checks(), ["chain complete"]);
    assert!(error.to_string().contains("wallet.signing.intermediate"), "{error}");
    assert!(SigningIdentity::load(&pem(&paths.certificate_chain, &paths.key, None), PASS_TYPE, TEAM, NOW).is_ok());

    let other = made();
    let foreign = pem(&paths.certificate, &other.paths.key, Some(&paths.intermediate));
    assert_eq!(failed(&foreign, PASS_TYPE, TEAM, NOW).checks(), ["key matches certificate"]);
    let wrong_chain = pem(&paths.certificate, &paths.key, Some(&other.paths.intermediate));
    assert_eq!(failed(&wrong_chain, PASS_TYPE, TEAM, NOW).checks(), ["chain complete"]);
    assert_eq!(failed(&pem(&paths.key, &paths.key, None), PASS_TYPE, TEAM, NOW).checks(), ["certificate"]);
    assert_eq!(
        failed(&pem(&paths.certificate, Path::new("/nowhere.key"), None), PASS_TYPE, TEAM, NOW).checks(),
        ["readable"]
    );
}

#[test]
fn it_warns_from_thirty_days_before_the_end() {
    let Made { folder: _folder, paths } = made();
    let identity = SigningIdentity::load(&paths.files(), PASS_TYPE, TEAM, NOW).unwrap();
    let end = identity.expires_at_ms();
    assert_eq!(identity.expires_soon(end - 30 * DAY_MS - 1), None);
    assert_eq!(identity.expires_soon(end - 30 * DAY_MS + 1), Some(29));
}

#[test]
fn p12_files_new_and_old_and_der_intermediates_are_read() {
    let Made { folder, paths } = made();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let at = |name: &str| folder.path().join(name);
    let der = at("intermediate.cer");
    openssl(&["x509", "-in", &text(&paths.intermediate), "-outform", "DER", "-out", &text(&der)]);
    // What openssl writes today, and the form of older exports with the legacy ciphers.
    let kinds: [(&str, &[&str]); 3] = [
        ("new.p12", &[]),
        ("3des.p12", &["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"]),
        ("rc2.p12", &["-legacy"]),
    ];
    for (name, options) in kinds {
        let file = at(name);
        let mut arguments = vec!["pkcs12", "-export", "-passout", "pass:geheim", "-out", file.to_str().unwrap()];
        let (certificate, key) = (text(&paths.certificate), text(&paths.key));
        arguments.extend(["-in", &certificate, "-inkey", &key]);
        arguments.extend(options);
        openssl(&arguments);
        let p12 = |password: &str, intermediate: Option<&Path>| CertificateFiles::Pkcs12 {
            file: file.clone(),
            password: password.to_owned(),
            intermediate: intermediate.map(Path::to_owned),
        };
        assert!(SigningIdentity::load(&p12("geheim", Some(&der)), PASS_TYPE, TEAM, NOW).is_ok(), "{name}");
        assert_eq!(failed(&p12("geheim", None), PASS_TYPE, TEAM, NOW).checks(), ["chain complete"], "{name}");
        let error = failed(&p12("wrong", Some(&der)), PASS_TYPE, TEAM, NOW);
        assert_eq!(error.checks(), [".p12 file"], "{name}");
        assert!(error.to_string().contains("wallet.signing.p12_password"), "{error}");
    }
}
