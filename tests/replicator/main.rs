//! What comes from elsewhere and goes there: the replicator, mirrors, and batches of other writers.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod large_batches;
mod mirror;
#[cfg(feature = "replicator")]
mod replicator;
#[cfg(feature = "replicator")]
mod store_and_forward;
mod upstream_batches;
#[path = "../util/mod.rs"]
mod util;
