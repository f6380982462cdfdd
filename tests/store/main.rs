//! Stores: many logs in one directory, with one budget and one lock; and their configuration.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod bad;
mod budget;
#[cfg(feature = "toml")]
mod config;
#[cfg(feature = "simulation")]
mod crash;
mod drops;
#[cfg(feature = "simulation")]
mod full;
mod logs;
#[cfg(target_os = "linux")]
mod process;
#[path = "../util/mod.rs"]
mod util;
#[cfg(feature = "simulation")]
mod whole_sync;

use forebay::{FlushPolicy, IoMode, Log, LogOptions};

/// Logs of small segments, flushed by hand.
fn small(mode: IoMode) -> LogOptions {
    Log::options()
        .io_mode(mode)
        .segment_bytes(16 << 10)
        .max_batch_bytes(4 << 10)
        .flush(FlushPolicy::Manual)
}
