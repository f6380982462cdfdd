//! An archive that is a directory: on another disk, on a network mount, or beside the log.
//!
//! Floor 4. A folder for each log, named by its id, and in it the files of the segments under the
//! names they had. A name is there once the file is whole and synced, so that no crash leaves half
//! a segment under one.
//!
//! Where a hard link can be made, one is, else the bytes are copied. A link shares its blocks with
//! the log's file until the log lets go of that: nothing is written, nothing is worn, and a full
//! disk does not stand in the way. It is safe because nobody writes into the bytes of a sealed
//! segment (I3), and because whoever cuts or appends to a segment whose file has a second name, as
//! a recovery may that lost what lay behind it, gives it a file of its own first. What a link is
//! not is a second copy while the log still has the first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::decode::{RawRecords, resolve};
use crate::codec::index::{index_bytes, time_bytes};
use crate::codec::seal::Seal;
use crate::disk::names::{self, Part};
use crate::disk::segment::SegmentData;
use crate::disk::walk::{Gaps, Step, Walker};
use crate::disk::{Env, create_anew, create_dir_synced, sync_name_of, unlink_if_there};
use crate::log::archive::{Archive, ArchivedSegment, SealedSegment};
use crate::sys::{Access, FileKind, OsStorage, Pinned, Storage, StorageFile};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

/// An [`Archive`] in a directory, for any number of logs.
///
/// Each log has a folder in it, named by its id ([`Log::id`](crate::Log::id)), with its segments
/// and their indexes under the names they had: `SegmentFile` reads them, and so does Kafka's dump
/// tool. The files are for the application to delete, oldest first, when they are no longer wanted,
/// also while they are read.
///
/// On the filesystem of the log a segment gets a second name there, and its space stays taken until
/// it is deleted in the archive too; elsewhere it is copied. Either way it is synced, file and
/// name, before the log deletes its own.
///
/// A segment that is there already is compared with what is to be stored. A damaged copy is
/// replaced by a whole one. One that was compacted since is there already, with all the records it
/// had; any other two whole ones that differ are a
/// [`Conflict`](crate::ErrorKind::Conflict), and the log keeps its own: that is a copied log that
/// went its own way, and needs an archive of its own.
///
/// # Examples
/// See [`Archive`] and [`LogOptions::archive`](crate::LogOptions::archive).
#[derive(Debug)]
pub struct ArchiveDir {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
}

impl ArchiveDir {
    /// An archive in this directory, which is made if it is not there.
    ///
    /// On a disk that may not be mounted, [`ArchiveDir::existing`] is the better choice: this one
    /// would make the directory where the disk should be.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a file stands there; those of the
    /// operating system.
    pub fn new(dir: impl AsRef<Path>) -> Result<ArchiveDir> {
        ArchiveDir::make(Arc::new(OsStorage), dir.as_ref())
    }

    /// [`ArchiveDir::new`] on a simulated disk.
    ///
    /// # Errors
    /// As [`ArchiveDir::new`].
    #[cfg(feature = "simulation")]
    pub fn new_on(disk: &crate::sys::sim::Disk, dir: impl AsRef<Path>) -> Result<ArchiveDir> {
        ArchiveDir::make(Arc::new(disk.clone()), dir.as_ref())
    }

    /// An archive in a directory that was made before, as on a disk that is mounted now or later.
    /// As long as it is not there, segments stay in the log, and reading what was archived is an
    /// error. The path is to lead inside the mount, and to be from the root.
    pub fn existing(dir: impl Into<PathBuf>) -> ArchiveDir {
        ArchiveDir { storage: Arc::new(OsStorage), dir: dir.into() }
    }

    fn make(storage: Arc<dyn Storage>, dir: &Path) -> Result<ArchiveDir> {
        let failed = |error| Error::io("cannot look at the archive's directory", dir, error);
        if storage.kind(dir).map_err(failed)?.is_none() {
            create_dir_synced(&*storage, dir)?;
        }
        let dir = storage.absolute(dir).map_err(failed)?;
        // Whoever made it may have died before its name was synced.
        sync_name_of(&*storage, &dir)?;
        let archive = ArchiveDir { storage, dir };
        archive.check_there()?;
        Ok(archive)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn folder(&self, log: LogId) -> PathBuf {
        self.dir.join(log.to_string())
    }

    /// Never made here: what should be mounted there may not be.
    fn check_there(&self) -> Result<()> {
        let found = self.storage.kind(&self.dir).and_then(|kind| match kind {
            // A link to it will do.
            Some(FileKind::Other) => self.storage.kind(&self.storage.absolute(&self.dir)?),
            kind => Ok(kind),
        });
        match found.map_err(|error| self.failed("cannot look at the archive", &self.dir, error))? {
            Some(FileKind::Dir) => Ok(()),
            Some(_) => Err(Error::invalid("the archive is no directory").at(&self.dir)),
            None => {
                let text = "the archive's directory is not there: mount it, or make it";
                Err(Error::new(ErrorKind::NotFound, text).at(&self.dir))
            }
        }
    }

    fn failed(&self, what: &str, path: &Path, error: io::Error) -> Error {
        Error::io(what, path, error)
    }

    /// The folder of a log, made if need be, its name synced.
    fn make_folder(&self, log: LogId) -> Result<PathBuf> {
        self.check_there()?;
        let folder = self.folder(log);
        match self.storage.create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(|error| {
                self.failed("cannot make a log's folder in the archive", &folder, error)
            })?,
        }
        self.sync_dir(&self.dir)?;
        Ok(folder)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let synced = self.storage.sync_dir(dir);
        synced.map_err(|error| self.failed("cannot sync a directory of the archive", dir, error))
    }

