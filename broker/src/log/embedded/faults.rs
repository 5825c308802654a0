//! A disk that fails on demand, for tests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

/// Shared by all files of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    space: Option<u64>,
    failing_syncs: u32,
}

impl Faults {
    /// From now on only so many bytes fit; `None`: as many as the real disk takes.
    pub(crate) fn set_space(&self, space: Option<u64>) {
        self.0.lock().unwrap().space = space;
    }

    /// The next syncs fail.
    pub(crate) fn fail_syncs(&self, count: u32) {
        self.0.lock().unwrap().failing_syncs = count;
    }

    /// Whether space is short: nothing is reserved then.
    pub(super) fn is_full(&self) -> bool {
        self.0.lock().unwrap().space.is_some()
    }

    /// Like a real disk: what fits is written before the error comes.
    pub(super) fn before_write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let Some(space) = &mut state.space else {
            return Ok(());
        };
        let wanted = bytes.len() as u64;
        if wanted <= *space {
            *space -= wanted;
            return Ok(());
        }
        file.write_all_at(&bytes[..usize::try_from(*space).unwrap()], at)?;
        *space = 0;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }

    pub(super) fn before_sync(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.failing_syncs == 0 {
            return Ok(());
        }
        state.failing_syncs -= 1;
        Err(io::Error::other("injected"))
    }
}
