//! Options that change while the log is open.
//!
//! Floor 4. What every append asks is packed into one word, read with one relaxed load; the rest is
//! in a [`Policy`] that is replaced as a whole. No lock is held while the caller's code runs or is
//! dropped, and none while a changed flush policy is kept (I10).

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::pack::Packing;
use crate::log::options::{FlushPolicy, LogOptions};
use crate::log::policy::Policy;
use crate::log::validate::{Looks, Validate};
use crate::log::{Inner, Log};
use crate::sys::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::sync::{Mutex, RwLock};
use crate::words::compression::Compression;
use crate::words::error::{Error, Result};

/// The options as they are now, and what of them appends ask without a lock.
pub(crate) struct Live {
    packed: AtomicU64,
    packing: AtomicU32,
    /// Not in the policy, which is held under locks: the last to let go of the hook drops what is
    /// the caller's, and may hold none then.
    hook: RwLock<Option<Validate>>,
    /// Held while they change, and no longer.
    current: Mutex<LogOptions>,
}

impl Live {
    pub(crate) fn of(options: &LogOptions) -> Live {
        Live {
            packed: AtomicU64::new(Packed::of(options).0),
            packing: AtomicU32::new(packing_word(options.packing())),
            hook: RwLock::new(options.validate.clone()),
            current: Mutex::new(options.clone()),
        }
    }

    /// Relaxed: whoever has to see a change hears of it by a lock or an [`Event`] as well.
    ///
    /// [`Event`]: crate::sys::Event
    #[inline]
    pub(crate) fn packed(&self) -> Packed {
        Packed(self.packed.load(Ordering::Relaxed))
    }

    /// What appended batches are compressed by.
    #[inline]
    pub(crate) fn packing(&self) -> Packing {
        match self.packing.load(Ordering::Relaxed) {
            0 => Packing::NONE,
            word => packing_of(word),
        }
    }
}

/// A codec's number in the low byte, the level above it: 24 bits hold every level there is.
fn packing_word(packing: Packing) -> u32 {
    let number = packing.compression.number().unsigned_abs();
    packing.level.cast_unsigned() << 8 | u32::from(number)
}

fn packing_of(word: u32) -> Packing {
    let [number, ..] = word.to_le_bytes();
    let compression = Compression::of_number(i16::from(number));
    Packing { compression, level: word.cast_signed() >> 8 }
}

/// The flush policy and what records have to be, in one word: two bits of kind, one that says that
/// there is a hook, one that they need keys, and 60 of bytes or nanoseconds. More than that is no
/// bound: 36 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed(u64);

impl Packed {
    fn of(options: &LogOptions) -> Packed {
        let (kind, value) = match options.flush {
            FlushPolicy::EveryAppend => (EVERY_APPEND, 0),
            FlushPolicy::Interval(interval) => {
                (INTERVAL, u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX))
            }
            FlushPolicy::EveryBytes(bytes) => (EVERY_BYTES, bytes),
            FlushPolicy::Manual => (MANUAL, 0),
        };
        let validated = if options.validate.is_some() { VALIDATED } else { 0 };
        let keyed = if options.cleanup.compacts() { KEYED } else { 0 };
        Packed(kind | validated | keyed | value.min(u64::MAX >> VALUE_SHIFT) << VALUE_SHIFT)
    }

    #[inline]
    pub(crate) fn flush(self) -> FlushPolicy {
        let value = self.0 >> VALUE_SHIFT;
        match self.0 & KINDS {
            EVERY_APPEND => FlushPolicy::EveryAppend,
            INTERVAL => FlushPolicy::Interval(Duration::from_nanos(value)),
            EVERY_BYTES => FlushPolicy::EveryBytes(value),
            _ => FlushPolicy::Manual,
        }
    }

    #[inline]
    fn is_validated(self) -> bool {
        self.0 & VALIDATED != 0
    }

    #[inline]
    fn is_keyed(self) -> bool {
        self.0 & KEYED != 0
    }
}

