//! Another log as the upstream: a copy on a second disk, and the test of everything above it.
//!
//! Floor 6. Same offsets, the same bytes, a seal of its own. What it has is its log end: nothing
//! about progress is stored beside the records themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{FlushPolicy, Log, LogOptions, Offset, RecordBatch, Result, Resume, Source, Upstream};

/// Ships into a log in another directory, a mirror of the source: one source each.
///
/// The directory is created at the first connect. While the link is up the mirror is open for
/// writing; after an error it is closed and opened again.
#[derive(Debug)]
pub struct LogUpstream {
    dir: PathBuf,
    options: LogOptions,
    log: Option<Log>,
}

impl LogUpstream {
    /// The mirror in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> LogUpstream {
        let options = Log::options().flush(FlushPolicy::Manual);
        LogUpstream { dir: dir.into(), options, log: None }
    }

    /// How the mirror is opened. It is flushed before anything is acknowledged, whatever its
    /// flush policy.
    #[must_use]
    pub fn options(mut self, options: LogOptions) -> LogUpstream {
        self.options = options;
        self
    }

    /// The mirror's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn log(&self) -> Result<&Log> {
        self.log.as_ref().ok_or_else(|| crate::Error::upstream("the mirror is not open"))
    }
}

impl Upstream for LogUpstream {
    fn connect(&mut self, source: &mut Source<'_>) -> Result<Resume> {
        let log = self.options.clone().mirror_of(source.log_id()).open(&self.dir)?;
        // What a killed process left may not be durable yet; only what is counts as there.
        let durable = log.flush()?;
        self.log = Some(log);
        Ok(Resume::at(durable))
    }

    fn send(&mut self, batch: &RecordBatch, _: &mut Source<'_>) -> Result<()> {
        self.log()?.append_mirrored(batch).map(drop)
    }

    fn acknowledge(&mut self, _: Duration, _: &mut Source<'_>) -> Result<Offset> {
        self.log()?.flush()
    }

    fn disconnect(&mut self) {
        // The last handle: a clean close, or after a failed sync none.
        self.log = None;
    }
}
