//! What is known of a log that somebody else writes, brought up to date by each poll.
//!
//! Floor 4. A poll reads what stands behind the end, then the checkpoint, and takes in what it read
//! only if the log was not opened for writing meanwhile. If it was, everything is looked up anew,
//! and readers are told up to where the log is still the one they read.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crate::codec::decode::check_header;
use crate::codec::layout::HEADER_BYTES;
use crate::codec::seal::Seal;
use crate::disk::Env;
use crate::disk::names::{self, Part};
use crate::disk::segment::SegmentData;
use crate::log::Visibility;
use crate::log::follow::files::{Envs, begun, identify, list};
use crate::log::follow::no_log;
use crate::log::follow::regime::{News, Regime, Slot};
use crate::log::follow::tail::{Seen, Tail};
use crate::sys::{Access, FileKind, Pinned, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

/// What is known of a log that somebody else writes.
#[derive(Debug)]
pub(super) struct Watch {
    envs: Arc<Envs>,
    id: Option<LogId>,
    regime: Regime,
    /// The batches are none of the log's that the checkpoint is of.
    foreign_checkpoint: bool,
    /// The base offsets of the segments, the tail's last.
    bases: Vec<Offset>,
    /// Those that are open for readers, least recently used first.
    open: VecDeque<Arc<SegmentData>>,
    tail: Option<Tail>,
    start: Offset,
    durable: Offset,
    /// The batches that were seen last above what was durable.
    seen: VecDeque<Seen>,
    /// How often the log was found to have been opened for writing.
    generation: u64,
    /// How often the segments were looked up: what was entered before is no longer kept up to date.
    lookups: u64,
    /// For each generation up to where the log stayed the same; rising, since a lower cut says all
    /// that a higher one before it says.
    cuts: Vec<(u64, Offset)>,
    /// With this end and this much settled, nothing was found behind damage.
    hopeless: Option<(Offset, Offset)>,
    /// The slot that all this was looked up under.
    based_on: Option<Slot>,
    /// Up to where readers may have read. Above the end only while that is looked up anew.
    reached: Offset,
    /// What was durable of that: it stays whatever happens.
    safe: Offset,
    /// The last poll failed half way: the next one looks everything up.
    unsure: bool,
}

/// What a reader needs to know before each batch.
pub(super) struct View {
    pub(super) generation: u64,
    pub(super) lookups: u64,
    /// The lowest cut since the generation that was asked for.
    pub(super) cut: Option<Offset>,
    pub(super) start: Offset,
    pub(super) end: Offset,
    pub(super) durable: Offset,
}

/// A segment that a reader enters.
pub(super) struct Entered {
    pub(super) base: Offset,
    pub(super) data: Arc<SegmentData>,
}

impl Watch {
    /// Looks at a directory for the first time.
    pub(super) fn begin(storage: &Arc<dyn Storage>, dir: &Path, mapped: bool) -> Result<Watch> {
        let mut watch = Watch {
            envs: Arc::new(Envs::new(storage, dir, mapped, Seal::NONE)),
            id: None,
            regime: Regime::new(dir),
            foreign_checkpoint: false,
            bases: Vec::new(),
            open: VecDeque::new(),
            tail: None,
            start: Offset::ZERO,
            durable: Offset::ZERO,
            seen: VecDeque::new(),
            generation: 0,
            lookups: 0,
            cuts: Vec::new(),
            hopeless: None,
            based_on: None,
            reached: Offset::ZERO,
            safe: Offset::ZERO,
            unsure: true,
        };
        watch.refresh()?;
        let meta = storage.kind(&dir.join(names::META));
        let meta = meta.map_err(|error| Error::io("cannot look at a file", dir, error))?;
        if meta.is_none() && !watch.regime.is_known() && watch.bases.is_empty() {
            return Err(no_log(dir));
        }
        Ok(watch)
    }

    pub(super) fn id(&self) -> Option<LogId> {
        self.id
    }

    pub(super) fn start(&self) -> Offset {
        self.start
    }

    pub(super) fn end(&self) -> Offset {
        self.tail.as_ref().map_or(self.start, Tail::next_offset).max(self.start)
    }

    pub(super) fn durable(&self) -> Offset {
        self.durable
    }

    pub(super) fn visible_end(&self, visibility: Visibility) -> Offset {
        match visibility {
            Visibility::Written => self.end(),
            Visibility::Durable => self.durable,
        }
    }

    pub(super) fn envs(&self) -> &Arc<Envs> {
        &self.envs
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn lookups(&self) -> u64 {
        self.lookups
    }

    /// What changed for a reader that knows `generation`.
    pub(super) fn view(&self, generation: u64) -> View {
        let cut = self.cuts.iter().find(|(since, _)| *since > generation).map(|(_, cut)| *cut);
        let (start, end, durable) = (self.start, self.end(), self.durable);
        View { generation: self.generation, lookups: self.lookups, cut, start, end, durable }
    }

    /// The bytes that the last poll read of this segment, for a reader that stands in them.
    pub(super) fn recent(&self, base: Offset) -> Option<&(usize, Pinned)> {
        self.tail.as_ref().filter(|tail| tail.data.base == base)?.recent()
    }

    /// The state of the newest slot, unless the checkpoint was brought from another log.
    fn slot(&self) -> Option<&Slot> {
        let ours = |slot: &&Slot| self.id.is_none_or(|id| id == slot.state.meta.log_id);
        self.regime.slot().filter(|_| !self.foreign_checkpoint).filter(ours)
    }

    /// Offsets below this one that are not whole are damaged, not on their way.
    fn settled(&self) -> Offset {
        self.slot().map_or(Offset::ZERO, Slot::settled)
    }

    /// Brings everything up to date.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let done = self.poll();
        self.unsure |= done.is_err();
        done
    }

    fn poll(&mut self) -> Result<()> {
        let mut polled = false;
        if self.unsure {
            self.regime.poll(&*self.envs.read.storage)?;
            self.reopen()?;
        }
        loop {
            let found = match &self.tail {
                Some(tail) => Some(tail.look(&self.envs.read)?),
                None => None,
            };
            let batches = found.as_ref().is_some_and(|found| !found.batches.is_empty());
            if batches || !polled {
                polled = true;
                if self.look_at_checkpoint()? {
                    continue;
                }
            }
            let more = match (found, &mut self.tail) {
                (Some(found), Some(tail)) if batches => {
                    // After a look-up it is seen again what was seen before.
                    let last = self.seen.back().map_or(Offset::ZERO, Seen::next_offset);
                    let new = found.batches.iter().filter(|batch| batch.next_offset() > last);
                    self.seen.extend(new);
                    tail.take(found);
                    true
                }
                (Some(found), Some(_)) => self.go_on(found.file_ends)?,
                _ => self.find_first()?,
            };
            self.move_bounds();
            if !more {
                return Ok(());
            }
        }
    }

    /// Reads the checkpoint and keeps to what it says; whether files had to be looked up anew.
    fn look_at_checkpoint(&mut self) -> Result<bool> {
        let storage = Arc::clone(&self.envs.read.storage);
        match self.regime.poll(&*storage) {
            Ok(News::Opened) => self.reopen().map(|()| true),
            Ok(News::Moved) => {
                self.based_on = self.regime.slot().cloned();
                self.move_bounds();
                if self.start > self.tail.as_ref().map_or(self.start, Tail::next_offset) {
                    // All that was known was deleted.
                    self.look_up()?;
                    return Ok(true);
                }
                Ok(false)
            }
            Ok(News::None) => {
                if !self.regime.is_known() {
                    self.check_dir()?;
                }
                Ok(false)
            }
            Err(error) => {
                // The next poll would take this slot for known.
                self.unsure = true;
                Err(error)
            }
        }
    }

    /// Looks at the checkpoint; whether the log was opened for writing since `generation`.
    pub(super) fn changed_since(&mut self, generation: u64) -> Result<bool> {
        if self.unsure || self.look_at_checkpoint()? {
            self.refresh()?;
        }
        Ok(self.generation != generation)
    }

    /// Looks up everything, because something is not as it should be.
    pub(super) fn look_again(&mut self) -> Result<()> {
        self.look_up().inspect_err(|_| self.unsure = true)?;
        self.refresh()
    }

    /// Takes over what the checkpoint says of offsets, within what was seen.
    fn move_bounds(&mut self) {
        let said = self.slot().map(|slot| (slot.state.log_start, slot.state.recovery_point));
        let first = self.bases.first().copied().unwrap_or_default();
        let (start, durable) = said.unwrap_or((first, self.durable));
        self.start = start.max(first);
        self.reached = self.reached.max(self.end());
        self.durable = durable.min(self.end()).max(self.start);
        self.safe = self.safe.max(self.durable);
        // What lies below the start is not opened again; what readers hold stays valid.
        let gone = self.bases.partition_point(|&base| base <= self.start).saturating_sub(1);
        self.bases.drain(..gone);
        let first = self.bases.first().copied().unwrap_or_default();
        self.open.retain(|data| data.base >= first);
        let known = self.durable;
        while self.seen.front().is_some_and(|seen| seen.next_offset() <= known)
            || self.seen.len() > limits::SEEN_BATCHES_MAX
        {
            self.seen.pop_front();
        }
    }

    /// Nothing whole stands at the end: moves to the next segment, or behind damage.
    fn go_on(&mut self, file_ends: bool) -> Result<bool> {
        let settled = self.settled();
        let Some(tail) = &self.tail else { return Ok(false) };
        let (base, end) = (tail.data.base, tail.next_offset());
        // A sealed segment is cut before its successor is named, and the name is its end: so
        // nothing came in behind the end between the look and this.
        if file_ends
            && end > base
            && let Some(next) = Tail::open(&self.envs.read, end, settled)?
        {
            self.enter_tail(next);
            return Ok(true);
        }
        if settled <= end || self.hopeless == Some((end, settled)) {
            return Ok(false);
        }
        self.pass_damage(end, settled)
    }

    fn enter_tail(&mut self, next: Tail) {
        let base = next.data.base;
        if let Err(at) = self.bases.binary_search(&base) {
            self.bases.insert(at, base);
        }
        self.tail = Some(next);
    }

    /// The checkpoint says that more was settled than can be read on to. The bytes are looked at
    /// once more, now that it is known that they have to be there; then it is damage.
    fn pass_damage(&mut self, end: Offset, settled: Offset) -> Result<bool> {
        let Some(tail) = &mut self.tail else { return Ok(false) };
        if !tail.look(&self.envs.read)?.batches.is_empty() {
            return Ok(true);
        }
        let base = tail.data.base;
        let bases = list(&self.envs.read)?;
        let next = bases.iter().copied();
        let next = next.clone().find(|&next| next > base && next >= end && next <= settled);
        let until = next.unwrap_or(Offset::MAX);
        if tail.pass_damage(&self.envs.read, until)? {
            return Ok(true);
        }
        if let Some(next) = next
            && let Some(next) = Tail::open(&self.envs.read, next, settled)?
        {
            self.bases = bases;
            self.enter_tail(next);
            return Ok(true);
        }
        self.hopeless = Some((end, settled));
        Ok(false)
    }

    /// No segment was there: looks whether one is.
    fn find_first(&mut self) -> Result<bool> {
        self.look_up()?;
        Ok(self.tail.is_some())
    }

    /// The log was opened for writing since the last look: whose it is, which files there are, and
    /// up to where it is still the same.
    fn reopen(&mut self) -> Result<()> {
        self.unsure = true;
        self.open.clear();
        let (storage, dir) = (Arc::clone(&self.envs.read.storage), self.envs.read.dir.clone());
        let bases = list(&self.envs.read)?;
        let mapped = self.envs.map.mapped;
        let kept = self.regime.slot().map(|slot| &slot.state);
        let unsealed = Envs::new(&storage, &dir, mapped, Seal::NONE);
        let (id, seal, foreign_checkpoint) = identify(&unsealed.read, kept, &bases)?;
        self.foreign_checkpoint = foreign_checkpoint;
        if id.is_some() {
            if self.id.is_some() && self.id != id {
                return Err(Error::new(ErrorKind::Conflict, "another log stands here now").at(&dir));
            }
            self.id = id;
            self.envs = Arc::new(Envs::new(&storage, &dir, mapped, seal));
        }
        let same = self.same_until(self.reached)?;
        self.seen.retain(|seen| seen.next_offset() <= same);
        self.generation += 1;
        self.remember_cut(same);
        self.reached = same;
        self.safe = self.safe.min(same);
        self.based_on = self.regime.slot().cloned();
        self.look_up()?;
        self.unsure = false;
        Ok(())
    }

    /// Up to where what was seen still stands. An open says where it cut the log; of opens in
    /// between that nobody looked at, the batches themselves tell.
    fn same_until(&self, end: Offset) -> Result<Offset> {
        let now = self.slot();
        let both = self.based_on.as_ref().zip(now);
        let cut = now.filter(|_| both.is_none_or(|(old, now)| now.is_later(old)));
        let limit = cut.map_or(end, |slot| end.min(slot.state.cut));
        let only = both.is_some_and(|(old, now)| now.follows(old));
        let mut trusted = only;
        // What was durable and compacted since stands there with other bytes.
        let cleaned = now.map_or(Offset::ZERO, |slot| slot.state.compaction.cleaned);
        let comparable = self.seen.iter().rev().filter(|seen| seen.next_offset() > cleaned);
        for seen in comparable.filter(|seen| seen.next_offset() <= limit) {
            if self.stands(seen)? {
                return Ok(if trusted { limit } else { seen.next_offset() });
            }
            trusted = false;
        }
        // What was durable stays; of the rest nothing is known, but for the one cut.
        Ok(if trusted { limit } else { limit.min(self.safe) })
    }

    /// Whether a batch is still where it was seen, or was deleted: then it is not read again, and
    /// it does not matter any more what it was.
    fn stands(&self, seen: &Seen) -> Result<bool> {
        let env = &self.envs.read;
        let path = env.dir.join(names::segment_file(seen.segment, Part::Log));
        let file = match env.storage.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let first = list(env)?.first().copied();
                return Ok(first.is_some_and(|first| seen.next_offset() <= first));
            }
            Err(error) => return Err(Error::io("cannot open the segment", &path, error)),
        };
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(seen.position as u64, &mut bytes).map_err(|error| {
            Error::io("cannot read the segment", &path, error).position(seen.position)
        })?;
        Ok(check_header(&bytes, usize::MAX, &env.seal).is_ok_and(|header| header == seen.header))
    }

    /// Notes a cut for readers that come later.
    fn remember_cut(&mut self, cut: Offset) {
        while self.cuts.last().is_some_and(|(_, other)| *other >= cut) {
            self.cuts.pop();
        }
        self.cuts.push((self.generation, cut));
        if self.cuts.len() > limits::CUTS_MAX {
            // The oldest two become one: as far down as the lower, for readers up to the later.
            let (_, lowest) = self.cuts.remove(0);
            if let Some((_, cut)) = self.cuts.first_mut() {
                *cut = lowest;
            }
        }
    }

    /// Looks up the segments, and the one the end lies in. The end is found by the next look.
    fn look_up(&mut self) -> Result<()> {
        self.lookups += 1;
        self.open.clear();
        self.hopeless = None;
        self.bases = list(&self.envs.read)?;
        self.tail = None;
        let settled = self.settled();
        while let Some(base) = self.last_begun() {
            self.tail = Tail::open(&self.envs.read, base, settled)?;
            if self.tail.is_some() {
                break;
            }
            // Deleted between the two calls.
            self.bases.retain(|&other| other != base);
        }
        self.move_bounds();
        Ok(())
    }

    /// The last segment that begins where the log stands; without one the last. A new segment is
    /// empty, and a stray file says nothing of the log.
    fn last_begun(&self) -> Option<Offset> {
        begun(&self.envs.read, &self.bases).or_else(|| self.bases.last().copied())
    }

    /// Whether the directory is there at all, when its checkpoint is not.
    fn check_dir(&self) -> Result<()> {
        let env = &self.envs.read;
        let kind = env.storage.kind(&env.dir);
        match kind.map_err(|error| Error::io("cannot look at the directory", &env.dir, error))? {
            Some(FileKind::Dir) => Ok(()),
            _ => Err(no_log(&env.dir)),
        }
    }
}

