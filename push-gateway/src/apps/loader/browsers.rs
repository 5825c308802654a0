//! Credentials for Web Push: VAPID keys, and the policy and client that all apps share.

use std::sync::Arc;

use tidings_shared::config::Settings;

use super::super::credentials::{Client, Loaded};
use super::{Loader, digest};
use crate::config::{AppConfig, WebPushConfig};
use crate::provider::webpush::{self, Policy, Vapid, WebPush};

impl Loader<'_> {
    pub(super) fn webpush(&mut self, app: &AppConfig, webpush: &WebPushConfig) -> Option<Loaded> {
        let place = |setting: &str| Settings::named("push.apps", &app.name, &format!("webpush.{setting}"));
        let Some(file) = &webpush.private_key_file else {
            return self.fault(format!(
                "{} is missing: a P-256 private key, for example from `openssl ecparam -genkey -name prime256v1 -noout`",
                place("private_key_file")
            ));
        };
        let Some(contact) = &webpush.contact else {
            return self.fault(format!(
                "{} is missing: push services want a mailto: or https: address to write to when something goes wrong",
                place("contact")
            ));
        };
        let key = self.read(file, &place("private_key_file"))?;
        let vapid = match Vapid::new(&key, contact) {
            Ok(vapid) => vapid,
            Err(error @ webpush::VapidError::Contact(_)) => {
                return self.fault(format!("{}: {error}", place("contact")));
            }
            Err(error) => {
                return self.fault(format!("{}: {}: {error}", place("private_key_file"), file.display()));
            }
        };
        let (policy, http) = self.push_services()?;
        let (per_origin, style) = (self.config.webpush.per_origin, self.config.wake_style.clone());
        let client = WebPush::new(vapid, policy, http, per_origin, style, self.clock.clone());
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("VAPID key").to_owned();
        let digest = digest(&[&key, contact.as_bytes()]);
        Some(Loaded { name, digest, client: Client::WebPush(Arc::new(client)), expires_at_ms: None })
    }

    fn push_services(&mut self) -> Option<(Arc<Policy>, reqwest::Client)> {
        if let Some(made) = &self.shared.webpush {
            return Some(made.clone());
        }
        let settings = &self.config.webpush;
        let policy = match Policy::new(&settings.allow, &settings.ports, settings.plain_http) {
            Ok(policy) => Arc::new(policy),
            Err(error @ webpush::PolicyError::Port(_)) => return self.fault(format!("push.webpush.ports: {error}")),
            Err(error) => return self.fault(format!("push.webpush.allow: {error}")),
        };
        let timeout = settings.request_timeout;
        match webpush::client(&policy, self.config.ca_file.as_deref(), timeout) {
            Ok(client) => {
                let made = (policy, client);
                self.shared.webpush = Some(made.clone());
                Some(made)
            }
            Err(error) => self.fault(format!("push.ca_file: {error:#}")),
        }
    }
}
