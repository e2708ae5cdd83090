#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keener_fuzz::read(
    "xc",
    Some(keener_data::Format::ExtremeClassification),
    data
));
