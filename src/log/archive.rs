//! The seam to an archive: where old segments go before retention takes them, and where they are
//! read from afterwards.
//!
//! Floor 4. The log hands over (`hand`) and reads through (`through`); what keeps the segments is
//! the application's, or `dir`. None of its code runs under a lock of the log's (I10).

pub(crate) mod dir;
pub(crate) mod hand;
mod through;

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::index::IndexEntries;
use crate::disk::Env;
use crate::disk::names::{self, Part};
use crate::disk::segment::SegmentData;
use crate::log::Inner;
use crate::log::options::LogOptions;
use crate::sys::Storage;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;
use crate::words::time::Timestamp;

pub(crate) use through::Archived;

/// Keeps the segments that retention takes from a log, and finds them again.
///
/// [`ArchiveDir`](crate::ArchiveDir) is one: a directory on another disk, or a network mount. One
/// of the application's own can carry segments anywhere, as long as [`Archive::find`] can name a
/// local file for whoever reads them again.
///
/// One archive may serve many logs: it is told the log's id each time. It is called without a lock
/// of the log's and may use the log, but not close it; and it holds up whoever applies retention
/// for as long as it takes: an append that fills a segment, unless
/// [`LogOptions::background`](crate::LogOptions::background) is on, and closing then. A panic in it
/// is caught and taken for an error.
///
/// # Examples
/// One that carries segments to a directory of its own, and counts them:
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use forebay::{
///     Archive, ArchiveDir, ArchivedSegment, Log, LogId, Offset, OffsetSpec, SealedSegment,
/// };
///
/// struct Counted(ArchiveDir, AtomicU64);
///
/// impl Archive for Counted {
///     fn store(&self, segment: &SealedSegment<'_>) -> forebay::Result<()> {
///         self.0.store(segment)?;
///         self.1.fetch_add(segment.bytes(), Ordering::Relaxed);
///         Ok(())
///     }
///
///     fn find(&self, log: LogId, offset: Offset) -> forebay::Result<Option<ArchivedSegment>> {
///         self.0.find(log, offset)
///     }
/// }
///
/// let archive = Arc::new(Counted(ArchiveDir::new(dir.join("archive"))?, AtomicU64::new(0)));
/// let log = Log::options()
///     .segment_bytes(4096)
///     .archive(archive.clone())
///     .open(dir.join("log"))?;
/// for number in 0..200 {
///     log.append(format!("{number:>100}"))?;
/// }
/// let moved = log.archive_records(log.log_end_offset())?;
/// log.delete_records(moved)?;
/// assert!(archive.1.load(Ordering::Relaxed) > 4096);
/// let records = log.reader(OffsetSpec::At(Offset::ZERO))?.map(|batch| batch.map(|b| b.len()));
/// assert_eq!(records.sum::<forebay::Result<usize>>()?, 200, "from the archive, then the log");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Archive: Send + Sync {
    /// Keeps a segment for good. When it returns without an error, the log may delete it: by then
    /// it has to survive a power cut.
    ///
    /// Called for sealed, durable segments, oldest first, by one thread at a time for each log.
    /// After a restart, or when an earlier call failed or its answer was lost, a segment may come
    /// again: then it is to be kept once. In a log that is compacted it may have fewer records by
    /// then, or reach further: what it has is to be kept.
    ///
    /// # Errors
    /// Any: the log keeps the segment and its space, and comes again with it at the next
    /// retention. [`Conflict`](ErrorKind::Conflict) if another history of the same log is kept
    /// under these offsets, as after a copied log went its own way.
    fn store(&self, segment: &SealedSegment<'_>) -> Result<()>;

    /// Where the segment of the log lies that holds `offset`, or else the next one above it; `None`
    /// if nothing at or above it is kept.
    ///
    /// # Errors
    /// Any, as when the disk is not there now: the reader hands it out and stays where it is. What
    /// is `None` is passed over for good.
    fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>>;

    /// Told of a log that is being opened with this archive; does nothing unless written.
    ///
    /// # Errors
    /// Any: the log is not opened.
    fn attach(&self, log: LogId, dir: &Path) -> Result<()> {
        let _ = (log, dir);
        Ok(())
    }
}

/// A sealed segment that is being handed to an [`Archive`].
///
/// Its bytes never change, and stay readable for the call even if the log deletes the segment
/// meanwhile. Damage that was found in it is handed over as it is.
pub struct SealedSegment<'a> {
    env: &'a Env,
    log_id: LogId,
    data: &'a SegmentData,
    offsets: Range<Offset>,
    max_timestamp: i64,
}

