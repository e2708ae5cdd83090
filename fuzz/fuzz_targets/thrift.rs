#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_data::probe::thrift(data));
