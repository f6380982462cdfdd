//! The way up: reading from any offset, on any thread, without the writer's lock.
//!
//! Floor 4. Every batch is checked again before it is handed out: magic, seal, length, expected
//! offset, checksum. Damage is reported once and passed by (I13).

use std::ops::Range;
use std::sync::Arc;

use crate::codec::DecodeError;
use crate::disk::segment::{Segment, SegmentData};
use crate::disk::walk::{Gaps, Seen, Step, Stop, Walker, is_zero};
use crate::log::archive::Archived;
use crate::log::batch::RecordBatch;
use crate::log::memory::ReaderHandle;
use crate::log::{Log, OffsetSpec, Visibility};
use crate::sys::Pinned;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// Reads batches in order from a position on.
///
/// As an iterator it ends when nothing more is there now; called again later it goes on with what
/// came in since. An [`ErrorKind::Corrupt`] says which offsets cannot be read; the next call goes
/// on behind them. An [`ErrorKind::OffsetOutOfRange`] says that records were deleted before they
/// were read; the next call goes on at the log start. With [`LogOptions::archive`] what the archive
/// has of them is read there first. After any other error the iterator ends once, so that no loop
/// repeats it for ever.
///
/// [`LogOptions::archive`]: crate::LogOptions::archive
#[derive(Debug)]
pub struct Reader {
    log: ReaderHandle,
    visibility: Visibility,
    /// The next offset to hand out; may lie inside a batch.
    position: Offset,
    /// Where the records that can be seen ended when that was last looked at: a reader behind it
    /// leaves the writer's cache line alone.
    seen_end: Offset,
    at: Option<Place>,
    /// The same below the log start, where the archive goes on.
    pub(super) archived: Option<Box<Archived>>,
    /// The bytes at hand where the reader stood before: memory to fill anew.
    spare: Pinned,
    /// The walker's last batch is not durable yet: kept so that it is not checked twice.
    held: bool,
    /// Up to here records were thinned out, and the archive is asked for them; `held` is set then.
    pub(super) thinned_until: Offset,
    /// Offsets it passed of which the records were deleted.
    passed: u64,
    /// The last call failed in a way that the next one would repeat.
    failed: bool,
}

/// Where in which segment the reader stands.
#[derive(Debug)]
struct Place {
    segment: Arc<Segment>,
    data: Arc<SegmentData>,
    walker: Walker,
    /// It was found by its name, not read up to.
    entered: bool,
}

impl Log {
    /// A reader from an offset on. Each has a position of its own; nothing about it is stored.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) for an offset above the log end, or below
    /// the log start unless an archive has it, and what that says;
    /// [`OutOfSpace`](ErrorKind::OutOfSpace) if
    /// [`LogOptions::memory_limit_bytes`](crate::LogOptions::memory_limit_bytes) leaves no room for
    /// one more: drop another one first; [`Closed`](ErrorKind::Closed).
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::OffsetSpec;
    /// let mut reader = log.reader(OffsetSpec::Latest)?;
    /// assert!(reader.next().is_none(), "nothing more is there now");
    /// log.append("21.5 C")?;
    /// assert_eq!(reader.next().expect("it came in")?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader(&self, from: OffsetSpec) -> Result<Reader> {
        self.inner.check_open()?;
        let position = self.inner.resolve(from)?;
        Ok(Reader::new(ReaderHandle::new(self)?, position, Visibility::Written))
    }
}

impl Reader {
    /// A reader at a position that is known to be valid.
    pub(crate) fn new(log: ReaderHandle, position: Offset, visibility: Visibility) -> Reader {
        Reader {
            log,
            visibility,
            position,
            seen_end: Offset::ZERO,
            at: None,
            archived: None,
            spare: Pinned::of_vec(Vec::new()),
            held: false,
            thinned_until: Offset::ZERO,
            passed: 0,
            failed: false,
        }
    }

    /// How many offsets it passed, since this was asked last, whose records were thinned out.
    pub(crate) fn take_passed(&mut self) -> u64 {
        std::mem::take(&mut self.passed)
    }