impl<'a> SealedSegment<'a> {
    fn new(inner: &'a Inner, data: &'a SegmentData, end: Offset, max_timestamp: i64) -> Self {
        let (env, log_id) = (&inner.env, inner.meta.log_id);
        SealedSegment { env, log_id, data, offsets: data.base..end, max_timestamp }
    }

    /// The log's identity, made at its creation.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The log's directory, from the root.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.env.dir
    }

    /// The last part of the log's directory, for people: it need not be unique, and what of it is
    /// no Unicode is replaced.
    #[must_use]
    pub fn log_name(&self) -> Cow<'_, str> {
        self.env.dir.file_name().unwrap_or_default().to_string_lossy()
    }

    /// The offsets it holds: from its base to its successor's.
    #[must_use]
    pub fn offsets(&self) -> Range<Offset> {
        self.offsets.clone()
    }

    /// The name its file has, and has to have where [`Archive::find`] leads: the base offset in 20
    /// digits, and `.log`.
    #[must_use]
    pub fn file_name(&self) -> String {
        names::segment_file(self.offsets.start, Part::Log)
    }

    /// Where its file lies for as long as the call takes, unless
    /// [`Log::delete_records`](crate::Log::delete_records) removes it meanwhile.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.data.path
    }

    /// Bytes of its file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.data.published() as u64
    }

    /// The highest time of its records; `None` if it holds none.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        (self.max_timestamp != i64::MIN).then(|| Timestamp::from_millis(self.max_timestamp))
    }

    /// Reads from a position in the file until `into` is full or the segment ends; how much was
    /// read. Read by position, so that a medium that fails is an error.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn read_at(&self, position: u64, into: &mut [u8]) -> Result<usize> {
        let left = self.bytes().saturating_sub(position);
        let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let into = into.get_mut(..most).unwrap_or_default();
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        self.data.file.read_at(position, into).map_err(|error| {
            Error::io("cannot read a segment to archive it", &self.data.path, error).position(at)
        })
    }

    /// Writes all its bytes, in parts of 256 KiB; how many there were.
    ///
    /// # Errors
    /// Those of reading and of `into`; [`Corrupt`](ErrorKind::Corrupt) if the file was cut.
    pub fn copy_to(&self, into: &mut dyn io::Write) -> Result<u64> {
        self.each_part(|_, part| {
            into.write_all(part)
                .map_err(|error| Error::io("cannot write an archived copy", self.path(), error))
        })
    }

    /// Hands all bytes out in parts, with their positions.
    fn each_part(&self, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<u64> {
        let mut buffer = vec![0; limits::COPY_BYTES];
        let mut done = 0;
        while done < self.bytes() {
            let read = self.read_at(done, &mut buffer)?;
            if read == 0 {
                let text = "the segment is shorter than what was published of it";
                let error = Error::new(ErrorKind::Corrupt, text).at(self.path());
                return Err(error.offset(self.offsets.start));
            }
            take(done, buffer.get(..read).unwrap_or_default())?;
            done += read as u64;
        }
        Ok(done)
    }

    /// Its index, read or made anew.
    fn index(&self) -> Result<IndexEntries> {
        self.data.with_index(self.env, false, IndexEntries::clone)
    }
}

impl fmt::Debug for SealedSegment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSegment")
            .field("log_id", &self.log_id)
            .field("offsets", &self.offsets)
            .field("path", &self.data.path)
            .finish_non_exhaustive()
    }
}

/// Where a segment lies that [`Archive::find`] found.
#[derive(Clone, Debug)]
pub struct ArchivedSegment {
    offsets: Range<Offset>,
    path: PathBuf,
    /// What the file lies on; unless set, the same as the log.
    storage: Option<Arc<dyn Storage>>,
}

impl ArchivedSegment {
    /// A segment of these offsets in a file of the local system: the bytes that
    /// [`Archive::store`] was given, under the name they had. It is opened for reading only, and
    /// every batch in it is checked as those of the log are. The index files of the segment are
    /// used if they lie beside it.
    #[must_use]
    pub fn new(offsets: Range<Offset>, path: impl Into<PathBuf>) -> ArchivedSegment {
        ArchivedSegment { offsets, path: path.into(), storage: None }
    }

