//! The loop: inputs in, outputs carried out, timers kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmqtt_codec::v5::DisconnectReasonCode;
use tidings_shared::clock::Clock;
use tokio::sync::{mpsc, oneshot};

use super::EngineHandle;
use super::handle::Command;
use super::reads::{Job, Reads};
use super::revocations::Revocations;
use super::watch::Watchers;
use crate::engine::{ConnId, Engine, Input, NotRefreshed, Output, Presence, PublishError, Published, Stats, Ticket};
use crate::gate::outbox::{Closing, Outbox};
use crate::log::{LogError, Message, MessageLog};

/// How many inputs are handled before their outputs go out.
const AT_ONCE: usize = 256;
/// The clock may be moved by hand (tests) or step: nothing sleeps longer than this without looking at it.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// How often it is looked whether a connection has taken what was sent to it, while a read waits for that.
const DRAINED: Duration = Duration::from_millis(5);
/// How long a stop waits for the log.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Task {
    engine: Engine,
    log: Arc<dyn MessageLog>,
    clock: Clock,
    last_clock_ms: i64,
    stepped_back_ms: i64,
    watchers: Arc<Watchers>,
    revocations: Revocations,
    stats: Arc<Mutex<Stats>>,
    outboxes: HashMap<ConnId, Arc<Outbox>>,
    requests: HashMap<u64, oneshot::Sender<Result<Published, PublishError>>>,
    presences: HashMap<u64, oneshot::Sender<Presence>>,
    refreshing: HashMap<u64, oneshot::Sender<Result<(), NotRefreshed>>>,
    revoking: HashMap<u64, oneshot::Sender<Result<usize, LogError>>>,
    next_request: u64,
    answers: mpsc::UnboundedSender<Input>,
    answered: Option<mpsc::UnboundedReceiver<Input>>,
    reads: Reads,
    out: Vec<Output>,
    dropped: u64,
    stopping: Option<oneshot::Sender<()>>,
    stopped: bool,
}

impl Task {
    pub(super) fn new(engine: Engine, log: Arc<dyn MessageLog>, clock: Clock, handle: &EngineHandle) -> Self {
        let (answers, answered) = mpsc::unbounded_channel();
        Self {
            engine,
            reads: Reads::new(log.clone(), answers.clone()),
            log,
            last_clock_ms: clock.now_ms(),
            stepped_back_ms: 0,
            clock,
            watchers: handle.watchers.clone(),
            revocations: handle.revocations.clone(),
            stats: handle.stats.clone(),
            outboxes: HashMap::new(),
            requests: HashMap::new(),
            presences: HashMap::new(),
            refreshing: HashMap::new(),
            revoking: HashMap::new(),
            next_request: 0,
            answers,
            answered: Some(answered),
            out: Vec::new(),
            dropped: 0,
            stopping: None,
            stopped: false,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let Some(mut answered) = self.answered.take() else { return };
        let mut give_up = None;
        // One timer for all rounds: it rings early when a deadline has moved away, which costs one tick.
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        // What the start itself wants written.
        self.input(Input::Tick);
        self.carry_out();
        while !self.stopped {
            let due = tokio::time::Instant::now() + self.sleep();
            if timer.is_elapsed() || due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            tokio::select! {
                answer = answered.recv() => match answer {
                    Some(input) => self.answer(input),
                    None => break,
                },
                command = commands.recv(), if self.stopping.is_none() => match command {
                    Some(command) => self.command(command),
                    // Every handle is gone: nobody can ask for anything any more.
                    None => break,
                },
                () = &mut timer => self.input(Input::Tick),
                () = wait_until(give_up) => {
                    tracing::warn!("the broker stops although the message log has not answered; what was not acknowledged is not promised");
                    break;
                }
            }
            self.drain(&mut commands, &mut answered);
            self.carry_out();
            if self.stopping.is_some() && give_up.is_none() {
                give_up = Some(tokio::time::Instant::now() + STOP_PATIENCE);
            }
        }
        self.end();
    }

    /// Takes what else has come in meanwhile, so that its appends share a commit.
    fn drain(&mut self, commands: &mut mpsc::Receiver<Command>, answered: &mut mpsc::UnboundedReceiver<Input>) {
        for _ in 0..AT_ONCE {
            let mut idle = true;
            if let Ok(input) = answered.try_recv() {
                self.answer(input);
                idle = false;
            }
            if self.stopping.is_none()
                && let Ok(command) = commands.try_recv()
            {
                self.command(command);
                idle = false;
            }
            if idle {
                return;
            }
        }
    }

    fn input(&mut self, input: Input) {
        let now_ms = self.now_ms();
        self.engine.handle(now_ms, input, &mut self.out);
    }

    /// The engine's time: the clock's, except that a step back of the clock (somebody set it) is no step. Otherwise
    /// every grace period that is running would wait until the clock is where it was.
    fn now_ms(&mut self) -> i64 {
        let clock_ms = self.clock.now_ms();
        self.stepped_back_ms += (self.last_clock_ms - clock_ms).max(0);
        self.last_clock_ms = clock_ms;
        clock_ms + self.stepped_back_ms
    }

    fn answer(&mut self, input: Input) {
        if matches!(input, Input::Read { .. }) {
            self.reads.answered();
        }
        self.input(input);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Connect(conn, request, outbox) => {
                self.outboxes.insert(conn, outbox);
                self.input(Input::Connect { conn, request: *request });
            }
            Command::Input(Input::Closed { conn, graceful }) => {
                self.outboxes.remove(&conn);
                self.input(Input::Closed { conn, graceful });
            }
            Command::Input(input) => self.input(input),
            Command::Presence(user, answer) => {
                self.next_request += 1;
                self.presences.insert(self.next_request, answer);
                self.input(Input::Presence { request: self.next_request, user });
            }
            Command::Publish(publish, answer) => {
                self.next_request += 1;
                self.requests.insert(self.next_request, answer);
                self.input(Input::Publish { request: self.next_request, publish });
            }
            Command::Refresh(conn, by, fresh, answer) => {
                self.next_request += 1;
                self.refreshing.insert(self.next_request, answer);
                self.input(Input::Refresh { request: self.next_request, conn, by, fresh });
            }
            Command::Revoke(change, answer) => {
                self.next_request += 1;
                self.revoking.insert(self.next_request, answer);
                self.input(Input::Revoke { request: self.next_request, change });
            }
            Command::Ask(question) => question(&self.engine),
            Command::Stop(done) => {
                self.stopping = Some(done);
                self.input(Input::Stop);
            }
        }
    }

