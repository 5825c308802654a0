//! The TLS listener: versions, ALPN, handshakes that never end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rmqtt_codec::v5::Packet;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tidings_shared::tls::{ClientCertificates, DevAuthority, Issued, ServerTls, TlsFiles, certificates, private_key};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::harness::{Client, House, KEY};
use crate::gate::Limits;
use crate::gate::raw::{Connect, field};

pub(super) struct TlsHouse {
    pub(super) house: House,
    pub(super) address: SocketAddr,
    authority: DevAuthority,
    tls: ServerTls,
    files: TlsFiles,
    _folder: TempDir,
}

impl TlsHouse {
    pub(super) async fn open(limits: Limits) -> Self {
        let house = House::with(limits).await;
        let folder = tempfile::tempdir().unwrap();
        let authority = DevAuthority::load_or_create(folder.path()).unwrap();
        let issued = authority.issue_server("broker", &["localhost"]).unwrap();
        let client_roots = Some((authority.certificate(), ClientCertificates::Optional));
        let files = TlsFiles { certificate: issued.certificate, key: issued.key, client_roots };
        let tls = ServerTls::from(files.load(&[b"mqtt"]).unwrap().config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, serving) = (house.gate.clone(), tls.clone());
        tokio::spawn(async move { gate.serve_tls(listener, serving).await });
        Self { house, address, authority, tls, files, _folder: folder }
    }

    pub(super) async fn connect(
        &self,
        version: &'static SupportedProtocolVersion,
        alpn: &[&[u8]],
    ) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let mut config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        self.secure(TcpStream::connect(self.address).await?, config).await
    }

    pub(super) async fn handshake(&self, socket: TcpStream) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let config = ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth();
        self.secure(socket, config).await
    }

    /// With a client certificate.
    async fn show(&self, identity: &Issued) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let chain = certificates(&identity.certificate).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, private_key(&identity.key).unwrap())
            .unwrap();
        self.secure(TcpStream::connect(self.address).await?, config).await
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&self.authority.certificate()).unwrap());
        roots
    }

    async fn secure(&self, socket: TcpStream, config: ClientConfig) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.map(Client::new)
    }
}

#[tokio::test]
async fn a_handler_may_show_a_certificate_instead_of_a_key() {
    let house = TlsHouse::open(Limits::default()).await;
    let identity = house.authority.issue_client("worker").unwrap();
    let without_key = Connect::new(5, "worker").flags(0x82).rest(&field("handler"));
    let mut shown = house.show(&identity).await.unwrap();
    shown.send(&without_key.bytes()).await;
    let Some(Packet::ConnectAck(ack)) = shown.packet().await else { panic!("no CONNACK") };
    assert_eq!(u8::from(ack.reason_code), 0);
    // A key that is there must be right, a token is a token, and who shows nothing needs a key.
    let token = house.house.token("68946");
    for (connect, code) in [
        (Connect::new(5, "worker").login("handler", "wrong"), 0x86),
        (Connect::new(5, "worker").login("handler", KEY), 0),
        (Connect::new(5, "phone").login("JWT", &token), 0),
        (Connect::new(5, "other").flags(0x82).rest(&field("admin")), 0x86),
    ] {
        let mut client = house.show(&identity).await.unwrap();
        client.send(&connect.bytes()).await;
        let Some(Packet::ConnectAck(ack)) = client.packet().await else { panic!("no CONNACK") };
        assert_eq!(u8::from(ack.reason_code), code, "{ack:?}");
    }
    let mut nobody = house.connect(&rustls::version::TLS13, &[]).await.unwrap();
    nobody.send(&without_key.bytes()).await;
    assert_eq!(nobody.refused().await.0, 0x86);
    let plain = house.house.send(&without_key.bytes()).await.refused().await;
    assert_eq!(plain.0, 0x86);
    // A stranger's certificate does not get through the handshake.
    let folder = tempfile::tempdir().unwrap();
    let stranger = DevAuthority::load_or_create(folder.path()).unwrap().issue_client("worker").unwrap();
    let refused = match house.show(&stranger).await {
        Ok(mut client) => {
            client.send(&without_key.bytes()).await;
            client.packet().await.is_none()
        }
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_old_ones_stay() {
    let house = TlsHouse::open(Limits::default()).await;
    let mut old = house.connect(&rustls::version::TLS13, &[]).await.unwrap();
    old.send(&Connect::new(4, "old").login("handler", KEY).bytes()).await;
    assert!(old.packet_v3().await.is_some());
    let next = house.authority.issue_server("next", &["localhost"]).unwrap();
    let files = TlsFiles { certificate: next.certificate, key: next.key, ..house.files.clone() };
    house.tls.replace(files.load(&[b"mqtt"]).unwrap().config);
    let new = house.connect(&rustls::version::TLS13, &[]).await.unwrap();
    let leaf =
        |client: &Client<TlsStream<TcpStream>>| client.stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_ne!(leaf(&old), leaf(&new));
    old.send(&[0xC0, 0]).await;
    assert_eq!(old.packet_v3().await, Some(rmqtt_codec::v3::Packet::PingResponse));
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
