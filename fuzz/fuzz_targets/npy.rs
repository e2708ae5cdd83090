#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read("npy", Some(keener_data::Format::Npy), data));
