//! What a log is after a kill, a power cut or damage, and what an open says of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod consumer_crash;
mod corruption;
mod corruption_files;
mod corruption_tail;
#[cfg(feature = "simulation")]
mod found;
mod kill;
#[cfg(feature = "simulation")]
mod log_clock;
#[cfg(feature = "simulation")]
mod media;
#[cfg(feature = "simulation")]
#[path = "../recovery/mod.rs"]
mod recovery;
#[cfg(feature = "simulation")]
mod reports;
#[cfg(feature = "simulation")]
mod review_found;
#[cfg(feature = "simulation")]
mod rewriting;
#[cfg(feature = "simulation")]
mod set_aside;
#[path = "../util/mod.rs"]
mod util;
#[cfg(feature = "simulation")]
mod whole_found;