/// What readers ask for.
impl Watch {
    /// The files, by position.
    pub(super) fn env(&self) -> &Env {
        &self.envs.read
    }

    /// The segment to read `offset` in; `None` if it would lie before the first one.
    pub(super) fn enter(&mut self, offset: Offset) -> Result<Option<Entered>> {
        let Some(tail) = self.tail.as_ref().map(|tail| tail.data.base) else { return Ok(None) };
        let above = self.bases.partition_point(|&base| base <= offset.min(tail));
        let below = self.bases.get(..above).unwrap_or_default();
        // A stray file, or a damaged start: the segment before it says where the log stands.
        let found = match below.last() {
            Some(base) if *base == tail => Some(tail),
            last => begun(&self.envs.read, below).or(last.copied()),
        };
        found.map(|base| self.segment(base)).transpose()
    }

    /// The segment that follows the one at `base`, which ends at `end`; files that begin in between
    /// are none of the log's. Not beyond the tail's.
    pub(super) fn after(&mut self, base: Offset, end: Offset) -> Result<Option<Entered>> {
        let Some(last) = self.tail.as_ref().map(|tail| tail.data.base) else { return Ok(None) };
        let next = self.bases.iter().copied().find(|&next| next > base && next >= end);
        next.filter(|&next| next <= last).map(|base| self.segment(base)).transpose()
    }

