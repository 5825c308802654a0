//! The handlers against a real MQTT broker (mosquitto) and real databases.

mod contacts;
mod delivery;
mod failures;
mod push_token;
mod restarts;
mod service;
mod support;
