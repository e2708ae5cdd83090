#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read("arrow", Some(keener_data::Format::Arrow), data));
