//! How the device updates its passes: "what changed?", and then each pass that did.

use std::collections::BTreeSet;

use super::complaint::{Complaint, Place, Task, TaskError};
use super::device::{PassId, WalletDevice};
use super::web::Fetched;

impl WalletDevice {
    pub(super) async fn update(&mut self, pass_type: &str, pushed: bool) {
        let services: BTreeSet<String> = self
            .passes
            .iter()
            .filter(|(id, pass)| id.pass_type == pass_type && pass.registered)
            .filter_map(|(_, pass)| pass.package.web_service.as_ref().map(|(url, _)| url.clone()))
            .collect();
        for url in services {
            self.update_from(pass_type, &url, pushed).await;
        }
    }

    /// "What changed?", and then each changed pass.
    async fn update_from(&mut self, pass_type: &str, url: &str, pushed: bool) {
        let key = (pass_type.to_owned(), url.to_owned());
        let place = Place { pass_type: pass_type.to_owned(), url: url.to_owned() };
        let tag = self.tags.get(&key).cloned();
        let listed = match self.service(url).list(pass_type, tag.as_deref()).await {
            Ok(listed) => listed,
            Err(error) => {
                let task = Task::GetSerials { device: self.device.clone(), pass_type: pass_type.to_owned(), tag };
                return self.complain(Complaint::Failed { task, url: url.to_owned(), error });
            }
        };
        let mut serials = BTreeSet::new();
        match listed {
            None => {
                let forgiven = self.just_listed.remove(&key) && self.forgiving;
                if pushed && !forgiven && !self.is_pending(pass_type) {
                    self.complain(Complaint::SpuriousPush(place.clone(), tag, self.device.clone()));
                }
            }
            Some(listed) => {
                self.just_listed.insert(key.clone());
                match (&listed.tag, &tag) {
                    (None, _) => self.complain(Complaint::TagOmitted(place.clone(), listed.serials.len())),
                    (Some(new), Some(old)) if new == old => {
                        self.complain(Complaint::TagRemained(place.clone(), listed.serials.len(), new.clone()));
                    }
                    (Some(new), _) => {
                        self.tags.insert(key, new.clone());
                    }
                }
                serials.extend(listed.serials);
            }
        }
        serials.extend(self.pending.iter().filter(|id| id.pass_type == pass_type).map(|id| id.serial.clone()));
        for serial in serials {
            let id = PassId { pass_type: pass_type.to_owned(), serial };
            if self.passes.get(&id).is_some_and(|pass| pass.registered) {
                self.fetch(&id, &place).await;
            } else {
                self.complain(Complaint::UnregisteredSerial(place.clone(), id.serial));
            }
        }
    }

    fn is_pending(&self, pass_type: &str) -> bool {
        self.pending.iter().any(|id| id.pass_type == pass_type)
    }

    async fn fetch(&mut self, id: &PassId, place: &Place) {
        let Some(pass) = self.passes.get(id) else { return };
        let Some((url, token)) = pass.package.web_service.clone() else { return };
        let since = pass.last_modified.clone();
        let fetched = self.service(&url).fetch(&id.pass_type, &id.serial, &token, since.as_deref()).await;
        match fetched {
            Err(error) => {
                if matches!(error, TaskError::Status(500..) | TaskError::Network(_)) {
                    self.pending.insert(id.clone());
                } else {
                    self.pending.remove(id);
                }
                let task = Task::GetPass { pass_type: id.pass_type.clone(), serial: id.serial.clone(), since };
                self.complain(Complaint::Failed { task, url, error });
            }
            Ok(Fetched::NotModified) => {
                self.pending.remove(id);
                let forgiven = self.passes.get_mut(id).is_some_and(|pass| std::mem::take(&mut pass.fresh));
                if !(forgiven && self.forgiving) {
                    self.complain(Complaint::Unchanged(place.clone(), id.serial.clone()));
                }
            }
            Ok(Fetched::Pass { package, last_modified }) => {
                self.pending.remove(id);
                if last_modified.is_none() {
                    self.complain(Complaint::NoLastModified(place.clone(), id.serial.clone()));
                }
                let unchanged = self.passes.get(id).is_some_and(|pass| pass.package.manifest == package.manifest);
                // Without a date that it could have sent, the device cannot blame the server: a pass that was just
                // added is new to the tag, and so listed once.
                if let (true, Some(since)) = (unchanged, since) {
                    self.complain(Complaint::IgnoredIfModifiedSince(place.clone(), id.serial.clone(), since));
                }
                if let Some(pass) = self.passes.get_mut(id) {
                    pass.last_modified = last_modified;
                    pass.fresh = !unchanged;
                    if !unchanged {
                        pass.package = *package;
                        pass.updates += 1;
                    }
                }
            }
        }
    }
}
