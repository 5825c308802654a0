//! The wire against the specification: a table of faults, and properties over arbitrary bytes.

use bytes::BytesMut;
use proptest::prelude::*;
use rmqtt_codec::v5::{self, Packet};

use super::*;
use crate::gate::raw::{self, Connect, field, packet, properties};

const LIMIT: usize = 64 * 1024;

fn frame(bytes: &[u8], version: Option<Version>) -> Result<Option<Frame>, Fault> {
    next_frame(&mut BytesMut::from(bytes), LIMIT, version)
}

fn read(bytes: &[u8], version: Version) -> Result<Packet, Fault> {
    decode(frame(bytes, Some(version))?.expect("a whole packet"), version)
}

fn read_connect(bytes: &[u8]) -> Result<Box<v5::Connect>, Fault> {
    let frame = frame(bytes, None)?.expect("a whole packet");
    let version = connect_version(frame.body()).expect("a version that is spoken");
    decode_connect(frame, version)
}

fn code(result: Result<impl std::fmt::Debug, Fault>) -> u8 {
    result.expect_err("the packet breaks a rule").code
}

/// A PUBLISH body: topic, packet id when given, properties for MQTT 5, payload.
fn publish(topic: &[u8], id: Option<u16>, list: Option<&[&[u8]]>) -> Vec<u8> {
    let mut body = field(topic);
    body.extend(id.map(u16::to_be_bytes).into_iter().flatten());
    body.extend(list.map(properties).into_iter().flatten());
    body.extend(b"payload");
    body
}

fn subscribe(id: u16, list: &[&[u8]], filter: &str, options: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(properties(list));
    body.extend(field(filter));
    body.push(options);
    body
}

#[test]
fn every_fault_of_mqtt_5_has_its_code() {
    let user = [&[0x26][..], &field("a"), &field("b")].concat();
    let table: &[(&str, u8, Vec<u8>, u8)] = &[
        ("packet type 0", 0x00, vec![], 0x81),
        ("reserved flags of PUBACK", 0x41, vec![0, 1], 0x81),
        ("reserved flags of PUBREL", 0x60, vec![0, 1], 0x81),
        ("reserved flags of SUBSCRIBE", 0x80, subscribe(1, &[], "a", 0), 0x81),
        ("reserved flags of PINGREQ", 0xC4, vec![], 0x81),
        ("reserved flags of DISCONNECT", 0xE1, vec![], 0x81),
        ("CONNACK from a client", 0x20, vec![0, 0, 0], 0x82),
        ("SUBACK from a client", 0x90, vec![0, 1, 0, 0], 0x82),
        ("UNSUBACK from a client", 0xB0, vec![0, 1, 0, 0], 0x82),
        ("PINGRESP from a client", 0xD0, vec![], 0x82),
        ("a second CONNECT", 0x10, Connect::new(5, "x").bytes()[2..].to_vec(), 0x82),
        ("QoS 3", 0x36, publish(b"a", Some(1), Some(&[])), 0x81),
        ("DUP with QoS 0", 0x38, publish(b"a", None, Some(&[])), 0x81),
        ("a topic with +", 0x30, publish(b"a/+", None, Some(&[])), 0x90),
        ("a topic with #", 0x30, publish(b"#", None, Some(&[])), 0x90),
        ("a topic with U+0000", 0x30, publish(b"a\0b", None, Some(&[])), 0x81),
        ("a topic that is not UTF-8", 0x30, publish(&[0xC3, 0x28], None, Some(&[])), 0x81),
        ("a surrogate in a topic", 0x30, publish(&[0xED, 0xA0, 0x80], None, Some(&[])), 0x81),
        ("no topic and no alias", 0x30, publish(b"", None, Some(&[])), 0x82),
        ("packet id 0 in PUBLISH", 0x32, publish(b"a", Some(0), Some(&[])), 0x82),
        ("topic alias 0", 0x30, publish(b"a", None, Some(&[&[0x23, 0, 0]])), 0x94),
        ("a property twice", 0x30, publish(b"a", None, Some(&[&[0x01, 0], &[0x01, 0]])), 0x82),
        ("payload format 2", 0x30, publish(b"a", None, Some(&[&[0x01, 2]])), 0x82),
        ("a subscription id from a client", 0x30, publish(b"a", None, Some(&[&[0x0B, 1]])), 0x82),
        ("a property of another packet", 0x30, publish(b"a", None, Some(&[&[0x21, 0, 1]])), 0x81),
        ("a property of servers", 0x30, publish(b"a", None, Some(&[&[0x25, 1]])), 0x82),
        ("an unknown property", 0x30, publish(b"a", None, Some(&[&[0x7E, 1]])), 0x81),
        ("a wildcard in the response topic", 0x30, publish(b"a", None, Some(&[&[8, 0, 1, b'#']])), 0x90),
        ("a property list beyond the packet", 0x30, [&field("a")[..], &[9, 1]].concat(), 0x81),
        ("a property list with a long length", 0x30, [&field("a")[..], &[0x80, 0]].concat(), 0x81),
        ("packet id 0 in PUBACK", 0x40, vec![0, 0], 0x82),
        ("an unknown reason in PUBACK", 0x40, vec![0, 1, 0x42], 0x81),
        ("bytes behind PUBACK", 0x40, vec![0, 1, 0, 0, 9], 0x81),
        ("PUBACK cut short", 0x40, vec![0], 0x81),
        ("packet id 0 in SUBSCRIBE", 0x82, subscribe(0, &[], "a", 0), 0x82),
        ("subscription id 0", 0x82, subscribe(1, &[&[0x0B, 0]], "a", 0), 0x82),
        ("subscription id twice", 0x82, subscribe(1, &[&[0x0B, 1], &[0x0B, 2]], "a", 0), 0x82),
        ("subscription QoS 3", 0x82, subscribe(1, &[], "a", 3), 0x82),
        ("retain handling 3", 0x82, subscribe(1, &[], "a", 0x30), 0x82),
        ("reserved subscription options", 0x82, subscribe(1, &[], "a", 0x40), 0x81),
        ("no local on a shared subscription", 0x82, subscribe(1, &[], "$share/g/a", 0x04), 0x82),
        ("SUBSCRIBE without filters", 0x82, vec![0, 1, 0], 0x82),
        ("SUBSCRIBE without options", 0x82, [&[0, 1, 0][..], &field("a")].concat(), 0x81),
        ("UNSUBSCRIBE without filters", 0xA2, vec![0, 1, 0], 0x82),
        ("packet id 0 in UNSUBSCRIBE", 0xA2, [&[0, 0, 0][..], &field("a")].concat(), 0x82),
        ("PINGREQ with a body", 0xC0, vec![0], 0x81),
        ("a server's reason in DISCONNECT", 0xE0, vec![0x8E], 0x82),
        ("a server reference in DISCONNECT", 0xE0, [&[0, 4][..], &[0x1C, 0, 1, b'x']].concat(), 0x82),
        ("user property cut short", 0xE0, [&[0, 6][..], &user[..6]].concat(), 0x81),
    ];
    for (what, first, body, expected) in table {
        let bytes = packet(*first, body);
        assert_eq!(code(read(&bytes, Version::V5)), *expected, "{what}");
    }
}

