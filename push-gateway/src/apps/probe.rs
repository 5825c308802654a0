//! Asks the providers whether they take an app's credentials, without a push that anybody would get: APNs gets one for a
//! token that nobody has, FCM validates a message that it does not deliver.

use tidings_shared::push_api::{AppCheck, Environment, Provider};

use super::advice::advice;
use super::credentials::{Credential, ENVIRONMENTS};
use super::{Apps, Client, CredentialSet};
use crate::provider::{Answer, Outcome};

impl Apps {
    /// Asks for every credential of an app at each of its providers, and in each environment.
    pub(crate) async fn probe(&self, app: &str) -> Vec<AppCheck> {
        let mut checks = Vec::new();
        for provider in Provider::ALL {
            let Some(set) = self.set(provider, app) else { continue };
            for credential in set.credentials().iter() {
                for environment in ENVIRONMENTS.into_iter().filter(|environment| set.serves(*environment)) {
                    checks.push(ask(set, credential, environment).await);
                }
            }
            // What has been repaired meanwhile need not wait for the next look.
            if let Some(lane) = self.lane(provider, app)
                && ENVIRONMENTS.iter().any(|here| set.preferred(*here).is_some_and(|found| !found.is_refused(*here)))
            {
                lane.ask_again();
            }
        }
        checks
    }
}

async fn ask(set: &CredentialSet, credential: &Credential, environment: Environment) -> AppCheck {
    let asked = credential.is_refused(environment);
    let answer = match credential.client() {
        Client::Apns(client) => Some(client.probe(environment).await),
        Client::Fcm(client) => Some(client.probe().await),
        Client::WebPush(_) => None,
    };
    if let Some(answer) = &answer {
        set.note(credential, environment, asked, answer);
    }
    let (accepted, message) = judge(set.provider, answer.as_ref());
    let (status, reason) = answer.map_or((None, None), |answer| (answer.status, answer.reason));
    AppCheck {
        provider: set.provider,
        environment,
        credential: credential.name().to_owned(),
        accepted,
        provider_status: status,
        reason,
        message,
    }
}

/// Whether the credentials are accepted, and what that means.
fn judge(provider: Provider, answer: Option<&Answer>) -> (Option<bool>, String) {
    let Some(answer) = answer else {
        let message = "the key can sign; a push service can only be asked with a subscription, so nobody was asked";
        return (None, message.to_owned());
    };
    let reason = answer.reason.as_deref();
    match answer.outcome {
        Outcome::Pause | Outcome::SignAnew => (Some(false), advice(provider, reason).to_owned()),
        Outcome::Retry(_) => {
            let what = reason.unwrap_or("no answer");
            (None, format!("{provider} gave no verdict ({what}): this says nothing about the credential; try again"))
        }
        _ if answer.status.is_none() => {
            (None, format!("{provider} was not asked ({})", reason.unwrap_or("no address is configured")))
        }
        // Apple: the key is good, but not for this app.
        _ if reason == Some("TopicDisallowed") => (Some(false), advice(provider, reason).to_owned()),
        _ => (Some(true), format!("{provider} accepts the credential")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Retry;

    #[test]
    fn only_a_verdict_is_one() {
        let answer = |outcome, status, reason: &str| Answer {
            outcome,
            status,
            reason: Some(reason.to_owned()),
            provider_id: None,
        };
        for (given, accepted) in [
            (answer(Outcome::OtherEnvironment, Some(400), "BadDeviceToken"), Some(true)),
            (answer(Outcome::Accepted, Some(200), ""), Some(true)),
            (answer(Outcome::Pause, Some(403), "InvalidProviderToken"), Some(false)),
            (answer(Outcome::Dead, Some(400), "TopicDisallowed"), Some(false)),
            (answer(Retry::unreached(), None, "connect_failed"), None),
            (answer(Outcome::OtherEnvironment, None, "environment_not_configured"), None),
        ] {
            assert_eq!(judge(Provider::Apns, Some(&given)).0, accepted, "{given:?}");
        }
        assert_eq!(judge(Provider::WebPush, None).0, None);
    }
}
