//! The requests of the pass web service, from the device's side. An answer is what the protocol lets it mean, or a
//! [`TaskError`].

use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MODIFIED_SINCE, LAST_MODIFIED};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::complaint::TaskError;
use super::package::Package;
use super::personalize::Personal;
use super::signature::TrustedRoot;

/// What a path segment may have as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const USER_AGENT: &str = "passd/1.0 CFNetwork/3826.500.131 Darwin/24.5.0";

/// The answer to "what changed?".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) serials: Vec<String>,
    /// Absent when the server left it out.
    pub(super) tag: Option<String>,
}

/// The answer to a request for a pass.
#[derive(Debug)]
pub(super) enum Fetched {
    /// 304.
    NotModified,
    /// 200.
    Pass { package: Box<Package>, last_modified: Option<String> },
}

/// One web service as one device sees it.
pub(super) struct WebService<'a> {
    pub(super) client: &'a Client,
    pub(super) url: &'a str,
    pub(super) device: &'a str,
    /// Signatures must lead to it.
    pub(super) root: Option<&'a TrustedRoot>,
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn network(error: &reqwest::Error) -> TaskError {
    if error.is_timeout() {
        TaskError::Network("The request timed out.".to_owned())
    } else if error.is_connect() {
        TaskError::Network("Could not connect to the server.".to_owned())
    } else {
        TaskError::Network("The network connection was lost.".to_owned())
    }
}

fn unexpected(response: &Response) -> TaskError {
    match response.status() {
        StatusCode::UNAUTHORIZED => TaskError::Authentication,
        status => TaskError::Status(status.as_u16()),
    }
}

impl WebService<'_> {
    fn registration(&self, pass_type: &str, serial: &str) -> String {
        let (device, pass_type, serial) = (segment(self.device), segment(pass_type), segment(serial));
        format!("{}/v1/devices/{device}/registrations/{pass_type}/{serial}", self.url)
    }

    /// Registers; true when the registration is new.
    pub(super) async fn register(
        &self,
        pass_type: &str,
        serial: &str,
        token: &str,
        push_token: &str,
    ) -> Result<bool, TaskError> {
        let request = self
            .client
            .post(self.registration(pass_type, serial))
            .header(AUTHORIZATION, format!("ApplePass {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(json!({ "pushToken": push_token }).to_string());
        let response = send(request).await?;
        match response.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::OK => Ok(false),
            _ => Err(unexpected(&response)),
        }
    }

    pub(super) async fn unregister(&self, pass_type: &str, serial: &str, token: &str) -> Result<(), TaskError> {
        let url = self.registration(pass_type, serial);
        let response = send(self.client.delete(url).header(AUTHORIZATION, format!("ApplePass {token}"))).await?;
        if response.status() == StatusCode::OK { Ok(()) } else { Err(unexpected(&response)) }
    }

    /// What changed since the tag; `None` for 204.
    pub(super) async fn list(&self, pass_type: &str, tag: Option<&str>) -> Result<Option<Listed>, TaskError> {
        let mut url = format!("{}/v1/devices/{}/registrations/{}", self.url, segment(self.device), segment(pass_type));
        if let Some(tag) = tag {
            url = format!("{url}?passesUpdatedSince={}", segment(tag));
        }
        let response = send(self.client.get(url)).await?;
        match response.status() {
            StatusCode::NO_CONTENT => return Ok(None),
            StatusCode::OK => {}
            _ => return Err(unexpected(&response)),
        }
        let body = response.bytes().await.map_err(|error| network(&error))?;
        let body: Value = serde_json::from_slice(&body).map_err(|_| TaskError::Malformed("Invalid JSON".to_owned()))?;
        let malformed = |what: &str| TaskError::Malformed(what.to_owned());
        let serials = body.get("serialNumbers").and_then(Value::as_array);
        let serials = serials.ok_or_else(|| malformed("serialNumbers is not an array"))?;
        let serials: Option<Vec<String>> = serials.iter().map(|serial| serial.as_str().map(str::to_owned)).collect();
        let serials = serials.ok_or_else(|| malformed("serialNumbers has an element that is not a string"))?;
        let tag = match body.get("lastUpdated") {
            None | Some(Value::Null) => None,
            Some(Value::String(tag)) => Some(tag.clone()),
            Some(_) => return Err(malformed("lastUpdated is not a string")),
        };
        if serials.is_empty() {
            return Ok(None);
        }
        Ok(Some(Listed { serials, tag }))
    }

    pub(super) async fn fetch(
        &self,
        pass_type: &str,
        serial: &str,
        token: &str,
        since: Option<&str>,
    ) -> Result<Fetched, TaskError> {
        let url = format!("{}/v1/passes/{}/{}", self.url, segment(pass_type), segment(serial));
        let mut request = self.client.get(url).header(AUTHORIZATION, format!("ApplePass {token}"));
        if let Some(since) = since {
            request = request.header(IF_MODIFIED_SINCE, since);
        }
        let response = send(request).await?;
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(Fetched::NotModified),
            StatusCode::OK => {}
            _ => return Err(unexpected(&response)),
        }
        let last_modified =
            response.headers().get(LAST_MODIFIED).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await.map_err(|error| network(&error))?;
        let package = Package::open(&body).map_err(|error| TaskError::InvalidPass(error.to_string()))?;
        if package.pass_type != pass_type {
            return Err(TaskError::InvalidPass(format!("it is of the pass type {}", package.pass_type)));
        }
        if package.serial != serial {
            return Err(TaskError::WrongSerial(serial.to_owned(), package.serial));
        }
        if let Some(root) = self.root {
            package.check_signature(root).map_err(|error| TaskError::InvalidPass(error.to_string()))?;
        }
        Ok(Fetched::Pass { package: Box::new(package), last_modified })
    }

    /// Personalizes a pass; the answer is a signature over the token.
    pub(super) async fn personalize(
        &self,
        pass_type: &str,
        serial: &str,
        token: &str,
        personalization_token: &str,
        person: &Personal,
    ) -> Result<Vec<u8>, TaskError> {
        let url = format!("{}/v1/passes/{}/{}/personalize", self.url, segment(pass_type), segment(serial));
        let body = json!({"personalizationToken": personalization_token, "requiredPersonalizationInfo": person});
        let request = self
            .client
            .post(url)
            .header(AUTHORIZATION, format!("ApplePass {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let response = send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(&response));
        }
        Ok(response.bytes().await.map_err(|error| network(&error))?.to_vec())
    }

    /// Sends log lines; false when they are to be kept for another try.
    pub(super) async fn log(&self, lines: &[&str]) -> bool {
        let request = self
            .client
            .post(format!("{}/v1/log", self.url))
            .header(CONTENT_TYPE, "application/json")
            .body(json!({ "logs": lines }).to_string());
        send(request).await.is_ok_and(|response| response.status() == StatusCode::OK)
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<Response, TaskError> {
    request.header(http::header::USER_AGENT, USER_AGENT).send().await.map_err(|error| network(&error))
}
