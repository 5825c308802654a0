//! The folder of a log: its lock, its epoch, and which files belong in it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::super::LogError;
#[cfg(test)]
use super::faults::Faults;

const LOCK: &str = "lock";
const EPOCH: &str = "epoch";
const SEGMENT: &str = ".segment";
const RECORDS: &str = ".records";
const INDEX: &str = ".index";
const DAMAGED: &str = ".damaged";
const TEMPORARY: &str = ".tmp";

/// A folder that this process alone may change, until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    epoch: u64,
    _lock: File,
    #[cfg(test)]
    pub(super) faults: Faults,
}

impl Folder {
    /// Makes the folder where it is missing, locks it and checks what is in it.
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let unwritable =
            |error: io::Error| LogError::Unwritable { folder: path.to_path_buf(), detail: error.to_string() };
        fs::create_dir_all(path).map_err(unwritable)?;
        let names = names_in(path)?;
        let known = names.iter().any(|name| name == EPOCH);
        let foreign: Vec<&String> = names.iter().filter(|name| !belongs(name)).collect();
        if !foreign.is_empty() && !known {
            let shown: Vec<&str> = foreign.iter().take(3).map(|name| name.as_str()).collect();
            let more = foreign.len().checked_sub(shown.len()).filter(|more| *more > 0);
            let found = shown.join(", ") + &more.map_or_else(String::new, |more| format!(" and {more} more"));
            return Err(LogError::Foreign { folder: path.to_path_buf(), found });
        }
        let lock = lock(path).map_err(|error| error.unwrap_or_else(unwritable))?;
        for name in foreign {
            tracing::warn!(folder = %path.display(), file = %name, "a file that is not part of the message log lies in its folder; it is left alone");
        }
        for name in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
            fs::remove_file(path.join(name)).map_err(unwritable)?;
        }
        let epoch = if known { read_epoch(path)? } else { write_epoch(path, &names).map_err(unwritable)? };
        Ok(Self {
            path: path.to_path_buf(),
            epoch,
            _lock: lock,
            #[cfg(test)]
            faults: Faults::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The path of the segment that begins with this offset.
    pub(super) fn segment(&self, base: u64) -> PathBuf {
        self.path.join(format!("{base:020}{SEGMENT}"))
    }

    /// The path of the index beside the segment that begins with this offset.
    pub(super) fn index(&self, base: u64) -> PathBuf {
        self.path.join(format!("{base:020}{INDEX}"))
    }

    /// First offsets of the segments that have an index.
    pub(super) fn indexes(&self) -> Result<Vec<u64>, LogError> {
        self.numbered(INDEX)
    }

    /// Sets a file aside that cannot be read at all, for a person to look at; its new name.
    pub(super) fn set_aside(&self, path: &Path) -> Result<PathBuf, LogError> {
        let mut name = path.as_os_str().to_owned();
        name.push(DAMAGED);
        let aside = PathBuf::from(name);
        fs::rename(path, &aside).map_err(|error| LogError::io("set aside", path, &error))?;
        Ok(aside)
    }

    /// The path of a generation of the records.
    pub(super) fn records(&self, generation: u64) -> PathBuf {
        self.path.join(format!("{generation:020}{RECORDS}"))
    }

    /// First offsets of the segments that are here, ascending.
    pub(super) fn segments(&self) -> Result<Vec<u64>, LogError> {
        self.numbered(SEGMENT)
    }

    /// Generations of the records that are here, ascending.
    pub(super) fn generations(&self) -> Result<Vec<u64>, LogError> {
        self.numbered(RECORDS)
    }

    fn numbered(&self, ending: &str) -> Result<Vec<u64>, LogError> {
        let mut numbers: Vec<u64> =
            names_in(&self.path)?.iter().filter_map(|name| name.strip_suffix(ending)?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns when new and renamed files would be found after a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }
}

/// The temporary name under which a file is made before it gets its own.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// A random number that nobody can guess: epochs and salts are for uniqueness, no run has to replay them.
pub(super) fn random() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    (high ^ low).max(1)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn names_in(path: &Path) -> Result<Vec<String>, LogError> {
    let unreadable = |error: io::Error| LogError::io("list", path, &error);
    let entries = fs::read_dir(path).map_err(unreadable)?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(unreadable))
        .collect()
}

fn belongs(name: &str) -> bool {
    let numbered = |ending: &str| {
        let name = name.strip_suffix(TEMPORARY).unwrap_or(name);
        name.strip_suffix(ending)
            .is_some_and(|number| number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name == LOCK
        || name == EPOCH
        || name.starts_with('.')
        || name == "lost+found"
        || name == "epoch.tmp"
        || name == "probe.tmp"
        || numbered(SEGMENT)
        || numbered(RECORDS)
        || numbered(INDEX)
        || name.ends_with(DAMAGED)
}

/// The inner error is `None` for trouble with the file itself.
fn lock(path: &Path) -> Result<File, LockError> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK))
        .map_err(LockError::Io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = known.then(|| holder.trim().to_owned());
            return Err(LockError::Log(LogError::Locked { folder: path.to_path_buf(), holder }));
        }
        Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
    }
    // Who holds it is a courtesy to the reader of the error; a full disk must not stop the start.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

enum LockError {
    Io(io::Error),
    Log(LogError),
}

impl LockError {
    fn unwrap_or_else(self, other: impl FnOnce(io::Error) -> LogError) -> LogError {
        match self {
            Self::Io(error) => other(error),
            Self::Log(error) => error,
        }
    }
}

const EPOCH_FORMAT: &str = "tidings message log, epoch ";

fn read_epoch(folder: &Path) -> Result<u64, LogError> {
    let path = folder.join(EPOCH);
    let text = fs::read_to_string(&path).map_err(|error| LogError::io("read", &path, &error))?;
    let number = text.trim().strip_prefix(EPOCH_FORMAT).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    number.ok_or_else(|| LogError::Foreign {
        folder: folder.to_path_buf(),
        found: format!("a file `{EPOCH}` that does not say `{EPOCH_FORMAT}…`"),
    })
}

fn write_epoch(folder: &Path, names: &[String]) -> io::Result<u64> {
    if names.iter().any(|name| name.ends_with(SEGMENT)) {
        tracing::warn!(folder = %folder.display(), "the message log had no epoch file and gets a new epoch: readers with an old cursor are told that recovery is not whole");
    }
    let epoch = random();
    let path = folder.join(EPOCH);
    let new = temporary(&path);
    let mut file = File::create(&new)?;
    writeln!(file, "{EPOCH_FORMAT}{epoch:016x}")?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    sync_folder(folder)?;
    Ok(epoch)
}
