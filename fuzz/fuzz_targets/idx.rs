#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read("idx", Some(keener_data::Format::Idx), data));
