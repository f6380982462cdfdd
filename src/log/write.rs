//! The way down: a record is encoded once on the caller's thread, then copied under one lock.
//!
//! Floor 4. Encoding and the checksum come before the lock; under it are the offset, the seal, the
//! copy and the publication. Keeps I2, I4, I14 and I19.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::encode::{BatchEncoder, TooLarge, stamp};
use crate::codec::pack::Packing;
use crate::disk::active::{ActiveSegment, Pace, Prepared};
use crate::disk::names;
use crate::disk::segment::SegmentData;
use crate::log::clock::{Moment, add_sample};
use crate::log::options::FlushPolicy;
use crate::log::packing::with_packed;
use crate::log::stats::Appended;
use crate::log::validate::Looks;
use crate::log::{Inner, Log};
use crate::sys::sync::MutexGuard;
use crate::sys::sync::atomic::Ordering;
use crate::words::compression::Compression;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;
use crate::words::record::NewRecord;

/// What only the holder of the writer's lock touches.
pub(crate) struct Writer {
    pub(crate) active: ActiveSegment,
    pub(crate) next_offset: Offset,
    /// Why nothing can be appended: closed, or poisoned and by what.
    pub(crate) refusal: Option<Refusal>,
    /// The checkpoint still says that the log was closed; withdrawn before the first append.
    pub(crate) clean_mark: bool,
    /// Sealed since the last flush, oldest first; each keeps the descriptor it was written through.
    pub(crate) unsynced: Vec<Arc<SegmentData>>,
    /// Sealed last, for the log's own thread to have the device begin with.
    pub(crate) write_out: Option<Arc<SegmentData>>,
    /// A segment was named since the directory was synced.
    pub(crate) names_unsynced: bool,
    /// Bytes appended since the last flush began.
    pub(crate) since_flush: usize,
    /// Bytes appended between the two flushes before that.
    pub(crate) between_flushes: usize,
    /// What an unclean stop left above the recovery point: the first flush writes it again.
    pub(crate) rewrite: Option<Range<Offset>>,
    /// The next segment's file, made ahead.
    pub(crate) ahead: Option<Prepared>,
    /// What this open of the log took in.
    pub(crate) appended: Appended,
    /// When the active segment was begun, by the rising clock.
    pub(crate) active_since: Duration,
    /// When it got its first batch, by the log clock.
    pub(crate) active_clock: Moment,
    /// The next append begins a new segment, whatever room there is.
    pub(crate) roll_due: bool,
    /// On a medium that tears: what the next append rewrites has no copy in the checkpoint yet.
    pub(crate) tail_unsaved: bool,
}

/// What waits for a flush behind an append.
pub(crate) struct Waiting {
    bytes: usize,
    /// Nothing waited before.
    first: bool,
}

impl Waiting {
    pub(crate) fn of(writer: &Writer, appended: usize) -> Waiting {
        Waiting { bytes: writer.since_flush, first: writer.since_flush == appended }
    }
}

/// Why a log takes nothing more.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    Closed,
    /// What the first failed sync said (I8).
    Poisoned(String),
}

