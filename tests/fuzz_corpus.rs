//! What fuzzing found worth keeping, as a plain test: every input of the committed corpus, and what
//! once broke a law, by name. The bodies and their laws are in `tests/fuzz`.
//!
//! Without the usual harness, which would run the tests of the floors a second time that are
//! compiled in here: names behind `--` choose, as there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test code"
)]

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    unnameable_types,
    reason = "a copy of the floors"
)]
#[path = "../src/codec/mod.rs"]
mod codec;
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    unnameable_types,
    reason = "a copy of the floors"
)]
#[path = "../src/disk/mod.rs"]
mod disk;
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    unnameable_types,
    reason = "a copy of the floors"
)]
#[path = "../src/sys/mod.rs"]
mod sys;
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    unnameable_types,
    reason = "a copy of the floors"
)]
#[path = "../src/words/mod.rs"]
mod words;

#[path = "fuzz/mod.rs"]
mod bodies;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Runs a body over all inputs that are kept for it.
fn holds_over_its_corpus(target: &str) {
    let mut inputs: Vec<PathBuf> =
        fs::read_dir(corpus(target)).unwrap().map(|input| input.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 20, "{target}: {} inputs", inputs.len());
    for path in inputs {
        run(target, &path.display().to_string(), &fs::read(&path).unwrap());
    }
}

/// Runs a body on one input, which is named if it breaks a law.
fn run(target: &str, name: &str, data: &[u8]) {
    let done = catch_unwind(AssertUnwindSafe(|| bodies::run(target, data)));
    if let Err(broken) = done {
        eprintln!("{target} broke a law on {name}");
        resume_unwind(broken);
    }
}

/// I5: the index was made anew under another interval, and a cut kept the old time index beside it:
/// a time was looked up behind the first record that reaches it.
fn a_time_index_of_another_interval_leads_past_no_record() {
    run("index_lookup", "by name", &[0x2b, 0xd2, 0xc5, 0, 0, 0, 0, 0xd7]);
}

/// I8: the flush of records had failed, and a consumer's sync said that all was well.
fn a_consumer_is_not_synced_after_a_failed_flush() {
    run("operations", "by name", &[0x10, 1, 0, 7, 14, 0, 3, 8]);
}

/// I12: a file behind the end, which begins before a damaged segment ends, was none of the log's at
/// the first open, and its last segment at the next.
fn a_file_that_is_none_of_the_logs_behind_damage_stays_none() {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
        digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
    };
    let name = "by name";
    run(
        "segment_recovery",
        name,
        &bytes(
            "f724f740ffffffffffffffffffffffffffffffffffffffffffffffffffff07ffffffff\
        ffff080808080808080855080808080808ff2b0007ca",
        ),
    );
}

/// Every seed made of a real log's files holds. With `FOREBAY_FUZZ_SEEDS` they are written into
/// that directory, below the names of their targets.
fn seeds_of_real_files_hold() {
    let into = std::env::var_os("FOREBAY_FUZZ_SEEDS").map(PathBuf::from);
    let before = bodies::past_count();
    for (target, name, data) in bodies::seeds::all() {
        if let Some(into) = &into {
            fs::create_dir_all(into.join(target)).unwrap();
            fs::write(into.join(target).join(&name), &data).unwrap();
        }
        run(target, &name, &data);
    }
    assert!(bodies::past_count() > before + 300, "most get behind the first check");
}

fn main() {
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_chosen =
        |name: &str| chosen.is_empty() || chosen.iter().any(|word| name.contains(word.as_str()));
    for (target, _) in bodies::TARGETS.iter().filter(|(target, _)| is_chosen(target)) {
        let before = bodies::past_count();
        holds_over_its_corpus(target);
        let past = bodies::past_count() - before;
        assert!(past > 20, "{target}: {past} inputs get behind the first check");
        println!("test {target} ... ok, {past} inputs behind the first check");
    }
    let named: [(&str, fn()); 4] = [
        (
            "a_time_index_of_another_interval_leads_past_no_record",
            a_time_index_of_another_interval_leads_past_no_record,
        ),
        (
            "a_consumer_is_not_synced_after_a_failed_flush",
            a_consumer_is_not_synced_after_a_failed_flush,
        ),
        (
            "a_file_that_is_none_of_the_logs_behind_damage_stays_none",
            a_file_that_is_none_of_the_logs_behind_damage_stays_none,
        ),
        ("seeds_of_real_files_hold", seeds_of_real_files_hold),
    ];
    for (name, test) in named.into_iter().filter(|(name, _)| is_chosen(name)) {
        test();
        println!("test {name} ... ok");
    }
}
