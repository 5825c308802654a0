//! See `tidings_broker::fuzzing::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_broker::fuzzing::frames(data));
