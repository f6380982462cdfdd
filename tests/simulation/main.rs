//! The simulated disk, and logs on it against a model.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

#[cfg(feature = "simulation")]
mod disk;
mod model;
#[path = "../util/mod.rs"]
mod util;
#[cfg(feature = "simulation")]
mod wear;