const KINDS: u64 = 3;
const EVERY_APPEND: u64 = 0;
const INTERVAL: u64 = 1;
const EVERY_BYTES: u64 = 2;
const MANUAL: u64 = 3;
const VALIDATED: u64 = 4;
const KEYED: u64 = 8;
const VALUE_SHIFT: u32 = 4;

impl Log {
    /// Changes options while the log is open: when it returns they count, for every handle.
    ///
    /// The flush policy, `retention_*`, `hold*`, `budget_bytes`, `on_full`, `priority`,
    /// `thin_keep_one_in`, `segment_age`, `compression`, its level, `validate`, and of compaction
    /// all but its memory can change. Every other option is as when the log was opened:
    /// [`Log::current_options`] is where to begin. Nothing is written for it: the next open goes by
    /// the options it is given.
    ///
    /// What was appended before counts under a new flush policy too: if that wants a flush now, the
    /// call blocks for it, so that after a change to [`FlushPolicy::EveryAppend`] all that was
    /// acknowledged is durable. Who waits, and the log's own thread, go by the new options at once.
    /// What a new retention rule has expired goes when retention is looked at next. A budget below
    /// what the log takes is no error: with [`OnFull::DropOldest`] the oldest segments go at once,
    /// else appends that need space do what `on_full` says until it fits again.
    ///
    /// [`OnFull::DropOldest`]: crate::OnFull::DropOldest
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if an option cannot work, or if one
    /// differs that needs the log to be opened anew; the text names it, and nothing was changed.
    /// [`Closed`](crate::ErrorKind::Closed). If the flush fails, the options are changed and the
    /// error is that of [`Log::flush`].
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::FlushPolicy;
    /// use std::time::Duration;
    /// // The battery is low: flush less often, keep a day.
    /// let saving = log
    ///     .current_options()
    ///     .flush(FlushPolicy::Interval(Duration::from_secs(30)))
    ///     .retention_age(Duration::from_secs(24 * 3600));
    /// log.set_options(saving)?;
    /// // This needs the log to be opened anew.
    /// let error = log.set_options(log.current_options().segment_bytes(1 << 20)).unwrap_err();
    /// assert!(error.to_string().starts_with("segment_bytes"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_options(&self, options: LogOptions) -> Result<()> {
        self.inner.set_options(options)
    }

    /// The options as they are now: those the log was opened with, and what
    /// [`Log::set_options`] changed since.
    ///
    /// Works on a closed log as well. In a forked child they are those it was opened with.
    pub fn current_options(&self) -> LogOptions {
        match self.inner.is_own() {
            true => self.inner.live.current.lock().clone(),
            false => self.inner.options.clone(),
        }
    }
}

impl Inner {
    /// When records are flushed, as it is now.
    #[inline]
    pub(crate) fn flush_policy(&self) -> FlushPolicy {
        self.live.packed().flush()
    }

    /// What looks at records before they are appended, if anything does.
    #[inline]
    pub(crate) fn hook(&self) -> Option<Looks> {
        let packed = self.live.packed();
        let (hooked, keyed) = (packed.is_validated(), packed.is_keyed());
        // A forked child takes no lock that its parent may have held; its append is refused.
        if !(hooked || keyed) || !self.is_own() {
            return None;
        }
        let hook = if hooked { self.live.hook.read().clone() } else { None };
        Some(Looks { hook, keyed })
    }

