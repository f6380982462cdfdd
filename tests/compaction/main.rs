//! Compaction: of each key the newest record stays, whatever happens meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod budget;
mod copies;
#[cfg(feature = "simulation")]
mod cuts;
mod history;
mod keyless;
mod model;
mod readers;
#[cfg(feature = "simulation")]
mod tombstones;
#[path = "../util/mod.rs"]
mod util;
mod whole;
