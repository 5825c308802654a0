//! The `.pkpass` itself: a ZIP archive. Images are stored, they do not shrink; texts are deflated.

use std::io::{Cursor, Write};

use zip::result::ZipResult;
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::template::Template;

/// Packs a signed pass.
pub(super) fn pack(template: &Template, pass_json: &[u8], manifest: &[u8], signature: &[u8]) -> ZipResult<Vec<u8>> {
    let images: usize = template.files.values().map(|file| file.bytes.len() + 256).sum();
    let mut archive = ZipWriter::new(Cursor::new(Vec::with_capacity(images + pass_json.len() + 8192)));
    // A fixed date: the same pass gives the same bytes but for the signature's time.
    let options = SimpleFileOptions::default().last_modified_time(DateTime::default()).unix_permissions(0o644);
    let texts = [("pass.json", pass_json), ("manifest.json", manifest), ("signature", signature)];
    for (name, bytes) in texts {
        archive.start_file(name, options.compression_method(CompressionMethod::Deflated))?;
        archive.write_all(bytes)?;
    }
    for (name, file) in &template.files {
        let method = if name.ends_with(".png") { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        archive.start_file(name.as_str(), options.compression_method(method))?;
        archive.write_all(&file.bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}
