//! A replicator without a thread.
//!
//! Floor 6.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::driver::{Driver, Next};
use super::{ReplicatorNotice, ReplicatorOptions, ReplicatorStatus, Shared, Upstream, driver};
use crate::{Log, Result};

/// A [`Replicator`](crate::Replicator) that the application's own loop drives, by the
/// application's clock: for programs without threads, and for tests in virtual time.
///
/// Dropping it closes the link.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use forebay::{Log, LogUpstream, ReplicatorOptions, ReplicatorTurns, Turn};
/// let log = Log::open(dir.join("edge"))?;
/// log.append("21.5 C")?;
/// log.flush()?;
/// let upstream = LogUpstream::new(dir.join("second-disk"));
/// let started = std::time::Instant::now();
/// let clock = move || started.elapsed();
/// let mut turns = ReplicatorTurns::new(&log, "copy", upstream, &ReplicatorOptions::new(), clock)?;
/// while turns.status().committed < log.durable_offset() {
///     if let Turn::Pause(wait) = turns.turn() {
///         std::thread::sleep(wait);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a replicator that is dropped stops"]
pub struct ReplicatorTurns {
    driver: Driver,
    shared: Arc<Shared>,
    log: Log,
}

/// What follows a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turn {
    /// There is more to do at once.
    Again,
    /// Nothing is due for this long, unless records come in.
    Pause(Duration),
    /// The log was closed: nothing is shipped any more.
    Ended,
}

impl ReplicatorTurns {
    /// Makes what ships `log` to `upstream`, as [`Replicator::start`](crate::Replicator::start);
    /// `clock` tells the time since any moment and never goes back.
    ///
    /// # Errors
    /// Those of [`Log::consumer_with`].
    pub fn new(
        log: &Log,
        name: &str,
        upstream: impl Upstream + 'static,
        options: &ReplicatorOptions,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Result<ReplicatorTurns> {
        let (driver, shared) = driver(log, name, Box::new(upstream), options, Box::new(clock))?;
        Ok(ReplicatorTurns { driver, shared, log: log.clone() })
    }

    /// Does the next step: opens the link, sends a batch, or takes answers. Blocks as long as the
    /// upstream's call does. The first turn after the log, or its store, was closed says
    /// [`Turn::Ended`], whatever the link does.
    pub fn turn(&mut self) -> Turn {
        match self.driver.step() {
            Next::Step => Turn::Again,
            Next::Records(_, wait) | Next::Later(wait) => Turn::Pause(wait),
            Next::End => {
                self.shared.end();
                Turn::Ended
            }
        }
    }

    /// The next thing that happened, in order, if there is one: as [`Replicator::next_notice`].
    ///
    /// [`Replicator::next_notice`]: crate::Replicator::next_notice
    #[must_use]
    pub fn next_notice(&mut self) -> Option<ReplicatorNotice> {
        self.shared.status.lock().notices.take()
    }

    /// How far it has come, and what it is doing: see [`Replicator::status`].
    ///
    /// [`Replicator::status`]: crate::Replicator::status
    #[must_use]
    pub fn status(&self) -> ReplicatorStatus {
        self.shared.status(&self.log)
    }
}

impl Drop for ReplicatorTurns {
    fn drop(&mut self) {
        self.driver.end();
    }
}

impl fmt::Debug for ReplicatorTurns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicatorTurns").field("status", &self.status()).finish_non_exhaustive()
    }
}
