//! Statements of many rows. Their sizes are few, so that each of them stays prepared; a portion of another size is
//! made of several.

use std::fmt::Write;

/// The sizes, the largest first. Both databases take as many parameters as the widest row times the largest.
const SIZES: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// Rows in portions of the sizes.
pub(crate) fn portions<T>(mut rows: &[T]) -> Vec<&[T]> {
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

/// `($3, $4), ($5, $6)`: rows of parameters, numbered from `first`.
pub(crate) fn values(rows: usize, columns: usize, first: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 7);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { "), (" });
        list(&mut text, columns, first + row * columns);
    }
    text.push(')');
    text
}

/// `$3, $4`: parameters, numbered from `first`.
pub(crate) fn parameters(count: usize, first: usize) -> String {
    let mut text = String::with_capacity(count * 7);
    list(&mut text, count, first);
    text
}

fn list(text: &mut String, count: usize, first: usize) {
    for number in first..first + count {
        // Writing to a text cannot fail.
        let _ = write!(text, "{}${number}", if number == first { "" } else { ", " });
    }
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
        assert_eq!(values(2, 2, 3), "($3, $4), ($5, $6)");
        assert_eq!(parameters(3, 1), "$1, $2, $3");
    }
}
