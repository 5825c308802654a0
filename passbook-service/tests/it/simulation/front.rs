//! What stands before the processes: each connection goes to one of those that live, as a balancer has it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::{TcpListener, TcpStream};

/// The one address that stands in every pass.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) address: SocketAddr,
    behind: Arc<Mutex<Vec<SocketAddr>>>,
    random: Arc<Mutex<StdRng>>,
}

impl Front {
    pub(super) async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            address: listener.local_addr().unwrap(),
            behind: Arc::default(),
            random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
        };
        let accepting = front.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let front = accepting.clone();
                tokio::spawn(async move {
                    let Some(address) = front.choose() else { return };
                    if let Ok(mut far) = TcpStream::connect(address).await {
                        // An end that is cut off is what the simulation is about.
                        let _end = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        front
    }

    /// Who lives.
    pub(super) fn lead_to(&self, addresses: Vec<SocketAddr>) {
        *self.behind.lock().unwrap() = addresses;
    }

    fn choose(&self) -> Option<SocketAddr> {
        let behind = self.behind.lock().unwrap();
        let index = self.random.lock().unwrap().random_range(0..behind.len().max(1));
        behind.get(index).copied()
    }
}
