//! `mosquitto_pub` and `mosquitto_sub`, as a developer types them.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use crate::running::Running;
use crate::wait::PATIENCE;

/// How to log in.
#[derive(Clone, Debug)]
pub struct Login {
    /// Where the broker's plain MQTT listener is.
    pub address: SocketAddr,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Login {
    /// A device with its token.
    #[must_use]
    pub fn device(address: SocketAddr, token: &str) -> Self {
        Self { address, user: "JWT".to_owned(), password: token.to_owned() }
    }

    /// A handler with its key.
    #[must_use]
    pub fn handler(address: SocketAddr, key: &str) -> Self {
        Self { address, user: "handler".to_owned(), password: key.to_owned() }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("stdbuf");
        // Into a pipe its output would come when it ends.
        command.args(["-oL", program]);
        command.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()]);
        command.args(["-u", &self.user, "-P", &self.password]);
        command
    }
}

/// A running `mosquitto_sub` whose subscription was answered.
pub struct Subscriber(Running);

impl Subscriber {
    /// Subscribes with QoS 1 and waits for the broker's answer.
    #[must_use]
    pub fn start(login: &Login, filter: &str, more: &[&str]) -> Self {
        let mut command = login.command("mosquitto_sub");
        // `-d` tells when the subscription is answered; the messages are marked to be told from that.
        command.args(["-V", "5", "-q", "1", "-d", "-F", "MESSAGE %t %p", "-t", filter]).args(more);
        let mut running = Running::start("mosquitto_sub", command);
        // What a kept session has waiting may come before that answer.
        running.has_said("Subscribed (mid:", PATIENCE);
        Self(running)
    }

    /// The next message: its topic and payload.
    pub fn message(&mut self) -> (String, String) {
        self.message_within(PATIENCE)
    }

    /// The next message within a bound.
    pub fn message_within(&mut self, bound: Duration) -> (String, String) {
        self.0.next_line("a message", bound, |line| {
            let (topic, payload) = line.strip_prefix("MESSAGE ")?.split_once(' ')?;
            Some((topic.to_owned(), payload.to_owned()))
        })
    }

    /// Everything that it said.
    #[must_use]
    pub fn log(&self) -> String {
        self.0.log()
    }
}

/// Publishes with QoS 1 and waits for the broker's answer; what mosquitto_pub printed.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn publish(login: &Login, topic: &str, payload: &str, more: &[&str]) -> Output {
    login
        .command("mosquitto_pub")
        .args(["-V", "5", "-q", "1", "-t", topic, "-m", payload])
        .args(more)
        .output()
        .expect("mosquitto_pub can be started")
}

/// Publishes, and is not refused.
///
/// # Panics
/// When it is.
#[track_caller]
pub fn publish_well(login: &Login, topic: &str, payload: &str) {
    let output = publish(login, topic, payload, &["-d"]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !said.contains("failed"), "mosquitto_pub to {topic} was refused:\n{said}");
}
