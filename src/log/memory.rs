//! What a log takes of memory: the formula, the bound that an option sets, and the readers it
//! leaves room for.
//!
//! Floor 4. Anonymous memory only: pages of mapped files and of the page cache are the kernel's to
//! take back. See [`LogOptions::memory_limit_bytes`].

use std::ops::Deref;

use crate::codec::index::memory_max;
use crate::disk::set::SEGMENT_MEMORY_BYTES;
use crate::log::options::{IoMode, LogOptions, Media};
use crate::log::{Inner, Log};
use crate::sys::sync::atomic::Ordering;
use crate::words::compression::Compression;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;

/// The terms of the formula, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryPlan {
    /// What is there whoever reads.
    base: usize,
    /// The indexes of an open sealed segment, and reading them from their files.
    sealed: usize,
    reader: usize,
    limit: usize,
    /// The keys of a compaction: a part of `base` if the log was opened as one that is compacted.
    pub(crate) compaction: usize,
}

impl MemoryPlan {
    /// For a log of which it is known how its files are accessed, and how far its medium tears.
    pub(crate) fn new(options: &LogOptions, mapped: bool, torn_bytes: usize) -> MemoryPlan {
        let batch = options.batch_bound();
        let index = memory_max(options.index_interval_bytes, options.segment_bytes);
        let thread = if options.background { limits::THREAD_MEMORY_BYTES } else { 0 };
        let archive = options.archive.is_some();
        let window = if mapped && !archive { 0 } else { batch.max(limits::READ_CHUNK_BYTES) };
        // An archived segment's index is read for each look.
        let looked_into = if archive { index.saturating_mul(2) } else { 0 };
        let packing = match options.compression {
            Compression::None => 0,
            codec => batch.saturating_add(codec.memory_bytes()),
        };
        let terms = [
            batch.saturating_mul(3),
            packing,
            index.saturating_mul(3),
            torn_bytes.saturating_mul(limits::TAIL_MEMORY_COPIES),
            limits::CHECKPOINT_MEMORY_BYTES + limits::TASK_BYTES + thread,
        ];
        let mut plan = MemoryPlan {
            base: terms.into_iter().fold(0, usize::saturating_add),
            sealed: index.saturating_mul(2),
            reader: window.saturating_add(limits::READER_MEMORY_BYTES + looked_into),
            limit: options.memory_limit_bytes.unwrap_or(usize::MAX),
            compaction: 0,
        };
        let copied = if options.cleanup.compacts() { index } else { 0 };
        plan.base = plan.base.saturating_add(copied);
        let half = plan.limit.saturating_sub(plan.of(1, 1)) / 2;
        let keys = options.compaction_memory_bytes.min(half);
        plan.compaction = keys.max(limits::COMPACTION_MEMORY_BYTES_MIN);
        if options.cleanup.compacts() {
            plan.base = plan.base.saturating_add(plan.compaction);
        }
        plan
    }

    /// Before it is known: `least` as little, else as much as the options can come to.
    pub(crate) fn before_open(options: &LogOptions, least: bool) -> MemoryPlan {
        let mapped = match options.io_mode {
            IoMode::Auto => least,
            mode => mode == IoMode::Mapped,
        };
        let tears = match options.media {
            None => !least,
            Some(media) => media == Media::TornOverwrite,
        };
        MemoryPlan::new(options, mapped, if tears { options.torn_bytes } else { 0 })
    }

