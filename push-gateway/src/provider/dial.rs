//! Opening a TCP connection to a name that has several addresses (RFC 8305 in small): the next address is tried as soon
//! as one fails, or after a moment of silence, and the first that answers is taken.

use std::collections::VecDeque;
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
    race(addresses).await
}

async fn race(mut waiting: VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match waiting.pop_front() {
            Some(address) => attempts.push(async move { (address, TcpStream::connect(address).await) }),
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

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails_or_is_silent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        // 240.0.0.1 answers nobody: where it is not refused at once, it is silent.
        let silent: SocketAddr = "240.0.0.1:9".parse().unwrap();
        for bad in [closed, silent] {
            let connected = tokio::time::timeout(Duration::from_secs(20), race([bad, good].into())).await.unwrap();
            assert_eq!(connected.unwrap().peer_addr().unwrap(), good);
        }
        let refused = race([closed].into()).await.unwrap_err();
        assert!(refused.to_string().contains(&closed.to_string()), "{refused}");
    }
}
