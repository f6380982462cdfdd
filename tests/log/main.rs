//! One log: every call, its options, its limits, and many threads at once.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod api;
mod api_lifecycle;
mod append_at;
mod background;
mod compression;
mod concurrency;
mod consumers;
mod copies;
#[cfg(feature = "encryption")]
mod encryption;
mod limits;
mod live_options;
mod refusals;
mod stats;
mod timestamps;
#[path = "../util/mod.rs"]
mod util;
mod validate;
#[cfg(target_os = "linux")]
mod write_errors;
