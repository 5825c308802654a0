//! See `tidings_broker::fuzzing::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_broker::fuzzing::request(data));
