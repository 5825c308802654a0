//! The promises of Tidings, each tested on the real programs through their public doors.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail where it stands"
)]

mod access;
mod durability;
mod errors;
mod long_poll;
mod tokens;
mod wake;
