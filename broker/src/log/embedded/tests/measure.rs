//! How long opening takes, with index files and without: `cargo test --release -p tidings-broker -- --ignored opening`.

use super::*;

const PAYLOAD: usize = 600;
const BATCH: u64 = 2_000;

#[test]
#[ignore = "writes two gigabytes; figures only mean something in a release build"]
fn opening_two_gibibytes() {
    let clock = Clock::manual(START_MS);
    let limits = Limits { per_user: 1_000_000, per_user_bytes: 0, ..Limits::default() };
    let mut fixture = Embedded::with_segments(&clock, limits, 64 << 20);
    let mut number = 0_u64;
    while number * (PAYLOAD as u64 + 150) < 2 << 30 {
        let batch = (number..number + BATCH).map(|n| {
            message(&clock, &user(&format!("user-{}", n * 7_919 % 50_000)), &format!("{n}"), &[b'x'; PAYLOAD])
        });
        try_append(fixture.log(), batch.collect()).unwrap();
        number += BATCH;
        clock.advance(100);
    }
    let bytes: u64 = fixture.files(".segment").iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let deadline = Instant::now() + Duration::from_secs(600);
    while fixture.files(".index").len() + 1 < fixture.files(".segment").len() {
        assert!(Instant::now() < deadline, "every finished segment gets an index");
        std::thread::sleep(Duration::from_millis(50));
    }
    let indexes: u64 = fixture.files(".index").iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    println!("{number} messages, {} MiB of segments, {} MiB of indexes", bytes >> 20, indexes >> 20);
    clock.advance(3_600_000);
    for with in ["with", "with", "without"] {
        fixture.stop();
        if with == "without" {
            fixture.files(".index").iter().for_each(|file| fs::remove_file(file).unwrap());
        }
        let began = Instant::now();
        fixture.start().unwrap();
        println!("opened {with} index files in {:?}", began.elapsed());
        assert_eq!(fixture.log().head(), Offset(number));
    }
}
