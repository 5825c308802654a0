//! Figures of several brokers and several runs, as a table with medians and ratios.

use std::fmt::Write;

/// What was measured, in the order in which it is shown. A ratio below 1 means that the first broker needs less.
pub(super) type Figures = Vec<(&'static str, f64)>;

/// One broker's runs of a scenario.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) runs: Vec<Figures>,
}

/// The table; the first column is compared with each of the others.
pub(super) fn text(title: &str, columns: &[Column]) -> String {
    let mut rows: Vec<&'static str> = Vec::new();
    for (name, _) in columns.iter().flat_map(|column| column.runs.iter().flatten()) {
        if !rows.contains(name) {
            rows.push(name);
        }
    }
    let width = rows.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(title.chars().count());
    let mut text = format!("\n{title:<width$}");
    for column in columns {
        let _ = write!(text, " {:>12}", column.name);
    }
    for other in columns.iter().skip(1) {
        let _ = write!(text, " {:>12}", format!("/{}", other.name));
    }
    text.push('\n');
    for row in rows {
        let _ = write!(text, "{row:<width$}");
        let medians: Vec<Option<f64>> = columns.iter().map(|column| median(column, row)).collect();
        for value in &medians {
            let _ = write!(text, " {:>12}", value.map_or_else(|| "-".to_owned(), number));
        }
        for other in medians.iter().skip(1) {
            let ratio = match (medians[0], other) {
                (Some(ours), Some(theirs)) if *theirs > 0.0 => number(ours / theirs),
                _ => "-".to_owned(),
            };
            let _ = write!(text, " {ratio:>12}");
        }
        text.push('\n');
    }
    text
}

fn median(column: &Column, row: &str) -> Option<f64> {
    let values = column.runs.iter().filter_map(|run| run.iter().find(|(name, _)| *name == row));
    let mut values: Vec<f64> = values.map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Three significant digits, whole numbers in full.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ratios_and_gaps() {
        let ours =
            Column { name: "ours", runs: vec![vec![("a", 1.0), ("b", 5.0)], vec![("a", 3.0)], vec![("a", 2.0)]] };
        let theirs = Column { name: "theirs", runs: vec![vec![("a", 4.0)]] };
        let text = text("what", &[ours, theirs]);
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["what", "ours", "theirs", "/theirs"]);
        assert_eq!(rows[1], ["a", "2.00", "4.00", "0.50"]);
        assert_eq!(rows[2], ["b", "5.00", "-", "-"]);
    }
}
