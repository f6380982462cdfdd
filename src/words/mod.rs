//! The words everything above speaks in: offsets, times, records, errors and bounds.
//!
//! Floor 0. Knows nothing of bytes on disk, files or threads.

pub(crate) mod compression;
pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod log_id;
pub(crate) mod name;
pub(crate) mod offset;
pub(crate) mod record;
pub(crate) mod time;
