//! Both databases go through the same steps.

use std::collections::BTreeSet;
use std::fs;

use crate::source::root;

fn steps(database: &str) -> BTreeSet<String> {
    let folder = root().join("migrations").join(database);
    fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".sql"))
        .collect()
}

#[test]
fn sqlite_and_postgres_have_the_same_steps() {
    let (sqlite, postgres) = (steps("sqlite"), steps("postgres"));
    assert!(!sqlite.is_empty(), "there are migrations");
    assert_eq!(sqlite, postgres, "migrations/sqlite and migrations/postgres have the same files");
}

#[test]
fn every_step_has_a_number_of_its_own() {
    let mut numbers = BTreeSet::new();
    for name in steps("sqlite") {
        let number = name.split('_').next().unwrap_or_default().to_owned();
        assert!(
            number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()),
            "{name}: a migration begins with four digits and `_`"
        );
        assert!(numbers.insert(number), "{name}: another migration has the same number");
    }
}
