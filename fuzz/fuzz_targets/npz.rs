#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read("npz", Some(keener_data::Format::Npz), data));
