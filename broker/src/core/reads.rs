//! Reads of the log, off the engine's task and only so many at once: when every client comes back in the same second,
//! the ones that missed something take turns.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::engine::{Input, ReadPlan, Ticket, read};
use crate::gate::outbox::Outbox;
use crate::log::{LogError, MessageLog, Offset};

const AT_ONCE: usize = 8;

/// One read that the engine asked for.
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) plan: ReadPlan,
    pub(super) after: Offset,
    pub(super) limit: usize,
}

/// The reads that wait and those that run.
pub(super) struct Reads {
    log: Arc<dyn MessageLog>,
    answers: UnboundedSender<Input>,
    waiting: VecDeque<Job>,
    /// They wait until a connection has taken what was sent to it.
    held: Vec<(Arc<Outbox>, Job)>,
    running: usize,
}

impl Reads {
    pub(super) fn new(log: Arc<dyn MessageLog>, answers: UnboundedSender<Input>) -> Self {
        Self { log, answers, waiting: VecDeque::new(), held: Vec::new(), running: 0 }
    }

    /// Reads now or in its turn; with an outbox, when that is empty.
    pub(super) fn ask(&mut self, job: Job, outbox: Option<Arc<Outbox>>) {
        if job.limit == 0 {
            // Nothing is read: the index answers, and a client that logs in waits for it.
            let result = read(&*self.log, &job.plan, job.after, 0);
            let _ = self.answers.send(Input::Read { ticket: job.ticket, result });
            self.running += 1;
            return;
        }
        match outbox {
            Some(outbox) => self.held.push((outbox, job)),
            None => self.waiting.push_back(job),
        }
        self.go_on();
    }

    /// An answer has arrived.
    pub(super) fn answered(&mut self) {
        self.running = self.running.saturating_sub(1);
        self.start();
    }

    /// Starts what may start; whether some wait for connections.
    pub(super) fn go_on(&mut self) -> bool {
        for (_, job) in self.held.extract_if(.., |(outbox, _)| outbox.waiting_bytes() == 0) {
            self.waiting.push_back(job);
        }
        self.start();
        !self.held.is_empty()
    }

    fn start(&mut self) {
        while self.running < AT_ONCE {
            let Some(job) = self.waiting.pop_front() else { return };
            self.running += 1;
            let (log, answers) = (self.log.clone(), self.answers.clone());
            tokio::task::spawn_blocking(move || {
                let answer = Answer { ticket: job.ticket, answers };
                let result = read(&*log, &job.plan, job.after, job.limit);
                answer.send(result);
            });
        }
    }
}

/// Answers in any case: should reading panic, the reader is told so and tries again later.
struct Answer {
    ticket: Ticket,
    answers: UnboundedSender<Input>,
}

impl Answer {
    fn send(self, result: Result<crate::engine::ReadBatch, LogError>) {
        let _ = self.answers.send(Input::Read { ticket: self.ticket, result });
        std::mem::forget(self);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = self.answers.send(Input::Read { ticket: self.ticket, result: Err(LogError::Closed) });
    }
}