#[test]
fn every_fault_of_mqtt_3_1_1_is_refused() {
    let table: &[(&str, u8, Vec<u8>)] = &[
        ("packet type 15", 0xF0, vec![]),
        ("QoS 3", 0x36, publish(b"a", Some(1), None)),
        ("an empty topic", 0x30, publish(b"", None, None)),
        ("a wildcard in the topic", 0x30, publish(b"a/#", None, None)),
        ("packet id 0", 0x32, publish(b"a", Some(0), None)),
        ("reserved bits in the requested QoS", 0x82, [&[0, 1][..], &field("a"), &[4]].concat()),
        ("requested QoS 3", 0x82, [&[0, 1][..], &field("a"), &[3]].concat()),
        ("SUBSCRIBE without filters", 0x82, vec![0, 1]),
        ("SUBSCRIBE with flags 0", 0x80, [&[0, 1][..], &field("a"), &[0]].concat()),
        ("UNSUBSCRIBE without filters", 0xA2, vec![0, 1]),
        ("DISCONNECT with a body", 0xE0, vec![0]),
        ("PINGREQ with a body", 0xC0, vec![0]),
        ("PUBACK with a body of three", 0x40, vec![0, 1, 0]),
    ];
    for (what, first, body) in table {
        let bytes = packet(*first, body);
        assert!(read(&bytes, Version::V311).is_err(), "{what}");
    }
}

