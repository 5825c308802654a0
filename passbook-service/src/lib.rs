//! The passbook-service: Apple Wallet passes that are made, signed, changed and kept up to date on every phone.
//!
//! `web/` speaks Apple's protocol and the service-key API, `package/` builds and signs, `update/` gives tags and sends
//! pushes through the push-gateway, `diagnose/` reads what devices complain about, `google/` keeps Google Wallet up to
//! date, `order/` has Apple's order tracking, `store/` holds the only SQL.

pub mod campaign;
pub mod catalog;
pub mod config;
pub mod diagnose;
pub mod google;
pub mod import;
pub mod link;
pub mod metrics;
mod moving;
pub mod order;
pub mod package;
pub mod prune;
mod run;
mod secret_file;
pub mod store;
pub mod token;
pub mod update;
mod watch;
pub mod web;

pub use config::{Config, SETTINGS, TokenMode};
pub use package::development::DevelopmentCertificates;
pub use run::{Listeners, run};
pub use web::openapi;
