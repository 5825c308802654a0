//! Marks messages as published, many in one statement: while one is under way the next ones gather.

use std::sync::Arc;

use tidings_shared::message_id::MessageId;
use tokio::sync::{mpsc, oneshot};

use super::process::Processor;
use super::store::processed;

/// The most marks in one statement.
const MOST: usize = 128;

type Mark = (MessageId, oneshot::Sender<()>);

/// The door to the task that marks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Marker(mpsc::UnboundedSender<Mark>);

/// What is to be marked.
pub(super) struct Marks(mpsc::UnboundedReceiver<Mark>);

impl Marker {
    pub(super) fn new() -> (Self, Marks) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Marks(receiver))
    }

    /// Returns when the message is marked as published; `None` when the service stops before.
    pub(super) async fn published(&self, id: &MessageId) -> Option<()> {
        let (done, marked) = oneshot::channel();
        self.0.send((id.clone(), done)).ok()?;
        marked.await.ok()
    }
}

/// Marks until nobody asks any more.
pub(super) async fn run(mut marks: Marks, processor: Arc<Processor>) {
    let mut batch = Vec::new();
    while marks.0.recv_many(&mut batch, MOST).await > 0 {
        let (ids, waiting): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let marked = processor.steadily(|| processed::published(&processor.database, &processor.group, &ids)).await;
        if marked.is_some() {
            for done in waiting {
                // Nobody waits any more when the service has stopped meanwhile.
                let _ = done.send(());
            }
        }
    }
}
