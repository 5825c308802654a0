//! The device itself: its passes, its tags, its push token and its log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidings_shared::clock::Clock;

use super::complaint::{Complaint, Task};
use super::package::{Package, PackageError};
use super::signature::TrustedRoot;
use super::web::WebService;
use crate::inbox::Push;
use crate::push_source::PushSource;

/// Which pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PassId {
    /// The pass type identifier.
    pub pass_type: String,
    /// The serial number.
    pub serial: String,
}

/// A pass on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedPass {
    /// Its newest version.
    pub package: Package,
    /// The `Last-Modified` that it came with; none when it was added from elsewhere.
    pub last_modified: Option<String>,
    /// Whether the web service knows that the device has it.
    pub registered: bool,
    /// How many versions were received after the first.
    pub updates: u64,
    /// The newest version came with the last fetch, see [`WalletDevice::forgive_races`].
    pub(super) fresh: bool,
}

/// A device with Wallet.
pub struct WalletDevice {
    pub(super) device: String,
    push_token: String,
    client: reqwest::Client,
    clock: Clock,
    pub(super) passes: BTreeMap<PassId, AddedPass>,
    /// The tag of each pass type at each web service.
    pub(super) tags: BTreeMap<(String, String), String>,
    /// Passes whose update failed: tried again with the next occasion.
    pub(super) pending: BTreeSet<PassId>,
    /// The lists whose last answer had something in it.
    pub(super) just_listed: BTreeSet<(String, String)>,
    pub(super) forgiving: bool,
    root: Option<TrustedRoot>,
    log: Vec<(Complaint, String)>,
    sent: usize,
    last_push: u64,
}

impl WalletDevice {
    /// A device with no passes. `client` must trust the web service's certificate.
    #[must_use]
    pub fn new(client: reqwest::Client, clock: Clock) -> Self {
        let device = uuid::Uuid::new_v4().simple().to_string();
        Self {
            device,
            push_token: new_push_token(),
            client,
            clock,
            passes: BTreeMap::new(),
            tags: BTreeMap::new(),
            pending: BTreeSet::new(),
            just_listed: BTreeSet::new(),
            forgiving: false,
            root: None,
            log: Vec::new(),
            sent: 0,
            last_push: 0,
        }
    }

    /// Real devices complain also where no server could have done better: a change that is committed between a list
    /// and the fetch that follows is fetched early, so it is listed again and then unchanged; and its push finds
    /// nothing when the list was asked after the commit. With `true`, the first unchanged pass after a fetch that
    /// brought a new version, and the first empty list after one with something in it, are no reason to complain: what
    /// tests need that change passes while devices update.
    pub fn forgive_races(&mut self, forgiving: bool) {
        self.forgiving = forgiving;
    }

    /// From now on a package whose signature does not lead to this root is refused, as Wallet refuses it.
    pub fn trust(&mut self, root: TrustedRoot) {
        self.root = Some(root);
    }

    /// The device library identifier.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The push token, which the device has for all its passes.
    #[must_use]
    pub fn push_token(&self) -> &str {
        &self.push_token
    }

    /// A pass on the device.
    #[must_use]
    pub fn pass(&self, id: &PassId) -> Option<&AddedPass> {
        self.passes.get(id)
    }

    /// All passes on the device.
    pub fn passes(&self) -> impl Iterator<Item = (&PassId, &AddedPass)> {
        self.passes.iter()
    }

    /// What the device complained about, oldest first.
    pub fn complaints(&self) -> impl Iterator<Item = &Complaint> {
        self.log.iter().map(|(complaint, _)| complaint)
    }

    /// The lines of its log, oldest first.
    pub fn log(&self) -> impl Iterator<Item = &str> {
        self.log.iter().map(|(_, line)| line.as_str())
    }

    /// Adds a pass, as when its owner opens the package, and registers for its updates.
    ///
    /// # Errors
    /// When the package cannot be used: the device shows that to its owner and writes nothing.
    pub async fn add(&mut self, package: &[u8]) -> Result<PassId, PackageError> {
        let package = Package::open(package)?;
        if let Some(root) = &self.root {
            package.check_signature(root)?;
        }
        let id = PassId { pass_type: package.pass_type.clone(), serial: package.serial.clone() };
        let pass = AddedPass { package, last_modified: None, registered: false, updates: 0, fresh: false };
        self.passes.insert(id.clone(), pass);
        self.register(&id).await;
        Ok(id)
    }

