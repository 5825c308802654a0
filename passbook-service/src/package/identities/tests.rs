use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::package::DAY_MS;
use crate::package::development::DevelopmentCertificates;

const TYPE: &str = "pass.org.example.test";
const TEAM: &str = "TESTTEAM";
const NOW: i64 = 1_790_000_000_000;

fn source(place: &str, files: CertificateFiles) -> CertificateSource {
    CertificateSource { place: place.to_owned(), files }
}

/// A certificate that was made at this time: it begins an hour before and lasts 397 days.
fn made(folder: &Path, type_identifier: &str, at_ms: i64) -> CertificateFiles {
    DevelopmentCertificates::load_or_create(folder, type_identifier, TEAM, at_ms).unwrap().files()
}

#[test]
fn the_newest_certificate_that_is_valid_signs_and_each_takes_over_in_its_turn() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let later = NOW + 300 * DAY_MS;
    let sources = vec![source("new", made(new.path(), TYPE, later)), source("old", made(old.path(), TYPE, NOW))];
    let identities = Identities::load(TYPE, TEAM, sources, true, NOW).unwrap();
    let began = |now_ms: i64| identities.signing(now_ms).map(|identity| identity.valid_ms().0);
    let hour = 3_600_000;
    assert_eq!(began(NOW), Some(NOW - hour), "the new one has yet to begin");
    assert_eq!(began(later), Some(later - hour), "both are valid: the newer one");
    assert_eq!(began(NOW + 500 * DAY_MS), Some(later - hour), "the old one has ended");
    assert_eq!(began(NOW + 900 * DAY_MS), None);
    assert_eq!(identities.signs_until(NOW), Some(later + 397 * DAY_MS), "one after the other, without a hole");
    assert_eq!(identities.signs_until(NOW + 900 * DAY_MS), None);
}

#[test]
fn an_ended_certificate_stops_the_start_only_when_no_other_is_valid() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let later = NOW + 500 * DAY_MS;
    let old = source("old", made(old.path(), TYPE, NOW));
    let error = Identities::load(TYPE, TEAM, vec![old.clone()], true, later).err().unwrap();
    assert_eq!(error.checks(), ["not expired"]);
    assert!(error.to_string().contains("old: "), "the place is named: {error}");
    let both = vec![old, source("new", made(new.path(), TYPE, later))];
    assert_eq!(Identities::load(TYPE, TEAM, both, true, later).unwrap().all().len(), 2);
}

#[test]
fn a_certificate_of_another_type_is_refused_beside_a_right_one() {
    let (right, wrong) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sources = vec![
        source("right", made(right.path(), TYPE, NOW)),
        source("wallet.certificates.next", made(wrong.path(), "pass.org.example.other", NOW)),
    ];
    let error = Identities::load(TYPE, TEAM, sources, true, NOW).err().unwrap();
    assert_eq!(error.checks(), ["pass type"]);
    assert!(error.to_string().contains("wallet.certificates.next"), "{error}");
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = made(folder.path(), TYPE, NOW);
    let key = DevelopmentCertificates::paths(folder.path()).key;
    for (mode, allowed) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = |private| Identities::load(TYPE, TEAM, vec![source("one", files.clone())], private, NOW);
        assert!(loaded(false).is_ok());
        match loaded(true) {
            Ok(_) => assert!(allowed, "{mode:o}"),
            Err(error) => {
                assert!(!allowed, "{mode:o}");
                let text = error.to_string();
                assert!(text.contains("chmod 600") && text.contains(&key.display().to_string()), "{text}");
            }
        }
    }
}

#[test]
fn replaced_files_are_taken_over_and_broken_ones_are_not() {
    let (folder, renewed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = made(folder.path(), TYPE, NOW);
    let identities = Identities::load(TYPE, TEAM, vec![source("one", files.clone())], true, NOW).unwrap();
    let before = identities.signing(NOW).unwrap().fingerprint();
    assert!(!identities.look_again(NOW).unwrap(), "nothing was replaced");
    made(renewed.path(), TYPE, NOW + DAY_MS);
    let (from, to) = (DevelopmentCertificates::paths(renewed.path()), DevelopmentCertificates::paths(folder.path()));
    let replace = |from: &Path, to: &Path| {
        std::fs::copy(from, to).unwrap();
        // The file system's clock may be coarse: the time of change must differ.
        let file = std::fs::File::options().write(true).open(to).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
    };
    replace(&from.certificate, &to.certificate);
    let error = identities.look_again(NOW + DAY_MS).unwrap_err();
    assert_eq!(error.checks(), ["key matches certificate"]);
    assert!(!identities.look_again(NOW + DAY_MS).unwrap(), "told once");
    assert_eq!(identities.signing(NOW).unwrap().fingerprint(), before, "the old one goes on signing");
    replace(&from.key, &to.key);
    replace(&from.intermediate, &to.intermediate);
    assert!(identities.look_again(NOW + DAY_MS).unwrap());
    assert_ne!(identities.signing(NOW + DAY_MS).unwrap().fingerprint(), before);
}
