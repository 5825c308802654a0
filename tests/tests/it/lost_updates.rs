//! Promise: with sixteen writers on two real processes and one database, devices that ask all the time see the latest
//! change of every pass in exactly one list, and no tag stands still. `tidings bench wallet changes` is the load and the
//! judge; what it counts as lost is a pass whose latest change lies within the tags of a device's lists and in none of them.

use std::process::Command;

use tidings_tests::programs::program;

/// Plays it on these stores; the rows of the table.
fn changes(store: &str) -> String {
    let mut command = Command::new(program("tidings"));
    command.args(["bench", "wallet", "changes", "--peers", "tidings", "--stores", store, "--processes", "2"]);
    command.args(["--writers", "16", "--watchers", "4", "--passes", "160", "--seconds", "3"]);
    if let Ok(server) = std::env::var("TIDINGS_TEST_POSTGRES") {
        command.args(["--postgres", &server]);
    }
    // What the tester's shell has set is no setting of the load.
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDINGS_")) {
        command.env_remove(variable);
    }
    let output = command.output().expect("tidings can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn figure(table: &str, row: &str) -> f64 {
    let line = table.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no {row} in\n{table}"));
    line.trim_start_matches(row).trim().parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
fn sixteen_writers_on_two_processes_lose_no_update() {
    let stores: &[&str] =
        if std::env::var_os("TIDINGS_TEST_POSTGRES").is_some() { &["postgres", "sqlite"] } else { &["sqlite"] };
    for store in stores {
        let table = changes(store);
        assert!(figure(&table, "changes: passes checked") >= 100.0, "too few passes changed to say anything:\n{table}");
        assert!(figure(&table, "changes: pushes/s") > 0.0, "{table}");
        assert!(figure(&table, "changes: updates lost").abs() < 0.5, "{table}");
        assert!(figure(&table, "changes: tags that stood still").abs() < 0.5, "{table}");
    }
}
