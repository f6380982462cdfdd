//! A backup of a log that is in use: a second directory that opens as the log stood.
//!
//! Floor 4. Holds none of the log's locks while it works, but for moments. Sealed segments are
//! linked where that is safe and possible, so that a backup on the same filesystem is cheap.
//!
//! A linked file has two directories, so it must never be written in either. Hence a segment is
//! linked only if a durable offset lies behind it: then its own name and its successor's are synced
//! (I18), so it is appended to nowhere, and with the recovery point synced behind it no recovery
//! cuts it; should what lies behind be lost, the next open gives it a file of its own. The last
//! segment of the copy is appended to once the copy is opened, and so is copied.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::codec::index::{IndexEntries, IndexRule};
use crate::disk::checkpoint::{self, Checkpoint};
use crate::disk::names::{self, Part};
use crate::disk::segment::{Segment, SegmentData};
use crate::disk::state::{CleanMark, CompactionState, ConsumerState, State};
use crate::disk::target::Target;
use crate::disk::walk::{Gaps, Step, Walker};
use crate::disk::{Env, index_file, note};
use crate::log::{Inner, Log};
use crate::sys::{Access, StorageFile};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::offset::Offset;

/// What a snapshot holds, and how it was made.
///
/// Lists are bounded at 64 items; the counts beside them are not.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct SnapshotReport {
    /// The first offset that can be read in the copy.
    pub log_start_offset: Offset,
    /// Where the copy ends: the durable offset at the call.
    pub log_end_offset: Offset,
    /// Segments that are the same file in both directories.
    pub segments_linked: u64,
    /// Segments of which the copy has a file of its own; the last one always is.
    pub segments_copied: u64,
    /// Bytes of the segments that are shared.
    pub bytes_linked: u64,
    /// Bytes of segments and indexes that were written.
    pub bytes_copied: u64,
    /// Why segments were copied that could have been linked.
    pub not_linked_because: Option<String>,
    /// Ranges of offsets whose segment file somebody removed since the log was opened. What was
    /// lost before that, and damage inside files, is in the copy as it is in the log.
    pub missing: Vec<Range<Offset>>,
    /// How many such ranges there are.
    pub missing_ranges: u64,
    /// Consumers whose committed offset lay above the copy's end and is there brought back to it.
    pub consumers_moved_back: u64,
}

impl Log {
    /// Copies the log as it stands, up to the durable offset, into `dir`: a backup that opens as a
    /// log. Appends, rolls, flushes and deletions go on meanwhile.
    ///
    /// What is not durable yet is not in it: call [`Log::flush`] before to have everything up to
    /// then. Sealed segments are hard-linked, which takes no space as long as both logs keep them;
    /// where that does not work (another filesystem, or one without links) they are copied. The
    /// last segment, the consumers' progress and `log.meta` are always copied, so that neither log
    /// changes the other's files. The copy has the log's id: it is the same log at another time, so
    /// only one of the two should go on to an upstream.
    ///
    /// `dir` must not exist, or be empty; an unfinished snapshot in it is replaced. When the call
    /// returns, everything is synced: files, directory and the one above. After a crash in between,
    /// opening `dir` is refused until the snapshot is made anew, or finds nothing. Blocks for the
    /// copying; memory is bounded at 256 KiB and the last segment's index.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `dir` is no directory, not empty, or lies
    /// inside the log's own; [`Locked`](ErrorKind::Locked) if another copy is being made there;
    /// [`OutOfSpace`](ErrorKind::OutOfSpace), [`ReadOnly`](ErrorKind::ReadOnly) and
    /// [`Io`](ErrorKind::Io) as the system says; [`Closed`](ErrorKind::Closed). What was made is
    /// removed again, at most an empty directory stays, and the log goes on as before.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?;
    /// let log = forebay::Log::open(tmp.path().join("log"))?;
    /// log.append("21.5 C")?;
    /// log.flush()?;
    /// let report = log.snapshot(tmp.path().join("backup"))?;
    /// assert_eq!(report.log_end_offset, log.durable_offset());
    ///
    /// let backup = forebay::Log::open(tmp.path().join("backup"))?;
    /// assert!(backup.recovery().clean);
    /// assert_eq!(backup.log_end_offset(), report.log_end_offset);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self, dir: impl AsRef<Path>) -> Result<SnapshotReport> {
        let inner = &*self.inner;
        inner.check_open()?;
        let target = Target::prepare(&inner.env, dir.as_ref())?;
        // Files that are merged would be gone from under it.
        let _files_stay = inner.compacting.files_stay();
        let made = Snapshot::make(inner, &target).and_then(|report| {
            // Closed meanwhile, the directory may have had another writer.
            inner.check_open()?;
            target.finish()?;
            Ok(report)
        });
        made.inspect_err(|_| target.abandon())
    }
}