    /// What reading in a folder needs to know.
    fn env(&self, folder: &Path, seal: Seal, like: Option<&Env>) -> Env {
        Env {
            storage: Arc::clone(&self.storage),
            dir: folder.to_path_buf(),
            names: None,
            seal,
            mapped: false,
            segment_bytes: like.map_or(limits::SEGMENT_BYTES_MAX, |env| env.segment_bytes),
            index_interval_bytes: like
                .map_or(limits::INDEX_INTERVAL_BYTES_DEFAULT, |env| env.index_interval_bytes),
            torn_bytes: None,
            written: Default::default(),
            memory_bounded: like.is_some_and(|env| env.memory_bounded),
        }
    }

    /// Puts a file under its name: made under another one, synced, and renamed.
    fn put(
        &self,
        folder: &Path,
        (base, part): (Offset, Part),
        fill: impl FnOnce(&dyn StorageFile, &Path) -> Result<()>,
    ) -> Result<()> {
        let new = folder.join(new_name(base, part));
        let created = create_anew(&*self.storage, &new);
        let created =
            created.map_err(|error| self.failed("cannot make an archived file", &new, error));
        let put = created.and_then(|file| {
            fill(&*file, &new)?;
            file.sync_all()
                .map_err(|error| self.failed("cannot sync an archived file", &new, error))?;
            self.rename(&new, &folder.join(names::segment_file(base, part)))
        });
        put.inspect_err(|_| self.discard(&new))
    }

    fn rename(&self, new: &Path, path: &Path) -> Result<()> {
        let renamed = self.storage.rename(new, path);
        renamed.map_err(|error| self.failed("cannot name an archived file", path, error))
    }

    /// Best effort: the next one of this name replaces it.
    fn discard(&self, path: &Path) {
        let _ = unlink_if_there(&*self.storage, path);
    }

    /// The segment's file, by a second name if that works.
    fn put_segment(&self, folder: &Path, segment: &SealedSegment<'_>) -> Result<()> {
        let base = segment.offsets.start;
        if self.storage.realm() == segment.env.storage.realm() {
            let new = folder.join(new_name(base, Part::Log));
            self.discard(&new);
            if self.storage.link(segment.path(), &new).is_ok() {
                let put = self.rename(&new, &folder.join(segment.file_name()));
                return put.inspect_err(|_| self.discard(&new));
            }
        }
        self.put(folder, (base, Part::Log), |file, path| {
            let copied = segment.each_part(|position, part| {
                let written = file.write_all_at(position, part);
                written.map_err(|error| self.failed("cannot write an archived file", path, error))
            });
            copied.map(drop)
        })
    }

    /// Its two index files, which are made anew when they are not there or do not fit.
    fn put_index(&self, folder: &Path, segment: &SealedSegment<'_>) -> Result<()> {
        let entries = segment.index()?;
        let parts = [
            (Part::Index, index_bytes(&entries.entries)),
            (Part::TimeIndex, time_bytes(&entries.times)),
        ];
        for (part, bytes) in parts {
            self.put(folder, (segment.offsets.start, part), |file, path| {
                let written = file.write_all_at(0, &bytes);
                written.map_err(|error| self.failed("cannot write an archived index", path, error))
            })?;
        }
        Ok(())
    }

