//! A disk that is really full: publishes are refused clearly, nothing that was acknowledged is lost, everybody lives on,
//! and it mends itself when there is space again.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tidings_tests::broker::Broker;
use tidings_tests::curl::{Answer, Request};
use tidings_tests::packet::{Connection, Version};
use tidings_tests::wait::{PATIENCE, eventually};
use tidings_tests::world::HANDLER_KEY;

const TOPIC: &str = "42/inbox";

/// A small file system of its own, in memory.
struct Disk(TempDir);

impl Disk {
    /// `None`, said aloud, where file systems cannot be mounted (that takes root); under `cargo xtask test` that fails.
    fn mount(size: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let options = format!("size={size},mode=700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        let mounted = mount.as_ref().is_ok_and(|output| output.status.success());
        if !mounted {
            let why = format!("NOT TESTED: a file system cannot be mounted here (root is needed): {mount:?}");
            assert!(std::env::var_os("TIDINGS_TEST_STRICT").is_none(), "{why}");
            eprintln!("{why}");
            return None;
        }
        Some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A lazy unmount: the broker may still be ending.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn publish_http(broker: &Broker, text: &str) -> Answer {
    Request::post(broker.url(&format!("/v1/publish/{TOPIC}"))).bearer(HANDLER_KEY).body(text).send()
}

fn kept(broker: &Broker) -> Vec<String> {
    let mut texts = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let mut ask = Request::get(broker.url("/v1/messages?wait=0")).bearer(&broker.issuer.token("42"));
        if let Some(cursor) = &cursor {
            ask = ask.header("If-None-Match", &format!("\"{cursor}\""));
        }
        let answer = ask.send();
        if answer.status == 304 {
            return texts;
        }
        let body = answer.expect(200).json();
        assert_eq!(body["recovered"], true);
        let messages = body["messages"].as_array().expect("messages").clone();
        if messages.is_empty() {
            return texts;
        }
        let text = |message: &serde_json::Value| message["payload"].as_str().unwrap_or_default()[..8].to_owned();
        texts.extend(messages.iter().map(text));
        cursor = body["cursor"].as_str().map(str::to_owned);
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_mends_itself() {
    let Some(disk) = Disk::mount("4m") else { return };
    let folder = disk.path().display().to_string();
    let mut broker = Broker::start_with(&[("broker.log.dir", &folder), ("broker.log.segment", "512KiB")]);
    std::fs::write(disk.ballast(), vec![0; 1 << 20]).expect("ballast");
    let mut phone = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "42", "phone").persistent(3600));
    assert!(phone.subscribe(TOPIC) <= 2);
    let mut handler = Connection::accepted(broker.mqtt, &broker.handler(Version::V5, "handler"));
    let mut acked = Vec::new();
    let mut refused = 0;
    for number in 0..200 {
        let text = format!("{number:08}{}", "x".repeat(64 << 10));
        handler.publish(TOPIC, text.as_bytes(), 1);
        match handler.puback() {
            0x97 => refused += 1,
            reason => {
                assert!(reason <= 0x10, "{reason:#x}: full is 0x97");
                acked.push(text[..8].to_owned());
            }
        }
        if refused == 3 {
            break;
        }
    }
    assert!(refused == 3 && acked.len() > 20, "3 MiB are full after {} messages", acked.len());

    let answer = publish_http(&broker, &"y".repeat(64 << 10)).expect(503);
    assert_eq!(answer.code(), "log_full");
    assert!(answer.header("retry-after").is_some(), "{answer}");
    let ready = Request::get(broker.url("/readyz")).send().expect(503).text();
    assert!(ready.contains("message log") && ready.contains("cannot grow"), "{ready}");
    // Who is there lives on: what is stored is read, what needs no disk is delivered.
    assert_eq!(kept(&broker), acked);
    let mut other = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "43", "other"));
    assert!(other.subscribe("43/live") <= 2);
    handler.publish("43/live", b"no disk needed", 0);
    assert!(other.expect(3).body.ends_with(b"no disk needed"));

    // Not even a kill and a start on the full disk costs anything.
    drop((phone, handler, other));
    broker.process.kill();
    std::fs::remove_file(disk.ballast()).expect("ballast");
    std::fs::write(disk.ballast(), vec![0; 1 << 19]).expect("ballast");
    broker.start_again();
    assert_eq!(kept(&broker), acked);

    // Full again, and this time the space comes back while it runs.
    let mut number = 1_000;
    let mut more = || {
        number += 1;
        (format!("{number:08}"), publish_http(&broker, &format!("{number:08}{}", "z".repeat(64 << 10))).status)
    };
    loop {
        let (text, status) = more();
        if status == 503 {
            break;
        }
        assert_eq!(status, 202);
        acked.push(text);
        assert!(acked.len() < 500, "it is full some time");
    }
    std::fs::remove_file(disk.ballast()).expect("ballast");
    eventually("the broker is ready again by itself", PATIENCE, || {
        Request::get(broker.url("/readyz")).try_send().ok().filter(|answer| answer.status == 200)
    });
    let (text, status) = more();
    assert_eq!(status, 202, "there is space");
    acked.push(text);
    assert_eq!(kept(&broker), acked, "in order, each once, none that was refused");
    broker.process.terminate();
    assert!(broker.process.end(PATIENCE).0.success());
    broker.start_again();
    assert_eq!(kept(&broker), acked);
}