#[test]
fn every_fault_of_connect_has_its_code() {
    let will = |list: &[&[u8]], topic: &str| [properties(list), field(topic), field("gone")].concat();
    let connect = || Connect::new(5, "c");
    let table: &[(&str, Connect, u8)] = &[
        ("the reserved flag", connect().flags(0x03), 0x81),
        ("will QoS without a will", connect().flags(0x0A), 0x81),
        ("will retain without a will", connect().flags(0x22), 0x81),
        ("will QoS 3", connect().flags(0x1E).rest(&will(&[], "w")), 0x81),
        ("a wildcard in the will topic", connect().flags(0x06).rest(&will(&[], "w/#")), 0x90),
        ("an empty will topic", connect().flags(0x06).rest(&will(&[], "")), 0x90),
        ("a topic alias in the will", connect().flags(0x06).rest(&will(&[&[0x23, 0, 1]], "w")), 0x81),
        ("bytes behind the payload", connect().rest(b"x"), 0x81),
        ("a user name that is not there", connect().flags(0x82), 0x81),
        ("U+0000 in the client id", Connect::new(5, "a\0"), 0x81),
        ("receive maximum 0", connect().property(&[0x21, 0, 0]), 0x82),
        ("maximum packet size 0", connect().property(&[0x27, 0, 0, 0, 0]), 0x82),
        ("request problem information 2", connect().property(&[0x17, 2]), 0x82),
        ("session expiry twice", connect().property(&[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]), 0x82),
        ("authentication data alone", connect().property(&[0x16, 0, 1, 7]), 0x82),
        ("a topic alias", connect().property(&[0x23, 0, 1]), 0x81),
        ("3.1.1: an empty client id and clean session 0", Connect::new(4, "").flags(0), 0x85),
        ("3.1.1: a password without a user name", Connect::new(4, "c").flags(0x42).rest(&field("p")), 0x81),
    ];
    for (what, connect, expected) in table {
        assert_eq!(code(read_connect(&connect.bytes())), *expected, "{what}");
    }
}

#[test]
fn protocol_names_and_levels() {
    let version = |level: u8, name: &[u8]| {
        let mut connect = Connect::new(level, "c");
        connect.name = name.to_vec();
        connect_version(frame(&connect.bytes(), None).unwrap().unwrap().body())
    };
    assert_eq!(version(3, b"MQIsdp"), Ok(Version::V31));
    assert_eq!(version(4, b"MQTT"), Ok(Version::V311));
    assert_eq!(version(5, b"MQTT"), Ok(Version::V5));
    assert_eq!(version(6, b"MQTT"), Err(VersionFault::TooNew));
    assert_eq!(version(3, b"MQTT"), Err(VersionFault::TooOld));
    assert_eq!(version(0x84, b"MQTT"), Err(VersionFault::TooNew));
    assert_eq!(version(5, b"HTTP"), Err(VersionFault::NotMqtt));
    assert_eq!(connect_version(&[]), Err(VersionFault::NotMqtt));
}

#[test]
fn what_the_codec_refuses_although_it_is_legal() {
    // MQTT 5 allows an empty client id without clean start; the identifier that we assign is new anyway.
    let connect = read_connect(&Connect::new(5, "").flags(0).bytes()).unwrap();
    assert!(connect.clean_start && connect.client_id.is_empty());

    let body = publish(b"a", None, Some(&[&[0x02, 0, 0, 0, 0]]));
    let Packet::Publish(message) = read(&packet(0x30, &body), Version::V5).unwrap() else { panic!("a PUBLISH") };
    assert_eq!(message.properties.unwrap().message_expiry_interval.unwrap().get(), 1);
    assert_eq!(&message.payload[..], b"payload");

    // MQTT 3.1 repeats SUBSCRIBE with DUP.
    let body = [&[0, 1][..], &field("a"), &[1]].concat();
    assert!(matches!(read(&packet(0x8A, &body), Version::V31), Ok(Packet::Subscribe(_))));
    assert!(read(&packet(0x8A, &body), Version::V311).is_err());
}

#[test]
fn a_clean_session_of_0_never_expires() {
    let connect = read_connect(&Connect::new(4, "c").flags(0).bytes()).unwrap();
    assert_eq!((connect.clean_start, connect.session_expiry_interval_secs), (false, u32::MAX));
    let connect = read_connect(&Connect::new(4, "c").bytes()).unwrap();
    assert_eq!((connect.clean_start, connect.session_expiry_interval_secs), (true, 0));
}

#[test]
fn a_large_packet_is_refused_from_its_header() {
    let header = [&[0x30][..], &raw::variable(LIMIT + 1)].concat();
    assert_eq!(code(frame(&header, Some(Version::V5))), 0x95);
    let header = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
    assert_eq!(code(frame(&header, Some(Version::V5))), 0x95);
    assert_eq!(code(frame(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], Some(Version::V5))), 0x81);
    assert_eq!(code(frame(&[0x30, 0x80, 0x00], Some(Version::V5))), 0x81);
    // Up to the limit, nothing is reserved before it arrives.
    let mut inbound = BytesMut::new();
    append(&mut inbound, &[0x30, 0xFC, 0xFF, 0x03]);
    assert!(next_frame(&mut inbound, LIMIT, Some(Version::V5)).unwrap().is_none());
    assert!(inbound.capacity() < 64);
}