    /// The offsets it holds.
    #[must_use]
    pub fn offsets(&self) -> Range<Offset> {
        self.offsets.clone()
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The archive of a log's options: the same one is equal, whatever it is.
#[derive(Clone)]
pub(crate) struct ArchiveHook(Arc<dyn Archive>);

impl ArchiveHook {
    pub(crate) fn attach(&self, log: LogId, dir: &Path) -> Result<()> {
        guarded("attach", || self.0.attach(log, dir))
    }

    pub(crate) fn store(&self, segment: &SealedSegment<'_>) -> Result<()> {
        guarded("store", || self.0.store(segment))
    }

    pub(crate) fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>> {
        let found = guarded("find", || self.0.find(log, offset))?;
        if let Some(found) = found.as_ref().filter(|found| found.offsets.end <= offset) {
            let Range { start, end } = found.offsets;
            let text = format!("the archive answers with offsets {start} to {end} (exclusive)");
            return Err(Error::invalid(text).at(&found.path).offset(offset));
        }
        Ok(found)
    }

    /// Whether it has an offset.
    pub(crate) fn holds(&self, log: LogId, offset: Offset) -> Result<bool> {
        Ok(self.find(log, offset)?.is_some_and(|found| found.offsets.start <= offset))
    }
}

/// Runs code of the application's, of which a panic is an error like any other: it must not take
/// the log's own thread, or an append that has long succeeded, with it.
fn guarded<T>(call: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let why = said(&*panic);
        Err(Error::new(ErrorKind::Io, format!("the archive panicked in `{call}`: {why}")))
    })
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("no text")
}

impl PartialEq for ArchiveHook {
    fn eq(&self, other: &ArchiveHook) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ArchiveHook {}

impl fmt::Debug for ArchiveHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive({:p})", Arc::as_ptr(&self.0))
    }
}

impl LogOptions {
    /// Hands every sealed segment to an archive before retention takes it, and reads there what
    /// lies below the log start; none unless set. No part of a configuration file.
    ///
    /// With an archive:
    /// - Retention, thinning and [`OnFull::DropOldest`](crate::OnFull::DropOldest) take only what
    ///   the archive has taken. While it fails, segments stay and keep their space, which
    ///   [`Log::apply_retention`](crate::Log::apply_retention) and
    ///   [`Log::stats`](crate::Log::stats) report, and an append that has no room otherwise is
    ///   refused as [`OutOfSpace`](ErrorKind::OutOfSpace).
    /// - [`Log::delete_records`](crate::Log::delete_records) does not archive;
    ///   [`Log::archive_records`](crate::Log::archive_records) before it does.
    /// - A reader from an offset below the log start begins in the archive, if that has it, and
    ///   goes on in the log: nothing twice, nothing left out. So do readers and consumers that
    ///   retention overtook, and all who come to records that were thinned out.
    ///   [`OffsetSpec::Earliest`](crate::OffsetSpec::Earliest) stays the log start, and a timestamp
    ///   is looked up in the log alone.
    /// - A consumer may commit below the log start, and after a restart goes on there.
    /// - In a [`Store`](crate::Store) it belongs into
    ///   [`StoreOptions::logs`](crate::StoreOptions::logs): a log that the store opens by itself,
    ///   to make room, has the options it finds there.
    /// - A reader takes memory as in positioned mode, and twice the index of a segment: see
    ///   [`LogOptions::memory_limit_bytes`].
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// use forebay::{ArchiveDir, Log};
    /// use std::sync::Arc;
    /// let log = Log::options()
    ///     .retention_bytes(64 << 20)
    ///     .archive(Arc::new(ArchiveDir::new(dir.join("archive"))?))
    ///     .open(dir.join("log"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn archive(mut self, archive: Arc<dyn Archive>) -> LogOptions {
        self.archive = Some(ArchiveHook(archive));
        self
    }
}

impl Inner {
    /// Whether the log or its archive has an offset. No lock may be held (I10).
    pub(crate) fn is_archived(&self, offset: Offset) -> Result<bool> {
        let Some(archive) = &self.options.archive else { return Ok(false) };
        archive.holds(self.meta.log_id, offset)
    }

    pub(crate) fn has_archive(&self) -> bool {
        self.options.archive.is_some()
    }

    /// The lowest offset a consumer may commit: with an archive, its position may lie there.
    pub(crate) fn committable_start(&self) -> Offset {
        match self.has_archive() {
            true => Offset::ZERO,
            false => self.log_start_offset(),
        }
    }
}
