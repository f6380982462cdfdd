//! What an open found and did.
//!
//! Floor 4. Numbers are what really happened (I20).

use std::ops::Range;

use serde::Serialize;

use crate::log::options::{IoMode, Media};
use crate::words::offset::Offset;

/// What opening the log found on the device and did about it.
///
/// Lists are bounded at 64 items; the counts beside them are not.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The log did not exist and was created.
    pub created: bool,
    /// The last writer closed it; nothing had to be read.
    pub clean: bool,
    /// How files are accessed: `Mapped` or `Positioned`.
    pub io_mode: Option<IoMode>,
    /// Why that mode.
    pub io_mode_reason: String,
    /// What a power cut may take around what is being rewritten.
    pub media: Option<Media>,
    /// How that was found.
    pub media_reason: String,
    /// Kernel and mount are those of the last writer, so that only its process can have died: only
    /// the last segment was read.
    pub cache_kept: bool,
    /// Segments that were read to find the end of the log.
    pub segments_scanned: u64,
    /// Index files that were made anew.
    pub indexes_rebuilt: u64,
    /// Bytes behind the last whole batch that were cut off and set aside, beside the log in files
    /// that end in `.aside`; without trailing zeros. Those of an earlier cut are removed.
    pub bytes_cut: u64,
    /// Whole records among what was cut: they lay behind a batch that was not whole.
    pub records_cut: u64,
    /// Segments below the log start offset whose deletion a crash had cut short; removed now.
    pub segments_deleted: u64,
    /// Segments that a compaction had merged into the one before them, and that a crash had kept
    /// from being removed; removed now.
    pub segments_merged: u64,
    /// Segments behind the cut that were set aside.
    pub segments_set_aside: u64,
    /// There was no room to keep the bytes that were cut off: they are gone.
    pub set_aside_failed: bool,
    /// Ends of segments that were torn by rewriting and restored from their copy.
    pub ends_restored: u64,
    /// Segments above the recovery point that were copied into new files: after a power cut on a
    /// medium that tears, and after a failed sync.
    pub segments_rewritten: u64,
    /// There was no room for that: it is done in place, where a power cut may tear it, or take it.
    pub rewriting_in_place: bool,
    /// Ranges of offsets below the recovery point that cannot be read; they stay as they are.
    pub damaged: Vec<Range<Offset>>,
    /// How many such ranges there are.
    pub damaged_ranges: u64,
    /// Offsets that were durable once and are gone; the log continues behind them.
    pub lost: Option<Range<Offset>>,
    /// Consumers whose committed offset lay above the log end and was brought back to it.
    pub consumers_moved_back: Vec<ConsumerMoved>,
    /// Checkpoint slots that could not be read; another slot served.
    pub checkpoint_slots_damaged: u64,
    /// No slot could be read: consumers' offsets are gone, and everything was scanned.
    pub checkpoint_lost: bool,
    /// `log.meta` was missing or damaged and was written again from the checkpoint.
    pub meta_rebuilt: bool,
    /// `log.meta` and the checkpoint are both gone: batches are read without their seal.
    pub seal_lost: bool,
    /// Names in the directory that are not forebay's; they were left alone.
    pub foreign_files: Vec<String>,
}

impl RecoveryReport {
    /// Leaves out what lies below the log start: it was deleted, not lost.
    pub(crate) fn above(mut self, log_start: Offset) -> RecoveryReport {
        let above = |range: &Range<Offset>| range.start.max(log_start)..range.end;
        self.lost = self.lost.take().map(|lost| above(&lost)).filter(|lost| !lost.is_empty());
        let listed = self.damaged.len();
        self.damaged = self.damaged.iter().map(above).filter(|range| !range.is_empty()).collect();
        self.damaged_ranges -= (listed - self.damaged.len()) as u64;
        self
    }
}

/// A consumer that recovery brought back to the log end offset (I7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConsumerMoved {
    /// Its name.
    pub name: String,
    /// The offset it had committed.
    pub from: Offset,
    /// The log end offset, where it continues.
    pub to: Offset,
}