    /// Registers (again) for a pass's updates. Whatever goes wrong is in the log.
    pub async fn register(&mut self, id: &PassId) -> bool {
        let Some((url, token)) = self.web_service(id) else { return false };
        let push_token = self.push_token.clone();
        let result = self.service(&url).register(&id.pass_type, &id.serial, &token, &push_token).await;
        let registered = result.is_ok();
        if let Err(error) = result {
            let task = Task::Register {
                device: self.device.clone(),
                pass_type: id.pass_type.clone(),
                serial: id.serial.clone(),
            };
            self.complain(Complaint::Failed { task, url, error });
        }
        if let Some(pass) = self.passes.get_mut(id) {
            pass.registered = registered;
        }
        registered
    }

    /// Removes a pass and unregisters.
    pub async fn remove(&mut self, id: &PassId) {
        if let Some((url, token)) = self.web_service(id)
            && self.passes.get(id).is_some_and(|pass| pass.registered)
        {
            let result = self.service(&url).unregister(&id.pass_type, &id.serial, &token).await;
            if let Err(error) = result {
                let task = Task::Unregister {
                    device: self.device.clone(),
                    pass_type: id.pass_type.clone(),
                    serial: id.serial.clone(),
                };
                self.complain(Complaint::Failed { task, url, error });
            }
        }
        self.passes.remove(id);
        self.pending.remove(id);
        if !self.passes.keys().any(|other| other.pass_type == id.pass_type) {
            self.tags.retain(|(pass_type, _), _| *pass_type != id.pass_type);
        }
    }

    /// Gets a new push token, as after a restore, and registers every pass with it.
    pub async fn rotate_push_token(&mut self) {
        self.push_token = new_push_token();
        let ids: Vec<PassId> = self.passes.keys().cloned().collect();
        for id in ids {
            self.register(&id).await;
        }
    }

    /// Takes the pushes that have come for this device, waiting up to `wait` for the first, and reacts to each.
    /// Returns how many there were.
    ///
    /// # Errors
    /// When the source of pushes cannot be asked.
    pub async fn take_pushes(&mut self, source: &PushSource, wait: Duration) -> anyhow::Result<usize> {
        let pushes = source.wait(&self.push_token, self.last_push, wait).await?;
        for push in &pushes {
            self.last_push = self.last_push.max(push.seq);
            self.on_push(push).await;
        }
        Ok(pushes.len())
    }

    /// Reacts to one push: its topic is the pass type.
    pub async fn on_push(&mut self, push: &Push) {
        self.update(&push.topic, true).await;
    }

    /// Asks for changes as when the owner pulls to refresh: nothing listed is no fault then.
    pub async fn refresh(&mut self, pass_type: &str) {
        self.update(pass_type, false).await;
    }

    /// Sends what is in the log and was not sent yet to the web services it is about. What one does not take (any
    /// answer but 200) is kept for the next time; returns how many lines those are.
    pub async fn send_log(&mut self) -> usize {
        let mut unsent = Vec::new();
        let waiting = self.log.split_off(self.sent);
        let urls: BTreeSet<String> = waiting.iter().map(|(complaint, _)| complaint.url().to_owned()).collect();
        let mut taken = BTreeSet::new();
        for url in urls {
            let lines: Vec<&str> =
                waiting.iter().filter(|(complaint, _)| complaint.url() == url).map(|(_, line)| line.as_str()).collect();
            if self.service(&url).log(&lines).await {
                taken.insert(url);
            }
        }
        for entry in waiting {
            if taken.contains(entry.0.url()) {
                self.log.push(entry);
            } else {
                unsent.push(entry);
            }
        }
        self.sent = self.log.len();
        let kept = unsent.len();
        self.log.extend(unsent);
        kept
    }

    pub(super) fn root(&self) -> Option<&TrustedRoot> {
        self.root.as_ref()
    }

    pub(super) fn web_service(&self, id: &PassId) -> Option<(String, String)> {
        self.passes.get(id)?.package.web_service.clone()
    }

    pub(super) fn service<'a>(&'a self, url: &'a str) -> WebService<'a> {
        WebService { client: &self.client, url, device: &self.device, root: self.root.as_ref() }
    }

    pub(super) fn complain(&mut self, complaint: Complaint) {
        let line = complaint.line(self.clock.now_ms());
        self.log.push((complaint, line));
    }
}

/// 32 random bytes in hex, as APNs gives them out.
fn new_push_token() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}
