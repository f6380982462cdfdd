//! Reading a log that somebody else writes: another process, or another handle of this one.
//!
//! Floor 4. Takes no lock, never writes, never repairs, never creates. Follows by polling: `watch`
//! keeps what is known of the log, `files` which files it has, `tail` looks for whole batches
//! behind its end, `regime` looks at the checkpoint for another open of the log, `reader` hands the
//! batches out.

mod files;
pub(crate) mod reader;
mod regime;
mod tail;
mod timestamp;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::disk::target;
use crate::log::follow::watch::Watch;
use crate::log::options::{IoMode, millis};
use crate::log::{Log, OffsetSpec, Visibility};
use crate::sys::sync::Mutex;
use crate::sys::{FileKind, OsStorage, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

/// A log opened for reading only, while somebody else may be writing it.
///
/// It takes no lock and needs none: any number of processes can follow a log that one process
/// writes. It never changes a byte of the directory, and works where the directory cannot be
/// written. What it knows comes from polls, which [`ReadOnlyLog::refresh`], a reader at the end and
/// [`ReadOnlyLog::wait_for`] make; between polls it stands still. Handles are cheap to clone and
/// can be used from any thread.
///
/// What is read is whole, in order, and as it was appended. A record may be read a moment before
/// the writer's `append` returns, and before it is durable. If a recovery then takes it again,
/// readers go back to where the log was cut and count it: see
/// [`FollowReader::retracted`](crate::FollowReader::retracted).
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use forebay::{Log, OffsetSpec};
/// let writer = Log::open(dir)?; // usually in another process
/// let log = Log::open_read_only(dir)?;
/// let mut reader = log.reader(OffsetSpec::Earliest)?;
/// writer.append("21.5 C")?;
/// let batch = reader.next().expect("it is there now")?;
/// assert_eq!(batch.records().next().unwrap()?.value(), b"21.5 C");
/// assert!(reader.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ReadOnlyLog {
    inner: Arc<Following>,
}

/// What all handles and readers of one followed log share.
struct Following {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    poll_interval: Duration,
    watch: Mutex<Watch>,
}

/// How a log is opened for reading only.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path(); forebay::Log::open(dir)?;
/// use forebay::ReadOnlyLog;
/// use std::time::Duration;
/// let log = ReadOnlyLog::options().poll_interval(Duration::from_millis(20)).open(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "options do nothing until they open a log"]
pub struct ReadOnlyOptions {
    #[serde(rename = "poll_interval_ms", with = "millis")]
    poll_interval: Duration,
    io_mode: IoMode,
}

impl Default for ReadOnlyOptions {
    fn default() -> ReadOnlyOptions {
        ReadOnlyOptions {
            poll_interval: Duration::from_millis(limits::POLL_MILLIS_DEFAULT),
            io_mode: IoMode::Auto,
        }
    }
}

impl ReadOnlyOptions {
    /// How often [`ReadOnlyLog::wait_for`] looks while it waits: 1 to 50 ms, 5 ms unless set. It is
    /// how late a record is seen at most, and what waiting costs: a look that finds nothing is six
    /// system calls, or seven for a log that was closed.
    pub fn poll_interval(mut self, interval: Duration) -> ReadOnlyOptions {
        self.poll_interval = interval;
        self
    }

    /// How files are read. [`IoMode::Auto`], unless set, maps sealed durable segments where the
    /// writer would map files; [`IoMode::Positioned`] maps nothing. What may still be cut is never
    /// mapped.
    pub fn io_mode(mut self, mode: IoMode) -> ReadOnlyOptions {
        self.io_mode = mode;
        self
    }

    /// Opens the log in `dir` for reading only: see [`Log::open_read_only`].
    ///
    /// # Errors
    /// Those of [`Log::open_read_only`]; [`InvalidArgument`](ErrorKind::InvalidArgument) if an
    /// option cannot work; [`Unsupported`](ErrorKind::Unsupported) for [`IoMode::Mapped`] where
    /// files cannot be mapped.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<ReadOnlyLog> {
        open_on(Arc::new(OsStorage), dir.as_ref(), &self)
    }

    /// Opens a log on a simulated disk for reading only, as [`ReadOnlyOptions::open`] does on a
    /// real one.
    ///
    /// # Errors
    /// As [`ReadOnlyOptions::open`].
    #[cfg(feature = "simulation")]
    pub fn open_on(
        self,
        disk: &crate::sys::sim::Disk,
        dir: impl AsRef<Path>,
    ) -> Result<ReadOnlyLog> {
        open_on(Arc::new(disk.clone()), dir.as_ref(), &self)
    }

    fn check(&self) -> Result<()> {
        let allowed = limits::POLL_MILLIS_MIN..=limits::POLL_MILLIS_MAX;
        let millis = u64::try_from(self.poll_interval.as_millis()).unwrap_or(u64::MAX);
        if allowed.contains(&millis) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "poll_interval_ms is {millis}, allowed is {} to {}",
            allowed.start(),
            allowed.end()
        )))
    }
}

impl Log {
    /// Opens the log in `dir` for reading only, with the default options, while somebody else may
    /// be writing it; it may be closed, live, or what a crash left.
    ///
    /// Blocks for reading what is not known to be durable, at most about a segment.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is no log;
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `dir` is a file, or holds a snapshot that
    /// is not complete; [`ReadOnly`](ErrorKind::ReadOnly) if the files may not be read;
    /// [`UnsupportedFormat`](ErrorKind::UnsupportedFormat) if a newer version wrote them;
    /// [`Io`](ErrorKind::Io) as the system says.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<ReadOnlyLog> {
        ReadOnlyLog::options().open(dir)
    }
}

