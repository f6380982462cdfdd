//! What the library reports, as structs that grow.
//!
//! Floor 6.

use std::ffi::c_char;
use std::ops::Range;

use super::options::{FOREBAY_IO_AUTO, FOREBAY_IO_MAPPED, FOREBAY_IO_POSITIONED};
use super::sized::Grows;
use crate::{IoMode, LogStats, Offset, RecoveryReport, RetentionReport, VerifyReport};

/// What a log is and has done since it was opened: forebay_log_stats. forebay_store_totals is of a
/// store.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_stats {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// FOREBAY_IO_MAPPED or FOREBAY_IO_POSITIONED.
    pub io_mode: u32,
    /// The oldest record's offset.
    pub log_start_offset: i64,
    /// Records below survive a power cut.
    pub durable_offset: i64,
    /// The next record's offset.
    pub log_end_offset: i64,
    /// Segments.
    pub segments: u64,
    /// Bytes of batches in them.
    pub batch_bytes: u64,
    /// Bytes of all files, by their lengths.
    pub file_bytes: u64,
    /// Bytes of all files that the filesystem has set aside.
    pub allocated_bytes: u64,
    /// Bytes of deleted files that somebody still reads.
    pub deleted_held_bytes: u64,
    /// Bytes that are mapped.
    pub mapped_bytes: u64,
    /// Anonymous memory that the log takes.
    pub memory_bytes: u64,
    /// The most that it takes under its options.
    pub memory_bytes_max: u64,
    /// Bytes that wait for a flush.
    pub unflushed_bytes: u64,
    /// Records appended.
    pub records_appended: u64,
    /// Batches appended.
    pub batches_appended: u64,
    /// Bytes of batches appended.
    pub bytes_appended: u64,
    /// Appends refused.
    pub appends_refused: u64,
    /// Flushes that synced the device.
    pub flushes: u64,
    /// Bytes of batches appended, in whose terms device_bytes is read.
    pub payload_bytes: u64,
    /// Bytes written to the device, sectors that are rewritten each time included.
    pub device_bytes: u64,
    /// Segments that retention deleted.
    pub segments_deleted: u64,
    /// Records dropped because the log or the disk was full.
    pub records_dropped: u64,
    /// Consumers and replicators: forebay_log_consumers.
    pub consumers: u64,
    /// 1 after a sync failed: close the log and open it again.
    pub poisoned: u32,
    /// 0.
    pub reserved: u32,
    /// The option budget_bytes; 0 if there is no bound.
    pub budget_bytes: u64,
    /// What is taken of it, in whole blocks, deleted files that somebody reads included; 0 without
    /// a bound, as in a store that has one: disk_bytes of forebay_store_totals. Appends find it
    /// used up while budget_reserve_bytes are left.
    pub budget_used_bytes: u64,
    /// What of it is kept back from records, so that deleting and committing work; 0 without one.
    pub budget_reserve_bytes: u64,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_stats {
    const NAME: &str = "stats";
}

const _: () = assert!(size_of::<forebay_stats>() == 216);

impl forebay_stats {
    pub(super) fn of(stats: &LogStats) -> forebay_stats {
        forebay_stats {
            struct_size: 0,
            io_mode: match stats.io_mode {
                IoMode::Auto => FOREBAY_IO_AUTO,
                IoMode::Mapped => FOREBAY_IO_MAPPED,
                IoMode::Positioned => FOREBAY_IO_POSITIONED,
            },
            log_start_offset: stats.log_start_offset.get(),
            durable_offset: stats.durable_offset.get(),
            log_end_offset: stats.log_end_offset.get(),
            segments: stats.segments,
            batch_bytes: stats.batch_bytes,
            file_bytes: stats.file_bytes,
            allocated_bytes: stats.allocated_bytes,
            deleted_held_bytes: stats.deleted_held_bytes,
            mapped_bytes: stats.mapped_bytes,
            memory_bytes: stats.memory_bytes,
            memory_bytes_max: stats.memory_bytes_max,
            unflushed_bytes: stats.unflushed_bytes,
            records_appended: stats.records_appended,
            batches_appended: stats.batches_appended,
            bytes_appended: stats.bytes_appended,
            appends_refused: stats.appends_refused,
            flushes: stats.flushes,
            payload_bytes: stats.wear.payload_bytes,
            device_bytes: stats.wear.device_bytes,
            segments_deleted: stats.segments_deleted,
            records_dropped: stats.records_dropped,
            consumers: stats.consumers.len() as u64,
            poisoned: stats.poisoned.is_some().into(),
            reserved: 0,
            budget_bytes: stats.budget_bytes.unwrap_or(0),
            budget_used_bytes: stats.budget_used_bytes.unwrap_or(0),
            budget_reserve_bytes: stats.budget_reserve_bytes.unwrap_or(0),
        }
    }
}

