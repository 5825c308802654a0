//! Push notifications: devices register their push tokens, whatever is to be pushed is stored in a durable queue, and
//! workers hand it to APNs and FCM. A message that no device has acknowledged becomes one wake push per sleeping device.

mod api;
mod apps;
mod config;
mod devices;
mod ids;
mod metrics;
pub mod provider;
mod queue;
mod send;
mod service;
#[cfg(test)]
mod testing;
mod wake;

pub use api::error_codes;
pub use apps::AppFaults;
pub use config::{
    ApnsConfig, AppConfig, BreakerConfig, BrokerConfig, Config, FcmConfig, LimitsConfig, RetryConfig, SETTINGS,
};
pub use service::{Listeners, check, run};
pub use wake::BrokerLogin;
