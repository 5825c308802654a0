//! `cargo xtask test`: the steps, in the order in which they fail fastest, with one summary at the end.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::postgres::Postgres;
use crate::summary::{Line, Summary, Tally};
use crate::{prerequisites, python, shell, workspace};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct TestArguments {
    /// Run only these steps (comma separated)
    #[arg(long, value_delimiter = ',')]
    only: Vec<Step>,
    /// Run only tests whose name contains this; implies the step `tests`
    filter: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    /// rustfmt agrees with every file
    Fmt,
    /// clippy on every target, warnings are errors
    Clippy,
    /// The documentation builds, warnings are errors
    Docs,
    /// Every test of the workspace
    Tests,
    /// The examples in the documentation
    Doctests,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Fmt => "formatting",
            Step::Clippy => "clippy",
            Step::Docs => "docs",
            Step::Tests => "tests",
            Step::Doctests => "doc tests",
        }
    }

    fn when_it_fails(self) -> &'static str {
        match self {
            Step::Fmt => "run `cargo fmt --all`, look at what it changed, and commit it",
            Step::Clippy => {
                "mend what clippy names above; a rule that is wrong in one place gets `#[expect(…, reason = \"…\")]` there"
            }
            Step::Docs => "mend the documentation that rustdoc names above (often a link to something private)",
            Step::Tests => "the failing tests are named above; run one alone with `cargo xtask test NAME`",
            Step::Doctests => "mend the example that is named above, or the code that it shows",
        }
    }

    /// Whether the step starts tests, which need the foreign clients and a database.
    fn runs_tests(self) -> bool {
        matches!(self, Step::Tests | Step::Doctests)
    }
}

/// What the tests find in their environment.
struct Surroundings {
    postgres: Postgres,
    python: PathBuf,
}

/// Runs the chosen steps; true when all succeeded.
pub(crate) fn run(arguments: &TestArguments) -> Result<bool> {
    let chosen = chosen(arguments);
    let mut summary = Summary::default();
    let mut surroundings = None;
    if chosen.iter().any(|step| step.runs_tests()) {
        println!("\n== prerequisites");
        let (took, prepared) = timed(prepare);
        summary.lines.push(Line {
            name: "prerequisites",
            took,
            tally: Tally::default(),
            failure: prepared.as_ref().err().map(|error| format!("{error:#}")),
        });
        // Without them the tests would only fail one by one.
        surroundings = prepared.ok();
    }
    for step in chosen {
        if step.runs_tests() && surroundings.is_none() {
            continue;
        }
        println!("\n== {}", step.name());
        let (took, result) = timed(|| carry_out(step, arguments, surroundings.as_ref()));
        let (tally, failure) = match result {
            Ok((true, tally)) => (tally, None),
            Ok((false, tally)) => (tally, Some(step.when_it_fails().to_owned())),
            Err(error) => (Tally::default(), Some(format!("{error:#}"))),
        };
        summary.lines.push(Line { name: step.name(), took, tally, failure });
    }
    drop(surroundings);
    Ok(summary.print())
}

fn chosen(arguments: &TestArguments) -> Vec<Step> {
    let all = Step::value_variants().iter().copied();
    if arguments.filter.is_some() {
        return vec![Step::Tests];
    }
    let only: HashSet<Step> = arguments.only.iter().copied().collect();
    all.filter(|step| only.is_empty() || only.contains(step)).collect()
}

fn prepare() -> Result<Surroundings> {
    prerequisites::ensure()?;
    let python = python::ensure()?;
    let postgres = Postgres::start()?;
    println!("PostgreSQL: {}\nPython: {}", postgres.url(), python.display());
    Ok(Surroundings { postgres, python })
}

fn carry_out(step: Step, arguments: &TestArguments, surroundings: Option<&Surroundings>) -> Result<(bool, Tally)> {
    match step {
        Step::Fmt => uncounted(shell::cargo(&["fmt", "--all", "--check"])),
        Step::Clippy => {
            uncounted(shell::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]))
        }
        Step::Docs => {
            let mut command = shell::cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
            command.env("RUSTDOCFLAGS", "--deny warnings");
            uncounted(command)
        }
        Step::Tests => {
            // The tests across services start the real programs; cargo does not build those for another package's tests.
            if !shell::show(shell::cargo(&["build", "--workspace", "--bins", "--locked"]))? {
                return Ok((false, Tally::default()));
            }
            let mut command = if workspace::on_path("cargo-nextest").is_some() {
                shell::cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])
            } else {
                shell::cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"])
            };
            command.args(&arguments.filter);
            surround(&mut command, surroundings);
            shell::show_and_count(command)
        }
        Step::Doctests => {
            let mut command = shell::cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--doc"]);
            surround(&mut command, surroundings);
            shell::show_and_count(command)
        }
    }
}

fn uncounted(command: Command) -> Result<(bool, Tally)> {
    Ok((shell::show(command)?, Tally::default()))
}

fn surround(command: &mut Command, surroundings: Option<&Surroundings>) {
    // With this, a test that lacks what it needs fails and does not skip itself.
    command.env("TIDINGS_TEST_STRICT", "1").env("TIDINGS_TEST_BINARIES", "built");
    if let Some(Surroundings { postgres, python }) = surroundings {
        command.env("TIDINGS_TEST_POSTGRES", postgres.url()).env("TIDINGS_TEST_PYTHON", python);
    }
}

#[expect(clippy::disallowed_methods, reason = "tells a person how long a step took")]
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = std::time::Instant::now();
    let result = work();
    (start.elapsed(), result)
}
