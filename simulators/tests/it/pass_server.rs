//! A tiny pass web service with one pass type: right, or wrong in one chosen way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use crate::authority::Signer;

pub(crate) const PASS_TYPE: &str = "pass.com.example.card";
const TOKEN: &str = "a-token-of-enough-length";

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Lists what changed at the tag, too.
    GreaterOrEqual,
    /// Tags are dates with a resolution of one second, and time stands still.
    DateTags,
    NeverNotModified,
    NoLastModified,
    /// Lists a change before it is there.
    PushBeforeCommit,
    /// Lists passes that did not change.
    NoOpListed,
    WrongSerial,
    UnregisteredSerial,
    ListIsNoJson,
    TagIsNumber,
    NoTag,
    CorruptPackage,
    PassUnauthorized,
    RegistrationUnauthorized,
    /// Any request is answered with this status.
    Status(u16),
    ListFails,
    /// The second change within a second has the Last-Modified of the first.
    LastModifiedStandsStill,
    /// Keeps registrations that were taken back.
    NeverUnregisters,
    UnregistrationUnauthorized,
    /// Tags are given when a change is written, not when it is committed.
    SequenceTags,
    /// Answers to a personalization, and leaves the pass as it is.
    NeverPersonalizes,
    PersonalizationUnauthorized,
}

/// What packages are signed with, if at all.
#[derive(Default)]
struct Signing {
    signer: Option<Signer>,
    /// What is signed in place of the manifest.
    instead: Option<Vec<u8>>,
}

#[derive(Default)]
struct Passes {
    /// Serial to version, tag of the last change, and Last-Modified in seconds.
    passes: BTreeMap<String, (u64, u64, u64)>,
    registered: BTreeSet<(String, String)>,
    push_tokens: BTreeMap<String, String>,
    tag: u64,
    log: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct PassServer {
    fault: Arc<Mutex<Fault>>,
    url: String,
    passes: Arc<Mutex<Passes>>,
    signing: Arc<Mutex<Signing>>,
}

impl PassServer {
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { fault: Arc::new(Mutex::new(fault)), url, passes: Arc::default(), signing: Arc::default() };
        let registrations = "/v1/devices/{device}/registrations/{pass_type}";
        let router = Router::new()
            .route(registrations, get(list))
            .route(&format!("{registrations}/{{serial}}"), post(register).delete(unregister))
            .route("/v1/passes/{pass_type}/{serial}", get(pass))
            .route("/v1/passes/{pass_type}/{serial}/personalize", post(personalize))
            .route("/v1/log", post(log))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn passes(&self) -> MutexGuard<'_, Passes> {
        self.passes.lock().unwrap()
    }

    /// Makes or changes a pass; its package.
    pub(crate) fn change(&self, serial: &str) -> Vec<u8> {
        let fault = self.fault();
        let mut passes = self.passes();
        if fault != Fault::DateTags {
            passes.tag += 1;
        }
        let tag = passes.tag;
        let (version, last_modified) = match passes.passes.get(serial) {
            Some((version, _, last_modified)) if fault == Fault::LastModifiedStandsStill => {
                (version + 1, *last_modified)
            }
            Some((version, _, last_modified)) => (version + 1, last_modified + 1),
            None => (1, 1_700_000_000),
        };
        passes.passes.insert(serial.to_owned(), (version, tag, last_modified));
        drop(passes);
        self.package(serial, version)
    }

    /// Moves the tag of a pass without a change.
    pub(crate) fn touch(&self, serial: &str) {
        let mut passes = self.passes();
        passes.tag += 1;
        let tag = passes.tag;
        passes.passes.get_mut(serial).unwrap().1 = tag;
    }

    /// Two changes that are written at the same time: the one that is written first, and so has the smaller tag of a
    /// sequence, is committed last; a device asks in between.
    pub(crate) fn begin(&self, serial: &str) -> impl FnOnce() {
        let mut passes = self.passes();
        passes.tag += 1;
        let (tag, server, serial) = (passes.tag, self.clone(), serial.to_owned());
        drop(passes);
        move || {
            let mut passes = server.passes();
            let pass = passes.passes.get_mut(&serial).unwrap();
            *pass = (pass.0 + 1, tag, pass.2 + 1);
        }
    }

    /// From now on packages are signed.
    pub(crate) fn sign_with(&self, signer: Signer) {
        self.signing.lock().unwrap().signer = Some(signer);
    }

    /// From now on this is what is signed, and not the manifest.
    pub(crate) fn sign_instead(&self, content: &[u8]) {
        self.signing.lock().unwrap().instead = Some(content.to_vec());
    }

    fn signature(&self, content: &[u8]) -> Vec<u8> {
        let signing = self.signing.lock().unwrap();
        let content = signing.instead.as_deref().unwrap_or(content);
        signing.signer.as_ref().map_or_else(|| b"signed".to_vec(), |signer| signer.sign(content))
    }

    pub(crate) fn forget_registrations(&self) {
        self.passes().registered.clear();
    }

    pub(crate) fn push_token(&self, device: &str) -> Option<String> {
        self.passes().push_tokens.get(device).cloned()
    }

    pub(crate) fn registrations(&self) -> usize {
        self.passes().registered.len()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.passes().log.clone()
    }

