//! ZIP archives as packages need them (PKWARE's APPNOTE 6.3.10, 4.3): a part that is written once, and a few more files
//! for each package. A date is never written: the same pass gives the same bytes but for the signature's time.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress, Status};

/// 1980-01-01, the earliest that ZIP knows.
const NO_DATE: [u8; 4] = [0, 0, 0x21, 0];
/// A plain file, rw-r--r--, made on Unix.
const ATTRIBUTES: u32 = 0o100_644 << 16;
const MADE_BY_UNIX: u16 = 3 << 8 | 20;
const NEEDED: u16 = 20;
const UTF8: u16 = 1 << 11;

/// How a file lies in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
}

/// Files of an archive, and their entries in its directory.
#[derive(Clone, Default)]
pub(super) struct Entries {
    files: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Entries {
    /// Adds a file.
    ///
    /// # Errors
    /// More than 4 GiB or 65,535 files: no package is like that.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8], method: Method) -> Result<(), String> {
        let too_large = |_| format!("{name}: the package would have more than 4 GiB");
        let offset = u32::try_from(self.files.len()).map_err(too_large)?;
        let deflated = if method == Method::Deflated { deflated(bytes)? } else { None };
        // What does not shrink is stored.
        let (code, content): (u16, &[u8]) = deflated.as_ref().map_or((0, bytes), |shrunk| (8, shrunk));
        let mut common = Vec::with_capacity(26);
        common.extend_from_slice(&NEEDED.to_le_bytes());
        common.extend_from_slice(&(if name.is_ascii() { 0 } else { UTF8 }).to_le_bytes());
        common.extend_from_slice(&code.to_le_bytes());
        common.extend_from_slice(&NO_DATE);
        common.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        common.extend_from_slice(&u32::try_from(content.len()).map_err(too_large)?.to_le_bytes());
        common.extend_from_slice(&u32::try_from(bytes.len()).map_err(too_large)?.to_le_bytes());
        let name_length = u16::try_from(name.len()).map_err(|_| format!("{name}: the name is too long"))?;
        common.extend_from_slice(&name_length.to_le_bytes());
        // No extra field.
        common.extend_from_slice(&[0, 0]);
        self.files.extend_from_slice(b"PK\x03\x04");
        self.files.extend_from_slice(&common);
        self.files.extend_from_slice(name.as_bytes());
        self.files.extend_from_slice(content);
        self.directory.extend_from_slice(b"PK\x01\x02");
        self.directory.extend_from_slice(&MADE_BY_UNIX.to_le_bytes());
        self.directory.extend_from_slice(&common);
        // No comment, the first disk, no internal attributes.
        self.directory.extend_from_slice(&[0; 6]);
        self.directory.extend_from_slice(&ATTRIBUTES.to_le_bytes());
        self.directory.extend_from_slice(&offset.to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());
        self.count = self.count.checked_add(1).ok_or("the package would have more than 65,535 files")?;
        Ok(())
    }

    /// The archive of these files and `own`.
    ///
    /// # Errors
    /// As [`Entries::add`].
    pub(super) fn with(&self, own: &[(&str, &[u8], Method)]) -> Result<Vec<u8>, String> {
        let room: usize = own.iter().map(|(_, bytes, _)| bytes.len() + 160).sum();
        let mut all = Self {
            files: Vec::with_capacity(self.files.len() + self.directory.len() + room + 22),
            directory: self.directory.clone(),
            count: self.count,
        };
        all.files.extend_from_slice(&self.files);
        for (name, bytes, method) in own {
            all.add(name, bytes, *method)?;
        }
        let too_large = |_| "the package would have more than 4 GiB".to_owned();
        let offset = u32::try_from(all.files.len()).map_err(too_large)?;
        let mut archive = all.files;
        archive.extend_from_slice(&all.directory);
        archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        archive.extend_from_slice(&all.count.to_le_bytes());
        archive.extend_from_slice(&all.count.to_le_bytes());
        archive.extend_from_slice(&u32::try_from(all.directory.len()).map_err(too_large)?.to_le_bytes());
        archive.extend_from_slice(&offset.to_le_bytes());
        archive.extend_from_slice(&[0, 0]);
        Ok(archive)
    }
}

thread_local! {
    /// Its tables are a quarter of a megabyte: made once for each thread.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(3), false));
}

/// `None`: the bytes do not shrink.
fn deflated(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        let mut out = Vec::with_capacity(bytes.len());
        match compress.compress_vec(bytes, &mut out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => Ok(Some(out)),
            // The room of the original was not enough.
            Ok(_) => Ok(None),
            Err(error) => Err(format!("a text cannot be compressed: {error}")),
        }
    })
}