thread_local! {
    /// Each thread encodes into a buffer of its own.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encodes in the thread's buffer; in one of its own where that is in use, as by an append from
/// inside a caller's iterator, or gone, as at the end of a thread.
#[inline]
fn with_buffer<T>(encode: impl FnOnce(&mut Vec<u8>) -> Result<T>) -> Result<T> {
    let mut encode = Some(encode);
    let mut run = |buffer: &mut Vec<u8>| encode.take().map(|encode| encode(buffer));
    let done = BUFFER.try_with(|cell| {
        let mut buffer = cell.try_borrow_mut().ok()?;
        let done = run(&mut buffer);
        if buffer.capacity() > limits::ENCODE_BUFFER_KEPT_BYTES {
            *buffer = Vec::new();
        }
        done
    });
    let done = done.ok().flatten().or_else(|| run(&mut Vec::new()));
    done.expect("the buffer was not there, so nothing was encoded yet")
}

impl Log {
    /// Appends one record and returns its offset.
    ///
    /// When it returns, the record can be read and survives the death of the process; what a power
    /// cut can take is up to the [`FlushPolicy`]. Mapped: no system call but for preparing pages
    /// and segments. Blocks for other appends, and for a flush where the policy asks for one.
    ///
    /// # Errors
    /// [`RecordTooLarge`](ErrorKind::RecordTooLarge) above `max_batch_bytes`;
    /// [`OutOfSpace`](ErrorKind::OutOfSpace) if no blocks are to be had: nothing was appended, and
    /// a later append works once there are; [`Poisoned`](ErrorKind::Poisoned) after a failed sync;
    /// [`Closed`](ErrorKind::Closed). If the flush of the policy fails, the record is in the log
    /// but not known to be durable: [`Io`](ErrorKind::Io), also where a checkpoint found no room.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::NewRecord;
    /// let first = log.append("21.5 C")?;
    /// let second = log.append(NewRecord::new("1013 hPa").key("barometer"))?;
    /// assert_eq!(second, first + 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn append<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<Offset> {
        self.inner.append_record(&record.into(), None)
    }

    /// Appends records as one batch and returns their offsets: all become visible together, and
    /// after a crash all are there or none (I14). No record, no batch: the range is empty.
    ///
    /// One batch costs one encode, one checksum and one copy, however many records it has.
    ///
    /// # Errors
    /// As [`Log::append`]; the bound holds for the batch as a whole.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// let offsets = log.append_batch(["21.5 C", "21.6 C", "21.4 C"])?;
    /// assert_eq!(offsets.end - offsets.start, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_batch<'a, R: Into<NewRecord<'a>>>(
        &self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Range<Offset>> {
        self.inner.append_records(records, None, None)
    }
}

impl Inner {
    /// Appends one record; with `expected` only if it gets that offset.
    #[inline]
    pub(crate) fn append_record(
        &self,
        record: &NewRecord<'_>,
        expected: Option<Offset>,
    ) -> Result<Offset> {
        if let Some(hook) = self.hook() {
            self.validated(&hook, record, 0)?;
        }
        let sealed = self.sealed(record)?;
        let record = sealed.as_ref().unwrap_or(record);
        with_buffer(|buffer| {
            let now = self.clocks.now_wall();
            let mut encoder = BatchEncoder::begin(buffer, self.options.batch_bound());
            encoder.push(record, now).map_err(|found| self.too_large(found))?;
            let max_timestamp = encoder.finish();
            let packing = self.live.packing();
            Ok(self.append_encoded(buffer, 1, max_timestamp, expected, packing)?.start)
        })
    }

    /// Appends records as one batch; with `expected` only if its first one gets that offset.
    #[inline]
    pub(crate) fn append_records<'a, R: Into<NewRecord<'a>>>(
        &self,
        records: impl IntoIterator<Item = R>,
        expected: Option<Offset>,
        compression: Option<Compression>,
    ) -> Result<Range<Offset>> {
        let packing = self.packing(compression)?;
        let hook = self.hook();
        with_buffer(|buffer| {
            let now = self.clocks.now_wall();
            let mut encoder = BatchEncoder::begin(buffer, self.options.batch_bound());
            for record in records {
                if encoder.count() == i32::MAX {
                    return Err(self.too_large(TooLarge { bytes: limits::BATCH_RECORDS_MAX }));
                }
                let record = record.into();
                if let Some(hook) = &hook {
                    self.validated(hook, &record, encoder.count().unsigned_abs())?;
                }
                let sealed = self.sealed(&record)?;
                let record = sealed.as_ref().unwrap_or(&record);
                encoder.push(record, now).map_err(|found| self.too_large(found))?;
            }
            let count = encoder.count();
            if count == 0 {
                return self.append_nothing(expected);
            }
            let max_timestamp = encoder.finish();
            self.append_encoded(buffer, count, max_timestamp, expected, packing)
        })
    }

