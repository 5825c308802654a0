//! Server-sent events with clients that nobody here wrote: Python's httpx-sse, and curl.

use std::process::Command;
use std::time::Duration;

use tidings_tests::broker::Broker;
use tidings_tests::mosquitto;
use tidings_tests::packet::{Connection, Version};
use tidings_tests::python;
use tidings_tests::running::Running;
use tidings_tests::wait::PATIENCE;

const TOPIC: &str = "42/inbox";

fn reader(broker: &Broker, last: &str, count: usize, more: &[&str]) -> Running {
    let (url, token, count) = (broker.url(""), broker.issuer.token("42"), count.to_string());
    let mut arguments = vec![url.as_str(), &token, last, &count];
    arguments.extend(more);
    python::start("stream.py", &arguments)
}

/// `message ID {"payload":"TEXT",…}`: the id and the text.
fn message(line: &str) -> Option<(String, String)> {
    let (id, data) = line.strip_prefix("message ")?.split_once(' ')?;
    let data: serde_json::Value = serde_json::from_str(data).ok()?;
    Some((id.to_owned(), data["payload"].as_str()?.to_owned()))
}

fn next(reader: &mut Running) -> (String, String) {
    reader.next_line("a message", PATIENCE, message)
}

#[test]
fn a_stream_goes_on_where_it_was_through_a_crash_of_the_broker() {
    let mut broker = Broker::start();
    mosquitto::publish_well(&broker.handler_login(), TOPIC, "one");
    let mut phone = reader(&broker, "-", 100, &[]);
    phone.says("\"recovered\":true", PATIENCE);
    assert_eq!(next(&mut phone).1, "one");
    mosquitto::publish_well(&broker.handler_login(), TOPIC, "two");
    let (last, text) = next(&mut phone);
    assert_eq!(text, "two");
    broker.process.kill();
    broker.start_again();
    mosquitto::publish_well(&broker.handler_login(), TOPIC, "three");
    let mut phone = reader(&broker, &last, 1, &[]);
    phone.says("\"recovered\":true", PATIENCE);
    assert_eq!(next(&mut phone).1, "three");
    phone.says("over", PATIENCE);
    let mut lost = reader(&broker, "00000000deadbeef-7", 3, &[]);
    lost.says("\"recovered\":false", PATIENCE);
    assert_eq!([next(&mut lost).1, next(&mut lost).1, next(&mut lost).1], ["one", "two", "three"]);
}

#[test]
fn a_stop_ends_the_stream_with_a_word() {
    let mut broker = Broker::start();
    let mut phone = reader(&broker, "-", 1, &[]);
    phone.says("ready", PATIENCE);
    broker.process.terminate();
    assert!(phone.says("{\"reason\":\"stopping\"", PATIENCE).starts_with("end "));
    phone.says("over", PATIENCE);
    let (status, log) = broker.process.end(PATIENCE);
    assert!(status.success(), "{log}");
}

/// A stream that is sent messages and says nothing is no reader: its user is woken. One that acknowledges is not.
#[test]
fn only_an_acknowledgement_stops_the_push() {
    let broker = Broker::start_with(&[("broker.wake.grace", "2s")]);
    let mut gateway = mosquitto::Subscriber::start(&broker.handler_login(), "$tidings/events/unacked", &[]);
    let mut silent = reader(&broker, "-", 100, &[]);
    silent.says("ready", PATIENCE);
    mosquitto::publish_well(&broker.handler_login(), TOPIC, "nobody says a word");
    let (last, _) = next(&mut silent);
    let (_, event) = gateway.message();
    assert!(event.contains("\"user\":\"42\"") && event.contains(&last), "{event}");
    drop(silent);

    let mut polite = reader(&broker, &last, 1, &["ack"]);
    polite.says("ready", PATIENCE);
    mosquitto::publish_well(&broker.handler_login(), TOPIC, "thank you");
    polite.says("acknowledged 204", PATIENCE);
    // The next report is that of another user, whose message came later: none was due for 42 before.
    mosquitto::publish_well(&broker.handler_login(), "43/inbox", "x");
    let (_, event) = gateway.message();
    assert!(event.contains("\"user\":\"43\""), "{event}");
}

#[test]
fn curl_reads_events_as_they_come() {
    let broker = Broker::start_with(&[("broker.http.heartbeat", "200ms")]);
    let mut handler = Connection::accepted(broker.mqtt, &broker.handler(Version::V5, "handler"));
    let mut command = Command::new("curl");
    command.args(["--silent", "--no-buffer", "--noproxy", "*", "--include", "--header"]);
    command.arg(format!("Authorization: Bearer {}", broker.issuer.token("42")));
    command.arg(broker.url("/v1/messages/stream"));
    let mut curl = Running::start("curl", command);
    curl.says("content-type: text/event-stream", PATIENCE);
    curl.says("event: ready", PATIENCE);
    curl.next_line("a heartbeat", PATIENCE, |line| (line == ":").then_some(()));
    handler.publish(TOPIC, b"live", 1);
    curl.says("event: message", Duration::from_secs(20));
    assert!(curl.says("data: ", PATIENCE).contains("\"payload\":\"live\""));
}
