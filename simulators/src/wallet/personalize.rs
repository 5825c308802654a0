//! Personalization: the owner says who they are, and gets a pass that is theirs.

use serde::Serialize;

use super::complaint::{Complaint, Place, Task, TaskError};
use super::device::{PassId, WalletDevice};
use super::web::Fetched;

/// What a device sends about its owner. What the pass does not ask for stays away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Personal {
    /// Given and family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// Given name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// Family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_address: Option<String>,
    /// Telephone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// ISO 3166 code of the country.
    #[serde(rename = "ISOCountryCode", skip_serializing_if = "Option::is_none")]
    pub iso_country_code: Option<String>,
}

impl WalletDevice {
    /// Personalizes a pass, fetches the personalized one and installs it in its place, as Wallet does when its owner has
    /// filled in the form. Whatever goes wrong is in the log; true when the pass is another one now.
    pub async fn personalize(&mut self, id: &PassId, person: &Personal) -> bool {
        let Some((url, token)) = self.web_service(id) else { return false };
        let personalization_token = uuid::Uuid::new_v4().simple().to_string();
        let service = self.service(&url);
        let mut answer = service.personalize(&id.pass_type, &id.serial, &token, &personalization_token, person).await;
        if let (Ok(signature), Some(root), Some(pass)) = (&answer, self.root(), self.pass(id)) {
            let team = pass.package.pass["teamIdentifier"].as_str().unwrap_or_default();
            if let Err(why) = root.check(signature, personalization_token.as_bytes(), &id.pass_type, team) {
                answer = Err(TaskError::Malformed(why));
            }
        }
        let fetched = match answer {
            // A copy that is not personalized yet is of no use: the whole pass is asked for.
            Ok(_) => self.service(&url).fetch(&id.pass_type, &id.serial, &token, None).await,
            Err(error) => {
                let task = Task::Personalize { pass_type: id.pass_type.clone(), serial: id.serial.clone() };
                self.complain(Complaint::Failed { task, url, error });
                return false;
            }
        };
        match fetched {
            Ok(Fetched::Pass { package, last_modified }) => {
                let place = Place { pass_type: id.pass_type.clone(), url };
                if last_modified.is_none() {
                    self.complain(Complaint::NoLastModified(place.clone(), id.serial.clone()));
                }
                let unchanged = self.pass(id).is_some_and(|pass| pass.package.manifest == package.manifest);
                if unchanged {
                    self.complain(Complaint::NotPersonalized(place, id.serial.clone()));
                } else if let Some(pass) = self.passes.get_mut(id) {
                    pass.package = *package;
                    // A pass that is installed anew comes without a date.
                    pass.last_modified = None;
                    pass.updates += 1;
                    return self.register(id).await;
                }
                false
            }
            Ok(Fetched::NotModified) => false,
            Err(error) => {
                let task = Task::GetPass { pass_type: id.pass_type.clone(), serial: id.serial.clone(), since: None };
                self.complain(Complaint::Failed { task, url, error });
                false
            }
        }
    }
}
