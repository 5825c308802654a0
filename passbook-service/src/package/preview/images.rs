//! The images of a pass for one language, embedded, and how large a PNG is.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::package::images::dimensions;
use crate::package::template::TemplateFile;

/// An image to be drawn.
pub(super) struct Image {
    /// A `data:` address.
    pub(super) address: String,
    /// Points, not pixels.
    pub(super) width: f64,
    /// Points.
    pub(super) height: f64,
}

/// The images of a template.
pub(super) struct Images<'a> {
    files: &'a BTreeMap<String, TemplateFile>,
    language: Option<&'a str>,
}

impl<'a> Images<'a> {
    pub(super) fn new(files: &'a BTreeMap<String, TemplateFile>, language: Option<&'a str>) -> Self {
        Self { files, language }
    }

    /// The best of an image's sizes (`logo`: `logo@2x.png`, …), the language's own first.
    pub(super) fn find(&self, name: &str) -> Option<Image> {
        let primary = self.language.map(|language| language.split(['-', '_']).next().unwrap_or(language));
        let folders = [self.language, primary].into_iter().flatten().map(|language| format!("{language}.lproj/"));
        for folder in folders.chain([String::new(), "en.lproj/".to_owned()]) {
            for (suffix, scale) in [("@2x", 2.0), ("@3x", 3.0), ("", 1.0)] {
                let Some(file) = self.files.get(&format!("{folder}{name}{suffix}.png")) else { continue };
                let Some((width, height)) = dimensions(&file.bytes) else { continue };
                return Some(Image {
                    address: format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&file.bytes)),
                    width: f64::from(width) / scale,
                    height: f64::from(height) / scale,
                });
            }
        }
        None
    }
}
