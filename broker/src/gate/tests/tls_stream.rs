//! The TLS stream under a client's own TLS: whatever pieces the network makes, the bytes are the same.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tidings_shared::tls::{DevAuthority, client_config, server_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client};

use crate::gate::tls::TlsStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends over a pipe that holds so many bytes.
async fn ends(pipe: usize) -> (TlsStream<DuplexStream>, client::TlsStream<DuplexStream>) {
    let folder = tempfile::tempdir().unwrap();
    let authority = DevAuthority::load_or_create(folder.path()).unwrap();
    let issued = authority.issue_server("a", &["localhost"]).unwrap();
    let server: Arc<ServerConfig> = server_config(&issued.certificate, &issued.key, &[]).unwrap();
    let client = client_config(Some(&authority.certificate()), None, &[]).unwrap();
    let (near, far) = duplex(pipe);
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = TlsConnector::from(Arc::new(client)).connect(name, far);
    let (near, far) =
        timeout(PATIENCE, async { tokio::join!(TlsStream::accept(server, near), handshake) }).await.unwrap();
    (near.unwrap(), far.unwrap())
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[tokio::test]
async fn both_directions_carry_everything_at_once_in_pieces_of_any_size() {
    for pipe in [1, 7, 1_000, 100_000] {
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
    assert_eq!(ended.kind(), std::io::ErrorKind::UnexpectedEof);
}