    /// The offset of the next record to read.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.position
    }

    /// The log it reads.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn visibility(&self) -> Visibility {
        self.visibility
    }

    /// Goes on at another offset.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange); the position is unchanged then.
    pub fn seek(&mut self, to: OffsetSpec) -> Result<()> {
        self.log.inner.check_open()?;
        self.position = self.log.inner.resolve(to)?;
        self.seen_end = Offset::ZERO;
        self.archived = None;
        self.leave_log();
        Ok(())
    }

    /// Stands in no segment of the log any more.
    pub(super) fn leave_log(&mut self) {
        if let Some(place) = self.at.take() {
            self.spare = place.walker.into_window();
        }
        self.release();
    }

    /// What was held back is due.
    pub(super) fn release(&mut self) {
        self.held = false;
        self.thinned_until = Offset::ZERO;
    }

    /// Counts records that were deleted before they were read.
    pub(super) fn count_passed(&mut self, offsets: Range<Offset>) {
        self.passed += (offsets.end - offsets.start).max(0).unsigned_abs();
    }

    /// Gives memory back that another place will take.
    pub(super) fn forget_spare(&mut self) {
        self.spare = Pinned::of_vec(Vec::new());
    }

    /// Goes on at an offset that was come to elsewhere.
    pub(super) fn move_to(&mut self, position: Offset) {
        self.position = position;
    }

    /// The next batch, or none now. [`ErrorKind::OffsetOutOfRange`] says, once, that the log start
    /// overtook the position, which is there now, or where the archive goes on.
    #[inline]
    pub(crate) fn read(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.log.inner.check_open()?;
            let (from, passed) = (self.position, self.passed);
            if from < self.log.inner.log_start_offset() {
                match self.read_below()? {
                    Some(batch) => return Ok(Some(batch)),
                    None => continue,
                }
            }
            match self.advance() {
                Ok(Some(start)) => {
                    let place = self.at.as_ref();
                    return Ok(place.and_then(|place| RecordBatch::of_last(&place.walker, start)));
                }
                Ok(None) if self.position < self.thinned_until => {
                    if let Some(batch) = self.read_thinned()? {
                        return Ok(Some(batch));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.explain(error, from)?;
                    // What it passed on the way is looked at once more.
                    self.passed = passed;
                }
            }
        }
    }

    /// What was deleted while it was read looks damaged: it is looked for below the log start.
    #[cold]
    fn explain(&mut self, error: Error, from: Offset) -> Result<()> {
        if error.kind() != ErrorKind::Corrupt || from >= self.log.inner.log_start_offset() {
            return Err(error);
        }
        self.position = from;
        Ok(())
    }

    /// Moves the position over offsets that were deleted, to the log start or where the archive
    /// goes on.
    #[cold]
    pub(super) fn overtaken(&mut self, from: Offset, to: Offset) -> Error {
        self.position = to;
        let text = "the records were deleted before they were read";
        Error::new(ErrorKind::OffsetOutOfRange, text)
            .at(&self.log.inner.env.dir)
            .offset(from)
            .range(self.log.inner.valid_offsets())
    }

    /// Moves behind the next batch that may be seen, if there is one now: the walker stands behind
    /// it then. Returns the offset from which on its records are due.
    #[inline]
    fn advance(&mut self) -> Result<Option<Offset>> {
        if self.held {
            return Ok(if self.position < self.thinned_until { None } else { self.show() });
        }
        if self.position >= self.seen_end {
            self.seen_end = self.log.inner.visible_end(self.visibility);
            if self.position >= self.seen_end {
                return Ok(None);
            }
        }
        loop {
            let Some(place) = &mut self.at else {
                self.arrive()?;
                continue;
            };
            match place.walker.advance(&place.data, &self.log.inner.env.seal) {
                Seen::Batch => {
                    let next = place.walker.next_offset();
                    if next <= self.position {
                        continue;
                    }
                    if place.walker.last_is_empty() {
                        // An empty batch stands over a range that does not exist (I4).
                        if place.walker.last_stands_for_deleted() {
                            if self.log.inner.has_archive() {
                                // The archive's bytes take the room of these.
                                place.walker.forget_window();
                                (self.held, self.thinned_until) = (true, next);
                                return Ok(None);
                            }
                            self.count_passed(self.position..next);
                        }
                        self.position = next;
                        continue;
                    }
                    return Ok(self.show());
                }
                seen => {
                    if !self.overcome(seen)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Hands the walker's last batch out if it may be seen already, else keeps it.
    #[inline]
    fn show(&mut self) -> Option<Offset> {
        let next = self.at.as_ref()?.walker.next_offset();
        self.held = self.visibility == Visibility::Durable && next > self.seen_end && {
            self.seen_end = self.log.inner.durable_offset();
            next > self.seen_end
        };
        (!self.held).then(|| std::mem::replace(&mut self.position, next))
    }

    /// Deals with what the walker met instead of a batch; whether to go on.
    #[cold]
    fn overcome(&mut self, seen: Seen) -> Result<bool> {
        let Some(place) = &mut self.at else { return Ok(false) };
        let stop = match seen {
            Seen::Batch => None,
            Seen::Short(want) => place.walker.refill(&place.data, want)?,
            Seen::Damage(error) => Some(place.walker.stopped(&place.data, error)?),
        };
        match stop {
            None => Ok(true),
            Some(_) if self.is_replaced() => {
                // Where it ends now, and what stands there, the file says that is in its place.
                self.leave_log();
                Ok(true)
            }
            Some(Stop::End) if self.breaks_off() && self.enter_before()? => Ok(true),
            Some(Stop::End) if self.next_segment()? => Ok(true),
            Some(Stop::End) => {
                // Zeros to the end of the last segment, and yet there were records: their end was
                // looked at first, so none of them has just come in.
                let why = DecodeError::new("zeros stand where batches were", 0);
                self.pass_damage(why)?.map_or(Ok(false), Err)
            }
            Some(Stop::Damage(_)) if self.enter_before()? => Ok(true),
            Some(Stop::Damage(error)) => self.pass_damage(error)?.map_or(Ok(true), Err),
        }
    }

    /// Goes to the segment of the position.
    #[cold]
    fn arrive(&mut self) -> Result<()> {
        self.archived = None;
        let place = match self.enter(self.position) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return Err(self.pass_segment(error));
            }
            entered => entered?,
        };
        let (base, path) = (place.segment.base, place.data.path.clone());
        self.at = Some(place);
        match self.pass(self.position, base, "the segment before this one is missing") {
            Some(error) => Err(error.at(&path)),
            None => Ok(()),
        }
    }

    /// Finds the place of an offset: its segment, the index's entry below it.
    fn enter(&mut self, offset: Offset) -> Result<Place> {
        let inner = &*self.log.inner;
        let (segment, data) = loop {
            let Some(segment) = inner.segments.find(offset) else {
                let text = "no segment is left";
                return Err(Error::new(ErrorKind::Corrupt, text).at(&inner.env.dir));
            };
            match inner.segments.open(&inner.env, &segment) {
                // Merged into another one since it was found.
                Err(error)
                    if error.kind() == ErrorKind::Corrupt && !inner.segments.holds(&segment) => {}
                opened => break (segment, opened?),
            }
        };
        let spare = std::mem::replace(&mut self.spare, Pinned::of_vec(Vec::new()));
        let walker = data.walker_near(&inner.env, offset, spare)?;
        Ok(Place { segment, data, walker, entered: true })
    }

    /// Before a loss is told: where the reader came into this segment by its name, the offset may
    /// lie in one before it, and this be a stray file, which hides nothing.
    #[cold]
    fn enter_before(&mut self) -> Result<bool> {
        let inner = &*self.log.inner;
        let Some(place) = self.at.as_mut().filter(|place| place.entered) else { return Ok(false) };
        place.entered = false;
        let mut above = place.segment.base;
        for _ in 0..limits::STRAY_SEGMENTS_MAX {
            let before = inner.segments.find(Offset::new(above.get() - 1));
            let Some(segment) = before.filter(|segment| segment.base < above) else { break };
            above = segment.base;
            let Ok(data) = inner.segments.open(&inner.env, &segment) else { continue };
            let mut first = Walker::new(0, above, Gaps::Refused);
            if !matches!(first.next(&data, &inner.env.seal)?, Step::Batch(_)) {
                continue;
            }
            let (position, base) = data.floor(&inner.env, self.position)?;
            let mut walker = Walker::new(position, base, Gaps::Refused);
            while let Step::Batch(batch) = walker.next(&data, &inner.env.seal)? {
                if walker.next_offset() > self.position {
                    let base = Offset::new(batch.header.base_offset);
                    let walker = Walker::new(batch.position, base, Gaps::Refused);
                    self.at = Some(Place { segment, data, walker, entered: false });
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether another file has taken the place of the reader's: a compaction may have merged it
    /// with its neighbours.
    fn is_replaced(&self) -> bool {
        let inner = &*self.log.inner;
        let place = self.at.as_ref().filter(|_| self.position >= inner.log_start_offset());
        place.is_some_and(|place| !inner.segments.holds(&place.segment))
    }

    /// Whether the segment of the reader, at its end, does not lead to a successor.
    fn breaks_off(&self) -> bool {
        let Some(place) = self.at.as_ref().filter(|place| place.entered) else { return false };
        let next = self.log.inner.segments.after(place.segment.base);
        next.is_none_or(|next| next.base > place.walker.next_offset())
    }

    /// At the end of a segment: moves to the next one, if there is one.
    #[cold]
    fn next_segment(&mut self) -> Result<bool> {
        let inner = &*self.log.inner;
        let Some(place) = &self.at else { return Ok(false) };
        let Some(next) = inner.segments.after(place.segment.base) else { return Ok(false) };
        // Seen only now that a successor is there: all that was published before the roll.
        // What is left may be preallocated space that was never cut off.
        if !is_zero(&place.data, place.walker.position())? {
            return Ok(true);
        }
        let expected = place.walker.next_offset();
        let data = match inner.segments.open(&inner.env, &next) {
            Err(error) if error.kind() == ErrorKind::Corrupt && !inner.segments.holds(&next) => {
                // Merged into another one, or deleted, since it was found.
                self.leave_log();
                return Ok(true);
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.position = self.position.max(next.base);
                self.at = None;
                return Err(self.pass_segment(error));
            }
            opened => opened?,
        };
        let path = place.data.path.clone();
        let at = place.walker.position();
        let base = next.base;
        let walker = Walker::new(0, base, Gaps::Refused);
        self.at = Some(Place { segment: next, data, walker, entered: false });
        let why = "the segment ends before its successor begins";
        if let Some(error) = self.pass(expected, base, why) {
            return Err(error.at(&path).position(at));
        }
        Ok(true)
    }

    /// Moves behind a damaged stretch and says what is lost by it; nothing, if it lies before the
    /// position.
    #[cold]
    fn pass_damage(&mut self, error: DecodeError) -> Result<Option<Error>> {
        let inner = &*self.log.inner;
        let Some(place) = &mut self.at else { return Ok(None) };
        let at = place.walker.position() + error.position;
        let first = place.walker.next_offset();
        let path = place.data.path.clone();
        let successor = inner.segments.after(place.segment.base).map(|segment| segment.base);
        let until = successor.unwrap_or(Offset::MAX);
        let next = match place.walker.resync(&place.data, &inner.env.seal, until)? {
            Some(next) => next,
            None => {
                // Nothing whole is left in this segment: its successor's base, or the log's end,
                // is where reading goes on.
                // Both under the lock, so that no append falls between them.
                let (published, end) = {
                    let writer = inner.writer.lock();
                    (place.data.published(), writer.next_offset)
                };
                let next = successor.unwrap_or(end);
                place.walker.skip_to(published, next);
                next
            }
        };
        Ok(self.pass(first, next, error.what).map(|error| error.at(&path).position(at)))
    }

    /// Moves behind the segment of the position, which could not be opened.
    fn pass_segment(&mut self, error: Error) -> Error {
        let inner = &*self.log.inner;
        let base = inner.segments.find(self.position).map(|segment| segment.base);
        let next = base.and_then(|base| inner.segments.after(base)).map(|segment| segment.base);
        let lost = self.position..next.unwrap_or_else(|| inner.log_end_offset());
        self.position = lost.end;
        error.offset(lost.start).range(lost)
    }

    /// Moves the position over offsets that cannot be read; an error says which of them were due.
    fn pass(&mut self, first: Offset, next: Offset, why: &'static str) -> Option<Error> {
        let lost = first.max(self.position)..next;
        if lost.is_empty() {
            return None;
        }
        self.position = next;
        Some(Error::new(ErrorKind::Corrupt, why).offset(lost.start).range(lost))
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch>;

    #[inline]
    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if std::mem::take(&mut self.failed) {
            return None;
        }
        let read = self.read();
        if let Err(error) = &read {
            let passed = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::OffsetOutOfRange);
            self.failed = !passed;
        }
        read.transpose()
    }
}
