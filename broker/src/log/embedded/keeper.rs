//! The thread beside the writer, for what takes long and hurries nobody: the index of a finished segment is made, files
//! that retention has emptied are removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use super::super::LogError;
use super::file::name_of;
use super::segment::Segment;
use super::{Shared, index_file};

/// One thing to do.
pub(super) enum Chore {
    /// Make the index of a finished segment.
    Index(Arc<Segment>),
    /// Remove a segment and its index.
    Remove(Arc<Segment>),
}

/// Gives chores to the thread. Dropping it removes what is to be removed, leaves indexes for the next start, and waits.
pub(super) struct Keeper {
    chores: Option<Sender<Chore>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self, LogError> {
        let (chores, queue) = mpsc::channel();
        let ending = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ending);
        let path = shared.folder.path().to_path_buf();
        let thread = std::thread::Builder::new().name("log-keeper".to_owned()).spawn(move || {
            run(&shared, &queue, &flag);
        });
        let thread = thread.map_err(|error| LogError::io("start the housekeeping thread of", &path, &error))?;
        Ok(Self { chores: Some(chores), ending, thread: Some(thread) })
    }

    pub(super) fn give(&self, chore: Chore) {
        if let Some(chores) = &self.chores {
            // A thread that has ended leaves indexes and old files to the next start.
            let _ = chores.send(chore);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.chores = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the housekeeping thread of the message log ended in a panic");
        }
    }
}

fn run(shared: &Shared, queue: &Receiver<Chore>, ending: &AtomicBool) {
    while let Ok(chore) = queue.recv() {
        match chore {
            Chore::Remove(segment) => remove(shared, &segment),
            Chore::Index(_) if ending.load(Ordering::Relaxed) => {}
            Chore::Index(segment) => {
                let made = index_file::make(&shared.folder, &segment, || !ending.load(Ordering::Relaxed));
                if let Err(error) = made {
                    tracing::warn!(%error, "the index of a segment could not be made; the next start reads the segment itself");
                }
            }
        }
    }
}

fn remove(shared: &Shared, segment: &Segment) {
    let path = segment.file.path();
    // It may never have been made.
    let _ = std::fs::remove_file(shared.folder.index(segment.base.0));
    match std::fs::remove_file(path) {
        Ok(()) => tracing::debug!(file = %name_of(path), "dropped a segment that retention has emptied"),
        Err(error) => {
            tracing::warn!(file = %name_of(path), %error, "a segment could not be removed; it is tried again at the next start");
        }
    }
}
