//! Power cuts: a filesystem and a disk that remember what was synced, and what a cut leaves of
//! them.

pub mod block_disk;
pub mod blocks;
pub mod campaign;
pub mod cuts;
pub mod faults;
pub mod model;
pub mod planted;
pub mod real;
pub mod recording;
pub mod served;
pub mod shutdown;
pub mod states;
