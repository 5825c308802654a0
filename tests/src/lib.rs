//! The bench on which the tests across services stand: it starts the real programs, speaks to them through their
//! public doors with clients that nobody here wrote, waits for events with a bound, and shows the logs when a test fails.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "this crate is only used by tests, and a test that cannot go on must fail where it stands"
)]

pub mod broker;
pub mod curl;
pub mod mosquitto;
pub mod packet;
pub mod passbook;
pub mod pkpass;
pub mod ports;
pub mod programs;
pub mod push;
pub mod python;
pub mod running;
pub mod tokens;
pub mod wait;
pub mod world;