#[test]
fn nothing_but_connect_opens_a_connection() {
    for first in (0..=255u8).filter(|first| *first != 0x10) {
        assert!(frame(&[first], None).is_err(), "{first:#x}");
    }
}

#[test]
fn an_empty_buffer_keeps_no_memory() {
    let mut inbound = BytesMut::new();
    append(&mut inbound, &packet(0xC0, &[]));
    assert!(is_ping(&next_frame(&mut inbound, LIMIT, Some(Version::V5)).unwrap().unwrap()));
    assert_eq!(inbound.capacity(), 0);
}

fn dialect(version: Version, maximum_packet: u32) -> Dialect {
    Dialect { version, maximum_packet, problem_information: true }
}

fn refused_puback() -> Packet {
    Packet::PublishAck(v5::PublishAck {
        packet_id: 7.try_into().unwrap(),
        reason_code: v5::PublishAckReason::NotAuthorized,
        properties: vec![("rule".into(), "foreign".into())],
        reason_string: Some("another user's topic".into()),
    })
}

#[test]
fn acknowledgements_shrink_to_what_the_client_accepts() {
    for maximum in 0..80 {
        let mut out = BytesMut::from(&b"before"[..]);
        let outcome = encode(refused_puback(), dialect(Version::V5, maximum), &mut out);
        let written = out.len() - 6;
        match maximum {
            1..6 => assert_eq!((outcome, written), (Encoded::Close, 0), "{maximum}"),
            0 => assert!(outcome == Encoded::Written && written > 6),
            _ => assert!(outcome == Encoded::Written && written <= maximum as usize, "{maximum}: {written}"),
        }
        assert_eq!(&out[..6], b"before");
    }
}

#[test]
fn a_plain_acknowledgement_is_four_bytes() {
    let ack = v5::PublishAck { packet_id: 0x1234.try_into().unwrap(), ..Default::default() };
    let release = v5::PublishAck2 { packet_id: 0x1234.try_into().unwrap(), ..Default::default() };
    for version in [Version::V5, Version::V311] {
        let mut out = BytesMut::new();
        encode(Packet::PublishAck(ack.clone()), dialect(version, 4), &mut out);
        encode(Packet::PublishReceived(ack.clone()), dialect(version, 4), &mut out);
        encode(Packet::PublishRelease(release.clone()), dialect(version, 4), &mut out);
        encode(Packet::PublishComplete(release.clone()), dialect(version, 4), &mut out);
        let expected = [0x40, 2, 0x12, 0x34, 0x50, 2, 0x12, 0x34, 0x62, 2, 0x12, 0x34, 0x70, 2, 0x12, 0x34];
        assert_eq!(&out[..], expected);
    }
}

#[test]
fn older_versions_say_a_refusal_by_closing() {
    let mut out = BytesMut::new();
    assert_eq!(encode(refused_puback(), dialect(Version::V311, 0), &mut out), Encoded::Close);
    let disconnect = Packet::Disconnect(v5::Disconnect::default());
    assert_eq!(encode(disconnect, dialect(Version::V311, 0), &mut out), Encoded::Close);
    let refused = Packet::SubscribeAck(v5::SubscribeAck {
        packet_id: 1.try_into().unwrap(),
        properties: vec![],
        reason_string: None,
        status: vec![v5::SubscribeAckReason::GrantedQos1, v5::SubscribeAckReason::NotAuthorized],
    });
    assert_eq!(encode(refused, dialect(Version::V311, 0), &mut out), Encoded::Written);
    assert_eq!(&out[..], [0x90, 4, 0, 1, 1, 0x80]);
}

#[test]
fn a_publish_above_the_clients_limit_is_skipped() {
    let publish = Packet::Publish(Box::new(rmqtt_codec::types::Publish {
        dup: false,
        retain: false,
        qos: v5::QoS::AtMostOnce,
        topic: "t".into(),
        packet_id: None,
        payload: vec![0; 100].into(),
        properties: None,
    }));
    let mut out = BytesMut::new();
    assert_eq!(encode(publish.clone(), dialect(Version::V5, 50), &mut out), Encoded::Skipped);
    assert!(out.is_empty());
    assert_eq!(encode(publish, dialect(Version::V5, 106), &mut out), Encoded::Written);
    assert_eq!(out.len(), 106);
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)]
}

