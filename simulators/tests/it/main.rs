//! The simulators through their public doors.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, outside of test functions"
)]

mod apns;
mod apns_faults;
mod authority;
mod clients;
mod common;
mod control;
mod fcm;
mod pass_server;
mod phone;
mod wallet;
mod webpush;
