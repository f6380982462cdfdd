//! Ships a log to an upstream, in order and once.
//!
//! Floor 6: uses only what the crate exports. `engine` decides what is next, without sockets or
//! clock; `driver` does it, step by step; a thread of its own, or the application's loop, makes the
//! steps; `upstream` is what receives.

mod backoff;
mod driver;
mod engine;
#[cfg(feature = "kafka")]
mod kafka;
mod log_upstream;
mod notices;
mod patience;
mod turns;
mod upstream;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use crate::{
    ConsumerOptions, Error, ErrorKind, Log, Offset, OffsetSpec, Result, Timestamp, Visibility,
};
use driver::{Driver, IDLE_STEP, Next};
use notices::Notices;

#[cfg(feature = "kafka")]
pub use kafka::{Connection, KafkaUpstream, Network, Sasl, Tls, UpstreamPartition};
pub use log_upstream::LogUpstream;
pub use notices::ReplicatorNotice;
pub use turns::{ReplicatorTurns, Turn};
pub use upstream::{Delivery, Resume, Source, Upstream, UpstreamStatus};

/// How a replicator behaves; the defaults suit a link that comes and goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "options do nothing until they are passed on"]
pub struct ReplicatorOptions {
    backoff_min_ms: u64,
    backoff_max_ms: u64,
    in_flight_bytes: u64,
    acknowledge_timeout_ms: u64,
    bytes_per_second: Option<u64>,
}

impl Default for ReplicatorOptions {
    fn default() -> ReplicatorOptions {
        ReplicatorOptions {
            backoff_min_ms: 100,
            backoff_max_ms: 30_000,
            in_flight_bytes: 2 << 20,
            acknowledge_timeout_ms: 30_000,
            bytes_per_second: None,
        }
    }
}

impl ReplicatorOptions {
    /// The defaults.
    pub fn new() -> ReplicatorOptions {
        ReplicatorOptions::default()
    }

    /// How long to wait between tries: a random time from 0 to a bound that doubles from `min` to
    /// `max` with every failure in a row (full jitter, so that a fleet does not come back at once).
    /// 100 ms to 30 s unless set.
    pub fn backoff(mut self, min: Duration, max: Duration) -> ReplicatorOptions {
        self.backoff_min_ms = millis(min);
        self.backoff_max_ms = millis(max).max(self.backoff_min_ms);
        self
    }

    /// Where the bound on the wait between tries begins, as in [`ReplicatorOptions::backoff`];
    /// 100 ms unless set.
    pub fn backoff_min(mut self, min: Duration) -> ReplicatorOptions {
        self.backoff_min_ms = millis(min);
        self
    }

    /// Where it stops to double; 30 s unless set, and never below the one where it begins.
    pub fn backoff_max(mut self, max: Duration) -> ReplicatorOptions {
        self.backoff_max_ms = millis(max);
        self
    }

    /// Bytes handed to the upstream and not acknowledged yet, at most; 2 MiB unless set. One batch
    /// is always allowed.
    pub fn in_flight_bytes(mut self, bytes: u64) -> ReplicatorOptions {
        self.in_flight_bytes = bytes;
        self
    }

    /// How long an acknowledgement may stay out before the link is taken for dead; 30 s unless set.
    /// On a link that is slow it is longer: twice as long with each time in a row that it ran out,
    /// up to 32 times, and half of that again once acknowledgements come within a quarter of it.
    pub fn acknowledge_timeout(mut self, timeout: Duration) -> ReplicatorOptions {
        self.acknowledge_timeout_ms = millis(timeout);
        self
    }