/// What opening a log found: forebay_log_recovery. With `created` the rest means nothing; with
/// neither `created`, `clean` nor `cache_kept` the machine went down: a power cut, or a reboot
/// without forebay_log_close.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_recovery {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// 1 if there was no log, and it was created.
    pub created: u32,
    /// 1 if it had been closed.
    pub clean: u32,
    /// 1 if nothing but the process had died: everything that was appended is there.
    pub cache_kept: u32,
    /// Segments that were read through.
    pub segments_scanned: u64,
    /// Bytes behind the last whole batch that were cut off.
    pub bytes_cut: u64,
    /// Records that were cut off with them; none of them was durable.
    pub records_cut: u64,
    /// Ranges of records that are damaged. They are passed over with FOREBAY_CORRUPT.
    pub damaged_ranges: u64,
    /// The first offset of records that were durable and are not there; -1 if there are none.
    pub lost_from: i64,
    /// One past the last of them; -1.
    pub lost_to: i64,
    /// Consumers that were moved back because what they had read is not there.
    pub consumers_moved_back: u64,
    /// Files that are none of the log's; they are left alone.
    pub foreign_files: u64,
    /// 1 if every copy of the consumers' progress was damaged: they begin anew.
    pub checkpoint_lost: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_recovery {
    const NAME: &str = "recovery report";
}

const _: () = assert!(size_of::<forebay_recovery>() == 88);

impl forebay_recovery {
    pub(super) fn of(report: &RecoveryReport) -> forebay_recovery {
        let (lost_from, lost_to) = ends(report.lost.as_ref());
        forebay_recovery {
            struct_size: 0,
            created: report.created.into(),
            clean: report.clean.into(),
            cache_kept: report.cache_kept.into(),
            segments_scanned: report.segments_scanned,
            bytes_cut: report.bytes_cut,
            records_cut: report.records_cut,
            damaged_ranges: report.damaged_ranges,
            lost_from,
            lost_to,
            consumers_moved_back: report.consumers_moved_back.len() as u64,
            foreign_files: report.foreign_files.len() as u64,
            checkpoint_lost: report.checkpoint_lost.into(),
            reserved: 0,
        }
    }
}

/// What reading the whole log found: forebay_log_verify.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_verification {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// 1 if nothing is wrong.
    pub whole: u32,
    /// The log's start as it was read.
    pub log_start_offset: i64,
    /// The log's end as it was read.
    pub log_end_offset: i64,
    /// Segments read.
    pub segments: u64,
    /// Batches read.
    pub batches: u64,
    /// Records read.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Ranges of records that are damaged.
    pub damaged_ranges: u64,
    /// The first of them: its first offset; -1 if there is none.
    pub damaged_from: i64,
    /// One past its last offset; -1.
    pub damaged_to: i64,
    /// Index entries that do not fit, which recovery makes anew.
    pub index_mismatches: u64,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_verification {
    const NAME: &str = "verification";
}

const _: () = assert!(size_of::<forebay_verification>() == 88);

impl forebay_verification {
    pub(super) fn of(report: &VerifyReport) -> forebay_verification {
        let (damaged_from, damaged_to) = ends(report.damaged.first());
        forebay_verification {
            struct_size: 0,
            whole: report.is_whole().into(),
            log_start_offset: report.log_start_offset.get(),
            log_end_offset: report.log_end_offset.get(),
            segments: report.segments,
            batches: report.batches,
            records: report.records,
            bytes: report.bytes,
            damaged_ranges: report.damaged_ranges,
            damaged_from,
            damaged_to,
            index_mismatches: report.index_mismatches + report.time_index_mismatches,
        }
    }
}

/// What retention deleted: forebay_log_apply_retention.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_retention {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// 1 if a consumer that holds kept something that would be due.
    pub held_back: u32,
    /// The log's start now.
    pub log_start_offset: i64,
    /// Segments deleted.
    pub segments_deleted: u64,
    /// Records deleted.
    pub records_deleted: u64,
    /// Bytes deleted.
    pub bytes_deleted: u64,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_retention {
    const NAME: &str = "retention report";
}

const _: () = assert!(size_of::<forebay_retention>() == 40);

impl forebay_retention {
    pub(super) fn of(report: &RetentionReport) -> forebay_retention {
        forebay_retention {
            struct_size: 0,
            held_back: report.held_back.is_some().into(),
            log_start_offset: report.log_start_offset.get(),
            segments_deleted: report.segments_deleted,
            records_deleted: report.records_deleted,
            bytes_deleted: report.bytes_deleted,
        }
    }
}

fn ends(range: Option<&Range<Offset>>) -> (i64, i64) {
    range.map_or((-1, -1), |range| (range.start.get(), range.end.get()))
}

/// A text in a place of fixed size, cut at a character's end if it does not fit, NUL-terminated.
pub(super) fn short_text<const N: usize>(text: &str) -> [c_char; N] {
    let mut place = [0; N];
    let end = (0..=text.len().min(N - 1)).rev().find(|end| text.is_char_boundary(*end));
    for (to, byte) in place.iter_mut().zip(text.bytes().take(end.unwrap_or(0))) {
        *to = byte.cast_signed() as c_char;
    }
    place
}
