//! The Tidings broker: MQTT and HTTP doors in front of one durable message log.
//!
//! [`gate`] brings sockets and packets, [`http`] long polls and publishes; both speak to the task in [`core`], which
//! owns the [`engine`] and carries out what it decides on the [`log`].

pub mod core;
pub mod engine;
pub mod explain;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
pub mod http;
pub mod log;
pub mod metrics;

mod certificate;
mod config;
mod service;
mod settings;

pub use config::{Config, Log, SETTINGS, Tls};
pub use service::{Listeners, run};
