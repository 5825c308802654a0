//! Passes, tokens and registrations of another provider: read line by line, checked, stored in portions. A file that comes
//! again goes on where it stopped and does nothing twice.

mod apply;
mod moment;
mod row;
mod token;

pub use apply::{Checked, ImportedDevice, ImportedPass, check};
pub use row::{ImportRows, Refusal, Registration, Row};
pub use token::KnownToken;

/// Most rows of one request.
pub const MOST_ROWS: usize = 2_000;
