//! Every door of the broker, opened by clients that nobody here wrote: MQTT 3.1.1 and 5, over TCP, TLS and WebSocket.

use std::path::PathBuf;
use std::process::Command;

use tidings_tests::curl::Request;
use tidings_tests::python;
use tidings_tests::wait::PATIENCE;
use tidings_tests::world::{HANDLER_KEY, World};

fn authority(world: &World) -> PathBuf {
    world.data().join("ca/ca.pem")
}

/// Goes through with paho-mqtt and gets a message.
#[track_caller]
fn through(world: &World, port: u16, transport: &str, version: &str, qos: &str, tls: &[&str]) {
    let address = world.address(port);
    let (port, token) = (address.port().to_string(), world.token("42"));
    let mut arguments = vec!["127.0.0.1", &port, transport, version, qos, "42", &token, HANDLER_KEY];
    arguments.extend(tls);
    let mut client = python::start("door.py", &arguments);
    let (status, log) = client.end(PATIENCE);
    assert!(status.success(), "{transport} {version} {tls:?}: {log}");
    assert!(log.contains(&format!("received 42/inbox {qos} through the door")), "{log}");
}

#[test]
fn both_protocols_over_tcp_with_every_qos() {
    let world = World::up();
    for version in ["3", "5"] {
        for qos in ["0", "1", "2"] {
            through(&world, 1883, "tcp", version, qos, &[]);
        }
    }
}

#[test]
fn both_protocols_over_websocket() {
    let world = World::up();
    for version in ["3", "5"] {
        through(&world, 8080, "websockets", version, "1", &[]);
    }
}

#[test]
fn both_protocols_over_both_versions_of_tls() {
    let world = World::up();
    let authority = authority(&world).display().to_string();
    for version in ["3", "5"] {
        for tls in ["1.2", "1.3"] {
            through(&world, 8883, "tcp", version, "1", &[&authority, tls]);
        }
    }
}

#[test]
fn the_tls_door_speaks_alpn_and_nothing_older_than_1_2() {
    let world = World::up();
    let address = world.address(8883).to_string();
    let authority = authority(&world);
    let client = |more: &[&str]| {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-servername", "localhost", "-verify_return_error", "-CAfile"])
            .arg(&authority)
            .args(more)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl can be started");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let good = client(&["-alpn", "mqtt"]);
    assert!(good.contains("ALPN protocol: mqtt") && good.contains("Verify return code: 0"), "{good}");
    let old = client(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(!old.contains("Verify return code: 0 (ok)\n---\nread"), "{old}");
    assert!(old.contains("alert") || old.contains("Cipher is (NONE)"), "{old}");
}

#[test]
fn every_service_tells_its_health_and_its_metrics() {
    let world = World::up();
    for port in [8080, 8081, 8082, 8083, 8090] {
        let _ = Request::get(world.url(port, "/healthz")).send().expect(200);
        let ready = Request::get(world.url(port, "/readyz")).send().expect(200).json();
        assert_eq!(ready["ready"], true, "{port}: {ready}");
        let metrics = Request::get(world.url(port, "/metrics")).send().expect(200).text();
        assert!(metrics.contains("# TYPE ") && metrics.trim_end().ends_with("# EOF"), "{port}: {metrics}");
    }
}
