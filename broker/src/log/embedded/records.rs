//! The records' file: every put is one frame; when most of it is out of date, a new generation is written.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;

use super::super::LogError;
use super::super::record::{RecordKey, RecordKind};
use super::file::{Header, LogFile, name_of};
use super::folder::{self, Folder};
use super::frame::{self, OVERHEAD, Piece, Scan};
use super::segment::{create_whole, refusal};

const MAGIC: [u8; 8] = *b"TIDERECS";

/// All live records.
pub(super) type Table = HashMap<RecordKey, Bytes>;

/// What one frame holds: kind, id, value or removal.
type Change = (u8, Bytes, Option<Bytes>);

/// The file that puts are appended to.
#[derive(Debug)]
pub(super) struct RecordsFile {
    file: LogFile,
    salt: u32,
    generation: u64,
    length: u64,
    unsynced: bool,
    /// Set when the file's end is not what we wrote: nothing may be appended any more.
    broken: bool,
}

impl RecordsFile {
    /// Opens the newest generation, or makes the first one.
    pub(super) fn open(folder: &Folder, table: &mut Table) -> Result<Self, LogError> {
        let mut generations = folder.generations()?;
        let Some(generation) = generations.pop() else {
            return Self::write(folder, 1, table);
        };
        let path = folder.records(generation);
        let io = |action| move |error: std::io::Error| LogError::io(action, &folder.records(generation), &error);
        let file = LogFile::open(&path, folder).map_err(io("open"))?;
        let bytes = file.read_all().map_err(io("read"))?;
        let header = Header::read(&bytes, MAGIC, &path)?;
        let mut length = Header::LENGTH;
        for piece in Scan::new(&bytes, header.salt, Header::LENGTH) {
            match piece {
                Piece::Frame { end, body, .. } => {
                    length = end;
                    match postcard::from_bytes::<Vec<Change>>(body) {
                        Ok(changes) => apply(table, changes),
                        Err(error) => {
                            tracing::error!(file = %name_of(&path), %error, "records that cannot be read are left out")
                        }
                    }
                }
                Piece::Damage { at, end } if end == bytes.len() => {
                    tracing::warn!(file = %name_of(&path), bytes = end - at, "cut an unfinished write off the end of the records");
                }
                Piece::Damage { at, end } => {
                    tracing::error!(file = %name_of(&path), from_byte = at, to_byte = end, "the records are damaged: what was put there is lost");
                }
            }
        }
        if length < bytes.len() {
            file.truncate(length as u64).and_then(|()| file.sync()).map_err(io("repair"))?;
        }
        for old in generations {
            std::fs::remove_file(folder.records(old))
                .map_err(|error| LogError::io("remove", &folder.records(old), &error))?;
        }
        Ok(Self { file, salt: header.salt, generation, length: length as u64, unsynced: false, broken: false })
    }

    /// Writes a generation that holds exactly `table`.
    pub(super) fn write(folder: &Folder, generation: u64, table: &Table) -> Result<Self, LogError> {
        let salt = folder::random() as u32;
        let mut content = Header { magic: MAGIC, salt, number: generation }.to_bytes();
        for (key, value) in table {
            encode(&mut content, salt, &[(key.clone(), Some(value.clone()))])?;
        }
        let file = create_whole(folder, &folder.records(generation), &content)?;
        Ok(Self { file, salt, generation, length: content.len() as u64, unsynced: false, broken: false })
    }

    /// Replaces this file by a generation that holds exactly `table`.
    pub(super) fn rewrite(&mut self, folder: &Folder, table: &Table) -> Result<(), LogError> {
        let new = Self::write(folder, self.generation + 1, table)?;
        let old = std::mem::replace(self, new);
        if let Err(error) = std::fs::remove_file(old.file.path()) {
            tracing::warn!(file = %name_of(old.file.path()), %error, "an old generation of the records could not be removed; it is removed at the next start");
        }
        Ok(())
    }

    /// Appends frames that [`encode`] made with [`RecordsFile::salt`]; all or none of them.
    pub(super) fn append(&mut self, folder: &Folder, frames: &[u8], durable: bool) -> Result<(), LogError> {
        let written = self.file.write_at(frames, self.length);
        if let Err(error) = written {
            self.broken |= self.file.truncate(self.length).is_err();
            return Err(refusal("write", folder, self.file.path(), &error));
        }
        let end = self.length + frames.len() as u64;
        self.unsynced = true;
        if durable && let Err(error) = self.sync(folder) {
            let _ = self.file.truncate(self.length);
            return Err(error);
        }
        self.length = end;
        Ok(())
    }

    /// Returns when everything appended has reached the disk.
    pub(super) fn sync(&mut self, folder: &Folder) -> Result<(), LogError> {
        if !self.unsynced {
            return Ok(());
        }
        if let Err(error) = self.file.sync() {
            // What the system still holds of this file after a failed sync is unknown: only a new file is certain.
            self.broken = true;
            return Err(refusal("synchronise", folder, self.file.path(), &error));
        }
        self.unsynced = false;
        Ok(())
    }

    pub(super) fn salt(&self) -> u32 {
        self.salt
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }
}

/// Appends one put as a frame.
pub(super) fn encode(out: &mut Vec<u8>, salt: u32, records: &[(RecordKey, Option<Bytes>)]) -> Result<(), LogError> {
    let changes: Vec<Change> =
        records.iter().map(|(key, value)| (key.kind as u8, key.id.clone(), value.clone())).collect();
    let written = frame::write(out, salt, |out| postcard::to_io(&changes, out).map(drop));
    written.map_err(|error| LogError::Io {
        action: "encode",
        path: PathBuf::from("records"),
        detail: error.to_string(),
    })
}

/// About how many bytes a generation with only this table would have.
pub(super) fn live_bytes(table: &Table) -> u64 {
    table.iter().map(|(key, value)| (key.id.len() + value.len() + OVERHEAD + 8) as u64).sum()
}

/// Takes one put into the table.
pub(super) fn apply_put(table: &mut Table, records: Vec<(RecordKey, Option<Bytes>)>) {
    for (key, value) in records {
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
    }
}

fn apply(table: &mut Table, changes: Vec<Change>) {
    for (number, id, value) in changes {
        let Some(kind) = RecordKind::from_number(number) else {
            tracing::error!(
                number,
                "a record of an unknown kind is left out: was this log written by a newer version?"
            );
            continue;
        };
        apply_put(table, vec![(RecordKey { kind, id }, value)]);
    }
}
