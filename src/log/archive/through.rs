//! Reading through: below the log start a reader goes on in the archive.
//!
//! Floor 4. An archived file is read by position, never mapped: it may lie on a medium that goes
//! away. Every batch is checked as one of the log's own: magic, seal, length, offset, checksum.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::codec::DecodeError;
use crate::disk::Env;
use crate::disk::names::{self, Part};
use crate::disk::segment::SegmentData;
use crate::disk::walk::{Gaps, Step, Walker};
use crate::log::Inner;
use crate::log::archive::ArchivedSegment;
use crate::log::batch::RecordBatch;
use crate::log::read::Reader;
use crate::sys::Pinned;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::offset::Offset;

/// Where in which archived segment a reader stands.
#[derive(Debug)]
pub(crate) struct Archived {
    env: Env,
    data: SegmentData,
    walker: Walker,
    offsets: Range<Offset>,
}

impl Archived {
    /// Opens an archived segment at an offset that it holds.
    fn open(inner: &Inner, found: &ArchivedSegment, offset: Offset) -> Result<Archived> {
        let env = archived_env(inner, found)?;
        let data = SegmentData::open_sealed(&env, found.offsets.start)?;
        data.let_index_go();
        let walker = if offset == found.offsets.start {
            Walker::new(0, offset, Gaps::Refused)
        } else {
            data.walker_near(&env, offset, Pinned::of_vec(Vec::new()))?
        };
        Ok(Archived { env, data, walker, offsets: found.offsets.clone() })
    }
}

/// What reading an archived file needs to know: as of the log, but in another place, and written by
/// nobody.
fn archived_env(inner: &Inner, found: &ArchivedSegment) -> Result<Env> {
    let name = names::segment_file(found.offsets.start, Part::Log);
    if found.path.file_name().is_none_or(|given| given != name.as_str()) {
        let text = format!("the archive names a file that is not called {name}");
        return Err(Error::invalid(text).at(&found.path).offset(found.offsets.start));
    }
    let storage = found.storage.as_ref().unwrap_or(&inner.env.storage);
    Ok(Env {
        storage: Arc::clone(storage),
        dir: found.path.parent().unwrap_or(Path::new("")).to_path_buf(),
        names: None,
        seal: inner.env.seal,
        mapped: false,
        segment_bytes: inner.env.segment_bytes,
        index_interval_bytes: inner.env.index_interval_bytes,
        torn_bytes: None,
        written: Default::default(),
        memory_bounded: inner.env.memory_bounded,
    })
}

impl Reader {
    /// The next batch below the log start, from the archive; `None` once the position has come to
    /// the log. Without an archive, or where it has nothing, the position moves up and an error
    /// says so.
    #[cold]
    pub(crate) fn read_below(&mut self) -> Result<Option<RecordBatch>> {
        self.leave_log();
        self.forget_spare();
        loop {
            // Retention may move it meanwhile.
            let start = self.log().inner.log_start_offset();
            if self.next_offset() >= start {
                self.archived = None;
                return Ok(None);
            }
            let Some(batch) = self.step_archived(start)? else { continue };
            return Ok(Some(batch));
        }
    }

    /// The next batch of those that were thinned out of the log, from the archive; `None` once the
    /// position is behind them. What the archive does not have is passed as without one.
    #[cold]
    pub(crate) fn read_thinned(&mut self) -> Result<Option<RecordBatch>> {
        let until = self.thinned_until;
        while self.next_offset() < until {
            let from = self.next_offset();
            let read = self.step_archived(until);
            if self.next_offset() >= until {
                self.archived = None;
                self.release();
            }
            match read {
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => {
                    self.count_passed(from..self.next_offset());
                }
                read => return read,
            }
        }
        Ok(None)
    }

    /// A step in the archive, which does not have to reach beyond `until`: a batch, or `None` and
    /// another step is to be taken.
    fn step_archived(&mut self, until: Offset) -> Result<Option<RecordBatch>> {
        let position = self.next_offset();
        let Some(archived) = &mut self.archived else {
            return self.enter_archive(position, until).map(|()| None);
        };
        match archived.walker.pass(&archived.data, &archived.env.seal)? {
            Step::Batch((header, _)) => {
                let next = Offset::new(header.next_offset());
                if next <= position {
                    return Ok(None);
                }
                if header.count > 0 {
                    self.move_to(next);
                    let walker = self.archived.as_ref().map(|archived| &archived.walker);
                    return Ok(walker.and_then(|walker| RecordBatch::of_last(walker, position)));
                }
                if header.stands_for_deleted() {
                    self.count_passed(position..next);
                }
                self.move_to(next);
                Ok(None)
            }
            Step::End => self.end_of_archived(until).map(|()| None),
            Step::Damage(error) => self.pass_archived_damage(error, until).map(|()| None),
        }
    }

    /// Opens the archived segment that holds the position, or moves to the next one there is.
    fn enter_archive(&mut self, position: Offset, start: Offset) -> Result<()> {
        let mut tried = None;
        loop {
            let inner = &*self.log().inner;
            let found = match &inner.options.archive {
                Some(archive) => archive.find(inner.meta.log_id, position)?,
                None => None,
            };
            let Some(found) = found else { return Err(self.overtaken(position, start)) };
            if found.offsets.start > position {
                let next = found.offsets.start.min(start);
                return Err(self.overtaken(position, next));
            }
            match Archived::open(inner, &found, position) {
                Ok(archived) => {
                    self.archived = Some(Box::new(archived));
                    return Ok(());
                }
                // Taken away since it was found, or was it never there?
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    if tried.replace(found.offsets.start) == Some(found.offsets.start) {
                        let lost = position..found.offsets.end.min(start);
                        self.move_to(lost.end);
                        return Err(error.offset(lost.start).range(lost));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// At the end of an archived segment: it has to reach as far as the archive says.
    fn end_of_archived(&mut self, start: Offset) -> Result<()> {
        let Some(archived) = self.archived.take() else { return Ok(()) };
        let due = archived.offsets.end.min(start);
        let lost = self.next_offset()..due;
        if lost.is_empty() {
            return Ok(());
        }
        self.move_to(due);
        let at = archived.walker.position();
        Err(Error::new(ErrorKind::Corrupt, "the archived segment ends before it should")
            .at(&archived.data.path)
            .position(at)
            .offset(lost.start)
            .range(lost))
    }

    /// Moves behind a damaged stretch of an archived segment and says what is lost by it.
    fn pass_archived_damage(&mut self, error: DecodeError, start: Offset) -> Result<()> {
        let position = self.next_offset();
        let Some(archived) = &mut self.archived else { return Ok(()) };
        let at = archived.walker.position() + error.position;
        let first = archived.walker.next_offset();
        let end = archived.offsets.end;
        let whole = archived.walker.resync(&archived.data, &archived.env.seal, end)?;
        let path = archived.data.path.clone();
        if whole.is_none() {
            self.archived = None;
        }
        let lost = first.max(position)..whole.unwrap_or(end).min(start);
        if lost.is_empty() {
            return Ok(());
        }
        self.move_to(lost.end);
        let error = Error::new(ErrorKind::Corrupt, error.what).at(&path).position(at);
        Err(error.offset(lost.start).range(lost))
    }
}
