//! Single records from many threads become batches.
//!
//! Floor 4. What waits is `stage`'s, who appends it `lane`'s, and what became of it `ticket`'s
//! business. Keeps the order of what was handed in, and I10: one lock that is held while a record
//! is encoded, and none while a batch is appended.

pub(super) mod lane;
mod stage;
pub(crate) mod ticket;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::log::linger::lane::Lane;
use crate::log::linger::stage::Bounds;
use crate::log::linger::ticket::Ticket;
use crate::log::{Inner, Log, Visibility};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::record::NewRecord;

/// When a [`Linger`] appends what was handed to it, and what its tickets wait for.
///
/// The defaults: a batch of 64 KiB, or 5 ms after its first record came, as Kafka's producer has it
/// since 4.0 (`linger.ms`): long enough for company to come on a busy device, and shorter than
/// anybody notices on an idle one. Tickets wait for written records.
///
/// # Examples
/// ```
/// use forebay::{LingerOptions, Visibility};
/// use std::time::Duration;
/// let meters = LingerOptions::new()
///     .linger(Duration::from_millis(200))
///     .batch_records(1000)
///     .acknowledge(Visibility::Durable);
/// # let _ = meters;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until they are passed on"]
pub struct LingerOptions {
    linger: Duration,
    batch_bytes: Option<usize>,
    batch_records: usize,
    acknowledge: Visibility,
}

impl Default for LingerOptions {
    fn default() -> LingerOptions {
        LingerOptions {
            linger: Duration::from_millis(limits::LINGER_MILLIS_DEFAULT),
            batch_bytes: None,
            batch_records: limits::BATCH_RECORDS_MAX,
            acknowledge: Visibility::Written,
        }
    }
}

impl LingerOptions {
    /// The defaults.
    pub fn new() -> LingerOptions {
        LingerOptions::default()
    }

    /// How long the first record of a batch waits for others, to the few milliseconds that the
    /// system's coarse clock is exact to; Kafka's `linger.ms`. With zero nobody waits for company:
    /// a record is appended at once, and those that come while a batch is being appended are the
    /// next one.
    pub fn linger(mut self, linger: Duration) -> LingerOptions {
        self.linger = linger;
        self
    }

    /// The size in bytes at which a batch is appended, its header of 61 bytes included: 1 to
    /// `max_batch_bytes` of the log, 64 KiB or that unless set; Kafka's `batch.size`. A record that
    /// is larger by itself gets a batch of its own, up to `max_batch_bytes`.
    pub fn batch_bytes(mut self, bytes: usize) -> LingerOptions {
        self.batch_bytes = Some(bytes);
        self
    }

    /// The number of records at which a batch is appended; 2^31 - 1 unless set.
    pub fn batch_records(mut self, records: usize) -> LingerOptions {
        self.batch_records = records;
        self
    }

    /// What [`Ticket::wait`] and [`Linger::flush`] wait for: that the record is in the log, unless
    /// set, or with [`Visibility::Durable`] that it survives a power cut. They flush the log for
    /// it, whatever its [`FlushPolicy`](crate::FlushPolicy): all who wait share one flush.
    pub fn acknowledge(mut self, visibility: Visibility) -> LingerOptions {
        self.acknowledge = visibility;
        self
    }

    fn bounds(&self, log: &Inner) -> Result<Bounds> {
        let most = log.options.batch_bound();
        let batch_bytes =
            self.batch_bytes.unwrap_or_else(|| limits::LINGER_BATCH_BYTES_DEFAULT.min(most));
        let invalid = |text: String| Err(Error::invalid(text).at(&log.env.dir));
        if !(1..=most).contains(&batch_bytes) {
            return invalid(format!("batch_bytes is {batch_bytes}, allowed are 1 to {most}"));
        }
        match i32::try_from(self.batch_records) {
            Ok(batch_records) if batch_records > 0 => Ok(Bounds {
                batch_bytes,
                alone_bytes: most,
                batch_records,
                linger: self.linger,
                durable: self.acknowledge == Visibility::Durable,
            }),
            _ => invalid(format!(
                "batch_records is {}, allowed are 1 to {}",
                self.batch_records,
                limits::BATCH_RECORDS_MAX
            )),
        }
    }
}

