//! Archives: what is handed over, read through, kept and deleted, and what crashes leave of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

#[cfg(feature = "simulation")]
mod crash;
mod dir;
mod model;
mod program;
mod read;
mod retention;
mod store;
mod tiers;
#[path = "../util/mod.rs"]
mod util;
