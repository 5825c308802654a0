//! How far a long piece of work is: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// Where nobody watches a bar, a line this often.
const LINES: Duration = Duration::from_secs(5);

/// One piece of work.
pub(super) struct Progress {
    bar: ProgressBar,
    /// When the last plain line was written; `None` on a terminal.
    lines: Option<Option<Instant>>,
    what: &'static str,
}

impl Progress {
    /// `what` is counted, for example "registrations". The bar stands on standard error.
    pub(super) fn new(what: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        Self { bar, lines: (!terminal).then_some(None), what }
    }

    /// How far it is; `total` is `None` as long as nobody knows.
    pub(super) fn set(&mut self, done: u64, total: Option<u64>, message: String) {
        if let Some(total) = total.filter(|total| self.bar.length() != Some(*total)) {
            self.bar.set_length(total.max(done));
            let form = "{bar:30} {human_pos}/{human_len} {msg} {eta}";
            if let Ok(style) = ProgressStyle::with_template(form) {
                self.bar.set_style(style);
            }
        }
        self.bar.set_position(done);
        if let Some(last) = &mut self.lines
            && last.is_none_or(|last| last.elapsed() >= LINES)
        {
            *last = Some(Instant::now());
            self.line(done, total, &message);
        }
        self.bar.set_message(message);
    }

    /// It is over.
    pub(super) fn finish(self, done: u64, total: Option<u64>, message: &str) {
        if self.lines.is_some() {
            self.line(done, total, message);
        }
        self.bar.finish_and_clear();
    }

    #[expect(clippy::print_stderr, reason = "standard output is for the result")]
    fn line(&self, done: u64, total: Option<u64>, message: &str) {
        let total = total.map_or_else(|| "?".to_owned(), |total| total.to_string());
        eprintln!("{done} of {total} {}: {message}", self.what);
    }
}
