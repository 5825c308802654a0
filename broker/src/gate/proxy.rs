//! The PROXY protocol, version 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, §2.2): a load balancer
//! says whose connection it passes on. It is required from the networks that the operator trusts, and from nobody else
//! is it understood: elsewhere its bytes are no CONNECT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first twelve bytes of every header.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEAD: usize = 16;
/// A longer header is refused; those of known proxies have less than a kilobyte.
const LONGEST: usize = 4096;
/// The type of the checksum among the additional values.
const CRC32C: u8 = 0x03;

pub use tidings_shared::network::{InvalidNetwork, Network};

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The proxy's own (a health check), or the proxy does not know.
    Proxy,
    /// This client's.
    Client(SocketAddr),
}

/// Reads a header, and not one byte of what follows it. The error says what is wrong with it.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Source, &'static str> {
    let mut head = [0; HEAD];
    let mut got = 0;
    while let Some(rest) = head.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest).await {
            Ok(0) | Err(_) => return Err("the connection ended within the header"),
            Ok(bytes) => got += bytes,
        }
        // A peer that does not speak the protocol is not waited for.
        let known = got.min(SIGNATURE.len());
        if head.get(..known) != SIGNATURE.get(..known) {
            return Err(if head.starts_with(b"PROXY") {
                "it is of version 1; version 2 is needed (send-proxy-v2)"
            } else {
                "it does not begin with the signature of version 2"
            });
        }
    }
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > LONGEST {
        return Err("it is longer than 4096 bytes");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(|_| "the connection ended within the header")?;
    parse(&head, &body)
}

fn parse(head: &[u8; HEAD], body: &[u8]) -> Result<Source, &'static str> {
    let [.., version_command, family, _, _] = *head;
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err("its version is not 2 or its command is not known"),
    };
    let addresses = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ if local => 0,
        _ => return Err("its address family is not TCP over IPv4, IPv6 or a UNIX socket"),
    };
    let (addresses, values) = body.split_at_checked(addresses).ok_or("it is too short for its address family")?;
    // What is unspecified, or the proxy's own, has no form that could be checked.
    if family != 0 && !local {
        check_values(head, addresses, values)?;
    }
    if local {
        return Ok(Source::Proxy);
    }
    Ok(match (family, addresses) {
        (0x11, &[a, b, c, d, _, _, _, _, high, low, _, _]) => client(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), high, low),
        (0x21, bytes) => {
            let source: [u8; 16] = bytes.get(..16).and_then(|ip| ip.try_into().ok()).unwrap_or_default();
            let port = bytes.get(32..34).unwrap_or(&[0, 0]);
            client(IpAddr::V6(Ipv6Addr::from(source)), port[0], port[1])
        }
        // A UNIX socket, or unspecified: there is no address.
        _ => Source::Proxy,
    })
}

fn client(address: IpAddr, high: u8, low: u8) -> Source {
    Source::Client(SocketAddr::new(address.to_canonical(), u16::from_be_bytes([high, low])))
}

