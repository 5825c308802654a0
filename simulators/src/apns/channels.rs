//! Broadcast channels: their management (`/1/apps/BUNDLE/channels`, `/1/apps/BUNDLE/all-channels`) and the rules for a push
//! to one of them (`/4/broadcasts/apps/BUNDLE`). Apple has hosts of their own for the management; here every door does it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::reason::Refusal;
use super::request::{MAX_VOIP_PAYLOAD, PushRequest, is_expiration, text};
use super::{Environment, lock};

/// The most channels of an app in one environment.
pub const MAX_CHANNELS: usize = 10_000;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// A push to one device.
    Device,
    /// A push to a channel.
    Broadcast(&'a str),
    /// One channel: made, shown, ended.
    Channel(&'a str),
    /// The list of all.
    AllChannels(&'a str),
}

pub(super) fn route(path: &str) -> Route<'_> {
    if let Some(bundle) = path.strip_prefix("/4/broadcasts/apps/") {
        return Route::Broadcast(bundle);
    }
    match path.strip_prefix("/1/apps/").and_then(|rest| rest.split_once('/')) {
        Some((bundle, "channels")) => Route::Channel(bundle),
        Some((bundle, "all-channels")) => Route::AllChannels(bundle),
        _ => Route::Device,
    }
}

/// The channels of every app. With one door for both environments they share them.
#[derive(Debug, Default)]
pub(super) struct ChannelStore(Mutex<HashMap<(Option<Environment>, String), Channels>>);

/// The storage policy of each channel.
type Channels = BTreeMap<String, u8>;

/// The answer to a management request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Managed {
    pub(super) status: StatusCode,
    pub(super) channel: Option<String>,
    pub(super) body: Option<Value>,
}

impl ChannelStore {
    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The policy of a channel, if it is there.
    pub(super) fn policy(&self, environment: Option<Environment>, bundle: &str, channel: &str) -> Option<u8> {
        lock(&self.0).get(&(environment, bundle.to_owned()))?.get(channel).copied()
    }

    pub(super) fn manage(
        &self,
        environment: Option<Environment>,
        route: Route<'_>,
        method: &Method,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Managed, Refusal> {
        let (bundle, one) = match route {
            Route::Channel(bundle) => (bundle, true),
            Route::AllChannels(bundle) => (bundle, false),
            _ => return Err(Refusal::new("BadPath")),
        };
        let mut apps = lock(&self.0);
        let channels = apps.entry((environment, bundle.to_owned())).or_default();
        match (method, one) {
            (&Method::GET, false) => {
                let ids: Vec<_> = channels.keys().collect();
                Ok(Managed { status: StatusCode::OK, channel: None, body: Some(json!({ "channels": ids })) })
            }
            (&Method::POST, true) => {
                let policy = described(body)?;
                if channels.len() >= MAX_CHANNELS {
                    return Err(Refusal::new("CannotCreateChannelConfig"));
                }
                let id = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
                channels.insert(id.clone(), policy);
                Ok(Managed { status: StatusCode::CREATED, channel: Some(id), body: None })
            }
            (&Method::GET, true) => {
                let id = channel_id(headers)?;
                let policy = channels.get(&id).ok_or_else(|| Refusal::new("ChannelNotRegistered"))?;
                let body = json!({ "message-storage-policy": policy, "push-type": "LiveActivity" });
                Ok(Managed { status: StatusCode::OK, channel: Some(id), body: Some(body) })
            }
            (&Method::DELETE, true) => {
                let id = channel_id(headers)?;
                channels.remove(&id).ok_or_else(|| Refusal::new("ChannelNotRegistered"))?;
                Ok(Managed { status: StatusCode::NO_CONTENT, channel: Some(id), body: None })
            }
            _ => Err(Refusal::new("MethodNotAllowed")),
        }
    }

    /// Checks a push to a channel. Its token is `channel:ID` from here on.
    pub(super) fn check_broadcast(
        &self,
        environment: Option<Environment>,
        bundle: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<PushRequest, Refusal> {
        if method != Method::POST {
            return Err(Refusal::new("MethodNotAllowed"));
        }
        match text(headers, "apns-push-type") {
            None => return Err(Refusal::new("MissingPushType")),
            Some(Ok(kind)) if kind.eq_ignore_ascii_case("liveactivity") => {}
            Some(_) => return Err(Refusal::new("InvalidPushType")),
        }
        if !matches!(text(headers, "apns-priority"), None | Some(Ok("1" | "5" | "10"))) {
            return Err(Refusal::new("BadPriority"));
        }
        if !is_expiration(headers) {
            return Err(Refusal::new("BadExpirationDate"));
        }
        let id = channel_id(headers)?;
        self.policy(environment, bundle, &id).ok_or_else(|| Refusal::new("ChannelNotRegistered"))?;
        Ok(PushRequest {
            token: format!("channel:{id}"),
            topic: Some(bundle.to_owned()),
            push_type: "liveactivity".to_owned(),
            max_payload: MAX_VOIP_PAYLOAD,
        })
    }
}

fn described(body: &[u8]) -> Result<u8, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::new("PayloadEmpty"))?;
    match body.get("push-type").and_then(Value::as_str) {
        None => return Err(Refusal::new("MissingPushType")),
        Some("LiveActivity") => {}
        Some(_) => return Err(Refusal::new("InvalidPushType")),
    }
    match body.get("message-storage-policy").map(Value::as_u64) {
        None | Some(Some(0)) => Ok(0),
        Some(Some(1)) => Ok(1),
        // Apple documents no reason for it.
        Some(_) => Err(Refusal::new("BadMessageStoragePolicy")),
    }
}

