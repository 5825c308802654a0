//! The templates that passes can be made from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::package::{Issuers, Template, TemplateError, example_files};

/// Templates by name.
pub struct Catalog(BTreeMap<String, Arc<Template>>);

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
                        templates.insert(template.name.clone(), Arc::new(template));
                    }
                    Err(error) => faults.push(error.to_string()),
                }
            }
        }
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(Self(templates))
    }

    /// A template.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Template>> {
        self.0.get(name)
    }

    /// All names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}
