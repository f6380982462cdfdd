//! What the fuzz targets share: their bodies, which lie in `tests/fuzz` and run over the committed
//! corpus as a plain test too, and the counts that are said when a run ends.
//!
//! The lower floors of the crate are compiled in here a second time, so that bodies reach what is
//! not public. `tests/campaign/run fuzz` builds and runs the targets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

#[allow(dead_code, unused_imports, reason = "not everything is fuzzed")]
#[path = "../../src/codec/mod.rs"]
mod codec;
#[allow(dead_code, unused_imports, reason = "not everything is fuzzed")]
#[path = "../../src/disk/mod.rs"]
mod disk;
#[allow(dead_code, unused_imports, reason = "not everything is fuzzed")]
#[path = "../../src/sys/mod.rs"]
mod sys;
#[allow(dead_code, unused_imports, reason = "not everything is fuzzed")]
#[path = "../../src/words/mod.rs"]
mod words;

#[allow(dead_code, reason = "the corpus test alone makes seeds")]
#[path = "../../tests/fuzz/mod.rs"]
mod bodies;

use std::sync::atomic::{AtomicU64, Ordering};

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

macro_rules! targets {
    ($($target:ident)*) => {$(
        /// Runs the body once.
        pub fn $target(data: &[u8]) {
            EXECUTIONS.fetch_add(1, Ordering::Relaxed);
            bodies::counted(bodies::$target::run, data);
        }
    )*};
}

targets! { batch_decode checkpoint compaction config index_lookup meta operations segment_recovery }

/// Has the counts printed when the process ends.
pub fn say_counts_at_exit() {
    COUNTS.with(|_| ());
}

/// Says the counts when it goes: with the thread that the fuzzer begins and ends on.
struct Counts;

thread_local! {
    static COUNTS: Counts = const { Counts };
}

impl Drop for Counts {
    fn drop(&mut self) {
        let (all, past) = (EXECUTIONS.load(Ordering::Relaxed), bodies::past_count());
        eprintln!("executions: {all}, behind the first check: {past}");
    }
}
