//! A device that tracks orders: it takes order packages, registers for their updates and reacts to pushes, and writes down
//! what is wrong with an answer. Apple publishes no texts of such complaints; these are ours.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MODIFIED_SINCE, LAST_MODIFIED};
use serde_json::{Value, json};

use super::signature::TrustedRoot;
use crate::push_source::PushSource;

/// The media type of an order.
const MEDIA_TYPE: &str = "application/vnd.apple.order";
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// An order that was opened and found good.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderPackage {
    /// `orderTypeIdentifier`.
    pub order_type: String,
    /// `orderIdentifier`.
    pub identifier: String,
    /// `webServiceURL` without a slash at its end.
    pub url: String,
    /// `authenticationToken`.
    pub token: String,
    /// `order.json`.
    pub order: Value,
    /// `manifest.json`: equal manifests are equal orders.
    pub manifest: Vec<u8>,
    /// `signature`: detached CMS over the manifest, DER.
    pub signature: Vec<u8>,
}

impl OrderPackage {
    /// Opens a package; with a root its signature is checked too (the certificate's OU being `team`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(bytes: &[u8], root: Option<(&TrustedRoot, &str)>) -> Result<Self, String> {
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
        let mut files = BTreeMap::new();
        for index in 0..archive.len() {
            let file = archive.by_index(index).map_err(|error| error.to_string())?;
            let name = file.name().map_err(|error| error.to_string())?.to_string();
            let mut content = Vec::new();
            file.take(MAX_FILE).read_to_end(&mut content).map_err(|error| error.to_string())?;
            files.insert(name, content);
        }
        let manifest = files.remove("manifest.json").ok_or("manifest.json is missing")?;
        let signature = files.remove("signature").ok_or("signature is missing")?;
        let hashes: BTreeMap<String, String> =
            serde_json::from_slice(&manifest).map_err(|error| format!("manifest.json: {error}"))?;
        let found: BTreeMap<String, String> =
            files.iter().map(|(name, content)| (name.clone(), hex(digest(&SHA256, content).as_ref()))).collect();
        if hashes != found {
            return Err("the manifest does not list the files with their SHA-256".to_owned());
        }
        let order: Value = serde_json::from_slice(files.get("order.json").ok_or("order.json is missing")?)
            .map_err(|error| format!("order.json: {error}"))?;
        let text = |key: &str| {
            let text = order.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.map(str::to_owned).ok_or_else(|| format!("order.json: {key} is missing"))
        };
        if order.get("schemaVersion") != Some(&json!(1)) {
            return Err("order.json: schemaVersion is not 1".to_owned());
        }
        for key in ["createdAt", "updatedAt", "orderType", "orderManagementURL", "status"] {
            text(key)?;
        }
        let token = text("authenticationToken")?;
        if token.len() < 16 {
            return Err("order.json: authenticationToken has fewer than 16 characters".to_owned());
        }
        let opened = Self {
            order_type: text("orderTypeIdentifier")?,
            identifier: text("orderIdentifier")?,
            url: text("webServiceURL")?.trim_end_matches('/').to_owned(),
            token,
            order: order.clone(),
            manifest,
            signature,
        };
        if let Some((root, team)) = root {
            root.check(&opened.signature, &opened.manifest, &opened.order_type, team)?;
        }
        Ok(opened)
    }

    fn updated_at(&self) -> &str {
        self.order["updatedAt"].as_str().unwrap_or_default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An order on the device.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackedOrder {
    /// Its newest version.
    pub package: OrderPackage,
    /// How many versions were received after the first.
    pub updates: u64,
    last_modified: Option<String>,
}

/// A device that tracks orders.
pub struct OrderDevice {
    device: String,
    push_token: String,
    client: reqwest::Client,
    root: Option<(TrustedRoot, String)>,
    orders: BTreeMap<(String, String), TrackedOrder>,
    /// `lastModified` of the latest answer, by order type.
    tags: BTreeMap<String, String>,
    complaints: Vec<String>,
    last_push: u64,
}

impl OrderDevice {
    /// A device without orders.
    #[must_use]
    pub fn new(client: reqwest::Client) -> Self {
        let id = || uuid::Uuid::new_v4().simple().to_string();
        Self {
            device: id(),
            push_token: format!("{}{}", id(), id()),
            client,
            root: None,
            orders: BTreeMap::new(),
            tags: BTreeMap::new(),
            complaints: Vec::new(),
            last_push: 0,
        }
    }

    /// The same device, which checks signatures: the root that it trusts, and the team of the certificates.
    #[must_use]
    pub fn trusting(mut self, root: TrustedRoot, team: &str) -> Self {
        self.root = Some((root, team.to_owned()));
        self
    }

    /// The push token.
    #[must_use]
    pub fn push_token(&self) -> &str {
        &self.push_token
    }

    /// What the device complained about, oldest first.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// An order on the device.
    #[must_use]
    pub fn order(&self, order_type: &str, identifier: &str) -> Option<&TrackedOrder> {
        self.orders.get(&(order_type.to_owned(), identifier.to_owned()))
    }

    /// Adds an order, as after a payment, and registers for its updates; how the registration was answered.
    ///
    /// # Errors
    /// When the package cannot be used.
    pub async fn add(&mut self, bytes: &[u8]) -> Result<u16, String> {
        let package = OrderPackage::open(bytes, self.root())?;
        let key = (package.order_type.clone(), package.identifier.clone());
        self.orders.insert(key.clone(), TrackedOrder { package, updates: 0, last_modified: None });
        Ok(self.register(&key).await)
    }

    /// Removes an order and unregisters; how that was answered.
    pub async fn remove(&mut self, order_type: &str, identifier: &str) -> u16 {
        let key = (order_type.to_owned(), identifier.to_owned());
        let Some(order) = self.orders.remove(&key) else { return 0 };
        let request = self.client.delete(self.registration(&order.package));
        self.send(request.header(AUTHORIZATION, format!("AppleOrder {}", order.package.token)), "unregister").await
    }

    /// Reacts to the pushes that have come, waiting up to `wait` for the first; how many there were.
    ///
    /// # Errors
    /// When the source of pushes cannot be asked.
    pub async fn take_pushes(&mut self, source: &PushSource, wait: Duration) -> anyhow::Result<usize> {
        let pushes = source.wait(&self.push_token, self.last_push, wait).await?;
        for push in &pushes {
            self.last_push = self.last_push.max(push.seq);
            self.update(&push.topic, true).await;
        }
        Ok(pushes.len())
    }

    /// "What changed?", and then each changed order.
    pub async fn update(&mut self, order_type: &str, pushed: bool) {
        let urls: BTreeSet<String> = self
            .orders
            .iter()
            .filter(|((of, _), _)| of == order_type)
            .map(|(_, order)| order.package.url.clone())
            .collect();
        for url in urls {
            self.update_from(order_type, &url, pushed).await;
        }
    }

    async fn update_from(&mut self, order_type: &str, url: &str, pushed: bool) {
        let tag = self.tags.get(order_type).cloned();
        let mut address = format!("{url}/v1/devices/{}/registrations/{order_type}", self.device);
        if let Some(tag) = &tag {
            address = format!("{address}?ordersModifiedSince={tag}");
        }
        let Ok(answer) = self.client.get(address).send().await else {
            return self.complain("the list was not answered");
        };
        match answer.status() {
            StatusCode::NO_CONTENT => {
                if pushed {
                    self.complain("a push, and nothing had changed");
                }
                return;
            }
            StatusCode::OK => {}
            status => return self.complain(format!("the list was answered {status}")),
        }
        let body: Value = answer.json().await.unwrap_or_default();
        let identifiers: Option<Vec<String>> = body["orderIdentifiers"]
            .as_array()
            .map(|all| all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect());
        let (Some(identifiers), Some(new)) = (identifiers, body["lastModified"].as_str()) else {
            return self.complain(format!("the list is malformed: {body}"));
        };
        if identifiers.is_empty() {
            self.complain("200 with an empty list");
        }
        if tag.as_deref() == Some(new) {
            self.complain("orders were listed under an unmoved lastModified");
        }
        self.tags.insert(order_type.to_owned(), new.to_owned());
        for identifier in identifiers {
            self.fetch(order_type, &identifier).await;
        }
    }

    async fn fetch(&mut self, order_type: &str, identifier: &str) {
        let key = (order_type.to_owned(), identifier.to_owned());
        let Some(order) = self.orders.get(&key).cloned() else {
            return self.complain(format!("{identifier} was listed, and is not registered"));
        };
        let address = format!("{}/v1/orders/{order_type}/{identifier}", order.package.url);
        let authorization = format!("AppleOrder {}", order.package.token);
        let mut request = self.client.get(address).header(AUTHORIZATION, authorization);
        if let Some(since) = &order.last_modified {
            request = request.header(IF_MODIFIED_SINCE, since);
        }
        let Ok(answer) = request.send().await else { return self.complain("the order was not answered") };
        match answer.status() {
            StatusCode::NOT_MODIFIED => return self.complain(format!("{identifier} was listed, and is unchanged")),
            StatusCode::OK => {}
            status => return self.complain(format!("the order was answered {status}")),
        }
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (kind, last_modified) = (header(CONTENT_TYPE), header(LAST_MODIFIED));
        if kind.as_deref() != Some(MEDIA_TYPE) {
            self.complain(format!("an order's media type is {MEDIA_TYPE}, not {kind:?}"));
        }
        if last_modified.is_none() {
            self.complain("an order came without Last-Modified");
        }
        let bytes = answer.bytes().await.unwrap_or_default();
        let package = match OrderPackage::open(&bytes, self.root()) {
            Ok(package) => package,
            Err(why) => return self.complain(format!("the order cannot be used: {why}")),
        };
        if package.identifier != identifier {
            return self.complain(format!("{identifier} was asked for, {} came", package.identifier));
        }
        if package.updated_at() < order.package.updated_at() {
            self.complain("updatedAt went back");
        }
        let unchanged = package.manifest == order.package.manifest;
        if let (true, Some(_)) = (unchanged, &order.last_modified) {
            self.complain("the unchanged order came whole although If-Modified-Since said so");
        }
        let updates = order.updates + u64::from(!unchanged);
        self.orders.insert(key, TrackedOrder { package, updates, last_modified });
    }

    async fn register(&mut self, key: &(String, String)) -> u16 {
        let Some(order) = self.orders.get(key) else { return 0 };
        let request = self
            .client
            .post(self.registration(&order.package))
            .header(AUTHORIZATION, format!("AppleOrder {}", order.package.token))
            .json(&json!({ "pushToken": self.push_token }));
        self.send(request, "register").await
    }

    fn registration(&self, package: &OrderPackage) -> String {
        let (url, order_type, identifier) = (&package.url, &package.order_type, &package.identifier);
        format!("{url}/v1/devices/{}/registrations/{order_type}/{identifier}", self.device)
    }

    async fn send(&mut self, request: reqwest::RequestBuilder, what: &str) -> u16 {
        match request.send().await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => status.as_u16(),
            Ok(status) => {
                self.complain(format!("{what}: answered {status}"));
                status.as_u16()
            }
            Err(_) => {
                self.complain(format!("{what}: no answer"));
                0
            }
        }
    }

    fn root(&self) -> Option<(&TrustedRoot, &str)> {
        self.root.as_ref().map(|(root, team)| (root, team.as_str()))
    }

    fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }
}