    fn set_options(&self, options: LogOptions) -> Result<()> {
        self.check_open()?;
        options.check().map_err(|error| error.at(&self.env.dir))?;
        let flush = options.flush;
        let replaced = {
            let mut current = self.live.current.lock();
            self.check_fixed(&current, &options)?;
            self.change_budget(&current, &options)?;
            let policy = Arc::new(Policy::of(&options));
            let packed = Packed::of(&options);
            let old_policy = mem::replace(&mut *self.policy.write(), policy);
            let old_hook = mem::replace(&mut *self.live.hook.write(), options.validate.clone());
            // Behind the hook: who reads that there is one finds it.
            self.live.packed.store(packed.0, Ordering::Release);
            self.live.packing.store(packing_word(options.packing()), Ordering::Relaxed);
            (mem::replace(&mut *current, options), old_policy, old_hook)
        };
        let waiting = {
            // Appends are before this, and their ends are known below; or behind it, and go by the
            // new options. It is the same for those who are about to sleep.
            let mut writer = self.writer.lock();
            self.note_age(&mut writer);
            writer.since_flush as u64
        };
        self.wake_all();
        self.ask_for_retention();
        self.fit_budget();
        let due = match flush {
            _ if flush == replaced.0.flush => false,
            FlushPolicy::EveryAppend => true,
            FlushPolicy::EveryBytes(bytes) => waiting >= bytes,
            FlushPolicy::Interval(_) => self.flush_due_in() == Some(Duration::ZERO),
            FlushPolicy::Manual => false,
        };
        // With it may go a hook, and what the caller's code does then.
        drop(replaced);
        if due { self.flush_until(self.log_end_offset()).map(drop) } else { Ok(()) }
    }

    /// Has everyone who waits look again: for records, for a flush, or for something to do.
    fn wake_all(&self) {
        self.appended.announce_if_awaited();
        self.group.wake();
        self.wake_helper();
    }

    /// Refuses what cannot change while the log is open, by name.
    fn check_fixed(&self, now: &LogOptions, asked: &LogOptions) -> Result<()> {
        let changed = fixed_that_differ(now, asked);
        if changed.is_empty() {
            return Ok(());
        }
        let what = changed.join(", ");
        let text = format!("{what} cannot change while the log is open; nothing was changed");
        Err(Error::invalid(format!("{text}, this needs reopening the log")).at(&self.env.dir))
    }
}

/// What `asked` changes of `now` while a log is open: the rest stays.
pub(crate) fn changed_live(now: &LogOptions, asked: &LogOptions) -> LogOptions {
    let (now, asked) = (now.clone(), asked.clone());
    // Without `..`: a new option has to be put into one of the two kinds.
    LogOptions {
        segment_bytes: now.segment_bytes,
        index_interval_bytes: now.index_interval_bytes,
        max_batch_bytes: now.max_batch_bytes,
        io_mode: now.io_mode,
        recovery: now.recovery,
        media: now.media,
        torn_bytes: now.torn_bytes,
        background: now.background,
        memory_limit_bytes: now.memory_limit_bytes,
        compaction_memory_bytes: now.compaction_memory_bytes,
        mirror_of: now.mirror_of,
        #[cfg(feature = "encryption")]
        encryption: now.encryption,
        archive: now.archive,

        flush: asked.flush,
        segment_age: asked.segment_age,
        retention_bytes: asked.retention_bytes,
        retention_age: asked.retention_age,
        retention_records: asked.retention_records,
        hold: asked.hold,
        hold_limit_bytes: asked.hold_limit_bytes,
        hold_lag_records: asked.hold_lag_records,
        budget_bytes: asked.budget_bytes,
        on_full: asked.on_full,
        priority: asked.priority,
        thin_keep_one_in: asked.thin_keep_one_in,
        compression: asked.compression,
        compression_level: asked.compression_level,
        cleanup: asked.cleanup,
        delete_retention: asked.delete_retention,
        min_cleanable_dirty_percent: asked.min_cleanable_dirty_percent,
        min_compaction_lag: asked.min_compaction_lag,
        validate: asked.validate,
    }
}

