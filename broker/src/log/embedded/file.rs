//! Files as the log uses them: positioned reads and writes, synchronised on demand, each starting with a header
//! that says what it is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::LogError;
#[cfg(test)]
use super::faults::Faults;
use super::folder::Folder;

/// The format of every file that this version writes.
pub(super) const VERSION: u32 = 1;

/// A file of the log.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    #[cfg(test)]
    faults: Faults,
}

impl LogFile {
    /// Makes a new file; one of that name must not exist.
    pub(super) fn create(
        path: &Path,
        #[cfg_attr(not(test), expect(unused_variables, reason = "it brings the tests' failing disk"))] folder: &Folder,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            #[cfg(test)]
            faults: folder.faults.clone(),
        })
    }

    /// Opens an existing file.
    pub(super) fn open(
        path: &Path,
        #[cfg_attr(not(test), expect(unused_variables, reason = "it brings the tests' failing disk"))] folder: &Folder,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            #[cfg(test)]
            faults: folder.faults.clone(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same open file under the name it was given since.
    pub(super) fn renamed(mut self, path: &Path) -> Self {
        self.path = path.to_path_buf();
        self
    }

    pub(super) fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_write(&self.file, bytes, at)?;
        self.file.write_all_at(bytes, at)
    }

    /// Returns when the content has reached the disk (fdatasync).
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_sync()?;
        self.file.sync_data()
    }

    /// Reserves room for so many bytes from `at` on, and makes the file so long: they read as zeros. A synchronisation then
    /// has the content to write and not the file's length each time. Only a hint: where it cannot be done, nothing changes.
    pub(super) fn reserve(&self, at: u64, bytes: u64) {
        #[cfg(target_os = "linux")]
        {
            #[cfg(test)]
            if self.faults.is_full() {
                return;
            }
            // A file system that cannot, or a full disk: the write itself says so.
            let _ = rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), at, bytes);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (at, bytes);
    }

    pub(super) fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    pub(super) fn read_at(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// What is there, up to `length` bytes: fewer only when the file ends before.
    pub(super) fn read_at_most(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length()?.saturating_sub(at)).unwrap_or(usize::MAX);
        self.read_at(at, length.min(left))
    }

    pub(super) fn read_all(&self) -> io::Result<Vec<u8>> {
        self.read_at_most(0, usize::MAX)
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// What a file is, in its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Which kind of file.
    pub(super) magic: [u8; 8],
    /// Secret of this file: frames begin with it and are checked with it, so that no payload can pose as a frame.
    pub(super) salt: u32,
    /// The first offset of a segment, the generation of a records file.
    pub(super) number: u64,
}

impl Header {
    /// Its length in bytes.
    pub(super) const LENGTH: usize = 28;

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LENGTH);
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        let check = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes
    }

    /// As [`Header::read`], for a file whose name and place say what it must be: a damaged header is replaced by what the
    /// name and the first frame tell, since every frame carries the salt. `None` when that frame is damaged too. The flag
    /// says whether it was replaced.
    ///
    /// # Errors
    /// [`LogError::Version`] for an undamaged header of another version.
    pub(super) fn read_or_replace(
        bytes: &[u8],
        magic: [u8; 8],
        number: u64,
        path: &Path,
    ) -> Result<Option<(Self, bool)>, LogError> {
        match Self::read(bytes, magic, path) {
            Ok(header) => Ok(Some((header, false))),
            Err(LogError::Foreign { .. }) => {
                let salt = bytes.get(Self::LENGTH..).and_then(super::frame::salt);
                Ok(salt.map(|salt| (Self { magic, salt, number }, true)))
            }
            Err(other) => Err(other),
        }
    }

    /// Reads the header of a file of the kind `magic`.
    ///
    /// # Errors
    /// [`LogError::Version`] for another version, [`LogError::Foreign`] for another or a damaged file.
    pub(super) fn read(bytes: &[u8], magic: [u8; 8], path: &Path) -> Result<Self, LogError> {
        let foreign = || LogError::Foreign {
            folder: path.parent().unwrap_or(path).to_path_buf(),
            found: format!("{}, whose first bytes are not those of a log file", name_of(path)),
        };
        let header = bytes.get(..Self::LENGTH).ok_or_else(foreign)?;
        let (content, check) = header.split_at(Self::LENGTH - 4);
        if content[..8] != magic || crc32c::crc32c(content).to_le_bytes() != check {
            return Err(foreign());
        }
        let version = number::<4>(content, 8).map(u32::from_le_bytes).ok_or_else(foreign)?;
        if version != VERSION {
            return Err(LogError::Version { path: path.to_path_buf(), found: version, expected: VERSION });
        }
        Ok(Self {
            magic,
            salt: number::<4>(content, 12).map(u32::from_le_bytes).ok_or_else(foreign)?,
            number: number::<8>(content, 16).map(u64::from_le_bytes).ok_or_else(foreign)?,
        })
    }
}

/// The last part of a path, for messages.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
