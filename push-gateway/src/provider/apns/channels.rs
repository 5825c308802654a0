//! Broadcast channels of an app: made, shown, listed and ended at Apple ("Sending channel management requests to APNs").
//! The management has a host of its own; pushes go to a channel as to a device.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use tidings_shared::push_api::{Channel, Channels, Environment};

use super::request::{APNS_CHANNEL_ID, APNS_REQUEST_ID, bare, unindexed};
use super::transport::Response;
use super::{Apns, Failure, Transport, rules};
use crate::provider::{Answer, Outcome, Refusal};

/// Why the management of channels did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// No address is configured for this environment.
    #[error("the app has no address for broadcast channels in this environment")]
    NotConfigured,
    /// It cannot be a channel's id.
    #[error(transparent)]
    Invalid(#[from] Refusal),
    /// Apple refuses, in its own words.
    #[error("APNs answers {status} {reason}: {advice}")]
    Refused {
        /// Apple's HTTP status.
        status: u16,
        /// Apple's reason.
        reason: String,
        /// What it means, and what to do.
        advice: &'static str,
    },
    /// No answer: whether it was done is not known.
    #[error("APNs gave no answer ({0}); try again, or list the channels to see whether it was done")]
    Unanswered(String),
}

/// How Apple describes a channel.
#[derive(Serialize, Deserialize)]
struct Description {
    #[serde(rename = "message-storage-policy")]
    storage: u8,
    #[serde(rename = "push-type", default)]
    push_type: String,
}

#[derive(Deserialize)]
struct Listed {
    channels: Vec<String>,
}

impl Apns {
    /// Makes a channel. `keep_last`: Apple keeps the newest push for devices that are away.
    ///
    /// # Errors
    /// [`ChannelError`]; `CannotCreateChannelConfig` when the app has 10,000 of them.
    pub async fn create_channel(&self, environment: Environment, keep_last: bool) -> Result<Channel, ChannelError> {
        let description = Description { storage: u8::from(keep_last), push_type: "LiveActivity".to_owned() };
        let body = Bytes::from(serde_json::to_vec(&description).unwrap_or_default());
        let response = self.manage(environment, Method::POST, "channels", None, body).await?;
        let id = response.headers.get(APNS_CHANNEL_ID).and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| ChannelError::Unanswered("the answer names no channel".to_owned()))?;
        Ok(Channel { id: id.to_owned(), environment, keep_last })
    }

    /// One channel.
    ///
    /// # Errors
    /// [`ChannelError`]; `ChannelNotRegistered` when there is none with this id.
    pub async fn channel(&self, environment: Environment, id: &str) -> Result<Channel, ChannelError> {
        let response = self.manage(environment, Method::GET, "channels", Some(id), Bytes::new()).await?;
        let description: Description = read(&response)?;
        Ok(Channel { id: id.to_owned(), environment, keep_last: description.storage == 1 })
    }

    /// The ids of all channels.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn channels(&self, environment: Environment) -> Result<Channels, ChannelError> {
        let response = self.manage(environment, Method::GET, "all-channels", None, Bytes::new()).await?;
        let listed: Listed = read(&response)?;
        Ok(Channels { environment, channels: listed.channels })
    }

    /// Ends a channel.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn delete_channel(&self, environment: Environment, id: &str) -> Result<(), ChannelError> {
        self.manage(environment, Method::DELETE, "channels", Some(id), Bytes::new()).await.map(|_| ())
    }

    async fn manage(
        &self,
        environment: Environment,
        method: Method,
        what: &str,
        channel: Option<&str>,
        body: Bytes,
    ) -> Result<Response, ChannelError> {
        let transport = self.addresses(environment).channels.as_ref().ok_or(ChannelError::NotConfigured)?;
        if let Some(id) = channel {
            rules::channel_id(id)?;
        }
        let request = |authorization| self.request(transport, &method, what, channel, authorization);
        match self.exchange(transport, &request, &body).await {
            Ok((response, Answer { outcome: Outcome::Accepted, .. })) => Ok(response),
            Ok((response, answer)) => Err(refused(response.status, answer.reason)),
            Err(failure @ Failure::Signing(_)) => {
                let reason = failure.into_answer().reason.unwrap_or_default();
                Err(ChannelError::Refused { status: 0, reason, advice: "the app's .p8 key cannot sign; replace it" })
            }
            Err(failure) => Err(ChannelError::Unanswered(failure.into_answer().reason.unwrap_or_default())),
        }
    }

    fn request(
        &self,
        transport: &Transport,
        method: &Method,
        what: &str,
        channel: Option<&str>,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<()>, http::Error> {
        let path = format!("/1/apps/{}/{what}", self.bundle);
        let mut request = bare(transport.endpoint(), method.clone(), path, authorization)?;
        let headers = request.headers_mut();
        headers.insert(APNS_REQUEST_ID, unindexed(uuid::Uuid::new_v4().to_string())?);
        if method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(id) = channel {
            headers.insert(APNS_CHANNEL_ID, unindexed(id.to_owned())?);
        }
        Ok(request)
    }
}

fn read<'a, T: Deserialize<'a>>(response: &'a Response) -> Result<T, ChannelError> {
    serde_json::from_slice(&response.body)
        .map_err(|error| ChannelError::Unanswered(format!("the answer is not understood: {error}")))
}

fn refused(status: StatusCode, reason: Option<String>) -> ChannelError {
    let reason = reason.unwrap_or_else(|| "(no reason)".to_owned());
    let advice = match reason.as_str() {
        "CannotCreateChannelConfig" => "an app has at most 10,000 channels in an environment; delete some",
        "ChannelNotRegistered" | "BadChannelId" => "no such channel is there; list them, or make a new one",
        "FeatureNotEnabled" => "switch the broadcast capability on for the app's identifier in Apple's portal",
        "TopicMismatch" => "the credentials are not for this bundle id",
        "TooManyRequests" => "try again later",
        _ if status.is_server_error() => "try again later",
        _ if super::answer::credentials_refused(&reason) => "the app's credentials are refused; see GET /v1/apps",
        _ => "see Apple's \"Handling error responses from APNs\"",
    };
    ChannelError::Refused { status: status.as_u16(), reason, advice }
}
