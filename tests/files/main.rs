//! Files of a log as others see them: exports, dumps, snapshots, and what a check of them finds.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

#[cfg(feature = "encryption")]
mod decrypt;
mod dump;
mod export;
mod snapshot;
#[cfg(feature = "simulation")]
mod snapshot_simulation;
#[path = "../util/mod.rs"]
mod util;
mod verify;