/// A snapshot being made.
struct Snapshot<'a> {
    inner: &'a Inner,
    target: &'a Target,
    report: SnapshotReport,
    /// Whether it is safe to link, and worked so far.
    link: bool,
    /// Sealed segments in the target, oldest first: base, bytes, whether they are linked.
    brought: Vec<(Offset, u64, bool)>,
}

/// The last segment of the copy.
struct Last {
    base: Offset,
    bytes: usize,
    entries: IndexEntries,
    closing_time: bool,
}

impl Snapshot<'_> {
    fn make(inner: &Inner, target: &Target) -> Result<SnapshotReport> {
        let state = inner.checkpoint.lock().state.clone();
        let (all, offsets) = inner.segments_to_copy();
        let mut link = true;
        if inner.failure.get().is_some() {
            // What the checkpoint on the device says is not known, nor what a recovery would cut.
            link = false;
        } else {
            inner.sync_checkpoint()?;
        }
        let mut snapshot = Snapshot {
            inner,
            target,
            report: SnapshotReport::default(),
            link,
            brought: Vec::new(),
        };
        snapshot.report.not_linked_because = (!link).then(|| "the log is poisoned".to_owned());
        snapshot.report.log_start_offset = offsets.start;
        snapshot.report.log_end_offset = offsets.end;
        let (sealed, last) = wanted(all, &offsets);
        for (base, next) in sealed {
            snapshot.bring(base, next)?;
        }
        let last = snapshot.bring_last(last)?;
        snapshot.finish(state, &last)
    }

    /// Links or copies a sealed segment with its indexes.
    fn bring(&mut self, base: Offset, next: Offset) -> Result<()> {
        match self.bring_file(base, Part::Log)? {
            Some((bytes, linked)) => {
                for part in [Part::Index, Part::TimeIndex] {
                    if let Some((bytes, false)) = self.bring_file(base, part)? {
                        self.report.bytes_copied += bytes;
                    }
                }
                self.brought.push((base, bytes, linked));
                Ok(())
            }
            None => self.passed_over(base..next),
        }
    }

    /// What there is of it now: its bytes, and whether it is linked; `None` if the log has no such
    /// file any more.
    fn bring_file(&mut self, base: Offset, part: Part) -> Result<Option<(u64, bool)>> {
        let (env, storage) = (&self.inner.env, &*self.inner.env.storage);
        let name = names::segment_file(base, part);
        let (from, to) = (env.dir.join(&name), self.target.path(&name));
        if self.link {
            match storage.link(&from, &to) {
                Ok(()) => {
                    let Some(file) = open_regular(env, &to)? else {
                        // Something else stands there under a segment's name.
                        self.target.remove(&name)?;
                        return Ok(None);
                    };
                    let bytes = file.len().map_err(|error| cannot_look(&to, error))?;
                    return Ok(Some((bytes, true)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => {
                    let error = Error::io("cannot link a segment", &to, error);
                    if error.kind() == ErrorKind::OutOfSpace {
                        return Err(error);
                    }
                    self.link = false;
                    self.report.not_linked_because = Some(error.to_string());
                }
            }
        }
        let Some(file) = open_regular(env, &from)? else { return Ok(None) };
        let length = file.len().map_err(|error| cannot_look(&from, error))?;
        let copied = self.target.copy(&*file, &from, &name, length)?;
        Ok(Some((copied, false)))
    }

    /// A segment's file is gone: retention or `delete_records` took it meanwhile, and then the copy
    /// begins behind it; else it was lost before.
    fn passed_over(&mut self, lost: Range<Offset>) -> Result<()> {
        if lost.end <= self.inner.log_start_offset() {
            self.report.log_start_offset = lost.end;
            for (base, ..) in std::mem::take(&mut self.brought) {
                for part in [Part::TimeIndex, Part::Index, Part::Log] {
                    self.target.remove(&names::segment_file(base, part))?;
                }
            }
        } else {
            self.report.missing_ranges += 1;
            note(&mut self.report.missing, lost);
        }
        Ok(())
    }

    /// Copies the segment that holds the durable end, up to that.
    fn bring_last(&mut self, last: Option<Arc<Segment>>) -> Result<Last> {
        let end = self.report.log_end_offset;
        let Some(segment) = last else { return self.empty_last(end) };
        let env = &self.inner.env;
        let data = match self.inner.segments.open(env, &segment) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.passed_over(segment.base..end)?;
                return self.empty_last(end);
            }
            opened => opened?,
        };
        let name = names::segment_file(segment.base, Part::Log);
        let found = measure(env, &data, end)?;
        let copied = self.target.copy(&*data.file, &data.path, &name, found.bytes as u64)?;
        if copied < found.bytes as u64 {
            let text = "the segment is shorter than what was published of it";
            return Err(Error::new(ErrorKind::Corrupt, text).at(&data.path).offset(segment.base));
        }
        self.target.write_index(segment.base, &found.entries)?;
        self.brought.push((segment.base, copied, false));
        if found.next_offset < end {
            // Damage below the durable offset, with nothing whole behind it. The copy goes on in a
            // segment of its own, as the log does after it was opened.
            return self.empty_last(end);
        }
        self.report.log_end_offset = found.next_offset;
        Ok(Last {
            base: segment.base,
            bytes: found.bytes,
            entries: found.entries,
            closing_time: found.closing_time,
        })
    }

    /// A new segment at the end, for want of one that can be appended to.
    fn empty_last(&mut self, base: Offset) -> Result<Last> {
        let name = names::segment_file(base, Part::Log);
        let file = self.target.create(&name)?;
        self.target.sync(&self.target.path(&name), &*file)?;
        let entries = IndexEntries::default();
        self.target.write_index(base, &entries)?;
        self.brought.push((base, 0, false));
        Ok(Last { base, bytes: 0, entries, closing_time: false })
    }

    /// Writes what makes a log of the segments, and syncs what is not synced yet. Linked segments
    /// are: a durable offset lies behind them (I6).
    fn finish(mut self, state: State, last: &Last) -> Result<SnapshotReport> {
        for (base, bytes, linked) in std::mem::take(&mut self.brought) {
            let counts = match linked {
                true => {
                    self.target.sync_index(base)?;
                    (&mut self.report.segments_linked, &mut self.report.bytes_linked)
                }
                false => (&mut self.report.segments_copied, &mut self.report.bytes_copied),
            };
            *counts.0 += 1;
            *counts.1 += bytes;
        }
        let env = &self.target.env;
        self.inner.meta.write(&*env.storage, &env.dir)?;
        let loaded = checkpoint::load(env)?;
        let state = self.state(state, last);
        Checkpoint::open(&self.target.env, &loaded, &state)?;
        Ok(self.report)
    }

    /// The state of a log that was closed at the copy's end. All fields by name: a new one has to
    /// be thought of here, for the copy is another place and has no upstream's identity.
    fn state(&mut self, state: State, last: &Last) -> State {
        let end = self.report.log_end_offset;
        let State {
            meta,
            log_start: _,
            recovery_point: _,
            clean: _,
            sync_failed: _,
            open_number,
            cut: _,
            residence: _,
            clock,
            samples,
            tails: _,
            consumers,
            compaction,
        } = state;
        let consumers = consumers.into_iter().map(|consumer| {
            self.report.consumers_moved_back += u64::from(consumer.committed > end);
            // Without metadata: a producer id belongs to one log alone.
            let ConsumerState { name, durable, committed, metadata: _ } = consumer;
            ConsumerState::new(name, durable, committed.min(end))
        });
        let clean = CleanMark {
            active_base: last.base,
            active_bytes: last.bytes as u64,
            index_checksum: index_file::checksum(&last.entries),
            closing_time: last.closing_time,
        };
        State {
            meta,
            log_start: self.report.log_start_offset,
            recovery_point: end,
            clean: Some(clean),
            sync_failed: false,
            open_number,
            cut: end,
            residence: None,
            clock,
            samples,
            tails: Vec::new(),
            consumers: consumers.collect(),
            compaction: CompactionState {
                cleaned: compaction.cleaned.min(end),
                // The segments were brought by their names in the list, without what is left over.
                absorbed: None,
                ..compaction
            },
        }
    }
}

