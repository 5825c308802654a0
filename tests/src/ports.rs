//! Ports that no other test has: single ones from the system, and offsets for a whole Tidings.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

/// The default ports of everything that `tidings up` starts.
pub const DEFAULTS: [u16; 9] = [1883, 8080, 8081, 8082, 8083, 8090, 8443, 8444, 8883];

/// Offsets are multiples of this; it makes no default port of one Tidings meet another one of a second Tidings, and
/// the last one stays below the ports that the system hands out by itself.
const STEP: u16 = 997;
const SLOTS: std::ops::Range<u16> = 2..23;

/// Where single ports come from: below those that the system gives to connections that go out, or one of them could have
/// the port between our look and the program that is to listen on it.
const SINGLE: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that is free now, and that no other test is given for a long while.
///
/// # Panics
/// When all are taken, or the folder of the locks cannot be written.
#[must_use]
pub fn free() -> u16 {
    let path = folder().join("next");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).expect("a lock file");
    file.lock().expect("the lock of the ports");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("the next port");
    let begin = text.trim().parse().ok().filter(|port| SINGLE.contains(port)).unwrap_or(SINGLE.start);
    let port = (begin..SINGLE.end).chain(SINGLE.start..begin).find(|port| !of_an_offset(*port) && is_free(*port));
    let port = port.expect("a free port; look for programs that earlier test runs left behind");
    file.rewind().and_then(|()| file.set_len(0)).expect("the next port");
    write!(file, "{}", port + 1).expect("the next port");
    port
}

/// Whether a whole Tidings may want this port.
fn of_an_offset(port: u16) -> bool {
    SLOTS.into_iter().any(|slot| port.checked_sub(slot * STEP).is_some_and(|default| DEFAULTS.contains(&default)))
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join("tidings-test-ports");
    fs::create_dir_all(&folder).expect("a folder for the locks of ports");
    folder
}

/// A free address of 127.0.0.1.
#[must_use]
pub fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free()))
}

/// A `--port-offset` that is ours until this is dropped: other test processes see the lock.
#[derive(Debug)]
pub struct Offset {
    offset: u16,
    _lock: File,
}

impl Offset {
    /// Takes a free one.
    ///
    /// # Panics
    /// When all are taken, which more Tidings at once than the machine can bear would be needed for.
    #[must_use]
    pub fn take() -> Self {
        let folder = folder();
        for slot in SLOTS {
            let offset = slot * STEP;
            let lock = File::create(folder.join(offset.to_string())).expect("a lock file");
            if lock.try_lock().is_ok() && DEFAULTS.iter().all(|port| is_free(port + offset)) {
                return Self { offset, _lock: lock };
            }
        }
        panic!("no port offset is free; look for programs that earlier test runs left behind");
    }

    /// The number for `--port-offset`.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.offset
    }

    /// Where the service with this default port is.
    #[must_use]
    pub fn port(&self, default: u16) -> u16 {
        assert!(DEFAULTS.contains(&default), "{default} is no default port of Tidings");
        default + self.offset
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
