//! Bad files and bad calls: a typed refusal or what is whole, never a panic or much memory.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod calls;
mod calls_held;
mod calls_open;
mod files;
mod files_bits;
mod files_open;
mod files_pairs;
mod files_ranges;
mod hostile;
mod support;
#[path = "../util/mod.rs"]
mod util;
