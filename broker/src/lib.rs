//! The Tidings broker: MQTT and HTTP doors in front of one durable message log.

pub mod core;
pub mod engine;
pub mod gate;
pub mod http;
pub mod log;
pub mod metrics;
