//! The bodies of the fuzz targets: what each does with one input, and the laws it holds it to.
//!
//! A body panics where a law is broken. Most inputs are mended before they are used - checksums,
//! seals, lengths, magic numbers - so that they get behind the first check; which ones, an input
//! says itself. How many got there is counted. `fuzz/` runs the bodies under a fuzzer,
//! `tests/fuzz_corpus.rs` runs them over what was found worth keeping.

pub(crate) mod batch_decode;
pub(crate) mod checkpoint;
pub(crate) mod compaction;
pub(crate) mod config;
#[allow(dead_code, reason = "shared with the exploration of crash states, which uses more of it")]
pub(crate) mod crash;
pub(crate) mod index_lookup;
pub(crate) mod input;
pub(crate) mod meta;
pub(crate) mod operations;
pub(crate) mod oracle;
pub(crate) mod seeds;
pub(crate) mod segment_recovery;

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a target does with one input.
type Body = fn(&[u8]);

/// The targets, by name.
pub(crate) const TARGETS: [(&str, Body); 8] = [
    ("batch_decode", batch_decode::run),
    ("checkpoint", checkpoint::run),
    ("compaction", compaction::run),
    ("config", config::run),
    ("index_lookup", index_lookup::run),
    ("meta", meta::run),
    ("operations", operations::run),
    ("segment_recovery", segment_recovery::run),
];

/// Runs the body of the target of this name once.
pub(crate) fn run(target: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    let (_, body) = found.unwrap_or_else(|| panic!("no target is called {target}"));
    counted(*body, data);
}

static PAST: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_PAST: Cell<bool> = const { Cell::new(false) };
}

/// Runs a body once, and counts it if it got behind the first check.
pub(crate) fn counted(body: Body, data: &[u8]) {
    IS_PAST.set(false);
    body(data);
    PAST.fetch_add(u64::from(IS_PAST.get()), Ordering::Relaxed);
}

/// Notes that the input got behind the first check of what it was given to.
pub(crate) fn past() {
    IS_PAST.set(true);
}

/// How many inputs did so far.
pub(crate) fn past_count() -> u64 {
    PAST.load(Ordering::Relaxed)
}

/// Whether the oracles are to be wrong in one small thing each, which a fuzzer that is worth its
/// time finds: `FOREBAY_FUZZ_PLANTED=1`.
pub(crate) fn planted() -> bool {
    static PLANTED: OnceLock<bool> = OnceLock::new();
    *PLANTED.get_or_init(|| std::env::var_os("FOREBAY_FUZZ_PLANTED").is_some())
}
