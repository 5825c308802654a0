//! Push notifications: devices register their push tokens, whatever is to be pushed is stored in a durable queue, and
//! workers hand it to APNs and FCM. A message that no device has acknowledged becomes one wake push per sleeping device.

mod api;
mod apps;
mod config;
mod devices;
mod events;
mod ids;
mod metrics;
pub mod provider;
mod queue;
mod receipts;
mod segments;
mod send;
mod service;
mod templates;
#[cfg(test)]
mod testing;
mod wake;
mod webhooks;

pub use api::{error_codes, openapi};
pub use apps::AppFaults;
pub use config::{
    ApnsConfig, AppConfig, BreakerConfig, BrokerConfig, Config, FcmConfig, GorushConfig, LimitsConfig, RegistryConfig,
    RetryConfig, SETTINGS, WebPushConfig, WebPushPolicy, WebhookConfig,
};
pub use service::{Listeners, check, run};
pub use wake::BrokerLogin;
