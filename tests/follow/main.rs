//! Followers: readers of a log that somebody else writes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod damage;
mod live;
mod program;
mod reader;
#[cfg(feature = "simulation")]
mod simulation;
#[path = "../util/mod.rs"]
mod util;