    /// Bytes handed to the upstream in a second, at most, so that a backlog does not take the whole
    /// link; as many as it takes unless set. A batch is not split for it.
    pub fn bytes_per_second(mut self, bytes: u64) -> ReplicatorOptions {
        self.bytes_per_second = Some(bytes);
        self
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the link is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkState {
    /// Being opened.
    #[default]
    Connecting,
    /// Up.
    Connected,
    /// Down; opened again after [`ReplicatorStatus::retry_in`].
    Waiting,
    /// The replicator was stopped, or its log was closed.
    Stopped,
}

/// How far a replicator has come, and what it is doing.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ReplicatorStatus {
    /// What the link is doing.
    pub link: LinkState,
    /// Every record below it is known to be durable upstream.
    pub committed: Offset,
    /// Records of the log above it.
    pub lag_records: u64,
    /// Records handed to the upstream, those sent again included.
    pub records_sent: u64,
    /// Of these, records that were sent again, for they were not known to have arrived.
    pub records_resent: u64,
    /// Batches handed to the upstream, those sent again included.
    pub batches_sent: u64,
    /// Bytes handed to the upstream, those sent again included.
    pub bytes_sent: u64,
    /// Times the link was opened.
    pub connects: u64,
    /// Times it could not be opened, or broke.
    pub failures: u64,
    /// Times the upstream had less than it had acknowledged, and was given it again.
    pub rewinds: u64,
    /// Records that could not be read in the log, damaged or deleted before they were shipped, and
    /// so were passed over.
    pub unreadable_records: u64,
    /// How long until the next try, while the link is [`LinkState::Waiting`].
    pub retry_in: Option<Duration>,
    /// The last error, with what to do about it.
    pub last_error: Option<String>,
    /// Its kind: a [`Conflict`](ErrorKind::Conflict) or a refusal wants a person, a broken link
    /// does not.
    pub last_error_kind: Option<ErrorKind>,
    /// About how many bytes they take, by the mean size of the log's records.
    pub lag_bytes: u64,
    /// Time of the oldest record that is not known to be durable upstream, `None` without lag.
    pub oldest: Option<Timestamp>,
    /// What the upstream tells.
    pub upstream: UpstreamStatus,
}

/// Ships the durable records of a log to an upstream, on one thread of its own.
///
/// Only what survives a power cut is shipped (I16). After a kill or a power cut on either side the
/// upstream is asked what it has, and shipping resumes exactly there: nothing is lost, nothing is
/// there twice. Progress is kept in the log as a consumer of the replicator's name.
///
/// Dropping it stops it. Closing the log, or its store, ends it too, whatever the link does: within
/// a tenth of a second, or if a call into the upstream is under way then, when that returns: to
/// Kafka brokers that say nothing, when the timeouts of those that are tried have run out. Then its
/// state is [`LinkState::Stopped`], and who waits here is told.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use forebay::{Log, LogUpstream, Replicator, ReplicatorOptions};
/// use std::time::Duration;
/// let log = Log::open(dir.join("edge"))?;
/// let upstream = LogUpstream::new(dir.join("second-disk"));
/// let replicator = Replicator::start(&log, "copy", upstream, ReplicatorOptions::new())?;
/// log.append("21.5 C")?;
/// log.flush()?;
/// assert!(replicator.wait_until(log.log_end_offset(), Duration::from_secs(60))?);
/// replicator.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a replicator that is dropped stops"]
pub struct Replicator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    log: Log,
    process: u32,
}

/// Time since any moment, by a clock that never goes back.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// What the driver and its handle share.
struct Shared {
    clock: Clock,
    status: Mutex<Progress>,
    /// The status changed, or the replicator is to stop.
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    status: ReplicatorStatus,
    retry_at: Option<Duration>,
    notices: Notices,
    stop: bool,
}

impl Progress {
    /// Tells what happened.
    fn look(&mut self) {
        self.notices.look(&self.status);
    }
}

impl Shared {
    fn now(&self) -> Duration {
        (self.clock)()
    }

    fn status(&self, log: &Log) -> ReplicatorStatus {
        let progress = self.status.lock();
        let mut status = progress.status.clone();
        let retry_at = progress.retry_at;
        drop(progress);
        status.retry_in = retry_at.map(|at| at.saturating_sub(self.now()));
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        status.lag_records = (end - status.committed).max(0).unsigned_abs();
        if status.lag_records > 0 {
            let records = u128::from((end - start).max(1).unsigned_abs());
            let bytes = u128::from(log.stats().batch_bytes) * u128::from(status.lag_records);
            status.lag_bytes = u64::try_from(bytes / records).unwrap_or(u64::MAX);
            status.oldest = oldest(log, status.committed.max(start));
        }
        status
    }

    /// Says that nothing is shipped any more.
    fn end(&self) {
        let mut progress = self.status.lock();
        progress.status.link = LinkState::Stopped;
        progress.retry_at = None;
        progress.look();
        self.changed.notify_all();
    }
}

