//! See `tidings_broker::fuzzing::token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_broker::fuzzing::token(data));
