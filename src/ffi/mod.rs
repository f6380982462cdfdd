//! The C functions, which `include/forebay.h` declares and explains.
//!
//! Floor 6. A C caller's pointer comes in as a reference that may be missing, so that a NULL is an
//! error and no crash; every body runs in one guard, which turns a panic into a status. What a
//! caller has to keep for this to be sound is the header's: pointers lead to what their type says,
//! handles are live, and what is not `const` is used by one thread at a time.
#![expect(non_camel_case_types, reason = "the names are C's")]
#![expect(unsafe_code, reason = "C pointers; every block has its proof")]
#![expect(clippy::missing_safety_doc, reason = "the header and the module say what is asked for")]
#![expect(clippy::exhaustive_structs, reason = "C knows the layout; growth is by size fields")]

mod batch;
mod bytes;
mod callback;
mod consumer;
mod fail;
mod follower;
mod handle;
#[cfg(feature = "kafka")]
mod kafka;
mod linger;
mod lists;
mod log;
#[cfg(not(feature = "replicator"))]
mod no_ship;
mod options;
mod place;
mod reader;
mod record;
mod replicator;
mod report;
#[cfg(feature = "replicator")]
mod ship;
mod shipping;
mod sized;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod text;
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "only Kafka asks for a token"))]
mod token;
mod turns;
mod upstream;
mod version;

#[cfg(not(feature = "replicator"))]
use no_ship as ship;

pub use batch::*;
pub use bytes::*;
pub use callback::*;
pub use consumer::*;
pub use fail::*;
pub use follower::*;
pub use linger::*;
pub use lists::*;
pub use log::*;
pub use options::*;
pub use reader::*;
pub use record::*;
pub use replicator::*;
pub use report::*;
pub use shipping::*;
pub use status::*;
pub use store::*;
pub use turns::*;
pub use upstream::*;
pub use version::*;