/// Names of the options that differ and cannot change while a log is open.
fn fixed_that_differ(now: &LogOptions, asked: &LogOptions) -> Vec<&'static str> {
    let stays = changed_live(now, asked);
    let same = [
        ("segment_bytes", stays.segment_bytes == asked.segment_bytes),
        ("index_interval_bytes", stays.index_interval_bytes == asked.index_interval_bytes),
        ("max_batch_bytes", stays.max_batch_bytes == asked.max_batch_bytes),
        ("io_mode", stays.io_mode == asked.io_mode),
        ("recovery", stays.recovery == asked.recovery),
        ("media", stays.media == asked.media),
        ("torn_bytes", stays.torn_bytes == asked.torn_bytes),
        ("background", stays.background == asked.background),
        ("memory_limit_bytes", stays.memory_limit_bytes == asked.memory_limit_bytes),
        ("compaction_memory_bytes", stays.compaction_memory_bytes == asked.compaction_memory_bytes),
        ("mirror_of", stays.mirror_of == asked.mirror_of),
        #[cfg(feature = "encryption")]
        ("encryption", stays.encryption == asked.encryption),
        ("archive", stays.archive == asked.archive),
    ];
    debug_assert_eq!(stays == *asked, same.iter().all(|(_, same)| *same), "one is left out");
    same.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::log_id::LogId;

    #[test]
    fn a_flush_policy_comes_out_of_the_word_as_it_went_in() {
        let intervals = [1_000_000, 1_500_001, 60_000_000_000, u64::MAX >> VALUE_SHIFT];
        let intervals = intervals.map(|nanos| FlushPolicy::Interval(Duration::from_nanos(nanos)));
        let bytes = [1, 4096, u64::from(u32::MAX) + 1, u64::MAX >> VALUE_SHIFT];
        let bytes = bytes.map(FlushPolicy::EveryBytes);
        let others = [FlushPolicy::EveryAppend, FlushPolicy::Manual];
        for policy in intervals.into_iter().chain(bytes).chain(others) {
            let plain = LogOptions::default().flush(policy);
            assert_eq!(Packed::of(&plain).flush(), policy);
            assert!(!Packed::of(&plain).is_validated());
            let hooked = Packed::of(&plain.validate(|_| Ok(())));
            assert_eq!(hooked.flush(), policy);
            assert!(hooked.is_validated());
        }
    }

    #[test]
    fn a_packing_comes_out_of_the_word_as_it_went_in() {
        let levels = [0, 1, 9, 22, -1, -131_072];
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for level in levels {
                let packing = Packing { compression, level };
                assert_eq!(packing_of(packing_word(packing)), packing);
            }
        }
    }

    #[test]
    fn what_cannot_change_stays_and_the_rest_is_as_asked() {
        let now = LogOptions::default().segment_bytes(1 << 20).flush(FlushPolicy::Manual);
        let asked =
            LogOptions::default().max_batch_bytes(5000).mirror_of(LogId::from_bytes([7; 16]));
        let asked = asked.priority(3).validate(|_| Ok(()));
        let changed = changed_live(&now, &asked);
        let expected = now.clone().flush(LogOptions::default().flush).priority(3);
        assert_eq!(LogOptions { validate: None, ..changed.clone() }, expected);
        assert_eq!(changed.validate, asked.validate);
        assert!(fixed_that_differ(&now, &changed).is_empty());
        let differ = ["segment_bytes", "max_batch_bytes", "mirror_of"];
        assert_eq!(fixed_that_differ(&now, &asked), differ);
    }

    #[test]
    fn a_policy_beyond_the_word_is_the_longest_one_of_its_kind() {
        let longest = u64::MAX >> VALUE_SHIFT;
        let forever = LogOptions::default().flush(FlushPolicy::Interval(Duration::MAX));
        let most = FlushPolicy::Interval(Duration::from_nanos(longest));
        assert_eq!(Packed::of(&forever).flush(), most);
        let all = LogOptions::default().flush(FlushPolicy::EveryBytes(u64::MAX));
        assert_eq!(Packed::of(&all).flush(), FlushPolicy::EveryBytes(longest));
    }
}
