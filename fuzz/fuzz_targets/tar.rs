#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| restore_fuzzing::fuzz("tar", bytes));
