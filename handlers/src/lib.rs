//! Small functions that answer what devices publish: the framework in [`runtime`], then one file per handler.
//!
//! The service stands on outbound connections only: to the broker, the database and the push-gateway. Its own port
//! serves health and metrics.

pub mod config;
pub mod contacts;
pub mod push_token;
pub mod runtime;
mod service;

pub use config::{Config, SETTINGS};
pub use runtime::dead_letters;
pub use service::{Listeners, routes, run};