    /// Refuses a bound that leaves no room for one sealed segment and one reader.
    pub(crate) fn check(&self, options: &LogOptions) -> Result<()> {
        let least = self.of(1, 1);
        if least <= self.limit {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "memory_limit_bytes is {}, these options need {least}: max_batch_bytes is {}, \
             segment_bytes {}, index_interval_bytes {}",
            self.limit,
            options.batch_bound(),
            options.segment_bytes,
            options.index_interval_bytes
        )))
    }

    fn of(&self, sealed: usize, readers: usize) -> usize {
        let readers = self.reader.saturating_mul(readers);
        self.base.saturating_add(self.sealed.saturating_mul(sealed)).saturating_add(readers)
    }

    /// How many sealed segments stay open beside so many readers.
    pub(crate) fn sealed_max(&self, readers: usize) -> usize {
        let left = self.limit.saturating_sub(self.of(0, readers));
        (left / self.sealed).clamp(1, limits::OPEN_SEALED_SEGMENTS_MAX)
    }

    /// Readers that can be open at once.
    fn readers_max(&self) -> usize {
        self.limit.saturating_sub(self.of(1, 0)) / self.reader
    }

    /// The most that a log with so many readers takes, its list of segments left out.
    pub(crate) fn most(&self, readers: usize) -> usize {
        self.of(self.sealed_max(readers), readers.min(self.readers_max()))
    }
}

/// What an open log holds of what a process has few of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) files: u64,
    pub(crate) mapped: u64,
}

/// A log's handle in a reader: counted as long as the reader is there.
#[derive(Debug)]
pub(crate) struct ReaderHandle(Log);

impl ReaderHandle {
    /// Makes room for a reader: sealed segments are let go of for it.
    pub(crate) fn new(log: &Log) -> Result<ReaderHandle> {
        let inner = &*log.inner;
        let most = inner.memory.readers_max();
        let counted = inner.readers.fetch_update(Ordering::AcqRel, Ordering::Acquire, |readers| {
            (readers < most).then_some(readers + 1)
        });
        if counted.is_err() {
            let text = format!(
                "memory_limit_bytes, {}, leaves room for {most} readers and consumers; these are \
                 open",
                inner.memory.limit
            );
            return Err(Error::new(ErrorKind::OutOfSpace, text).at(&inner.env.dir));
        }
        inner.fit_to_readers();
        Ok(ReaderHandle(log.clone()))
    }
}

impl Deref for ReaderHandle {
    type Target = Log;

    #[inline]
    fn deref(&self) -> &Log {
        &self.0
    }
}

impl Drop for ReaderHandle {
    fn drop(&mut self) {
        let inner = &*self.0.inner;
        inner.readers.fetch_sub(1, Ordering::AcqRel);
        // In a forked child its locks may be held for ever.
        if inner.is_own() {
            inner.fit_to_readers();
        }
    }
}

impl Inner {
    /// Keeps as many sealed segments open as there is room for beside the readers.
    fn fit_to_readers(&self) {
        if self.env.memory_bounded {
            let readers = self.readers.load(Ordering::Acquire);
            let most = self.host.as_ref().map_or(usize::MAX, |host| host.share.sealed);
            self.segments.keep_at_most(self.memory.sealed_max(readers).min(most));
        }
    }

    /// How many files it has open, and how much is mapped.
    pub(crate) fn footprint(&self) -> Footprint {
        let (checkpoint_files, checkpoint_mapped) = match self.env.mapped {
            true => (0, self.checkpoint.lock().file.file_bytes()),
            false => (1, 0),
        };
        let open = self.segments.all();
        let open = open.iter().filter_map(|segment| segment.opened_data());
        let (files, mapped) = open
            .fold((0, 0), |(files, mapped), data| (files + 1, mapped + data.mapped_bytes() as u64));
        Footprint { files: files + checkpoint_files, mapped: mapped + checkpoint_mapped }
    }

    /// What the log takes now, and the most it can come to with the readers there are.
    pub(crate) fn memory_now(&self) -> (u64, u64) {
        let readers = self.readers.load(Ordering::Acquire);
        let small = self.checkpoint.lock().memory_bytes();
        let now = self.segments.memory_bytes() + readers * self.memory.reader + small;
        let names = self.segments.all().len() * SEGMENT_MEMORY_BYTES;
        (now as u64, self.memory.most(readers).saturating_add(names) as u64)
    }
}