    /// Looks at a record, by its number in the batch: the caller's hook, if there is one.
    pub(super) fn validated(
        &self,
        looks: &Looks,
        record: &NewRecord<'_>,
        number: u32,
    ) -> Result<()> {
        looks.check(record, number).map_err(|error| self.tally.refused(error.at(&self.env.dir)))
    }

    #[cold]
    fn append_nothing(&self, expected: Option<Offset>) -> Result<Range<Offset>> {
        self.check_open()?;
        if let Some(expected) = expected {
            self.check_expected(&mut self.writer.lock(), expected)?;
        }
        let end = expected.unwrap_or_else(|| self.log_end_offset());
        Ok(end..end)
    }

    #[cold]
    pub(super) fn too_large(&self, found: TooLarge) -> Error {
        let text = format!(
            "the batch would have {} bytes or more, max_batch_bytes is {}",
            found.bytes,
            self.options.batch_bound()
        );
        self.tally.refused(Error::new(ErrorKind::RecordTooLarge, text).at(&self.env.dir))
    }

    pub(super) fn append_encoded(
        &self,
        batch: &mut [u8],
        count: i32,
        max_timestamp: i64,
        expected: Option<Offset>,
        packing: Packing,
    ) -> Result<Range<Offset>> {
        let append = |batch: &mut [u8]| self.append_finished(batch, count, max_timestamp, expected);
        match packing.compression {
            Compression::None => append(batch),
            _ => with_packed(batch, packing, append),
        }
    }

    fn append_finished(
        &self,
        batch: &mut [u8],
        count: i32,
        max_timestamp: i64,
        expected: Option<Offset>,
    ) -> Result<Range<Offset>> {
        if self.meta.source.is_some() {
            return Err(self.tally.refused(self.mirror_refusal()));
        }
        let mut patience = None;
        loop {
            let mut writer = self.lock_writer()?;
            if let Some(expected) = expected {
                self.check_expected(&mut writer, expected)
                    .map_err(|error| self.tally.refused(error))?;
            }
            match self.write_batch(&mut writer, batch, count, max_timestamp) {
                Ok(offsets) => {
                    let waiting = Waiting::of(&writer, batch.len());
                    drop(writer);
                    self.after_append(&waiting, offsets.end)?;
                    return Ok(offsets);
                }
                Err(error) => {
                    drop(writer);
                    self.make_room(error, &mut patience)
                        .map_err(|error| self.tally.refused(error))?;
                }
            }
        }
    }

    /// What follows an append that ended at `end`, the lock given back: waiters are woken, and the
    /// flush policy is kept.
    #[inline]
    pub(crate) fn after_append(&self, waiting: &Waiting, end: Offset) -> Result<()> {
        self.appended.announce_if_awaited();
        let flush = self.flush_policy();
        let helped = self.left_to_background(waiting.first, flush);
        let due = match flush {
            FlushPolicy::Manual => {
                self.look_at_age();
                false
            }
            FlushPolicy::EveryAppend => true,
            FlushPolicy::EveryBytes(bytes) => {
                self.look_at_age();
                waiting.bytes as u64 >= bytes
            }
            FlushPolicy::Interval(interval) => !helped && self.since_flush() >= interval,
        };
        let flushed = match due {
            true => self.flush_until(end).map(drop).map_err(Error::behind_append),
            false => Ok(()),
        };
        if !helped {
            self.retain_if_due();
        }
        flushed
    }

    #[cold]
    pub(super) fn mirror_refusal(&self) -> Error {
        let text = "the log is a mirror: only batches of its source are appended to it";
        Error::invalid(text).at(&self.env.dir)
    }

