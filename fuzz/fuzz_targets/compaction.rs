#![no_main]

libfuzzer_sys::fuzz_target!(
    init: forebay_fuzz::say_counts_at_exit(),
    |data: &[u8]| forebay_fuzz::compaction(data)
);
