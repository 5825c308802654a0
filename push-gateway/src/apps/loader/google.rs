//! Credentials for FCM: service accounts.

use std::path::Path;
use std::sync::{Arc, Weak};

use tidings_shared::auth::{AccessTokens, ServiceAccount, ServiceAccountError};
use tidings_shared::config::Settings;

use super::super::credentials::{Client, Loaded};
use super::{Loader, digest};
use crate::config::{AppConfig, FcmConfig};
use crate::provider::fcm::{self, Fcm, Pacer};

impl Loader<'_> {
    pub(super) fn fcm(&mut self, app: &AppConfig, fcm: &FcmConfig) -> Option<Vec<Loaded>> {
        let place = |setting: &str| Settings::named("push.apps", &app.name, &format!("fcm.{setting}"));
        if fcm.service_account_file.is_none() && fcm.credentials_folder.is_none() {
            return self.fault(format!(
                "{} is missing: the Google Cloud console gives the service account's key as JSON",
                place("service_account_file")
            ));
        }
        let mut loaded = Vec::new();
        if let Some(file) = &fcm.service_account_file {
            loaded.push(self.service_account(fcm, file, &place, "service_account_file")?);
        }
        for file in self.folder(fcm.credentials_folder.as_deref(), &place("credentials_folder"))? {
            if file.extension().is_some_and(|extension| extension == "json") {
                loaded.push(self.service_account(fcm, &file, &place, "credentials_folder")?);
            }
        }
        self.some(loaded, &place("credentials_folder"))
    }

    fn service_account(
        &mut self,
        fcm: &FcmConfig,
        file: &Path,
        place: &dyn Fn(&str) -> String,
        setting: &str,
    ) -> Option<Loaded> {
        let json = self.read(file, &place(setting))?;
        let unusable =
            |error: ServiceAccountError| format!("{}: {}: {error}; download it again", place(setting), file.display());
        let account = match ServiceAccount::parse(&json) {
            Ok(account) => account,
            Err(error) => return self.fault(unusable(error)),
        };
        let Some(project) = fcm.project.clone().or_else(|| account.project_id.clone()) else {
            return self.fault(format!("{} is missing, and the service account names no project", place("project")));
        };
        let http = self.http()?;
        let key = digest(&[&json]);
        let access = match self.shared.access.get(&key).and_then(Weak::upgrade) {
            Some(access) => access,
            None => match AccessTokens::new(account, fcm::SCOPE, http.clone(), self.clock.clone()) {
                Ok(access) => {
                    let access = Arc::new(access);
                    self.shared.access.insert(key, Arc::downgrade(&access));
                    access
                }
                Err(error) => return self.fault(unusable(error)),
            },
        };
        let pacer =
            self.shared.pacers.entry(project.clone()).or_insert_with(|| {
                Arc::new(Pacer::new(self.config.fcm_per_minute, self.config.fcm_quarter_hour_pause))
            });
        let url = fcm.url.as_deref().unwrap_or(fcm::DEFAULT_URL);
        let mut client = Fcm::new(url, &project, http, access, self.config.wake_style.clone(), self.clock.clone())
            .with_pacer(Arc::clone(pacer));
        if let Some(url) = &fcm.topics_url {
            client = client.with_topics_url(url);
        }
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("service account").to_owned();
        let digest = digest(&[&json, project.as_bytes()]);
        Some(Loaded { name, digest, client: Client::Fcm(Arc::new(client)), expires_at_ms: None })
    }

    fn http(&mut self) -> Option<reqwest::Client> {
        if let Some(client) = &self.shared.http {
            return Some(client.clone());
        }
        match tidings_shared::http::client(self.config.ca_file.as_deref()) {
            Ok(client) => {
                self.shared.http = Some(client.clone());
                Some(client)
            }
            Err(error) => self.fault(format!("push.ca_file: {error:#}")),
        }
    }
}
