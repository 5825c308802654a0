//! The handlers against a real MQTT broker (mosquitto) and real databases.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod contacts;
mod delivery;
mod failures;
mod login;
mod push_token;
mod restarts;
mod service;
mod support;
