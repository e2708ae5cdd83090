#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read("svmlight", Some(keener_data::Format::Svmlight), data));
