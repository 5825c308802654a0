//! What each file looks like: it says what it is for, it is not too long, and the lists of ports agree.

use crate::source::{Source, nothing_at, sources};

/// Files that may be longer than [`LONGEST`], each with its reason.
const LONG_FOR_A_REASON: &[(&str, &str)] = &[];

/// A file has one subject; one that is longer than this has two.
const LONGEST: usize = 500;

/// A suite of tests is one subject for longer.
const LONGEST_TESTS: usize = 1000;

/// Files of usual size.
const USUAL: usize = 300;

fn lines(source: &Source) -> usize {
    source.text.lines().count()
}

#[test]
fn every_file_says_what_it_is_for() {
    let places: Vec<String> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! ") && !source.is_test())
        .map(|source| format!("{}: begins with `{}`", source.path, source.text.lines().next().unwrap_or_default()))
        .collect();
    nothing_at("the first line of a file is `//! ` and says what the room is for", &places);
}

#[test]
fn files_have_one_subject() {
    let mut long: Vec<Source> = sources().into_iter().filter(|source| lines(source) > USUAL).collect();
    long.sort_by_key(|source| std::cmp::Reverse(lines(source)));
    // The report: visible with `--nocapture`, and whenever this test fails.
    for source in &long {
        println!("{:>5} {}", lines(source), source.path);
    }
    let too_long = |source: &&Source| {
        let longest = if source.is_test() { LONGEST_TESTS } else { LONGEST };
        lines(source) > longest && !LONG_FOR_A_REASON.iter().any(|(known, _)| *known == source.path)
    };
    let places: Vec<String> =
        long.iter().filter(too_long).map(|source| format!("{}: {} lines", source.path, lines(source))).collect();
    nothing_at("a file of more than 500 lines (tests: 1000) has more than one subject: divide it", &places);
}