/// Makes batches of single records that any number of threads append, by size, count or time.
///
/// A batch costs one header, one checksum and one lock however many records it has, so that a
/// value of 100 bytes takes 110 on the disk instead of 170. The price is time: a record is *in
/// the log* only when its batch is, which its [`Ticket`] tells.
///
/// # When a batch is appended
/// By the append that fills it or finds no more room in it; by any append that comes when its time
/// ([`LingerOptions::linger`]) is over; by the first thread that waits for one of its tickets, when
/// the time is over; by the log's own thread, or its store's, then, where there is one
/// ([`LogOptions::background`](crate::LogOptions::background)); by [`Linger::flush`], by the drop
/// of the last handle, and by the close of the log. Without a thread of the log's own, and if
/// nobody waits, flushes or appends, a record stays where it is.
///
/// # What can be lost
/// The death of the process takes records whose batch was not yet appended: all that were handed
/// in, at most `batch_bytes` and what waits in full batches before them. A record whose ticket was
/// answered is as safe as one that [`Log::append`] returned for. Nothing is lost silently: a
/// ticket gets its offset or the error, and a flush, or the close of the log, says that a batch
/// failed that nobody asked about.
///
/// # Order
/// If one append has returned before another one begins, on whatever threads, its record gets the
/// lower offset. This holds among all clones of one linger; [`Log::append`],
/// [`Log::append_at`] and other lingers of the log go past what waits here.
///
/// # Memory
/// The open batch, the one being appended, and at most four full ones between them, and two buffers
/// for the next ones. Who would add one more waits. It comes beside what
/// [`LogOptions::memory_limit_bytes`](crate::LogOptions::memory_limit_bytes) counts.
///
/// # Inside the log's own calls
/// An append from inside a hook of [`LogOptions::validate`](crate::LogOptions::validate) is one as
/// any other. From inside an [`Archive`](crate::Archive) that is called because a batch of this
/// very linger needs room, it goes behind that batch; waiting and flushing there are refused as
/// [`WouldBlock`](crate::ErrorKind::WouldBlock).
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
/// use forebay::LingerOptions;
/// let linger = log.linger(LingerOptions::new())?;
/// let tickets: Vec<_> =
///     (0..10).map(|n| linger.append(format!("21.{n} C"))).collect::<Result<_, _>>()?;
/// assert_eq!(log.log_end_offset().get(), 0, "they wait for company");
/// linger.flush()?;
/// assert_eq!(tickets[7].wait()?.get(), 7);
/// assert_eq!(log.stats().batches_appended, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Linger(Arc<Handle>);

/// What the clones share; the last one appends what waits.
struct Handle {
    log: Log,
    lane: Arc<Lane>,
}

impl Log {
    /// A way to append to this log that makes batches of single records: see [`Linger`].
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for bounds that the log does not have
    /// room for, and for a mirror, which takes batches of its source only;
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn linger(&self, options: LingerOptions) -> Result<Linger> {
        let inner = &*self.inner;
        inner.check_open()?;
        if inner.meta.source.is_some() {
            return Err(inner.mirror_refusal());
        }
        let lane = Arc::new(Lane::new(options.bounds(inner)?));
        inner.lanes.add(&lane).ok_or_else(|| inner.closed_error())?;
        Ok(Linger(Arc::new(Handle { log: self.clone(), lane })))
    }
}

impl Linger {
    /// Hands in one record, and returns what tells its offset when its batch is in the log.
    ///
    /// Blocks while this or another thread encodes a record; where the record fills a batch, until
    /// that batch is in the log; and where four full batches wait already, for the first of them.
    ///
    /// # Errors
    /// [`RecordTooLarge`](crate::ErrorKind::RecordTooLarge) above `max_batch_bytes`;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) of a
    /// [`validate`](crate::LogOptions::validate) hook, which looks at the record here;
    /// [`Poisoned`](crate::ErrorKind::Poisoned), [`Closed`](crate::ErrorKind::Closed). The record
    /// was not handed in. What stands in the way of its batch later is told to its ticket.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::{LingerOptions, NewRecord};
    /// let linger = log.linger(LingerOptions::new())?;
    /// let ticket = linger.append(NewRecord::new("21.5 C").key("sensor-7"))?;
    /// let offset = ticket.wait()?;
    /// assert!(log.log_end_offset() > offset);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn append<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<Ticket> {
        self.append_record(&record.into())
    }

    fn append_record(&self, record: &NewRecord<'_>) -> Result<Ticket> {
        let Handle { log, lane } = &*self.0;
        let inner = &*log.inner;
        if let Some(hook) = inner.hook() {
            inner.validated(&hook, record, 0)?;
        }
        if inner.failure.get().is_some() || !inner.is_own() {
            inner.check_refusal()?;
        }
        let sealed = inner.sealed(record)?;
        lane.append(log, sealed.as_ref().unwrap_or(record))
    }

    /// Appends what waits, and returns when all that was handed in before is in the log; with
    /// [`LingerOptions::acknowledge`] durable, when it survives a power cut.
    ///
    /// # Errors
    /// Those of [`Log::append_batch`], of the first batch that failed since the last flush of this
    /// linger, whether or not its tickets told it; those of [`Log::flush`]. Later appends work once
    /// what was in the way is gone. [`WouldBlock`](crate::ErrorKind::WouldBlock) from inside an
    /// append of this very linger: what waits is appended behind it.
    pub fn flush(&self) -> Result<()> {
        let Handle { log, lane } = &*self.0;
        let inner = &*log.inner;
        inner.check_open()?;
        lane.flush(inner)?;
        match lane.bounds.durable {
            true => inner.flush_until(inner.log_end_offset()).map(drop),
            false => Ok(()),
        }
    }

    /// The log it appends to.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.0.log
    }
}

impl fmt::Debug for Linger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linger")
            .field("log", &self.0.log)
            .field("bounds", &self.0.lane.bounds)
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let inner = &*self.log.inner;
        // In a forked child nothing of it is ours, and its lock may be held for ever.
        if inner.is_own() {
            // Errors have nobody to go to here; `Linger::flush` reports them.
            let _ = self.lane.flush(inner);
            inner.lanes.remove(&self.lane);
        }
    }
}
