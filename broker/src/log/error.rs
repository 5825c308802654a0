//! Why the log refused: each says what happened, where, and what to do.

use std::path::PathBuf;

/// A refusal of the log. The text is for the operator; doors answer clients with codes of their own.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogError {
    /// No space is left; nothing of the batch was stored. Appends are accepted again when there is space.
    #[error(
        "the message log in {} cannot grow: {detail}; publishes are refused until there is space: free some on that disk, or lower broker.log.retention.age",
        folder.display()
    )]
    Full {
        /// The log's folder.
        folder: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// More waits to be written than `broker.log.waiting` allows; nothing of the batch was stored.
    #[error(
        "the disk of the message log is too slow for what is published: {waiting} bytes already wait to be written (broker.log.waiting)"
    )]
    Busy {
        /// Bytes that wait.
        waiting: usize,
    },
    /// The disk failed; nothing of the batch was stored.
    #[error("the message log could not {action} {}: {detail}; check that disk", path.display())]
    Io {
        /// What was tried, as in "could not ACTION PATH".
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// A message is longer than a frame may be.
    #[error("a message of {found} bytes is longer than the log takes ({allowed} bytes)")]
    TooLarge {
        /// Its length when written.
        found: usize,
        /// The greatest length.
        allowed: usize,
    },
    /// The folder cannot be made or written.
    #[error(
        "the message log cannot be kept in {}: {detail}; make that folder writable for the user who runs the broker, or name another one (broker.log.dir)",
        folder.display()
    )]
    Unwritable {
        /// The log's folder.
        folder: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// Another process holds the log.
    #[error(
        "the message log in {} is in use by another broker{}; stop that one, or give this one a folder of its own (broker.log.dir)",
        folder.display(),
        holder.as_ref().map_or_else(String::new, |pid| format!(" (process {pid})"))
    )]
    Locked {
        /// The log's folder.
        folder: PathBuf,
        /// The process id in the lock file, when it could be read.
        holder: Option<String>,
    },
    /// The folder holds something that is not a message log.
    #[error(
        "{} is not a message log of Tidings: it holds {found}; point broker.log.dir at an empty or missing folder",
        folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// The names that do not belong there.
        found: String,
    },
    /// A file of the log was written by another version.
    #[error("{} is a file of a message log in format {found}, this broker reads format {expected}; run the version that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The format it says it has.
        found: u32,
        /// The format that is understood.
        expected: u32,
    },
    /// The log is closed or its writer has ended.
    #[error("the message log is closed")]
    Closed,
}

impl LogError {
    /// Whether the same call may succeed later without anybody changing the request.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Busy { .. } | Self::Io { .. } | Self::Closed)
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), detail: error.to_string() }
    }
}
