//! Everything of the runtime that knows MQTT: one connection to the broker, with what comes in and what goes out.

mod connection;
mod driver;
mod outlet;
mod session;
mod subscription;

pub use connection::BrokerOptions;
pub(super) use driver::Driver;
pub(super) use outlet::{Outlet, Refused};
