//! Hash maps and random numbers from a seed: a run of the engine replays exactly, and nobody outside knows the seed,
//! so nobody can choose names that collide.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// SipHash under the engine's seed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seeded(pub(crate) u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// A hash map of the engine. Its order depends on the seed alone; nothing visible may depend on it.
pub(crate) type Map<K, V> = HashMap<K, V, Seeded>;

/// A small generator (SplitMix64) for names that need not be secret: message ids, assigned client ids.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn bytes(&mut self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next().to_le_bytes()[..2]);
        bytes
    }
}

/// The short form of a handler's client id that is stored with its messages: never 0, and the same for ever (FNV-1a).
pub(crate) fn name(client: &str) -> u64 {
    let hash = client
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.max(1)
}
