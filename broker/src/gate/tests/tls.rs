//! The TLS listener: versions, ALPN, handshakes that never end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tidings_shared::tls::{DevAuthority, certificates, server_config};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::harness::{Client, House, KEY};
use crate::gate::Limits;
use crate::gate::raw::Connect;

struct TlsHouse {
    house: House,
    address: SocketAddr,
    authority: DevAuthority,
    _folder: TempDir,
}

impl TlsHouse {
    async fn open(limits: Limits) -> Self {
        let house = House::with(limits).await;
        let folder = tempfile::tempdir().unwrap();
        let authority = DevAuthority::load_or_create(folder.path()).unwrap();
        let issued = authority.issue_server("broker", &["localhost"]).unwrap();
        let config = server_config(&issued.certificate, &issued.key, &[b"mqtt"]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = house.gate.clone();
        tokio::spawn(async move { gate.serve_tls(listener, config).await });
        Self { house, address, authority, _folder: folder }
    }

    async fn connect(
        &self,
        version: &'static SupportedProtocolVersion,
        alpn: &[&[u8]],
    ) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&self.authority.certificate()).unwrap());
        let mut config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.map(Client::new)
    }
}

#[tokio::test]
async fn both_versions_of_tls_carry_mqtt_with_and_without_alpn() {
    let house = TlsHouse::open(Limits::default()).await;
    let versions =
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)];
    for (version, expected) in versions {
        for alpn in [&[][..], &[&b"mqtt"[..]][..]] {
            let mut client = house.connect(version, alpn).await.unwrap();
            let session = client.stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(expected));
            assert_eq!(session.alpn_protocol(), alpn.first().copied());
            client.send(&Connect::new(4, "c").login("handler", KEY).bytes()).await;
            assert!(client.packet_v3().await.is_some());
            // A clean end: DISCONNECT is answered with close_notify, not with a broken stream.
            client.send(&[0xE0, 0]).await;
            assert_eq!(client.last_words().await, b"");
        }
    }
    assert!(house.connect(&rustls::version::TLS13, &[b"h2"]).await.is_err(), "another protocol is refused");
}

#[tokio::test]
async fn a_silent_handshake_ends_at_the_deadline_and_blocks_nobody() {
    let limits = Limits { connect_deadline: Duration::from_millis(700), ..Limits::default() };
    let house = TlsHouse::open(limits).await;
    let mut silent = Client::new(TcpStream::connect(house.address).await.unwrap());
    let mut half = Client::new(TcpStream::connect(house.address).await.unwrap());
    half.send(&[0x16, 3, 1, 2, 0, 1, 0]).await;
    let mut plain = Client::new(TcpStream::connect(house.address).await.unwrap());
    plain.send(&Connect::new(4, "c").login("handler", KEY).bytes()).await;
    let mut quick = house.connect(&rustls::version::TLS13, &[]).await.unwrap();
    quick.send(&Connect::new(4, "c").login("handler", KEY).bytes()).await;
    assert!(quick.packet_v3().await.is_some());
    assert_eq!(silent.last_words().await, b"");
    assert_eq!(half.last_words().await, b"");
    let alert = plain.last_words().await;
    assert!(alert.is_empty() || alert[0] == 0x15, "{alert:x?}");
    assert_eq!(house.house.metrics.unauthenticated.get(), 0);
}
