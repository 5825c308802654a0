//! Statements of many rows. Their sizes are few, so that each of them stays prepared; a portion of another size is
//! made of several.

use std::fmt::Write;

use sqlx::{AnyConnection, AssertSqlSafe};

/// The sizes, the largest first. Both databases take as many parameters as the widest row times the largest.
const SIZES: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// Rows in portions of the sizes.
#[must_use]
pub fn portions<T>(mut rows: &[T]) -> Vec<&[T]> {
    let mut portions = Vec::new();
    for size in SIZES {
        while rows.len() >= size {
            let (portion, rest) = rows.split_at(size);
            portions.push(portion);
            rows = rest;
        }
    }
    portions
}

/// `(?, ?), (?, ?)`: rows of parameters.
#[must_use]
pub fn values(rows: usize, columns: usize) -> String {
    vec![format!("({})", parameters(columns)); rows].join(", ")
}

/// `?, ?`: parameters.
#[must_use]
pub fn parameters(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// A statement whose parameters are `?`, in the order in which they are bound, as this connection's database wants it.
/// SQLite looks through the names of all parameters for each one that has a name (`$1` is one there), which would make
/// a statement of many rows slow.
#[must_use]
pub fn statement(connection: &AnyConnection, text: &str) -> AssertSqlSafe<String> {
    if connection.backend_name() == "SQLite" {
        return AssertSqlSafe(text.to_owned());
    }
    let mut parts = text.split('?');
    let mut numbered = String::with_capacity(text.len() * 5);
    numbered.push_str(parts.next().unwrap_or_default());
    for (number, part) in (1..).zip(parts) {
        let number: u32 = number;
        // Writing to a text cannot fail.
        let _ = write!(numbered, "${number}{part}");
    }
    AssertSqlSafe(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_known_sizes_and_none_is_lost() {
        let rows: Vec<u32> = (0..599).collect();
        let portions = portions(&rows);
        assert_eq!(portions.iter().map(|portion| portion.len()).collect::<Vec<_>>(), [256, 256, 64, 16, 4, 2, 1]);
        assert_eq!(portions.concat(), rows);
        assert_eq!(values(2, 2), "(?, ?), (?, ?)");
        assert_eq!(parameters(3), "?, ?, ?");
    }
}
