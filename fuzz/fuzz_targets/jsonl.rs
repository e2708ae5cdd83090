#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read("jsonl", Some(keener_data::Format::JsonLines), data));