    fn carry_out(&mut self) {
        let mut tickets = Vec::new();
        let mut batch = Vec::new();
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Send { conn, packet } => {
                    if self.outboxes.get(&conn).is_some_and(|outbox| !outbox.send(packet)) {
                        self.dropped += 1;
                    }
                }
                Output::Close { conn, reason } => {
                    if let Some(outbox) = self.outboxes.remove(&conn) {
                        outbox.close(reason);
                    }
                }
                Output::CloseRevoked { conn } => {
                    if let Some(outbox) = self.outboxes.remove(&conn) {
                        outbox.close(Closing::Revoked);
                    }
                }
                Output::Refreshed { request, result } => {
                    if let Some(answer) = self.refreshing.remove(&request) {
                        // The connection may have gone away.
                        let _ = answer.send(result);
                    }
                }
                Output::Revocation { change } => self.revocations.apply(&change),
                Output::RevocationStored { request, result } => {
                    if let Some(answer) = self.revoking.remove(&request) {
                        // The caller may have gone away.
                        let _ = answer.send(result);
                    }
                }
                Output::Append { ticket, messages } => {
                    tickets.push((ticket, messages.len()));
                    batch.extend(messages);
                }
                Output::Put { ticket, records, durable } => {
                    let answers = self.answers.clone();
                    self.log.put(
                        records,
                        durable,
                        Box::new(move |result| match ticket {
                            Some(ticket) => drop(answers.send(Input::Put { ticket, result })),
                            None => {
                                if let Err(error) = result {
                                    tracing::warn!(%error, "a record of the broker could not be written");
                                }
                            }
                        }),
                    );
                }
                Output::Read { ticket, plan, after, limit, when_drained } => {
                    let outbox = when_drained.and_then(|conn| self.outboxes.get(&conn)).cloned();
                    self.reads.ask(Job { ticket, plan, after, limit }, outbox);
                }
                Output::Published { request, result } => {
                    if let Some(answer) = self.requests.remove(&request) {
                        // The caller may have gone away.
                        let _ = answer.send(result);
                    }
                }
                Output::Presence { request, presence } => {
                    if let Some(answer) = self.presences.remove(&request) {
                        let _ = answer.send(presence);
                    }
                }
                Output::Notify { user, offset } => self.watchers.notify(&user, offset),
                Output::Stopped => self.stopped = true,
            }
        }
        append(&self.log, &self.answers, tickets, batch);
        let mut stats = self.engine.stats();
        stats.dropped = self.dropped;
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    fn sleep(&mut self) -> Duration {
        let longest = if self.reads.go_on() { DRAINED } else { LONGEST_SLEEP };
        let Some(deadline) = self.engine.next_deadline() else { return longest };
        let left = deadline.saturating_sub(self.now_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(longest)
    }

    fn end(self) {
        for outbox in self.outboxes.values() {
            outbox.close(DisconnectReasonCode::ServerShuttingDown);
        }
        for (_, answer) in self.requests {
            let _ = answer.send(Err(PublishError::Stopped));
        }
        if let Some(done) = self.stopping {
            let _ = done.send(());
        }
    }
}

/// Appends everything of one round at once. A batch is stored whole or not at all, so when one message is too large
/// for the log, each is tried by itself.
fn append(
    log: &Arc<dyn MessageLog>,
    answers: &mpsc::UnboundedSender<Input>,
    tickets: Vec<(Ticket, usize)>,
    batch: Vec<Arc<Message>>,
) {
    if tickets.is_empty() {
        return;
    }
    let (again, back) = (Arc::downgrade(log), answers.clone());
    let copy = if tickets.len() > 1 { batch.clone() } else { Vec::new() };
    log.append(
        batch,
        Box::new(move |result| {
            if let (Err(LogError::TooLarge { .. }), true, Some(log)) = (&result, tickets.len() > 1, again.upgrade()) {
                let mut messages = copy.into_iter();
                for (ticket, count) in tickets {
                    append(&log, &back, vec![(ticket, count)], messages.by_ref().take(count).collect());
                }
                return;
            }
            let mut appended = result.as_ref().map(|all| all.iter()).ok();
            for (ticket, count) in tickets {
                let result = match (&mut appended, &result) {
                    (Some(all), _) => Ok(all.by_ref().take(count).copied().collect()),
                    (None, Err(error)) => Err(error.clone()),
                    (None, Ok(_)) => Err(LogError::Closed),
                };
                // The task may have ended.
                let _ = back.send(Input::Appended { ticket, result });
            }
        }),
    );
}

async fn wait_until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