    /// Gives a batch its offset and seal, copies it behind the last one and publishes it.
    pub(crate) fn write_batch(
        &self,
        writer: &mut Writer,
        batch: &mut [u8],
        count: i32,
        max_timestamp: i64,
    ) -> Result<Range<Offset>> {
        let halted = writer.refusal.is_some() || writer.clean_mark || writer.tail_unsaved;
        if halted || self.failure.get().is_some() {
            self.admit(writer)?;
        }
        let base = writer.next_offset;
        let Some(next) = base.checked_add(i64::from(count)) else {
            return Err(Error::new(ErrorKind::OffsetOutOfRange, "the log's offsets are used up")
                .at(&self.env.dir)
                .offset(base));
        };
        let last = Offset::new(next.get() - 1);
        if writer.active.is_empty() {
            writer.active_clock = self.clock.moment(&*self.env.storage);
        } else if writer.roll_due || !writer.active.has_room(batch.len(), last) {
            self.roll(writer)?;
        }
        let begins = writer.active.is_empty();
        stamp(batch, base.get(), &self.env.seal);
        let pace = Pace {
            bytes: writer.since_flush.max(writer.between_flushes),
            flushed: writer.between_flushes > 0,
        };
        writer.active.append(batch, last, max_timestamp, pace)?;
        writer.since_flush += batch.len();
        if std::mem::take(&mut writer.active.behind) || begins {
            // A segment's age counts from its first batch on, whatever the flush policy.
            self.wake_helper();
        }
        writer.appended.records += u64::from(count.unsigned_abs());
        writer.appended.batches += 1;
        writer.appended.bytes += batch.len() as u64;
        writer.next_offset = next;
        self.end.store(next.get(), Ordering::Release);
        Ok(base..next)
    }

