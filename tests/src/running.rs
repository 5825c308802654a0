//! A program that a test started: its lines as they come, its end, and its log when the test fails.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait::{Deadline, eventually};

/// Everything a program has said so far on both outputs.
#[derive(Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// A running program. Dropping it kills it, by its own process id.
pub struct Running {
    name: String,
    child: Child,
    said: Arc<Said>,
    readers: Vec<JoinHandle<()>>,
    read: usize,
}

impl Running {
    /// Starts a program. It inherits the environment less every `TIDINGS_…` variable and the plain ones that
    /// Tidings reads, so that what the tester's shell has set changes nothing.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command) -> Self {
        // What the test itself set wins over the cleaning.
        let own: Vec<_> =
            command.get_envs().map(|(key, value)| (key.to_owned(), value.map(ToOwned::to_owned))).collect();
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("TIDINGS_")
                || ["SECRET", "LOGGLY_TOKEN", "LOGGLY_SUBDOMAIN", "RUST_LOG"].contains(&&*text)
            {
                command.env_remove(&variable);
            }
        }
        for (key, value) in own {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} could not be started: {error}"));
        let said = Arc::new(Said::default());
        let readers = vec![
            listen(child.stdout.take().expect("a pipe"), &said),
            listen(child.stderr.take().expect("a pipe"), &said),
        ];
        Self { name: name.to_owned(), child, said, readers, read: 0 }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line, not yet returned, that is wanted; lines before it are passed over.
    ///
    /// # Panics
    /// When none comes within the bound, or the program ends first.
    pub fn next_line<T>(&mut self, what: &str, bound: Duration, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Deadline::after(bound);
        loop {
            let ended = self.child.try_wait().expect("the state of a child").is_some();
            if ended {
                self.join_readers();
            }
            let lines = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(line) = lines.get(self.read) {
                self.read += 1;
                if let Some(answer) = wanted(line) {
                    return answer;
                }
            }
            if ended {
                drop(lines);
                panic!("{} ended before this happened: {what}", self.name);
            }
            if deadline.passed() {
                drop(lines);
                panic!("waited {bound:?} for {} to say this: {what}", self.name);
            }
            drop(self.said.more.wait_timeout(lines, deadline.left().min(Duration::from_millis(100))));
        }
    }

    /// Waits until the program has said a line that contains this text, and leaves every line to be read.
    pub fn has_said(&mut self, text: &str, bound: Duration) {
        let before = self.read;
        self.says(text, bound);
        self.read = before;
    }

    /// Waits until the program says a line that contains this text.
    pub fn says(&mut self, text: &str, bound: Duration) -> String {
        self.next_line(&format!("a line with `{text}`"), bound, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// Everything that was said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits for the end; returns the status and everything that was said.
    ///
    /// # Panics
    /// When it does not end within the bound.
    pub fn end(&mut self, bound: Duration) -> (ExitStatus, String) {
        let what = format!("{} ends", self.name);
        let status = eventually(&what, bound, || self.child.try_wait().expect("the state of a child"));
        self.join_readers();
        (status, self.log())
    }

    /// Asks it to stop, as a service manager does (SIGTERM).
    pub fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// Asks it to read its files again (SIGHUP).
    pub fn hangup(&mut self) {
        self.signal("HUP");
    }

    /// Ends it as a power cut does (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    fn signal(&mut self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status().expect("kill");
        assert!(status.success(), "{} could not be sent SIG{signal}", self.name);
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader of a pipe");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- what {} said:\n{}\n---", self.name, self.log());
        }
    }
}

fn listen(pipe: impl Read + Send + 'static, said: &Arc<Said>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            said.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            said.more.notify_all();
        }
    })
}
