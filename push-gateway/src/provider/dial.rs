//! Opening a TCP connection to a name that has several addresses (RFC 8305 in small): the next address is tried as soon
//! as one fails, or after a moment of silence, and the first that answers is taken.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// How long an address may be silent before the next one is tried beside it.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(300);

/// Looks the name up, every time anew, and connects.
///
/// # Errors
/// The name is unknown, or no address answers: the last one's error.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: VecDeque<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    race(addresses, TcpStream::connect).await
}

async fn race<T, F: Future<Output = io::Result<T>>>(
    mut waiting: VecDeque<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match waiting.pop_front() {
            Some(address) => {
                let connecting = connect(address);
                attempts.push(async move { (address, connecting.await) });
            }
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some((address, connected)) = attempts.next() => match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if !waiting.is_empty() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> VecDeque<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([192, 0, 2, 1], *port))).collect()
    }

    /// Port 1 refuses, port 2 is silent, any other answers.
    async fn connect(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            1 => Err(io::ErrorKind::ConnectionRefused.into()),
            2 => std::future::pending().await,
            port => Ok(port),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_when_one_fails_or_is_silent() {
        assert_eq!(race(addresses(&[7, 8]), connect).await.unwrap(), 7);
        assert_eq!(race(addresses(&[1, 8]), connect).await.unwrap(), 8);
        assert_eq!(race(addresses(&[2, 1, 2, 9]), connect).await.unwrap(), 9);
        let refused = race(addresses(&[1]), connect).await.unwrap_err();
        assert!(refused.to_string().contains("192.0.2.1:1"), "{refused}");
        assert_eq!(race(VecDeque::new(), connect).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
