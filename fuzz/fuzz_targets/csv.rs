#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read("csv", Some(keener_data::Format::Csv), data));
