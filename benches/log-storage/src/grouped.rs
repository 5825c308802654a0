//! Group commit for stores that have a transaction: one thread takes everything that waits, commits it once, and tells
//! everybody. The same as our log's writer does, also in its pace: how often to commit is not a matter of the store.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidings_broker::log::Message;

use crate::Done;

/// Commits begin at least this far apart, as in our log.
const PACE: Duration = Duration::from_millis(1);

type Waiting = (Arc<Message>, Done);

pub struct Grouped {
    work: Option<mpsc::Sender<Waiting>>,
    writer: Option<JoinHandle<()>>,
}

impl Grouped {
    /// `commit` makes all of it durable.
    pub fn new(mut commit: impl FnMut(&[Arc<Message>]) -> anyhow::Result<()> + Send + 'static) -> Self {
        let (work, queue) = mpsc::channel::<Waiting>();
        let writer = std::thread::spawn(move || {
            let mut began: Option<Instant> = None;
            while let Ok(first) = queue.recv() {
                if let Some(began) = began {
                    std::thread::sleep((began + PACE).saturating_duration_since(Instant::now()));
                }
                began = Some(Instant::now());
                let (messages, dones): (Vec<_>, Vec<_>) = std::iter::once(first).chain(queue.try_iter()).unzip();
                let result = commit(&messages).map_err(|error| error.to_string());
                for done in dones {
                    done(result.clone().map_err(anyhow::Error::msg));
                }
            }
        });
        Self { work: Some(work), writer: Some(writer) }
    }

    pub fn append(&self, message: Arc<Message>, done: Done) {
        if let Some(work) = &self.work {
            let _ = work.send((message, done));
        }
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        self.work = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
