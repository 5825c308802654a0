//! The promises of Tidings, each tested on the real programs through their public doors.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail where it stands"
)]

mod access;
mod contacts;
mod doors;
mod durability;
mod errors;
mod foreign_packages;
mod full_disk;
mod hostile;
mod long_poll;
mod lost_updates;
mod moving_command;
mod operations;
mod pass_update;
mod presence;
mod push_command;
mod push_durability;
mod setup;
mod stream;
mod token_life;
mod tokens;
mod wake;
mod wallet;
