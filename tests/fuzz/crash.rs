//! The workloads, laws and oracle of the exploration of crash states, for inputs to drive.

#[path = "../crash_states/before.rs"]
mod before;
#[path = "../crash_states/drive.rs"]
pub(crate) mod drive;
#[path = "../crash_states/explore.rs"]
pub(crate) mod explore;
#[path = "../crash_states/image.rs"]
pub(crate) mod image;
#[path = "../crash_states/laws.rs"]
pub(crate) mod laws;
#[path = "../crash_states/model.rs"]
pub(crate) mod model;
#[path = "../crash_states/oracle.rs"]
pub(crate) mod oracle;
#[path = "../crash_states/tally.rs"]
mod tally;
#[path = "../crash_states/words.rs"]
pub(crate) mod words;
#[path = "../crash_states/workloads.rs"]
mod workloads;

/// Operations that leave three segments, consumers, synced commits, and records that are not
/// durable.
pub(crate) fn workloads_grown() -> &'static [words::Op] {
    &workloads::GROWN
}
