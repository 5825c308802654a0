//! The templates that passes can be made from: those of the folder and the built-in one, which are there from the start,
//! and uploaded ones, which every process reads from the database.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use arc_swap::ArcSwap;
use tidings_shared::storage::StorageError;
use tokio::sync::Notify;

use crate::package::{Issuers, Template, TemplateError, example_files};
use crate::store::Store;

type Templates = BTreeMap<String, Arc<Template>>;

/// Templates by name.
pub struct Catalog {
    fixed: Templates,
    uploaded: ArcSwap<Templates>,
    /// A template came since the last sweep.
    dirty: AtomicBool,
    wake: Notify,
}

impl Catalog {
    /// Reads a folder that holds one folder per template, besides the built-in `example`.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn load(folder: Option<&Path>, issuers: &Issuers) -> anyhow::Result<Self> {
        let mut templates = BTreeMap::new();
        let mut faults = Vec::new();
        let example = Template::from_files("example", example_files()).map_err(anyhow::Error::new)?;
        templates.insert("example".to_owned(), Arc::new(example));
        if let Some(folder) = folder {
            let place = || format!("wallet.templates: {}", folder.display());
            let entries = std::fs::read_dir(folder).with_context(place)?;
            for entry in entries {
                let path = entry.with_context(place)?.path();
                let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
                if hidden || !path.is_dir() {
                    continue;
                }
                let checked = Template::from_folder(&path).and_then(|template| {
                    match template.check_for(issuers.of_template(&template).issuer()) {
                        Ok(()) => Ok(template),
                        Err(faults) => Err(TemplateError { place: path.display().to_string(), faults }),
                    }
                });
                match checked {
                    Ok(template) => {
                        for warning in &template.warnings {
                            tracing::warn!(template = template.name, "{warning}");
                        }
                        templates.insert(template.name.clone(), Arc::new(template));
                    }
                    Err(error) => faults.push(error.to_string()),
                }
            }
        }
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(Self { fixed: templates, uploaded: ArcSwap::default(), dirty: AtomicBool::new(false), wake: Notify::new() })
    }

    /// A template.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Template>> {
        self.fixed.get(name).cloned().or_else(|| self.uploaded.load().get(name).cloned())
    }

    /// All names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.fixed.keys().chain(self.uploaded.load().keys()).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether a template is built in or comes from the folder: it cannot be uploaded or removed then.
    #[must_use]
    pub fn is_fixed(&self, name: &str) -> bool {
        self.fixed.contains_key(name)
    }

    /// Reads uploaded templates that are new or other ones than those at hand. `true`: something changed.
    ///
    /// # Errors
    /// When the database fails. A template that this program cannot use is left out, and the log says why.
    pub async fn reload(&self, store: &Store, issuers: &Issuers) -> Result<bool, StorageError> {
        let heads = store.template_heads().await?;
        let present = self.uploaded.load_full();
        let same = heads.len() == present.len()
            && heads.iter().all(|head| present.get(&head.name).is_some_and(|known| known.revision == head.revision));
        if same {
            return Ok(false);
        }
        let mut templates = Templates::new();
        for head in heads {
            if let Some(known) = present.get(&head.name).filter(|known| known.revision == head.revision) {
                templates.insert(head.name, known.clone());
                continue;
            }
            let Some(files) = store.template_files(&head.name, head.revision).await? else { continue };
            let read = Template::from_files(&head.name, files)
                .and_then(|template| template.check_for(issuers.of_template(&template).issuer()).map(|()| template));
            match read {
                Ok(mut template) => {
                    template.revision = head.revision;
                    templates.insert(head.name, Arc::new(template));
                }
                Err(faults) => {
                    tracing::error!(template = head.name, revision = head.revision, %faults, "an uploaded template cannot be used by this program");
                    if let Some(known) = present.get(&head.name) {
                        templates.insert(head.name, known.clone());
                    }
                }
            }
        }
        self.uploaded.store(Arc::new(templates));
        self.dirty.store(true, Ordering::SeqCst);
        self.wake.notify_one();
        Ok(true)
    }

    /// Whether a template came since this was last asked.
    pub(crate) fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::SeqCst)
    }

    /// The same, without forgetting it.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::SeqCst)
    }

    /// Waits until a template comes.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}