    pub(crate) fn package(&self, serial: &str, version: u64) -> Vec<u8> {
        let pass = json!({
            "formatVersion": 1, "passTypeIdentifier": PASS_TYPE, "serialNumber": serial, "teamIdentifier": "TEAM000001",
            "organizationName": "Example", "description": "Card", "webServiceURL": self.url,
            "authenticationToken": TOKEN,
            "storeCard": {"primaryFields": [{"key": "balance", "value": version}]},
        });
        zip_signed(&[("pass.json", pass.to_string().as_bytes()), ("icon.png", b"png")], |manifest| {
            self.signature(manifest)
        })
    }
}

/// A package of these files with its manifest and something in place of a signature.
pub(crate) fn zip_package(files: &[(&str, &[u8])]) -> Vec<u8> {
    zip_signed(files, |_| b"signed".to_vec())
}

/// A package of these files with its manifest and its signature.
pub(crate) fn zip_signed(files: &[(&str, &[u8])], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut manifest = serde_json::Map::new();
    for (name, content) in files {
        let mut hash = String::new();
        for byte in Sha1::digest(content) {
            write!(hash, "{byte:02x}").unwrap();
        }
        manifest.insert((*name).to_owned(), json!(hash));
    }
    let manifest = Value::Object(manifest).to_string();
    let mut all = files.to_vec();
    all.push(("manifest.json", manifest.as_bytes()));
    let signature = sign(manifest.as_bytes());
    all.push(("signature", &signature));
    zip_files(&all)
}

pub(crate) fn zip_files(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn http_date(seconds: u64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap();
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time.format(format).unwrap()
}

fn authorized(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == format!("ApplePass {TOKEN}").as_str())
}

async fn register(
    State(server): State<PassServer>,
    Path((device, _, serial)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> StatusCode {
    if !authorized(&headers) || server.fault() == Fault::RegistrationUnauthorized {
        return StatusCode::UNAUTHORIZED;
    }
    let mut passes = server.passes();
    passes.push_tokens.insert(device.clone(), body["pushToken"].as_str().unwrap().to_owned());
    if passes.registered.insert((device, serial)) { StatusCode::CREATED } else { StatusCode::OK }
}

async fn unregister(
    State(server): State<PassServer>,
    Path((device, _, serial)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> StatusCode {
    if !authorized(&headers) || server.fault() == Fault::UnregistrationUnauthorized {
        return StatusCode::UNAUTHORIZED;
    }
    if server.fault() != Fault::NeverUnregisters {
        server.passes().registered.remove(&(device, serial));
    }
    StatusCode::OK
}

async fn list(
    State(server): State<PassServer>,
    Path((device, _)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let fault = server.fault();
    let passes = server.passes();
    let since: Option<u64> = query.get("passesUpdatedSince").and_then(|tag| tag.parse().ok());
    let mut serials = Vec::new();
    let mut newest = 0;
    for (_, serial) in passes.registered.iter().filter(|(registered, _)| *registered == device) {
        let Some((_, tag, _)) = passes.passes.get(serial) else { continue };
        let changed = match (since, fault) {
            (None, _) => true,
            (Some(since), Fault::GreaterOrEqual) => *tag >= since,
            (Some(since), _) => *tag > since,
        };
        if changed && fault != Fault::PushBeforeCommit {
            serials.push(serial.clone());
            newest = newest.max(*tag);
        }
    }
    if fault == Fault::UnregisteredSerial {
        serials.push("stranger".to_owned());
    }
    if serials.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    match fault {
        Fault::ListIsNoJson => "<html>".into_response(),
        Fault::ListFails => StatusCode::GATEWAY_TIMEOUT.into_response(),
        Fault::TagIsNumber => Json(json!({"serialNumbers": serials, "lastUpdated": newest})).into_response(),
        Fault::NoTag => Json(json!({"serialNumbers": serials})).into_response(),
        _ => Json(json!({"serialNumbers": serials, "lastUpdated": newest.to_string()})).into_response(),
    }
}

async fn pass(
    State(server): State<PassServer>,
    Path((_, serial)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let fault = server.fault();
    if !authorized(&headers) || fault == Fault::PassUnauthorized {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Some((version, _, seconds)) = server.passes().passes.get(&serial).copied() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let Fault::Status(status) = fault {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let date = http_date(seconds);
    let same = headers.get("if-modified-since").is_some_and(|value| value == date.as_str());
    if same && fault != Fault::NeverNotModified {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let package = match fault {
        Fault::WrongSerial => server.package("somebody-else-s", version),
        Fault::CorruptPackage => zip_files(&[("pass.json", b"{}"), ("manifest.json", b"{}"), ("signature", b"s")]),
        _ => server.package(&serial, version),
    };
    let kind = ("content-type", "application/vnd.apple.pkpass");
    if fault == Fault::NoLastModified {
        return ([kind], package).into_response();
    }
    ([kind, ("last-modified", date.as_str())], package).into_response()
}

async fn personalize(
    State(server): State<PassServer>,
    Path((_, serial)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if !authorized(&headers) || server.fault() == Fault::PersonalizationUnauthorized {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert!(body["requiredPersonalizationInfo"]["fullName"].is_string(), "{body}");
    if server.fault() != Fault::NeverPersonalizes {
        drop(server.change(&serial));
    }
    let signature = server.signature(body["personalizationToken"].as_str().unwrap().as_bytes());
    ([("content-type", "application/octet-stream")], signature).into_response()
}

async fn log(State(server): State<PassServer>, Json(body): Json<Value>) -> StatusCode {
    let lines = body["logs"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
    server.passes().log.extend(lines);
    StatusCode::OK
}
