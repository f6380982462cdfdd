//! The reader of a log that somebody else writes.
//!
//! Floor 4. Hands out what the watch has seen whole, checked again. What it reads above the durable
//! offset it hands out only after another look at the checkpoint, so that no bytes of a newer
//! writer are taken for an older one's.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::DecodeError;
use crate::disk::segment::SegmentData;
use crate::disk::walk::{Gaps, Step, WalkedBatch, Walker, is_zero};
use crate::log::batch::RecordBatch;
use crate::log::follow::ReadOnlyLog;
use crate::log::follow::files::Envs;
use crate::log::follow::watch::{Entered, View};
use crate::log::{OffsetSpec, Visibility};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::offset::Offset;

/// Reads batches of a followed log in order from a position on.
///
/// As an iterator it polls when it reaches the end of what was seen, and ends when nothing more is
/// there now; called again later it goes on with what came in since. An [`ErrorKind::Corrupt`] says
/// which offsets cannot be read; the next call goes on behind them. After any other error the
/// iterator ends once, so that no loop repeats it for ever.
///
/// Offsets rise without a gap that is not reported, with two exceptions, which are counted:
/// [`FollowReader::retracted`] and [`FollowReader::missed`].
#[derive(Debug)]
pub struct FollowReader {
    log: ReadOnlyLog,
    visibility: Visibility,
    /// The next offset to hand out; may lie inside a batch.
    position: Offset,
    /// What was handed out without a break.
    handed: Range<Offset>,
    /// The opens of the log that this knows of.
    generation: u64,
    /// The look-up of the segments that `at` comes from.
    lookups: u64,
    at: Option<Place>,
    /// Behind this segment, which ends at this offset, a hole was seen; everything was looked up
    /// anew since.
    doubted_hole: Option<(Offset, Offset)>,
    retracted: u64,
    missed: u64,
    /// The last call failed in a way that the next one would repeat.
    failed: bool,
}

/// Where in which segment the reader stands.
#[derive(Debug)]
struct Place {
    base: Offset,
    data: Arc<SegmentData>,
    envs: Arc<Envs>,
    walker: Walker,
    /// The bytes at hand were read before the last look at the checkpoint.
    checked: Range<usize>,
    /// At this position something was not whole already, and was read anew since.
    doubted: Option<usize>,
}

impl ReadOnlyLog {
    /// A reader from an offset on. Polls once; each reader has a position of its own.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) for an offset below the log start or above
    /// the log end; those of [`ReadOnlyLog::refresh`].
    pub fn reader(&self, from: OffsetSpec) -> Result<FollowReader> {
        let generation = {
            let mut watch = self.inner.watch.lock();
            watch.refresh()?;
            watch.generation()
        };
        let position = self.resolve(from)?;
        Ok(FollowReader {
            log: self.clone(),
            visibility: Visibility::Written,
            position,
            handed: position..position,
            generation,
            lookups: 0,
            at: None,
            doubted_hole: None,
            retracted: 0,
            missed: 0,
            failed: false,
        })
    }
}