    /// The base offset of the first segment above an offset.
    pub(super) fn base_above(&self, offset: Offset) -> Option<Offset> {
        let last = self.tail.as_ref().map(|tail| tail.data.base)?;
        let above = self.bases.iter().copied().find(|&base| base > offset);
        above.filter(|&base| base <= last)
    }

    /// Whether a segment is the one the end lies in; then up to where it was seen.
    pub(super) fn tail_seen(&self, base: Offset) -> Option<(usize, Offset)> {
        self.tail.as_ref().filter(|tail| tail.data.base == base).map(Tail::seen_until)
    }

    pub(super) fn segment(&mut self, base: Offset) -> Result<Entered> {
        if let Some(tail) = self.tail.as_ref().filter(|tail| tail.data.base == base) {
            return Ok(Entered { base, data: Arc::clone(&tail.data) });
        }
        let at = self.open.iter().position(|data| data.base == base);
        let data = match at.and_then(|at| self.open.remove(at)) {
            Some(data) => data,
            None => {
                // What is above the durable offset may be cut by a recovery, and reading beyond the
                // end of a mapped file raises a signal.
                let end = self.bases.iter().copied().find(|&next| next > base);
                let settled = end.is_some_and(|end| end <= self.durable);
                let env = if settled { &self.envs.map } else { &self.envs.read };
                Arc::new(SegmentData::open_sealed(env, base)?)
            }
        };
        self.open.push_back(Arc::clone(&data));
        if self.open.len() > limits::OPEN_SEALED_SEGMENTS_MAX {
            self.open.pop_front();
        }
        Ok(Entered { base, data })
    }
}
