//! The simulators through their public doors.

mod apns;
mod apns_faults;
mod clients;
mod common;
mod control;
mod fcm;
mod pass_server;
mod phone;
mod wallet;