    /// Whether the segment is there already, as it is or better. What is damaged there is not.
    fn has(&self, folder: &Path, segment: &SealedSegment<'_>) -> Result<bool> {
        let path = folder.join(segment.file_name());
        let file = match self.storage.open(&path, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let text = "what stands under an archived segment's name is no regular file";
                return Err(Error::new(ErrorKind::Conflict, text).at(&path));
            }
            opened => opened
                .map_err(|error| self.failed("cannot open an archived segment", &path, error))?,
        };
        if !self.equals(&*file, &path, segment)? {
            let env = self.env(folder, segment.env.seal, Some(segment.env));
            let there = SegmentData::open_sealed(&env, segment.offsets.start)?;
            if !is_whole(&there, &env, segment.offsets.end)? {
                return Ok(false);
            }
            if is_whole(segment.data, segment.env, segment.offsets.end)?
                && !holds_all_of(&there, &env, segment)?
            {
                let text = "the archive holds another segment of the same log under this name: a \
                            copied log needs an archive of its own";
                let error = Error::new(ErrorKind::Conflict, text).at(&path);
                return Err(error.offset(segment.offsets.start).range(segment.offsets()));
            }
        }
        // Whoever put it there may not have synced it.
        file.sync_all()
            .map_err(|error| self.failed("cannot sync an archived file", &path, error))?;
        Ok(true)
    }

    /// Beside a segment that is there: what is missing, and what is left over.
    fn complete(&self, folder: &Path, segment: &SealedSegment<'_>) -> Result<()> {
        let base = segment.offsets.start;
        let mut missing = false;
        for part in [Part::Log, Part::Index, Part::TimeIndex] {
            let path = folder.join(names::segment_file(base, part));
            let found = self.storage.kind(&path);
            let found = found
                .map_err(|error| self.failed("cannot look at an archived file", &path, error))?;
            missing |= found.is_none();
            self.discard(&folder.join(new_name(base, part)));
        }
        if missing { self.put_index(folder, segment) } else { Ok(()) }
    }

    /// Whether a file holds the segment's bytes; zeros may follow either.
    fn equals(
        &self,
        file: &dyn StorageFile,
        path: &Path,
        segment: &SealedSegment<'_>,
    ) -> Result<bool> {
        let failed = |error| self.failed("cannot read an archived segment", path, error);
        let length = file.len().map_err(failed)?;
        let mut there = vec![0; limits::COPY_BYTES / 2];
        let mut here = there.clone();
        let mut position = 0;
        while position < length.max(segment.bytes()) {
            let read = file.read_at(position, &mut there).map_err(failed)?;
            there.get_mut(read..).unwrap_or_default().fill(0);
            let read = segment.read_at(position, &mut here)?;
            here.get_mut(read..).unwrap_or_default().fill(0);
            if there != here {
                return Ok(false);
            }
            position += there.len() as u64;
        }
        Ok(true)
    }

    /// The bases of a log's segments that are there, in order.
    fn bases(&self, folder: &Path) -> Result<Vec<Offset>> {
        let listed = match self.storage.list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Nothing of this log; or nothing at all, and then it may be back later.
                self.check_there()?;
                return Ok(Vec::new());
            }
            listed => listed.map_err(|error| {
                self.failed("cannot list a log's folder in the archive", folder, error)
            })?,
        };
        let named = listed.into_iter().filter(|entry| entry.kind == FileKind::File);
        let parsed = named.filter_map(|entry| names::parse_segment_file(&entry.name?));
        let mut bases: Vec<_> =
            parsed.filter(|(_, part)| *part == Part::Log).map(|(base, _)| base).collect();
        bases.sort_unstable();
        Ok(bases)
    }

    /// Where the segment that begins at an offset ends, if there is one that is sound at both ends:
    /// so it is found without a look at all names by who reads one segment after the other.
    fn end_of_sound(&self, folder: &Path, log: LogId, base: Offset) -> Result<Option<Offset>> {
        // No link is followed, here as in the list.
        let path = folder.join(names::segment_file(base, Part::Log));
        if !matches!(self.storage.kind(&path), Ok(Some(FileKind::File))) {
            return Ok(None);
        }
        let env = self.env(folder, Seal::of(log), None);
        let Some(data) = open_if_there(&env, base)? else { return Ok(None) };
        let mut first = Walker::new(0, base, Gaps::Refused);
        match first.pass(&data, &env.seal)? {
            Step::Batch(_) => last_end(&data, &env),
            Step::End | Step::Damage(_) => Ok(None),
        }
    }

    /// Where a segment ends: where its last batch does, or, if that cannot be read, where the next
    /// segment begins.
    fn end_of(&self, folder: &Path, base: Offset, next: Option<Offset>) -> Result<Offset> {
        // Without the seal: another log's segment is found too, for the reader to refuse.
        let env = self.env(folder, Seal::NONE, None);
        let Some(data) = open_if_there(&env, base)? else { return Ok(base) };
        let end = last_end(&data, &env)?;
        let end = end.filter(|end| *end > base && next.is_none_or(|next| *end <= next));
        Ok(end.or(next).unwrap_or(Offset::MAX))
    }
}