/// The additional values must fill the rest, and their checksum must be right if they have one (§2.2.3); nothing else of
/// them is used.
fn check_values(head: &[u8; HEAD], addresses: &[u8], values: &[u8]) -> Result<(), &'static str> {
    let mut rest = values;
    while !rest.is_empty() {
        let (&[kind, high, low], after) = rest.split_first_chunk().ok_or("its additional values are cut off")?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = after.split_at_checked(length).ok_or("its additional values are cut off")?;
        if kind == CRC32C {
            let told: [u8; 4] = value.try_into().map_err(|_| "its checksum has not four bytes")?;
            let mut sum = crc32c::crc32c_append(crc32c::crc32c(head), addresses);
            let before = values.len() - after.len() - value.len();
            sum = crc32c::crc32c_append(sum, values.get(..before).unwrap_or_default());
            sum = crc32c::crc32c_append(crc32c::crc32c_append(sum, &[0; 4]), after);
            if sum != u32::from_be_bytes(told) {
                return Err("its checksum is wrong");
            }
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header as a proxy sends it.
    pub(in crate::gate) fn header(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &length, body].concat()
    }

    /// The addresses of a connection from this client.
    pub(in crate::gate) fn from(client: SocketAddr) -> Vec<u8> {
        let port = client.port().to_be_bytes();
        match client.ip() {
            IpAddr::V4(ip) => header(0x21, 0x11, &[&ip.octets()[..], &[127, 0, 0, 1], &port, &[7, 91]].concat()),
            IpAddr::V6(ip) => header(0x21, 0x21, &[&ip.octets()[..], &[0; 16], &port, &[7, 91]].concat()),
        }
    }

    fn read_all(bytes: &[u8]) -> (Result<Source, &'static str>, usize) {
        let mut stream = bytes;
        let outcome = futures_util::FutureExt::now_or_never(read(&mut stream)).expect("bytes that are there");
        (outcome, bytes.len() - stream.len())
    }

    #[test]
    fn the_client_is_told_by_both_families_and_nothing_more_is_read() {
        for client in ["192.0.2.7:4711", "[2001:db8::7]:4711"] {
            let client: SocketAddr = client.parse().unwrap();
            let bytes = [from(client), b"CONNECT".to_vec()].concat();
            assert_eq!(read_all(&bytes), (Ok(Source::Client(client)), bytes.len() - 7));
        }
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:1".parse().unwrap();
        assert_eq!(read_all(&from(mapped)).0, Ok(Source::Client("192.0.2.7:1".parse().unwrap())));
    }

    #[test]
    fn checks_of_the_proxy_and_unknown_clients_have_the_proxys_address() {
        let values = [4, 0, 2, 0, 0];
        for bytes in [
            header(0x20, 0x00, &[]),
            header(0x20, 0x11, &[0; 12]),
            header(0x21, 0x00, &[]),
            header(0x21, 0x00, &values),
            header(0x21, 0x31, &[&[1; 216][..], &values].concat()),
        ] {
            assert_eq!(read_all(&bytes), (Ok(Source::Proxy), bytes.len()));
        }
    }

    #[test]
    fn a_checksum_is_checked() {
        let mut bytes = from("192.0.2.7:1".parse().unwrap());
        bytes.extend([4, 0, 1, 9, CRC32C, 0, 4, 0, 0, 0, 0, 0x20, 0, 0]);
        bytes[15] += 14;
        let sum = crc32c::crc32c(&bytes).to_be_bytes();
        let at = bytes.len() - 7;
        bytes[at..at + 4].copy_from_slice(&sum);
        assert!(matches!(read_all(&bytes).0, Ok(Source::Client(_))));
        bytes[20] ^= 1;
        assert_eq!(read_all(&bytes).0, Err("its checksum is wrong"));
    }

    #[test]
    fn what_is_no_header_is_said_so_at_the_first_wrong_byte() {
        let refused = |bytes: &[u8]| read_all(bytes).0.unwrap_err();
        assert!(refused(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n").contains("version 1"));
        assert!(refused(b"\x10\x0c").contains("signature"));
        assert!(refused(b"\r\n\r\nGET").contains("signature"));
        assert!(refused(&header(0x11, 0x11, &[0; 12])).contains("version"));
        assert!(refused(&header(0x22, 0x11, &[0; 12])).contains("command"));
        assert!(refused(&header(0x21, 0x12, &[0; 12])).contains("family"));
        assert!(refused(&header(0x21, 0x11, &[0; 11])).contains("too short"));
        assert!(refused(&header(0x21, 0x11, &[0; 14])).contains("cut off"));
        assert!(refused(&header(0x21, 0x21, &[0; 5000])).contains("4096"));
        assert!(refused(&header(0x21, 0x21, &[0; 36])[..40]).contains("ended"));
        assert!(refused(&SIGNATURE[..5]).contains("ended"));
    }

    proptest! {
        #[test]
        fn no_input_panics_or_is_read_beyond_its_length(head in any::<[u8; 4]>(), body in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<bool>()) {
            let mut bytes = [&SIGNATURE[..], &head, &body].concat();
            if !cut {
                let length = u16::try_from(body.len()).unwrap().to_be_bytes();
                bytes[14..16].copy_from_slice(&length);
            }
            let (outcome, used) = read_all(&bytes);
            prop_assert!(outcome.is_err() || used <= HEAD + body.len());
        }

        #[test]
        fn a_network_contains_what_shares_its_bits(address in any::<u32>(), bits in 0_u8..=32, other in any::<u32>()) {
            let network: Network = format!("{}/{bits}", Ipv4Addr::from_bits(address)).parse().unwrap();
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            let expected = address & mask == other & mask;
            prop_assert_eq!(network.contains(Ipv4Addr::from_bits(other).into()), expected);
            prop_assert_eq!(network.contains(Ipv4Addr::from_bits(other).to_ipv6_mapped().into()), expected);
        }
    }
}
