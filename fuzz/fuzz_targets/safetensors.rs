#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read(
    "safetensors",
    Some(keener_data::Format::Safetensors),
    data
));