impl Inner {
    /// The segments, and the offsets below the durable one that they hold. Looked at in this order:
    /// what is durable then has its segment in the list, and what is missing from the list lies
    /// below the start. What a durable consumer has committed before lies below the end.
    pub(super) fn segments_to_copy(&self) -> (Vec<Arc<Segment>>, Range<Offset>) {
        let durable = self.durable_offset();
        let all = self.segments.all();
        let start = self.log_start_offset();
        (all, start..durable.max(start))
    }
}

/// The sealed segments that hold some of the offsets, each with its successor's base, and the one
/// behind them, which holds the last.
fn wanted(
    mut all: Vec<Arc<Segment>>,
    offsets: &Range<Offset>,
) -> (Vec<(Offset, Offset)>, Option<Arc<Segment>>) {
    all.retain(|segment| segment.base < offsets.end);
    let pairs = all.windows(2).filter_map(|pair| match pair {
        [segment, next] => Some((segment.base, next.base)),
        _ => None,
    });
    let sealed = pairs.filter(|(_, next)| *next > offsets.start).collect();
    (sealed, all.pop().filter(|_| !offsets.is_empty()))
}

/// A regular file, or `None` if there is none under this name.
fn open_regular(env: &Env, path: &Path) -> Result<Option<Arc<dyn StorageFile>>> {
    match env.storage.open(path, Access::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) => {
            let error = cannot_look(path, error);
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::InvalidArgument => Ok(None),
                _ => Err(error),
            }
        }
    }
}

