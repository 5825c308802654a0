//! What happened, for a reader who scrolls to the end: each step, its time, its result, and what to do.

use std::time::Duration;

/// How many tests the runners reported.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Reads one line of a test runner: nextest's summary, or cargo test's `test result`. nextest shows the latter too,
    /// indented, when it shows what a failed test has printed.
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colours(line);
        let counts = if let Some(rest) = line.strip_prefix("test result:") {
            rest
        } else if line.trim_start().starts_with("Summary [") {
            match line.split_once(" tests run:").or(line.split_once(" test run:")) {
                Some((_, rest)) => rest,
                None => return,
            }
        } else {
            return;
        };
        let words: Vec<&str> =
            counts.split(|c: char| c.is_whitespace() || "(),;".contains(c)).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let &[number, what] = pair else { continue };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" | "timed" | "exec" => self.failed += number,
                "skipped" | "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Both together.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' {
            for c in characters.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

/// One line of the summary.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) tally: Tally,
    /// What to do, when the step failed.
    pub(crate) failure: Option<String>,
}

/// Everything that ran.
#[derive(Default)]
pub(crate) struct Summary {
    pub(crate) lines: Vec<Line>,
}

impl Summary {
    /// Prints the table and the closing line; true when every step succeeded.
    pub(crate) fn print(&self) -> bool {
        println!("\n== Summary");
        let mut all = Tally::default();
        for line in &self.lines {
            all.add(line.tally);
            let tests = match line.tally {
                Tally { passed: 0, failed: 0, .. } => String::new(),
                Tally { passed, failed: 0, .. } => format!(" ({passed} passed)"),
                Tally { passed, failed, .. } => format!(" ({passed} passed, {failed} failed)"),
            };
            let result = if line.failure.is_some() { "FAILED" } else { "ok" };
            let seconds = line.took.as_secs_f64();
            println!("{:<14} {seconds:>7.1} s  {result}{tests}", line.name);
        }
        let failures = || self.lines.iter().filter_map(|line| Some((line.name, line.failure.as_ref()?)));
        for (name, what_to_do) in failures() {
            println!("\n{name}: {what_to_do}");
        }
        if all != Tally::default() {
            println!("\n{} passed, {} failed, {} skipped", all.passed, all.failed, all.skipped);
        }
        failures().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn read(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        tally
    }

    #[test]
    fn reads_what_nextest_closes_with() {
        let tally =
            read(&["     Summary [   0.052s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 4 skipped"]);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (9, 3, 4));
    }

    #[test]
    fn reads_coloured_lines_and_a_run_that_was_cut_short() {
        let tally = read(&[
            "\u{1b}[32;1m     Summary\u{1b}[0m [   1.052s] \u{1b}[1m1/7\u{1b}[0m tests run: 1 \u{1b}[32mpassed\u{1b}[0m, 0 skipped",
        ]);
        assert_eq!((tally.passed, tally.failed), (1, 0));
    }

    #[test]
    fn adds_what_cargo_test_says_of_each_binary() {
        let tally = read(&[
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out",
            "nothing that counts: 17 passed",
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ]);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (4, 2, 1));
    }
}