fn open_on(
    storage: Arc<dyn Storage>,
    dir: &Path,
    options: &ReadOnlyOptions,
) -> Result<ReadOnlyLog> {
    options.check()?;
    let looked = |error| Error::io("cannot look at the directory", dir, error);
    let dir = storage.absolute(dir).map_err(looked)?;
    match storage.kind(&dir).map_err(looked)? {
        Some(FileKind::Dir) => {}
        Some(_) => {
            let text = "a log's directory is expected, this is no directory";
            return Err(Error::invalid(text).at(&dir));
        }
        None => return Err(no_log(&dir)),
    }
    target::check_finished(&*storage, &dir)?;
    let unmappable = storage.medium(&dir).unmappable;
    let mapped = match (options.io_mode, unmappable) {
        (IoMode::Positioned, _) => false,
        (IoMode::Mapped, Some(why)) => {
            let text = format!("files here cannot be mapped: {why}");
            return Err(Error::new(ErrorKind::Unsupported, text).at(&dir));
        }
        (_, unmappable) => unmappable.is_none(),
    };
    let watch = Watch::begin(&storage, &dir, mapped)?;
    let poll_interval = options.poll_interval;
    let inner = Following { storage, dir, poll_interval, watch: Mutex::new(watch) };
    Ok(ReadOnlyLog { inner: Arc::new(inner) })
}

#[cold]
fn no_log(dir: &Path) -> Error {
    Error::new(ErrorKind::NotFound, "there is no log").at(dir)
}

impl ReadOnlyLog {
    /// The options to open a log for reading with, at their defaults.
    pub fn options() -> ReadOnlyOptions {
        ReadOnlyOptions::default()
    }

    /// The log's identity; `None` if `log.meta` and every slot of the checkpoint are lost.
    #[must_use]
    pub fn id(&self) -> Option<LogId> {
        self.inner.watch.lock().id()
    }

    /// The directory, from the root.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The first offset that can be read, as of the last poll.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.inner.watch.lock().start()
    }

    /// One past the last record that was seen whole, as of the last poll. It falls if a recovery
    /// cut the log below it.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.inner.watch.lock().end()
    }

    /// One past the last record that is known to survive a power cut, as of the last poll.
    ///
    /// The checkpoint says so; it may lag behind what the writer knows, and is never above
    /// [`ReadOnlyLog::log_end_offset`]. Nothing below it is ever retracted.
    #[must_use]
    pub fn durable_offset(&self) -> Offset {
        self.inner.watch.lock().durable()
    }

    /// Polls: looks at the files for what changed, and reads what is new to its end.
    ///
    /// Costs six system calls where nothing changed, seven for a log that was closed. Blocks for
    /// other polls of the same log, and for reading what came in.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if the directory is gone;
    /// [`Conflict`](ErrorKind::Conflict) if another log stands there now: open it anew;
    /// [`UnsupportedFormat`](ErrorKind::UnsupportedFormat) once a newer version wrote there;
    /// [`Io`](ErrorKind::Io) and [`ReadOnly`](ErrorKind::ReadOnly) as the system says. A later call
    /// tries again.
    pub fn refresh(&self) -> Result<()> {
        self.inner.watch.lock().refresh()
    }

    /// Waits until the record at `offset` can be read, at most for `timeout`; whether it can.
    ///
    /// Polls, and sleeps for the poll interval in between. With [`Visibility::Durable`] the record
    /// has to be durable as well.
    ///
    /// # Errors
    /// Those of [`ReadOnlyLog::refresh`]; [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) for a
    /// negative offset.
    pub fn wait_for(
        &self,
        offset: Offset,
        visibility: Visibility,
        timeout: Duration,
    ) -> Result<bool> {
        if offset < Offset::ZERO {
            return Err(self.out_of_range(offset));
        }
        let storage = &*self.inner.storage;
        let begin = storage.now_mono();
        loop {
            let end = {
                let mut watch = self.inner.watch.lock();
                watch.refresh()?;
                watch.visible_end(visibility)
            };
            if end > offset {
                return Ok(true);
            }
            let left = timeout.saturating_sub(storage.now_mono().saturating_sub(begin));
            if left.is_zero() {
                return Ok(false);
            }
            let pause = left.min(self.inner.poll_interval);
            storage.sleep(pause);
            storage.slept(pause);
        }
    }

    /// Where an offset specification points now.
    fn resolve(&self, spec: OffsetSpec) -> Result<Offset> {
        let mut watch = self.inner.watch.lock();
        let valid = watch.start()..watch.end();
        match spec {
            OffsetSpec::Timestamp(time) => watch.first_at(time),
            OffsetSpec::Earliest => Ok(valid.start),
            OffsetSpec::Latest => Ok(valid.end),
            OffsetSpec::At(offset) if offset >= valid.start && offset <= valid.end => Ok(offset),
            OffsetSpec::At(offset) => {
                drop(watch);
                Err(self.out_of_range(offset))
            }
        }
    }

    #[cold]
    fn out_of_range(&self, offset: Offset) -> Error {
        Error::new(ErrorKind::OffsetOutOfRange, "the offset cannot be read")
            .at(&self.inner.dir)
            .offset(offset)
            .range(self.log_start_offset()..self.log_end_offset())
    }
}

impl fmt::Debug for ReadOnlyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyLog")
            .field("dir", &self.dir())
            .field("log_start_offset", &self.log_start_offset())
            .field("durable_offset", &self.durable_offset())
            .field("log_end_offset", &self.log_end_offset())
            .finish_non_exhaustive()
    }
}
