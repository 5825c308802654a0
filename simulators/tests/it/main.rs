//! The simulators through their public doors.

mod apns;
mod apns_faults;
mod common;
mod control;
mod fcm;
mod pass_server;
mod wallet;
