#![no_main]

// H3
libfuzzer_sys::fuzz_target!(|data: &[u8]| api_key_runtime::fuzz::allowed_ips(data));