impl FollowReader {
    /// Hands out durable records only, or, as unless set, whatever is written.
    ///
    /// Durable records are never retracted. How far they go the checkpoint says, which the writer
    /// brings up to date with each flush.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> FollowReader {
        self.visibility = visibility;
        self
    }

    /// The offset of the next record to read.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.position
    }

    /// How many offsets this reader handed out that a recovery of the log then took again.
    ///
    /// When it rises, [`FollowReader::next_offset`] has fallen to where the log was cut, and the
    /// reader goes on there: the same offsets come again with other records. A killed writer alone
    /// takes nothing; a power cut does, or a device that loses what it was given.
    #[must_use]
    pub fn retracted(&self) -> u64 {
        self.retracted
    }

    /// How many offsets were deleted before this reader came to them: below the log start, where
    /// it went on, or thinned out.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Goes on at another offset. Polls once.
    ///
    /// # Errors
    /// Those of [`ReadOnlyLog::reader`]; the position is unchanged then.
    pub fn seek(&mut self, to: OffsetSpec) -> Result<()> {
        self.log.refresh()?;
        let position = self.log.resolve(to)?;
        let view = self.log.inner.watch.lock().view(self.generation);
        self.keep_up(&view);
        self.position = position;
        self.handed = position..position;
        self.at = None;
        Ok(())
    }

    /// The next batch; waits for one at most for `max_wait`, by polling.
    ///
    /// # Errors
    /// Those of [`ReadOnlyLog::refresh`]; [`Corrupt`](ErrorKind::Corrupt) with the offsets that
    /// cannot be read, behind which the next call goes on.
    pub fn poll(&mut self, max_wait: Duration) -> Result<Option<RecordBatch>> {
        let batch = self.read()?;
        if batch.is_some() || max_wait.is_zero() {
            return Ok(batch);
        }
        if self.log.wait_for(self.position, self.visibility, max_wait)? {
            return self.read();
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        let mut polled = false;
        loop {
            let view = self.log.inner.watch.lock().view(self.generation);
            self.keep_up(&view);
            let end = match self.visibility {
                Visibility::Written => view.end,
                Visibility::Durable => view.durable,
            };
            if self.position >= end {
                if std::mem::replace(&mut polled, true) {
                    return Ok(None);
                }
                self.log.refresh()?;
                continue;
            }
            if self.at.is_none() {
                self.enter()?;
                continue;
            }
            match self.step(view.durable)? {
                Stepped::Moved => {}
                Stepped::Batch(batch) if batch.next_offset() > end => {
                    // Seen whole, but not durable yet.
                    self.at = None;
                    if std::mem::replace(&mut polled, true) {
                        return Ok(None);
                    }
                    self.log.refresh()?;
                }
                Stepped::Batch(batch) => {
                    self.position = batch.next_offset();
                    self.handed.end = self.position;
                    self.doubted_hole = None;
                    return Ok(Some(batch));
                }
                Stepped::End => {
                    if !self.next_segment()? {
                        if std::mem::replace(&mut polled, true) {
                            return Ok(None);
                        }
                        self.log.refresh()?;
                    }
                }
            }
        }
    }

    /// Follows what happened to the log: a cut takes the reader back, a deletion forward.
    fn keep_up(&mut self, view: &View) {
        if view.generation != self.generation {
            self.generation = view.generation;
            self.at = None;
            if let Some(cut) = view.cut.filter(|cut| *cut < self.position) {
                let lost = self.handed.end - cut.max(self.handed.start);
                self.retracted += u64::try_from(lost).unwrap_or(0);
                self.position = cut;
                self.handed = self.handed.start.min(cut)..self.handed.end.min(cut);
            }
        }
        if view.lookups != self.lookups {
            self.lookups = view.lookups;
            self.at = None;
        }
        if self.position < view.start {
            self.missed += (view.start - self.position).unsigned_abs();
            self.position = view.start;
            self.handed = view.start..view.start;
            self.at = None;
        }
    }

    /// Finds the place of the position: its segment, the index's floor below it.
    fn enter(&mut self) -> Result<()> {
        let entered = {
            let mut watch = self.log.inner.watch.lock();
            let known = (watch.generation(), watch.lookups()) == (self.generation, self.lookups);
            if !known {
                return Ok(());
            }
            watch.enter(self.position).map(|entered| (entered, Arc::clone(watch.envs())))
        };
        let (entered, envs) = match entered {
            Err(error) if error.kind() == ErrorKind::Corrupt => return self.doubt_segment(error),
            entered => entered?,
        };
        let Some(Entered { base, data }) = entered else {
            // No segment begins below it any more: deletion tells at the next look.
            return self.log.inner.watch.lock().look_again();
        };
        let (position, first) = data.floor(&envs.read, self.position)?;
        let walker = Walker::new(position, first, Gaps::Refused);
        self.at = Some(Place { base, data, envs, walker, checked: 0..0, doubted: None });
        Ok(())
    }

    /// A segment is gone or is no file. It may have been deleted, so everything is looked up once
    /// more before it is passed by.
    fn doubt_segment(&mut self, error: Error) -> Result<()> {
        let here = (self.position, self.position);
        if self.doubted_hole.replace(here) != Some(here) {
            return self.log.inner.watch.lock().look_again();
        }
        let watch = self.log.inner.watch.lock();
        let next = watch.base_above(self.position).unwrap_or_else(|| watch.end());
        drop(watch);
        let lost = self.position..next;
        self.position = lost.end;
        self.at = None;
        Err(error.offset(lost.start).range(lost))
    }

    /// Takes one step in the segment.
    fn step(&mut self, durable: Offset) -> Result<Stepped> {
        let Some(place) = &mut self.at else { return Ok(Stepped::Moved) };
        place.borrow_recent(&self.log, self.generation);
        match place.walker.next(&place.data, &place.envs.read.seal)? {
            Step::Batch(WalkedBatch { header, bytes, .. }) => {
                let next = Offset::new(header.next_offset());
                if next <= self.position {
                    return Ok(Stepped::Moved);
                }
                let window = place.walker.window();
                if next > durable && place.checked != window {
                    if self.log.inner.watch.lock().changed_since(self.generation)? {
                        return Ok(Stepped::Moved);
                    }
                    place.checked = window;
                }
                if header.count == 0 {
                    // An empty batch stands over a range that does not exist (I4).
                    if header.stands_for_deleted() {
                        self.missed += (next - self.position).max(0).unsigned_abs();
                    }
                    self.position = next;
                    return Ok(Stepped::Moved);
                }
                Ok(Stepped::Batch(RecordBatch::new(bytes, self.position)))
            }
            Step::End => Ok(Stepped::End),
            Step::Damage(error) => self.doubt(error).map(|()| Stepped::Moved),
        }
    }

    /// Something is not whole. Only if it is not so a second time, nobody having opened the log
    /// meanwhile, it is damage.
    fn doubt(&mut self, error: DecodeError) -> Result<()> {
        let Some(place) = &mut self.at else { return Ok(()) };
        let at = place.walker.position();
        if place.doubted != Some(at) {
            place.doubted = Some(at);
            place.walker.forget_window();
            return self.log.refresh();
        }
        let first = place.walker.next_offset();
        let (successor, seen) = {
            let watch = self.log.inner.watch.lock();
            (watch.base_above(place.base), watch.tail_seen(place.base))
        };
        let (until, published) = (successor.unwrap_or(Offset::MAX), place.data.published());
        let next = match place.walker.resync(&place.data, &place.envs.read.seal, until)? {
            Some(next) => next,
            None => {
                // Nothing whole is left in this segment.
                let Some((position, end)) = seen.or(successor.map(|next| (published, next))) else {
                    self.at = None;
                    return Ok(());
                };
                place.walker.skip_to(position, end);
                end
            }
        };
        let path = place.data.path.clone();
        self.pass(first, next, error.what)
            .map_err(|corrupt| corrupt.at(&path).position(at + error.position))
    }

    /// At the end of a segment: moves to the next one, if there is one.
    fn next_segment(&mut self) -> Result<bool> {
        let Some(place) = &self.at else { return Ok(true) };
        let (base, at, end) = (place.base, place.walker.position(), place.walker.next_offset());
        let entered = {
            let mut watch = self.log.inner.watch.lock();
            let known = (watch.generation(), watch.lookups()) == (self.generation, self.lookups);
            if !known {
                return Ok(true);
            }
            if watch.tail_seen(base).is_some() {
                return Ok(false);
            }
            watch.after(base, end).map(|entered| (entered, Arc::clone(watch.envs())))
        };
        if !is_zero(&place.data, at)? {
            // Seen only now that there is a successor: more was published before that.
            return Ok(true);
        }
        let path = place.data.path.clone();
        let (entered, envs) = match entered {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.position = self.position.max(end);
                return self.doubt_segment(error).map(|()| true);
            }
            entered => entered?,
        };
        let Some(Entered { base: next, data }) = entered else { return Ok(false) };
        if next != end && self.doubted_hole.replace((base, end)) != Some((base, end)) {
            // Before it is called a hole: it may have been deleted, or cut and written anew.
            self.log.inner.watch.lock().look_again()?;
            return Ok(true);
        }
        let walker = Walker::new(0, next, Gaps::Refused);
        self.at = Some(Place { base: next, data, envs, walker, checked: 0..0, doubted: None });
        let why = "the segment ends before its successor begins";
        self.pass(end, next, why).map_err(|error| error.at(&path).position(at))?;
        Ok(true)
    }

    /// Moves the position over offsets that cannot be read; the error says which of them were due.
    fn pass(&mut self, first: Offset, next: Offset, why: &'static str) -> Result<()> {
        let lost = first.max(self.position)..next;
        if lost.is_empty() {
            return Ok(());
        }
        self.position = next;
        Err(Error::new(ErrorKind::Corrupt, why).offset(lost.start).range(lost))
    }
}

/// What one step led to.
enum Stepped {
    /// Somewhere else: it has to be looked again.
    Moved,
    Batch(RecordBatch),
    /// The end of what can be read of the segment.
    End,
}

impl Place {
    /// Takes the bytes that the last poll read, if the reader stands in them and has none.
    fn borrow_recent(&mut self, log: &ReadOnlyLog, generation: u64) {
        if self.walker.window().contains(&self.walker.position()) {
            return;
        }
        let watch = log.inner.watch.lock();
        if watch.generation() != generation {
            return;
        }
        if let Some((start, bytes)) = watch.recent(self.base) {
            self.walker.lend(*start, bytes);
            let window = self.walker.window();
            if window == (*start..*start + bytes.len()) {
                // They were taken in only after a look at the checkpoint.
                self.checked = window;
            }
        }
    }
}

impl Iterator for FollowReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if std::mem::take(&mut self.failed) {
            return None;
        }
        let read = self.read();
        if let Err(error) = &read {
            self.failed = error.kind() != ErrorKind::Corrupt;
            if self.failed {
                self.at = None;
            }
        }
        read.transpose()
    }
}
