#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read("parquet", Some(keener_data::Format::Parquet), data));
