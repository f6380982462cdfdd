//! What goes from the front of a log, when, and who is asked: rules, deletions, holds and budgets.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod budget;
#[cfg(target_os = "linux")]
mod budget_process;
#[cfg(feature = "simulation")]
mod clock;
#[cfg(feature = "simulation")]
mod cuts;
mod delete_model;
mod delete_records;
mod holds;
mod live_budget;
#[cfg(feature = "simulation")]
#[path = "../recovery/mod.rs"]
mod recovery;
mod rules;
mod thinning;
#[path = "../util/mod.rs"]
mod util;