impl Archive for ArchiveDir {
    fn store(&self, segment: &SealedSegment<'_>) -> Result<()> {
        let folder = self.make_folder(segment.log_id())?;
        if self.has(&folder, segment)? {
            // Whoever put it there may have died before its names were synced.
            self.complete(&folder, segment)?;
            return self.sync_dir(&folder);
        }
        // The indexes first: a segment that has its name has them, but for a power cut.
        self.put_index(&folder, segment)?;
        self.put_segment(&folder, segment)?;
        self.sync_dir(&folder).inspect_err(|_| {
            // A second try may find the directory clean, and the name on no device: it has to be
            // made anew.
            self.discard(&folder.join(segment.file_name()));
        })
    }

    fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>> {
        let folder = self.folder(log);
        let found = |base: Offset, end| {
            let path = folder.join(names::segment_file(base, Part::Log));
            ArchivedSegment { offsets: base..end, path, storage: Some(Arc::clone(&self.storage)) }
        };
        if let Some(end) = self.end_of_sound(&folder, log, offset)?.filter(|end| *end > offset) {
            return Ok(Some(found(offset, end)));
        }
        let bases = self.bases(&folder)?;
        let above = bases.partition_point(|base| *base <= offset);
        let from = above.saturating_sub(1);
        for (at, &base) in bases.iter().enumerate().skip(from).take(2) {
            let end = self.end_of(&folder, base, bases.get(at + 1).copied())?;
            if end > offset {
                return Ok(Some(found(base, end)));
            }
        }
        Ok(None)
    }

    fn attach(&self, log: LogId, dir: &Path) -> Result<()> {
        // Not there now, it may be so later; then nothing lies in it either.
        let archive = self.storage.absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        if archive.join(log.to_string()).starts_with(dir) {
            let text = "the archive lies inside the log's directory: choose another one";
            return Err(Error::invalid(text).at(&self.dir));
        }
        Ok(())
    }
}

/// What a file is called until it is whole.
fn new_name(base: Offset, part: Part) -> String {
    format!("{}{}", names::segment_file(base, part), names::NEW_SUFFIX)
}

fn open_if_there(env: &Env, base: Offset) -> Result<Option<SegmentData>> {
    match SegmentData::open_sealed(env, base) {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        opened => {
            let data = opened?;
            data.let_index_go();
            Ok(Some(data))
        }
    }
}

/// Whether every batch of a segment is whole, up to its end.
fn is_whole(data: &SegmentData, env: &Env, end: Offset) -> Result<bool> {
    let mut walker = Walker::new(0, data.base, Gaps::Refused);
    while walker.next_offset() < end {
        if !matches!(walker.pass(data, &env.seal)?, Step::Batch(_)) {
            return Ok(false);
        }
    }
    Ok(walker.next_offset() == end)
}

/// Whether a whole archived segment holds every record of one that is to be stored: then that was
/// compacted since, and nothing of it is missing here. Batches keep their offsets in that.
fn holds_all_of(there: &SegmentData, there_env: &Env, segment: &SealedSegment<'_>) -> Result<bool> {
    let base = segment.offsets.start;
    let (mut old, mut new) =
        (Walker::new(0, base, Gaps::Refused), Walker::new(0, base, Gaps::Refused));
    let (mut old_unpacked, mut new_unpacked) = (Vec::new(), Vec::new());
    while let Step::Batch(kept) = new.next(segment.data, &segment.env.seal)? {
        if kept.header.count == 0 {
            continue;
        }
        let found = loop {
            match old.next(there, &there_env.seal)? {
                Step::Batch(batch) if batch.header.base_offset < kept.header.base_offset => {}
                Step::Batch(batch) => break batch,
                Step::End | Step::Damage(_) => return Ok(false),
            }
        };
        let records = RawRecords::of_batch(&found.header, &found.bytes, &mut old_unpacked);
        let mut records = records.map(|raw| raw.map(|raw| resolve(&found.header, &raw)));
        for raw in RawRecords::of_batch(&kept.header, &kept.bytes, &mut new_unpacked) {
            let Ok(raw) = raw else { return Ok(false) };
            let wanted = resolve(&kept.header, &raw);
            if !records.any(|record| record.is_ok_and(|record| record == wanted)) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Where the last batch ends, if there is nothing but whole ones from where the index leads, and
/// the index knows of none behind it.
fn last_end(data: &SegmentData, env: &Env) -> Result<Option<Offset>> {
    let known = data.with_index(env, false, |index| index.entries.last().copied())?;
    let known = known.map(|entry| data.base + i64::from(entry.offset));
    let mut walker = data.walker_near(env, Offset::MAX, Pinned::of_vec(Vec::new()))?;
    loop {
        match walker.pass(data, &env.seal)? {
            Step::Batch(_) => {}
            Step::End => {
                let end = walker.next_offset();
                return Ok(Some(end).filter(|end| known.is_none_or(|known| known < *end)));
            }
            Step::Damage(_) => return Ok(None),
        }
    }
}