fn channel_id(headers: &HeaderMap) -> Result<String, Refusal> {
    match text(headers, "apns-channel-id") {
        None => Err(Refusal::new("MissingChannelId")),
        Some(Ok(id)) if !id.is_empty() && id.len() <= 128 && STANDARD.decode(id).is_ok() => Ok(id.to_owned()),
        Some(_) => Err(Refusal::new("BadChannelId")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_channel_lives_from_its_making_to_its_end_and_in_one_environment() {
        let store = ChannelStore::default();
        let here = Some(Environment::Production);
        let manage = |environment, route: &str, method: &Method, id: Option<&str>, body: &str| {
            let headers = headers(&id.map(|id| ("apns-channel-id", id)).into_iter().collect::<Vec<_>>());
            let managed = store.manage(environment, super::route(route), method, &headers, body.as_bytes());
            managed.map_err(|refusal| refusal.reason.into_owned())
        };
        let one = "/1/apps/com.a/channels";
        let made = manage(here, one, &Method::POST, None, r#"{"message-storage-policy":1,"push-type":"LiveActivity"}"#);
        let id = made.unwrap().channel.unwrap();
        let shown = manage(here, one, &Method::GET, Some(&id), "").unwrap();
        assert_eq!(shown.body.unwrap(), json!({"message-storage-policy": 1, "push-type": "LiveActivity"}));
        let all = manage(here, "/1/apps/com.a/all-channels", &Method::GET, None, "").unwrap();
        assert_eq!(all.body.unwrap(), json!({"channels": [id]}));
        let elsewhere = manage(Some(Environment::Sandbox), one, &Method::GET, Some(&id), "");
        assert_eq!(elsewhere.unwrap_err(), "ChannelNotRegistered");
        for (method, id, body, reason) in [
            (&Method::POST, None, "", "PayloadEmpty"),
            (&Method::POST, None, "{}", "MissingPushType"),
            (&Method::POST, None, r#"{"push-type":"alert"}"#, "InvalidPushType"),
            (
                &Method::POST,
                None,
                r#"{"push-type":"LiveActivity","message-storage-policy":2}"#,
                "BadMessageStoragePolicy",
            ),
            (&Method::GET, None, "", "MissingChannelId"),
            (&Method::GET, Some("no base64!"), "", "BadChannelId"),
            (&Method::DELETE, Some("c29tZQ=="), "", "ChannelNotRegistered"),
            (&Method::PUT, None, "", "MethodNotAllowed"),
        ] {
            assert_eq!(manage(here, one, method, id, body).unwrap_err(), reason);
        }
        assert_eq!(manage(here, one, &Method::DELETE, Some(&id), "").unwrap().status, StatusCode::NO_CONTENT);
        assert_eq!(manage(here, one, &Method::GET, Some(&id), "").unwrap_err(), "ChannelNotRegistered");
    }

    #[test]
    fn an_app_has_ten_thousand_channels_at_most() {
        let store = ChannelStore::default();
        let make = || {
            let body = br#"{"push-type":"LiveActivity"}"#;
            store.manage(None, Route::Channel("com.a"), &Method::POST, &HeaderMap::new(), body)
        };
        for _ in 0..MAX_CHANNELS {
            make().unwrap();
        }
        assert_eq!(make().unwrap_err().reason, "CannotCreateChannelConfig");
    }

    #[test]
    fn each_rule_of_a_broadcast_has_its_reason() {
        let store = ChannelStore::default();
        let body = br#"{"push-type":"LiveActivity"}"#;
        let made = store.manage(None, Route::Channel("com.a"), &Method::POST, &HeaderMap::new(), body);
        let id = made.unwrap().channel.unwrap();
        let check = |method: &Method, pairs: &[(&'static str, &str)]| {
            let checked = store.check_broadcast(None, "com.a", method, &headers(pairs));
            checked.map_or_else(|refusal| refusal.reason.into_owned(), |request| request.token)
        };
        let (channel, kind) = (("apns-channel-id", id.as_str()), ("apns-push-type", "liveactivity"));
        assert_eq!(check(&Method::POST, &[channel, kind]), format!("channel:{id}"));
        assert_eq!(check(&Method::GET, &[channel, kind]), "MethodNotAllowed");
        assert_eq!(check(&Method::POST, &[channel]), "MissingPushType");
        assert_eq!(check(&Method::POST, &[channel, ("apns-push-type", "alert")]), "InvalidPushType");
        assert_eq!(check(&Method::POST, &[kind]), "MissingChannelId");
        assert_eq!(check(&Method::POST, &[channel, kind, ("apns-priority", "7")]), "BadPriority");
        assert_eq!(check(&Method::POST, &[channel, kind, ("apns-expiration", "soon")]), "BadExpirationDate");
        assert_eq!(check(&Method::POST, &[kind, ("apns-channel-id", "c29tZQ==")]), "ChannelNotRegistered");
    }
}
