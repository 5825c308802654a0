//! Hostile and broken peers on the real program: whatever they send or fail to send, the next client is served at once.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tidings_tests::broker::Broker;
use tidings_tests::curl::Request;
use tidings_tests::packet::{Connection, Version};
use tidings_tests::wait::{Deadline, PATIENCE, eventually};

fn knock(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).expect("the broker accepts connections");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// From an address and a port of its own, below those that the system gives out, so that thousands of these do not take
/// what other tests are given: who listens on all addresses needs its port on this one, too.
fn knock_from_elsewhere(address: SocketAddr, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], port)).into()).unwrap();
    socket.connect_timeout(&address.into(), PATIENCE).expect("the broker accepts connections");
    socket.into()
}

/// Reads until the peer closes, which it must; a reset is an end too.
#[track_caller]
fn ends(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it is not closed: {error}"),
        _ => bytes,
    }
}

/// A good client logs in, and gets an answer, without waiting for anybody.
#[track_caller]
fn serves(broker: &Broker) {
    let began = Deadline::after(Duration::from_secs(2));
    let mut client = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "68946", "good"));
    assert!(client.until_ping_answer().is_empty());
    drop(Request::get(broker.url("/healthz")).send().expect(200));
    assert!(!began.passed(), "a good client had to wait");
}

/// The sum of all values of a metric.
fn metric(broker: &Broker, name: &str) -> f64 {
    let text = Request::get(broker.url("/metrics")).send().expect(200).text();
    text.lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Memory of the process that is in use, in KiB.
fn resident_kib(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn strange_peers_end_and_the_next_client_is_served() {
    let broker = Broker::start_with(&[("broker.limits.connect", "2s")]);
    let huge = [&[0x10, 0xFF, 0xFF, 0xFF, 0x7F][..], b"\0\x04MQTT\x05"].concat();
    let never_ending = [0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    let hello = [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    let cases: [(&str, &[u8]); 7] = [
        ("HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("the beginning of a TLS handshake", &hello),
        ("a length of 256 MiB", &huge),
        ("a length without end", &never_ending),
        ("a PROXY header that nobody asked for", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("zeros", &[0; 100]),
        ("half a CONNECT", &[0x10, 50, 0, 4, b'M', b'Q']),
    ];
    for (what, bytes) in cases {
        let mut socket = knock(broker.mqtt);
        let _ = socket.write_all(bytes);
        serves(&broker);
        let said = ends(&mut socket);
        assert!(said.is_empty() || said[0] == 0x20, "{what}: {said:x?}");
    }
    // Silent, and with its own half closed.
    let mut silent = knock(broker.mqtt);
    let mut half = knock(broker.mqtt);
    half.shutdown(Shutdown::Write).unwrap();
    serves(&broker);
    assert_eq!((ends(&mut half), ends(&mut silent)), (vec![], vec![]));
    // A byte now and then does not buy time.
    let mut slow = knock(broker.mqtt);
    let deadline = Deadline::after(PATIENCE);
    slow.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    for byte in [0x10_u8, 100, 0, 4].into_iter().chain(std::iter::repeat(b'M')) {
        assert!(!deadline.passed(), "it is closed at the deadline");
        let _ = slow.write_all(&[byte]);
        match slow.read(&mut [0]) {
            Err(error) if [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut].contains(&error.kind()) => {}
            _ => break,
        }
    }
    serves(&broker);
    // HTTP: a head that never ends, and MQTT where HTTP is spoken.
    let mut head = knock(broker.http);
    head.write_all(b"GET / HTTP/1.1\r\nx: ").unwrap();
    let mut mqtt = knock(broker.http);
    mqtt.write_all(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0]).unwrap();
    ends(&mut head);
    ends(&mut mqtt);
    serves(&broker);
    assert!(!broker.process.log().contains("panicked"));
    assert!(metric(&broker, "tidings_broker_refused_total{code=\"connect_deadline\"}") >= 3.0);
}

#[test]
fn five_thousand_half_open_connections_keep_nobody_out() {
    let broker = Broker::start_with(&[("broker.limits.handshakes_per_address", "8192")]);
    let mut crowd: Vec<TcpStream> = (20_000..25_000).map(|port| knock_from_elsewhere(broker.mqtt, port)).collect();
    serves(&broker);
    for socket in crowd.iter_mut().step_by(2) {
        let _ = socket.write_all(&[0x10, 100, 0, 4]);
    }
    serves(&broker);
    // They are more than half of what one address may have: who says nothing has to go.
    eventually("the silent lose their places", PATIENCE, || {
        (metric(&broker, "tidings_broker_unauthenticated_connections") < 4_200.0).then_some(())
    });
    serves(&broker);
    drop(crowd);
    eventually("all places come back", PATIENCE, || {
        (metric(&broker, "tidings_broker_unauthenticated_connections") < 1.0).then_some(())
    });
}

#[test]
fn a_client_that_never_reads_costs_bounded_memory() {
    let broker = Broker::start();
    let mut stuck = Connection::accepted(broker.mqtt, &broker.handler(Version::V5, "stuck"));
    assert_eq!(stuck.subscribe("command"), 1);
    let mut writer = Connection::accepted(broker.mqtt, &broker.handler(Version::V5, "writer"));
    let payload = vec![b'x'; 16 * 1024];
    let before = resident_kib(&broker);
    // 128 MiB that nobody takes.
    for round in 0..80 {
        for _ in 0..100 {
            writer.publish("command", &payload, 0);
        }
        assert!(writer.until_ping_answer().is_empty(), "round {round}");
    }
    let grown = resident_kib(&broker).saturating_sub(before);
    assert!(grown < 48 * 1024, "the broker has grown by {grown} KiB");
    assert!(metric(&broker, "tidings_broker_deliveries_dropped_total") > 1_000.0);
    serves(&broker);
}
