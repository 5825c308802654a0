//! The records' file: every put is one frame; when most of it is out of date, a new generation is written, a slice
//! between two commits, so that a million records stop no append. What is put meanwhile goes into both files, and until
//! the new one has taken the old one's place, the old one is what counts.

use std::path::PathBuf;

use bytes::Bytes;

use super::super::LogError;
use super::super::record::{RecordKey, RecordKind};
use super::file::{Header, LogFile, name_of};
use super::folder::{self, Folder};
use super::frame::{self, OVERHEAD, Piece, Scan};
use super::segment::{create_whole, refusal};
use super::table::Table;

const MAGIC: [u8; 8] = *b"TIDERECS";

/// So much of a new generation is written and synchronised at once, in bytes.
const SLICE: u64 = if cfg!(test) { 4 << 10 } else { 256 << 10 };

/// What one frame holds, behind [`FORM`]: kind, id, value or removal.
type Change = (u8, Bytes, Option<Bytes>);

/// The form of what a frame says, values included; a frame begins with a zero and this number. Who changes what is in a
/// record counts it up, and turns the values of older forms into the new one in [`read_changes`]: a file may hold frames of
/// several forms. (A frame of form 0 does not begin with a zero: it begins with how many changes it holds.)
const FORM: u8 = 1;

/// Why a frame's changes cannot be taken.
enum Unreadable {
    /// A newer version wrote it.
    Newer(u8),
    /// It is no list of changes.
    Malformed(postcard::Error),
}

fn read_changes(body: &[u8]) -> Result<Vec<Change>, Unreadable> {
    let content = match body {
        [0, form, ..] if *form > FORM => return Err(Unreadable::Newer(*form)),
        // The values of form 0 are those of form 1.
        [0, _, content @ ..] => content,
        content => content,
    };
    postcard::from_bytes(content).map_err(Unreadable::Malformed)
}

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
    /// The generation that will replace this one.
    next: Option<Next>,
}

/// A generation that is being written, under a temporary name. It has the salt of the one before it: what is put
/// meanwhile is written to both as it is.
#[derive(Debug)]
struct Next {
    file: LogFile,
    length: u64,
    /// Every record up to here is in it.
    after: Option<RecordKey>,
}

