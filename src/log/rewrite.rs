//! Writes again what an unclean stop left above the recovery point.
//!
//! Floor 4. A sync that failed before the stop has left pages that are clean in the cache and that
//! the device never got: syncing them once more would change nothing. So every byte is written
//! again and only then synced: into new files where word was left that a sync failed, and where a
//! power cut came over a medium that tears; else in place, each batch checked before.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::disk::Env;
use crate::disk::names::{self, Part};
use crate::disk::segment::SegmentData;
use crate::disk::walk::{Gaps, Step, Walker};
use crate::disk::wear::pages_of;
use crate::log::Inner;
use crate::log::report::RecoveryReport;
use crate::sys::{Access, StorageFile};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::offset::Offset;

impl Inner {
    /// Writes the batches of `range` again, in place: sealed segments one after the other, each
    /// synced; the active one's through the descriptor that is synced next. A batch that is not
    /// whole is left as it is: readers report it.
    pub(crate) fn rewrite(&self, range: &Range<Offset>, active: &SegmentData) -> Result<()> {
        let mut next = self.segments.find(range.start.max(self.log_start_offset()));
        while let Some(segment) = next.filter(|segment| segment.base < range.end) {
            if segment.base == active.base {
                return rewrite_in_place(&self.env, active, &*active.file, range);
            }
            let data = self.segments.open(&self.env, &segment)?;
            let file = open_for_writing(&self.env, &data.path)?;
            rewrite_in_place(&self.env, &data, &*file, range)?;
            file.sync_all().map_err(|error| {
                Error::sync("cannot sync a segment that was written again", &data.path, error)
            })?;
            self.env.written.sync(data.reached.advance(data.published(), 0));
            next = self.segments.after(segment.base);
        }
        Ok(())
    }
}

fn open_for_writing(env: &Env, path: &Path) -> Result<Arc<dyn StorageFile>> {
    let opened = env.storage.open(path, Access::ReadWrite);
    opened.map_err(|error| Error::io("cannot open a segment to write it again", path, error))
}

fn rewrite_in_place(
    env: &Env,
    data: &SegmentData,
    file: &dyn StorageFile,
    range: &Range<Offset>,
) -> Result<()> {
    let mut run = Run { data, file, from: 0, bytes: Vec::new() };
    let mut walker = Walker::new(0, data.base, Gaps::Expected);
    loop {
        match walker.next(data, &env.seal)? {
            Step::Batch(batch) if batch.header.base_offset >= range.end.get() => break,
            Step::Batch(batch) if batch.header.next_offset() <= range.start.get() => {}
            Step::Batch(batch) => run.add(batch.position, &batch.bytes)?,
            Step::Damage(_) => {
                if walker.resync(data, &env.seal, range.end)?.is_none() {
                    break;
                }
            }
            Step::End => break,
        }
    }
    run.write()
}

/// Batches that lie behind each other, written at once.
struct Run<'a> {
    data: &'a SegmentData,
    file: &'a dyn StorageFile,
    from: usize,
    bytes: Vec<u8>,
}

impl Run<'_> {
    fn add(&mut self, position: usize, batch: &[u8]) -> Result<()> {
        let behind = self.from + self.bytes.len() == position;
        if !behind || self.bytes.len() + batch.len() > limits::READ_CHUNK_BYTES {
            self.write()?;
            self.from = position;
        }
        self.bytes.extend_from_slice(batch);
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.data.reached.touch(self.from);
        let written = self.file.write_all_at(self.from as u64, &self.bytes);
        written.map_err(|error| {
            Error::sync("cannot write a segment again", &self.data.path, error).position(self.from)
        })?;
        self.bytes.clear();
        Ok(())
    }
}

/// For media that tear, and after a failed sync: copies the segments from the recovery point on
/// into new files, up to `end` in the last one, syncs them and puts them in the old ones' places;
/// the caller syncs the names. `false` where there is no room: then it has to be done in place.
pub(super) fn into_new_files(
    env: &Env,
    bases: &[Offset],
    recovery_point: Offset,
    end: Option<usize>,
    report: &mut RecoveryReport,
) -> Result<bool> {
    let from = bases.partition_point(|&base| base <= recovery_point).saturating_sub(1);
    let bases = bases.get(from..).unwrap_or_default();
    for (at, &base) in bases.iter().enumerate() {
        let end = end.filter(|_| at + 1 == bases.len());
        let path = env.dir.join(names::segment_file(base, Part::Log));
        let mut new = path.clone().into_os_string();
        new.push(names::NEW_SUFFIX);
        let copied = copy(env, &path, Path::new(&new), end);
        if let Err(error) = copied {
            // Best effort: the next open removes it as well.
            let _ = env.storage.unlink(Path::new(&new));
            let error = Error::io("cannot copy a segment into a new file", &path, error);
            if error.kind() == crate::words::error::ErrorKind::OutOfSpace {
                report.rewriting_in_place = true;
                return Ok(false);
            }
            return Err(error);
        }
        report.segments_rewritten += 1;
    }
    Ok(true)
}

fn copy(env: &Env, path: &Path, new: &Path, end: Option<usize>) -> io::Result<()> {
    let old = env.storage.open(path, Access::Read)?;
    let length = usize::try_from(old.len()?).unwrap_or(usize::MAX);
    let end = end.unwrap_or(length).min(length);
    let file = env.storage.create_new(new)?;
    let mut chunk = vec![0; limits::READ_CHUNK_BYTES.min(end)];
    let mut at = 0;
    while at < end {
        let wanted = chunk.len().min(end - at);
        let into = chunk.get_mut(..wanted).unwrap_or_default();
        let read = old.read_at(at as u64, into)?;
        if read == 0 {
            break;
        }
        file.write_all_at(at as u64, into.get(..read).unwrap_or_default())?;
        at += read;
    }
    file.sync_all()?;
    env.written.sync(pages_of(0..at));
    env.storage.rename(new, path)
}

/// Gives a segment that is about to be cut or appended to a file of its own, if its file has
/// another name: a snapshot has linked it when it was sealed, and nobody writes into that. It is
/// the end of the log again where the segments behind it were lost.
pub(super) fn unshare(env: &Env, base: Offset) -> Result<()> {
    let path = env.dir.join(names::segment_file(base, Part::Log));
    let failed = |error| Error::io("cannot copy a segment that a snapshot shares", &path, error);
    if env.storage.links(&path).map_err(failed)? < 2 {
        return Ok(());
    }
    let mut new = path.clone().into_os_string();
    new.push(names::NEW_SUFFIX);
    let new = Path::new(&new);
    copy(env, &path, new, None).map_err(|error| {
        // Best effort: the next open removes it as well.
        let _ = env.storage.unlink(new);
        failed(error)
    })?;
    env.sync_names()
}

/// Syncs every segment, one after the other.
pub(super) fn sync_all(env: &Env, bases: &[Offset]) -> Result<()> {
    for &base in bases {
        let data = SegmentData::open_sealed(env, base)?;
        data.sync_sealed(env)
            .map_err(|error| Error::sync("cannot sync a segment", &data.path, error))?;
    }
    env.sync_names()
}