fn cannot_look(path: &Path, error: io::Error) -> Error {
    Error::io("cannot read a file to copy", path, error)
}

/// What a segment holds up to an offset.
struct Measured {
    /// Where to cut a copy: behind the last batch, or before the first one that is not due.
    bytes: usize,
    next_offset: Offset,
    /// With the entry that a close adds.
    entries: IndexEntries,
    closing_time: bool,
}

/// Reads a segment up to `end`, which is the end of a batch unless there is damage.
fn measure(env: &Env, data: &SegmentData, end: Offset) -> Result<Measured> {
    let mut rule = IndexRule::new(data.base.get(), env.index_interval_bytes);
    let mut entries = IndexEntries::default();
    let mut walker = Walker::new(0, data.base, Gaps::Refused);
    // Taken before the last look, so that what is appended meanwhile is not counted in.
    let published = data.published();
    let mut bytes = None;
    while walker.next_offset() < end {
        match walker.next(data, &env.seal)? {
            Step::Batch(batch) => {
                let last = batch.header.next_offset() - 1;
                if let Some(due) = rule.add(last, batch.header.max_timestamp, batch.position) {
                    entries.add(due);
                }
            }
            Step::End => break,
            Step::Damage(_) => {
                if walker.resync(data, &env.seal, end)?.is_none() {
                    let next_offset = walker.next_offset();
                    let behind = walker.resync(data, &env.seal, Offset::MAX)?;
                    bytes = Some((behind.map_or(published, |_| walker.position()), next_offset));
                    break;
                }
            }
        }
    }
    let (bytes, next_offset) = bytes.unwrap_or((walker.position(), walker.next_offset()));
    let closing = rule.finish();
    entries.add(closing);
    Ok(Measured { bytes, next_offset, entries, closing_time: closing.time.is_some() })
}