/// The time of the first record from an offset on.
fn oldest(log: &Log, from: Offset) -> Option<Timestamp> {
    let batch = log.reader(OffsetSpec::At(from)).ok()?.next()?.ok()?;
    batch.records().next()?.ok().map(|record| record.timestamp())
}

/// Opens the consumer that progress is kept under, and makes what ships by it.
fn driver(
    log: &Log,
    name: &str,
    upstream: Box<dyn Upstream>,
    options: &ReplicatorOptions,
    clock: Clock,
) -> Result<(Driver, Arc<Shared>)> {
    let durable = ConsumerOptions::new().visibility(Visibility::Durable);
    let mut consumer = log.consumer_with(name, durable)?;
    upstream::note_loss(log, &mut consumer)?;
    let status = ReplicatorStatus { committed: consumer.committed(), ..Default::default() };
    let status = Mutex::new(Progress { status, ..Progress::default() });
    let shared = Arc::new(Shared { clock, status, changed: Condvar::new() });
    Ok((Driver::new(log.clone(), consumer, upstream, options, Arc::clone(&shared)), shared))
}

/// Steps until it is told to stop.
fn run(driver: Driver, log: &Log, shared: &Arc<Shared>) {
    // Dropped last: who waits for the end is not kept by what the upstream's own drop does.
    let _ended = Ended(Arc::clone(shared));
    let mut driver = driver;
    while !shared.status.lock().stop {
        match driver.step() {
            Next::Step => {}
            Next::Records(offset, at_most) => {
                // What is wrong with the log is found by the next step.
                let _ = log.wait_for(offset, Visibility::Durable, at_most);
            }
            Next::Later(wait) => pause(shared, wait.min(IDLE_STEP)),
            Next::End => break,
        }
    }
    driver.end();
}

/// Sleeps until the time is over or the replicator is to stop.
fn pause(shared: &Shared, wait: Duration) {
    let deadline = shared.now().saturating_add(wait);
    let mut progress = shared.status.lock();
    while !progress.stop {
        let left = deadline.saturating_sub(shared.now());
        if left.is_zero() {
            break;
        }
        shared.changed.wait_for(&mut progress, left);
    }
}

