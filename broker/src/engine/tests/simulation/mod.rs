//! A seeded simulation: clients that come and go, a slow log that fails and fills up, crashes at any moment. On every
//! step it checks what must never be broken, and at the end that everybody got everything. A failing seed replays:
//! `TIDINGS_SEEDS=17..18 cargo test -p tidings-broker simulation`.
//!
//! Checked: nothing is acknowledged before it is stored; a device gets nothing but its user's messages; what was
//! stored reaches every session that stays, in order, and again only with DUP; with QoS 2 exactly once, both ways; a
//! shared group's messages reach a member, also when others let them lie; a client that keeps no session but its cursor
//! gets everything once, in order; no push is asked for a message that was acknowledged in time.

mod client;
mod world;

use super::harness::START_MS;
use world::{Kind, World};

const STEPS: usize = 1_500;

/// Plays one history; how many messages of groups went on to another member in it.
fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    // A seed in four has no crashes, so that nothing is excused by one.
    let crashes = !seed.is_multiple_of(4);
    for _ in 0..STEPS {
        match world.below(100) {
            0..25 => world.publish_to_user(),
            25..35 => world.publish_command(),
            35..50 => world.client_works(),
            50..60 => world.client_changes(),
            60..85 => world.log_works(),
            85..97 => {
                let ms = i64::try_from(world.below(600)).unwrap_or(0);
                world.pass(ms);
            }
            97 => world.disk_changes(),
            _ if crashes && world.below(4) == 0 => world.crash(),
            _ => {}
        }
    }
    world.settle();
    world.check_everything_arrived();
    assert!(world.clock.now_ms() > START_MS);
    assert!(world.clients.iter().any(|client| client.kind == Kind::Device && !client.got.is_empty()));
    world.reassigned()
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("TIDINGS_SEEDS") else { return 0..40 };
    let (from, to) = text.split_once("..").expect("TIDINGS_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn whatever_happens_the_promises_hold() {
    let mut reassigned = 0;
    for seed in seeds() {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(count) => reassigned += count,
            Err(panic) => {
                eprintln!("seed {seed} failed; replay with TIDINGS_SEEDS={seed}..{}", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(reassigned > 0 || seeds().count() < 20, "no group has passed a member over: nothing was tested");
}