/// Records on their way into the next generation.
pub(super) struct Slice {
    frames: Vec<u8>,
    last: Option<RecordKey>,
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
        let header = match Header::read_or_replace(&bytes, MAGIC, generation, &path)? {
            Some((header, false)) => header,
            Some((header, true)) => {
                tracing::error!(file = %name_of(&path), "the first bytes of the records were damaged and are written again: nothing was lost with them");
                file.write_at(&header.to_bytes(), 0).and_then(|()| file.sync()).map_err(io("repair"))?;
                header
            }
            None => return Header::read(&bytes, MAGIC, &path).and(Err(LogError::Closed)),
        };
        let mut length = Header::LENGTH;
        for piece in Scan::new(&bytes, header.salt, Header::LENGTH) {
            match piece {
                Piece::Frame { end, body, .. } => {
                    length = end;
                    match read_changes(body) {
                        Ok(changes) => apply(table, changes),
                        Err(Unreadable::Newer(form)) => {
                            let (found, expected) = (form.into(), FORM.into());
                            return Err(LogError::Version { path, found, expected });
                        }
                        Err(Unreadable::Malformed(error)) => {
                            tracing::error!(file = %name_of(&path), %error, "records that cannot be read are left out")
                        }
                    }
                }
                Piece::Damage { at, end } if bytes[end..].iter().all(|byte| *byte == 0) => {
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
        Ok(Self {
            file,
            salt: header.salt,
            generation,
            length: length as u64,
            unsynced: false,
            broken: false,
            next: None,
        })
    }

    /// Writes a generation that holds exactly `table`.
    pub(super) fn write(folder: &Folder, generation: u64, table: &Table) -> Result<Self, LogError> {
        let salt = folder::random() as u32;
        let mut content = Header { magic: MAGIC, salt, number: generation }.to_bytes();
        for (key, value) in table.iter_after(None) {
            encode(&mut content, salt, &[(key.clone(), Some(value.clone()))])?;
        }
        let file = create_whole(folder, &folder.records(generation), &content)?;
        Ok(Self { file, salt, generation, length: content.len() as u64, unsynced: false, broken: false, next: None })
    }

    /// Replaces this file at once by a generation that holds exactly `table`: for when nothing may be appended to this one
    /// any more.
    pub(super) fn replace(&mut self, folder: &Folder, table: &Table) -> Result<(), LogError> {
        self.abandon();
        let new = Self::write(folder, self.generation + 1, table)?;
        self.take_place(new);
        Ok(())
    }

    /// Begins to write the next generation; it is written by [`RecordsFile::slice`] and [`RecordsFile::write_slice`].
    pub(super) fn begin_rewrite(&mut self, folder: &Folder) -> Result<(), LogError> {
        let path = folder.records(self.generation + 1);
        let new = folder::temporary(&path);
        let begin = || {
            let _ = std::fs::remove_file(&new);
            let file = LogFile::create(&new, folder)?;
            let header = Header { magic: MAGIC, salt: self.salt, number: self.generation + 1 };
            file.write_at(&header.to_bytes(), 0)?;
            Ok(file)
        };
        let file = begin().map_err(|error: std::io::Error| refusal("create", folder, &new, &error))?;
        self.next = Some(Next { file, length: Header::LENGTH as u64, after: None });
        Ok(())
    }

    /// Whether the next generation is being written.
    pub(super) fn is_rewriting(&self) -> bool {
        self.next.is_some()
    }

    /// The records that come next into the next generation.
    pub(super) fn slice(&self, table: &Table) -> Result<Slice, LogError> {
        let mut slice = Slice { frames: Vec::new(), last: None };
        let after = self.next.as_ref().and_then(|next| next.after.as_ref());
        for (key, value) in table.iter_after(after) {
            if slice.frames.len() as u64 >= SLICE {
                break;
            }
            encode(&mut slice.frames, self.salt, &[(key.clone(), Some(value.clone()))])?;
            slice.last = Some(key.clone());
        }
        Ok(slice)
    }

    /// Writes them, durably. An empty slice is the last: then the new generation takes this one's place.
    pub(super) fn write_slice(&mut self, folder: &Folder, slice: Slice) -> Result<(), LogError> {
        let Some(next) = &mut self.next else { return Ok(()) };
        let written = next.file.write_at(&slice.frames, next.length).and_then(|()| next.file.sync());
        if let Err(error) = written {
            let refused = refusal("write", folder, next.file.path(), &error);
            self.abandon();
            return Err(refused);
        }
        next.length += slice.frames.len() as u64;
        if slice.last.is_some() {
            next.after = slice.last;
            return Ok(());
        }
        let Some(next) = self.next.take() else { return Ok(()) };
        let path = folder.records(self.generation + 1);
        let renamed = std::fs::rename(next.file.path(), &path).and_then(|()| folder.sync());
        if let Err(error) = renamed {
            // Should the new name be on the disk after all, it must not be: what is put from now on is not in it.
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(next.file.path());
            return Err(refusal("rename", folder, &path, &error));
        }
        let new = Self {
            file: next.file.renamed(&path),
            salt: self.salt,
            generation: self.generation + 1,
            length: next.length,
            unsynced: false,
            broken: false,
            next: None,
        };
        self.take_place(new);
        Ok(())
    }

    fn take_place(&mut self, new: Self) {
        let old = std::mem::replace(self, new);
        if let Err(error) = std::fs::remove_file(old.file.path()) {
            tracing::warn!(file = %name_of(old.file.path()), %error, "an old generation of the records could not be removed; it is removed at the next start");
        }
    }

    fn abandon(&mut self) {
        if let Some(next) = self.next.take() {
            // What is left of it is removed at the next start.
            let _ = std::fs::remove_file(next.file.path());
        }
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
        if let Some(next) = &mut self.next {
            match next.file.write_at(frames, next.length) {
                Ok(()) => next.length += frames.len() as u64,
                Err(error) => {
                    tracing::warn!(%error, "a new generation of the records could not be written; it is tried again later");
                    self.abandon();
                }
            }
        }
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
    let written = frame::write(out, salt, |out| {
        out.extend_from_slice(&[0, FORM]);
        postcard::to_io(&changes, out).map(drop)
    });
    written.map_err(|error| LogError::Io {
        action: "encode",
        path: PathBuf::from("records"),
        detail: error.to_string(),
    })
}

/// About how many bytes a record takes in a generation.
pub(super) fn frame_bytes(key: &RecordKey, value: &Bytes) -> u64 {
    (key.id.len() + value.len() + OVERHEAD + 10) as u64
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
        table.set(RecordKey { kind, id }, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_older_forms_are_read_and_those_of_newer_ones_refused() {
        let changes: Vec<Change> = vec![(1, Bytes::from_static(b"s"), Some(Bytes::from_static(b"v")))];
        let content = postcard::to_stdvec(&changes).unwrap();
        assert_eq!(read_changes(&content).ok(), Some(changes.clone()), "form 0");
        assert_eq!(read_changes(&[&[0, FORM], &content[..]].concat()).ok(), Some(changes));
        assert!(matches!(read_changes(&[&[0, FORM + 1], &content[..]].concat()), Err(Unreadable::Newer(2))));
        assert!(matches!(read_changes(&[0, FORM, 9]), Err(Unreadable::Malformed(_))));
        assert_eq!(read_changes(&[0]).ok(), Some(Vec::new()), "no change at all, in form 0");
    }
}