    /// The writer's lock, for the process that opened the log: in a forked child nobody might ever
    /// give it back.
    #[inline]
    pub(crate) fn lock_writer(&self) -> Result<MutexGuard<'_, Writer>> {
        if !self.is_own() {
            return Err(self.closed_error());
        }
        Ok(self.writer.lock())
    }

    /// What stands before an append now and then: a closed or poisoned log, a clean mark that has
    /// to be withdrawn, or a tail without a copy. Both are synced before the first byte.
    #[cold]
    fn admit(&self, writer: &mut Writer) -> Result<()> {
        self.refusal(writer)?;
        self.save_tail(writer)
    }

    /// On a medium that tears: makes a synced copy of what stands before the end of the active
    /// segment, as far as rewriting may take it. Withdraws the clean mark with it.
    pub(crate) fn save_tail(&self, writer: &mut Writer) -> Result<()> {
        let copy = match self.env.torn_bytes.filter(|_| writer.tail_unsaved) {
            Some(torn_bytes) => writer.active.tail_copy(torn_bytes)?,
            None => None,
        };
        if writer.clean_mark || copy.is_some() {
            let added = copy.is_some();
            let written = self.change_state(|state| {
                state.clean = None;
                if added && state.tails.len() > limits::TAIL_COPIES_KEPT {
                    // The first protects the recovery point; the checkpoint is bounded.
                    state.tails.remove(1);
                }
                state.tails.extend(copy);
                Ok(((), true))
            });
            written.inspect_err(|_| {
                // It must not stand in the way of what comes next; the next append makes it anew.
                let _ = self.change_state(|state| {
                    let before = state.tails.len().saturating_sub(usize::from(added));
                    state.tails.truncate(before);
                    Ok(((), true))
                });
            })?;
            self.sync_checkpoint_under_writer(writer)?;
        }
        writer.clean_mark = false;
        writer.tail_unsaved = false;
        Ok(())
    }

    /// Sees once a second whether the active segment is old enough; flushes look as well.
    #[inline]
    fn look_at_age(&self) {
        let now = u64::try_from(self.clocks.now_mono().as_millis()).unwrap_or(u64::MAX);
        let last = self.age_looked_at_ms.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= limits::AGE_CHECK_MILLIS {
            self.age_looked_at_ms.store(now, Ordering::Relaxed);
            self.note_age(&mut self.writer.lock());
        }
    }

    /// How old the active segment gets: retention cannot take it before it is sealed.
    pub(crate) fn roll_age(&self) -> Duration {
        let policy = self.policy();
        policy.retention_age.map_or(policy.segment_age, |age| age.min(policy.segment_age))
    }

    /// How old the active segment is, by the log clock.
    pub(crate) fn active_age(&self, writer: &Writer) -> i64 {
        self.clock.age(&*self.env.storage, writer.active_clock)
    }

    /// Lets the next append roll if the active segment is old enough by the log clock (I15).
    pub(crate) fn note_age(&self, writer: &mut Writer) {
        self.clock.note(&*self.env.storage);
        let age = self.active_age(writer);
        let most = i64::try_from(self.roll_age().as_millis()).unwrap_or(i64::MAX);
        writer.roll_due = !writer.active.is_empty() && age >= most;
    }

    /// Why the log takes nothing more, if it does not.
    #[cold]
    pub(crate) fn refusal(&self, writer: &mut Writer) -> Result<()> {
        if let (None, Some(why)) = (&writer.refusal, self.failure.get()) {
            writer.refusal = Some(Refusal::Poisoned(why.clone()));
        }
        match &writer.refusal {
            None => Ok(()),
            Some(Refusal::Closed) => Err(self.closed_error()),
            Some(Refusal::Poisoned(why)) => {
                let text = format!("an earlier sync failed ({why})");
                Err(Error::new(ErrorKind::Poisoned, text).at(&self.env.dir))
            }
        }
    }

    /// Seals the active segment and begins the next one. The next one's file is made first, so
    /// that a full disk changes nothing (I19); the old one is cut before its successor is named.
    #[cold]
    pub(crate) fn roll(&self, writer: &mut Writer) -> Result<()> {
        let most = self.host.as_ref().map(|host| host.share.unsynced);
        if writer.unsynced.len() >= most.unwrap_or(limits::UNSYNCED_SEGMENTS_MAX) {
            self.sync_oldest(writer)?;
        }
        let now = self.clocks.now_mono();
        let busy = self.is_busy(writer);
        let next = match writer.ahead.take() {
            Some(ahead) => ahead,
            None => ActiveSegment::prepare(&self.env, names::SEGMENT_NEXT, busy)?,
        };
        if let Err(error) = writer.active.seal(&self.env) {
            next.discard(&self.env);
            return Err(error);
        }
        let next = next.install(&self.env, writer.next_offset)?;
        self.segments.push(Arc::clone(&next.segment));
        let mut sealed = std::mem::replace(&mut writer.active, next);
        sealed.segment.know_sealed_bytes(sealed.position() as u64);
        sealed.close_index();
        self.hint_write_out(writer, &sealed.data);
        writer.unsynced.push(sealed.data);
        writer.names_unsynced = true;
        writer.appended.rolls += 1;
        writer.active_since = now;
        writer.active_clock = self.clock.moment(&*self.env.storage);
        writer.roll_due = false;
        let base = writer.next_offset;
        // If it cannot be written now, it is with the next change.
        let _ = self.change_state(|state| {
            let noted = self.clock.noted(&*self.env.storage);
            add_sample(&mut state.samples, base, noted);
            Ok(((), true))
        });
        self.retain_after_roll();
        Ok(())
    }

    /// Lets the device begin with a sealed segment, so that the flush that waits for it has little
    /// left to do. Handing a segment's pages over takes milliseconds: the log's own thread does it
    /// where there is one, and where nobody knows when a flush comes it is left to that.
    fn hint_write_out(&self, writer: &mut Writer, sealed: &Arc<SegmentData>) {
        if self.has_helper() {
            writer.write_out = Some(Arc::clone(sealed));
        } else if self.flush_policy() != FlushPolicy::Manual {
            sealed.start_write_out();
        }
    }

    /// Whether the active segment fills so quickly that the next one is worth being made whole.
    pub(crate) fn is_busy(&self, writer: &Writer) -> bool {
        let took = self.clocks.now_mono().saturating_sub(writer.active_since);
        took < Duration::from_secs(limits::BUSY_SEGMENT_SECONDS)
    }

    /// How long ago the last flush ended, by the rising clock.
    pub(crate) fn since_flush(&self) -> Duration {
        let last = Duration::from_millis(self.flushed_at_ms.load(Ordering::Relaxed));
        self.clocks.now_mono().saturating_sub(last)
    }
}