/// A first byte of a packet that a client may send, so that bodies are reached.
fn any_first() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![
            0x10, 0x30, 0x31, 0x32, 0x3B, 0x34, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0, 0xF0
        ]),
    ]
}

/// Whole packets that the checks accept, for cutting and mutating.
fn valid_packets() -> Vec<Vec<u8>> {
    let login = Connect::new(5, "phone").login("JWT", "a.b.c").property(&[0x21, 0, 9]);
    let will = [properties(&[&[0x18, 0, 0, 0, 5], &[0x02, 0, 0, 0, 0]]), field("w"), field("gone")].concat();
    vec![
        login.bytes(),
        Connect::new(4, "phone").login("JWT", "a.b.c").bytes(),
        Connect::new(3, "phone").bytes(),
        Connect::new(5, "").flags(0x2C).rest(&will).bytes(),
        packet(0x30, &publish(b"a/b", None, Some(&[]))),
        packet(0x3B, &publish("été".as_bytes(), Some(9), Some(&[&[0x23, 0, 1], &[0x02, 0, 0, 0, 0]]))),
        packet(0x82, &subscribe(3, &[&[0x0B, 0x80, 1]], "a/+/#", 0x2D)),
        packet(0xA2, &[&[0, 9, 0][..], &field("a")].concat()),
        packet(0x40, &[0, 1, 0x87, 0]),
        packet(0x62, &[0, 1]),
        packet(0xC0, &[]),
        packet(0xE0, &[0x04, 5, 0x11, 0, 0, 0, 9]),
        packet(0xF0, &[0x18, 4, 0x15, 0, 1, b'x']),
    ]
}

/// Runs the bytes through everything that a socket's bytes run through.
fn swallow(bytes: &[u8], version: Version) {
    let mut inbound = BytesMut::new();
    append(&mut inbound, bytes);
    while let Ok(Some(frame)) = next_frame(&mut inbound, LIMIT, Some(version)) {
        if let Ok(packet) = decode(frame, version) {
            for maximum in [0, 5, 40] {
                let _ = encode(packet.clone(), dialect(version, maximum), &mut BytesMut::new());
            }
        }
    }
    if let Ok(Some(frame)) = next_frame(&mut BytesMut::from(bytes), LIMIT, None)
        && let Ok(version) = connect_version(frame.body())
    {
        let _ = decode_connect(frame, version);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), version in any_version()) {
        swallow(&bytes, version);
    }

    #[test]
    fn arbitrary_bodies_never_panic(
        first in any_first(),
        body in prop::collection::vec(prop_oneof![Just(0u8), 0..64u8, any::<u8>()], 0..80),
        version in any_version(),
    ) {
        swallow(&packet(first, &body), version);
    }

    #[test]
    fn changed_packets_never_panic(
        which in 0..13usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        version in any_version(),
    ) {
        let mut bytes = valid_packets()[which].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        swallow(&bytes, version);
    }

    #[test]
    fn packets_split_anywhere_decode_the_same(cuts in prop::collection::vec(1..30usize, 1..40)) {
        let stream: Vec<u8> = valid_packets()[4..].concat();
        let mut whole = BytesMut::from(&stream[..]);
        let mut expected = Vec::new();
        while let Some(frame) = next_frame(&mut whole, LIMIT, Some(Version::V5)).unwrap() {
            expected.push(decode(frame, Version::V5));
        }
        let (mut inbound, mut got, mut rest) = (BytesMut::new(), Vec::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            append(&mut inbound, piece);
            while let Some(frame) = next_frame(&mut inbound, LIMIT, Some(Version::V5)).unwrap() {
                got.push(decode(frame, Version::V5));
            }
            rest = later;
            if rest.is_empty() { break }
        }
        prop_assert_eq!(got, expected);
        prop_assert!(inbound.is_empty());
    }
}

#[test]
fn every_truncation_waits_or_is_refused() {
    for bytes in valid_packets() {
        let version = if bytes[0] == 0x10 { None } else { Some(Version::V5) };
        for length in 0..bytes.len() {
            assert!(matches!(frame(&bytes[..length], version), Ok(None)), "{bytes:x?} cut to {length}");
        }
        // With a shorter remaining length the packet is whole but its contents are not: never a packet from nowhere.
        for length in 2..bytes.len() {
            swallow(&packet(bytes[0], &bytes[2..length]), Version::V5);
        }
        match version {
            None => drop(read_connect(&bytes).expect("a valid CONNECT")),
            Some(version) => drop(read(&bytes, version).expect("a valid packet")),
        }
    }
}
