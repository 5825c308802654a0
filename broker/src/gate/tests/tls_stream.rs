//! The TLS stream under a client's own TLS: whatever pieces the network makes, the bytes are the same.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tidings_shared::tls::{DevAuthority, certificates, server_config};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client};

use crate::gate::tls::TlsStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends over a pipe that holds so many bytes.
async fn ends(pipe: usize) -> (TlsStream<DuplexStream>, client::TlsStream<DuplexStream>) {
    let (near, far) = duplex(pipe);
    ends_over(near, far, &TLS13).await
}

/// Both ends of a handshake of this version over this transport.
async fn ends_over<N, F>(
    near: N,
    far: F,
    version: &'static SupportedProtocolVersion,
) -> (TlsStream<N>, client::TlsStream<F>)
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let folder = tempfile::tempdir().unwrap();
    let authority = DevAuthority::load_or_create(folder.path()).unwrap();
    let issued = authority.issue_server("a", &["localhost"]).unwrap();
    let server: Arc<ServerConfig> = server_config(&issued.certificate, &issued.key, &[]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&authority.certificate()).unwrap());
    let client =
        ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = TlsConnector::from(Arc::new(client)).connect(name, far);
    let (near, far) =
        timeout(PATIENCE, async { tokio::join!(TlsStream::accept(server, near), handshake) }).await.unwrap();
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!(far.get_ref().1.protocol_version(), Some(version.version));
    (near, far)
}

/// Both ends of a TCP connection.
async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    far.set_nodelay(true).unwrap();
    (listener.accept().await.unwrap().0, far)
}

/// Sends one byte at a time; the other end runs in between.
struct Dribble {
    socket: TcpStream,
    rested: bool,
}

impl AsyncRead for Dribble {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.rested = !self.rested;
        if self.rested {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_write(cx, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A word each way.
async fn greet<N, F>(near: &mut TlsStream<N>, far: &mut client::TlsStream<F>)
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let mut word = [0; 5];
    timeout(PATIENCE, async {
        far.write_all(b"there").await?;
        far.flush().await?;
        near.read_exact(&mut word).await?;
        assert_eq!(&word, b"there");
        near.write_all(b"again").await?;
        near.flush().await?;
        far.read_exact(&mut word).await?;
        assert_eq!(&word, b"again");
        io::Result::Ok(())
    })
    .await
    .unwrap()
    .unwrap();
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[tokio::test]
async fn both_directions_carry_everything_at_once_in_pieces_of_any_size() {
    for pipe in [1, 2, 5, 7, 1_000, 100_000] {
        let (near, far) = ends(pipe).await;
        let length = if pipe < 100 { 40_000 } else { 1_000_000 };
        let (there, back) = (content(length, 1), content(length, 2));
        let (mut near_read, mut near_write) = split(near);
        let (mut far_read, mut far_write) = split(far);
        let all = async {
            let (mut arrived_there, mut arrived_back) = (vec![0; length], vec![0; length]);
            tokio::try_join!(
                async {
                    far_write.write_all(&there).await?;
                    far_write.flush().await
                },
                async {
                    near_write.write_all(&back).await?;
                    near_write.flush().await
                },
                async { near_read.read_exact(&mut arrived_there).await.map(drop) },
                async { far_read.read_exact(&mut arrived_back).await.map(drop) },
            )
            .unwrap();
            assert!(arrived_there == there && arrived_back == back, "{pipe}");
        };
        timeout(PATIENCE, all).await.unwrap();
    }
}

#[tokio::test]
async fn a_handshake_of_either_version_may_arrive_byte_by_byte() {
    for version in [&TLS13, &TLS12] {
        let (near, socket) = tcp().await;
        let (mut near, mut far) = ends_over(near, Dribble { socket, rested: false }, version).await;
        greet(&mut near, &mut far).await;

        let (near, far) = duplex(1);
        ends_over(near, far, version).await;

        let (near, far) = tcp().await;
        let (mut near, mut far) = ends_over(near, far, version).await;
        greet(&mut near, &mut far).await;
    }
}

#[tokio::test]
async fn new_keys_of_the_peer_are_taken() {
    let (mut near, mut far) = ends(100_000).await;
    for round in 0..3 {
        far.get_mut().1.refresh_traffic_keys().unwrap();
        far.write_all(&[round]).await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(timeout(PATIENCE, near.read_u8()).await.unwrap().unwrap(), round);
        near.write_all(&[round]).await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(timeout(PATIENCE, far.read_u8()).await.unwrap().unwrap(), round);
    }
}

#[tokio::test]
async fn each_end_learns_that_the_other_is_done() {
    let (mut near, mut far) = ends(100_000).await;
    far.write_all(b"last words").await.unwrap();
    far.shutdown().await.unwrap();
    let mut words = Vec::new();
    timeout(PATIENCE, near.read_to_end(&mut words)).await.unwrap().unwrap();
    assert_eq!(words, b"last words");
    near.write_all(b"mine").await.unwrap();
    near.shutdown().await.unwrap();
    let mut words = Vec::new();
    timeout(PATIENCE, far.read_to_end(&mut words)).await.unwrap().unwrap();
    assert_eq!(words, b"mine");
}

#[tokio::test]
async fn what_is_no_tls_is_refused_with_an_alert_and_a_torn_stream_ends() {
    let (mut near, far) = ends(100_000).await;
    let (mut socket, _) = far.into_inner();
    socket.write_all(&[23, 3, 3, 0, 20]).await.unwrap();
    socket.write_all(&content(20, 3)).await.unwrap();
    assert!(timeout(PATIENCE, near.read_u8()).await.unwrap().is_err());
    assert!(timeout(PATIENCE, socket.read_u8()).await.unwrap().is_ok(), "an alert");

    let (mut near, far) = ends(100_000).await;
    let (mut socket, _) = far.into_inner();
    socket.write_all(&[23, 3, 3, 0, 20]).await.unwrap();
    drop(socket);
    let ended = timeout(PATIENCE, near.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);

    // So it does when bytes for the peer still wait; they were not sent, and that is not hidden.
    let (mut near, far) = ends(100).await;
    near.write_all(&content(5_000, 4)).await.unwrap();
    drop(far);
    let ended = timeout(PATIENCE, near.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    assert!(timeout(PATIENCE, near.flush()).await.unwrap().is_err());
}