/// Says that the thread is over, also when the upstream panicked.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Replicator {
    /// Starts shipping `log` to `upstream`; `name` is the consumer its progress is kept under.
    ///
    /// # Errors
    /// Those of [`Log::consumer_with`]: a name that is taken or cannot be one, a closed log; and
    /// [`Io`](crate::ErrorKind::Io) if no thread can be started.
    pub fn start(
        log: &Log,
        name: &str,
        upstream: impl Upstream + 'static,
        options: ReplicatorOptions,
    ) -> Result<Replicator> {
        let started = std::time::Instant::now();
        let clock = Box::new(move || started.elapsed());
        let (driver, shared) = driver(log, name, Box::new(upstream), &options, clock)?;
        let (thread_log, thread_shared) = (log.clone(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("forebay-replicator".to_owned())
            .spawn(move || run(driver, &thread_log, &thread_shared))
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("cannot start the replicator's thread: {error}"))
            })?;
        let process = std::process::id();
        Ok(Replicator { shared, thread: Some(thread), log: log.clone(), process })
    }

    /// How far it has come, and what it is doing. With a lag it costs what [`Log::stats`] does, and
    /// the reading of one batch.
    #[must_use]
    pub fn status(&self) -> ReplicatorStatus {
        if let Err(error) = self.check_process() {
            let last_error = Some(error.to_string());
            return ReplicatorStatus { link: LinkState::Stopped, last_error, ..Default::default() };
        }
        self.shared.status(&self.log)
    }

    /// The next thing that happened to it, in order; waits for one for `timeout` at most. 64 wait
    /// to be taken; who takes none loses the oldest, and is told how many.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// # use forebay::{Log, LogUpstream, Replicator, ReplicatorNotice, ReplicatorOptions};
    /// # use std::time::Duration;
    /// # let log = Log::open(dir.join("edge"))?;
    /// # let upstream = LogUpstream::new(dir.join("second-disk"));
    /// let replicator = Replicator::start(&log, "copy", upstream, ReplicatorOptions::new())?;
    /// while let Some(notice) = replicator.next_notice(Duration::from_secs(60)) {
    ///     match notice {
    ///         ReplicatorNotice::Failed { error, .. } => eprintln!("the link is down: {error}"),
    ///         ReplicatorNotice::CaughtUp { committed } => {
    ///             println!("all below {committed} is upstream");
    ///             break;
    ///         }
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn next_notice(&self, timeout: Duration) -> Option<ReplicatorNotice> {
        self.check_process().ok()?;
        let deadline = self.shared.now().saturating_add(timeout);
        let mut progress = self.shared.status.lock();
        loop {
            if let Some(notice) = progress.notices.take() {
                return Some(notice);
            }
            let left = deadline.saturating_sub(self.shared.now());
            if left.is_zero() || progress.status.link == LinkState::Stopped {
                return None;
            }
            self.shared.changed.wait_for(&mut progress, left);
        }
    }

    /// Waits until every record below `offset` is known to be durable upstream, at most for
    /// `timeout`; whether it is. Records that are not durable here yet are not shipped: flush
    /// first, or let the policy do it.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) if the replicator stopped before.
    pub fn wait_until(&self, offset: Offset, timeout: Duration) -> Result<bool> {
        self.check_process()?;
        let deadline = self.shared.now().checked_add(timeout);
        let mut progress = self.shared.status.lock();
        loop {
            if progress.status.committed >= offset {
                return Ok(true);
            }
            if progress.status.link == LinkState::Stopped {
                let why = progress.status.last_error.as_deref().unwrap_or("it was told to");
                return Err(Error::new(
                    ErrorKind::Closed,
                    format!("the replicator stopped: {why}"),
                ));
            }
            match deadline {
                None => self.shared.changed.wait(&mut progress),
                Some(at) => {
                    let left = at.saturating_sub(self.shared.now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    self.shared.changed.wait_for(&mut progress, left);
                }
            }
        }
    }

    /// Stops shipping and closes the link. What is in flight is accounted for by the next start.
    /// Blocks until a call into the upstream that is under way returns.
    ///
    /// # Errors
    /// [`Upstream`](crate::ErrorKind::Upstream) if the upstream panicked.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// Tells it to stop, and waits for that at most for `timeout`; whether it has stopped. If not,
    /// a call into the upstream is still under way, against a broker that says nothing for as long
    /// as its request timeout. Behind it nothing more is sent. Ask again, or leave it:
    /// [`Replicator::stop`] and dropping it block until that call returns. Once this was true they
    /// do not block, and `stop` says how it ended.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) in a forked child.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// # use forebay::{Log, LogUpstream, Replicator, ReplicatorOptions};
    /// # use std::time::Duration;
    /// # let log = Log::open(dir.join("edge"))?;
    /// # let upstream = LogUpstream::new(dir.join("second-disk"));
    /// let replicator = Replicator::start(&log, "copy", upstream, ReplicatorOptions::new())?;
    /// while !replicator.stop_within(Duration::from_secs(1))? {
    ///     println!("the upstream has not answered yet");
    /// }
    /// replicator.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop_within(&self, timeout: Duration) -> Result<bool> {
        self.check_process()?;
        let deadline = self.shared.now().checked_add(timeout);
        let mut progress = self.shared.status.lock();
        progress.stop = true;
        self.shared.changed.notify_all();
        while progress.status.link != LinkState::Stopped {
            let Some(at) = deadline else {
                self.shared.changed.wait(&mut progress);
                continue;
            };
            let left = at.saturating_sub(self.shared.now());
            if left.is_zero() {
                return Ok(false);
            }
            self.shared.changed.wait_for(&mut progress, left);
        }
        Ok(true)
    }

    /// In a forked child there is no thread to wait for, and nobody to give a lock back.
    fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let text = "the replicator belongs to the process that forked this one";
        Err(Error::new(ErrorKind::Closed, text))
    }

    fn end(&mut self) -> Result<()> {
        self.check_process()?;
        self.shared.status.lock().stop = true;
        self.shared.changed.notify_all();
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(Error::upstream("the upstream panicked; nothing was lost")),
            _ => Ok(()),
        }
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        // A panic of the upstream has been printed; `stop` reports it.
        let _ = self.end();
    }
}

impl fmt::Debug for Replicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicator").field("status", &self.status()).finish_non_exhaustive()
    }
}
