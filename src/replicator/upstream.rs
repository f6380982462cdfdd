//! The seam between the replicator and whatever receives.
//!
//! Floor 6.

use std::time::Duration;

use serde::Serialize;

use crate::{Consumer, Log, LogId, Offset, RecordBatch, Result};

/// What receives batches. Implement it for any link; [`LogUpstream`](crate::LogUpstream) ships
/// into another log.
///
/// The replicator calls it from one thread: connect, then sends and acknowledgements in any
/// mixture, and disconnect after every error. A call may block; stopping the replicator waits for
/// it. Errors of a link are made with [`Error::upstream`](crate::Error::upstream).
pub trait Upstream: Send {
    /// Opens the link, and asks the upstream how far it has come: that has to be asked, not
    /// remembered, for an acknowledgement may have been lost on its way.
    ///
    /// # Errors
    /// Any: the replicator disconnects and tries again after a backoff.
    fn connect(&mut self, source: &mut Source<'_>) -> Result<Resume>;

    /// Hands over the next batch; it need not be durable when this returns. Batches come in order;
    /// one may begin above the end of the last one where the log has nothing in between. Its
    /// records begin where shipping resumed, if that lies inside it.
    ///
    /// # Errors
    /// Any; whether the batch arrived is asked at the next connect.
    fn send(&mut self, batch: &RecordBatch, source: &mut Source<'_>) -> Result<()>;

    /// Waits at most `max_wait` for some of what was sent to become durable upstream, and returns
    /// the offset below which everything is.
    ///
    /// # Errors
    /// Any; what arrived is asked at the next connect.
    fn acknowledge(&mut self, max_wait: Duration, source: &mut Source<'_>) -> Result<Offset>;

    /// Closes the link. Called after any error and at the end, also when it is closed already.
    fn disconnect(&mut self);

    /// For how long the upstream asked not to be sent anything; zero unless it says so.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    /// What it has to tell beside how far it has come.
    fn status(&self) -> UpstreamStatus {
        UpstreamStatus::default()
    }
}

/// Where shipping goes on after the link was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resume {
    /// The first offset the upstream does not have.
    pub from: Offset,
    /// The offset below which it has everything durably, at most `from`.
    pub acknowledged: Offset,
}

impl Resume {
    /// Everything below `offset` is durable upstream, and shipping resumes there.
    #[must_use]
    pub fn at(offset: Offset) -> Resume {
        Resume { from: offset, acknowledged: offset }
    }

    /// The upstream has what lies below `from`, but may still lose what lies above `acknowledged`.
    #[must_use]
    pub fn unsure(from: Offset, acknowledged: Offset) -> Resume {
        Resume { from, acknowledged: acknowledged.min(from) }
    }
}

/// Kept in the place of what every copy of was damaged, until something else is: a restart does not
/// see the damage any more.
const PROGRESS_LOST: &[u8] = b"\0lost";

/// Notes it where the log has just found out.
pub(super) fn note_loss(log: &Log, consumer: &mut Consumer) -> Result<()> {
    if !log.recovery().checkpoint_lost || !consumer.metadata().is_empty() {
        return Ok(());
    }
    consumer.commit_with(consumer.committed(), PROGRESS_LOST)?;
    consumer.sync()
}

/// The log, as an upstream sees it.
#[derive(Debug)]
pub struct Source<'a> {
    log: &'a Log,
    consumer: &'a mut Consumer,
    noted: Option<Vec<u8>>,
    acknowledged: Option<Offset>,
}

impl<'a> Source<'a> {
    pub(super) fn new(log: &'a Log, consumer: &'a mut Consumer) -> Source<'a> {
        Source { log, consumer, noted: None, acknowledged: None }
    }

    /// The log's identity.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log.id()
    }

    /// The log, to read what was shipped before.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.log
    }

    /// A number for the device that the log lies on and the board it is in, as their makers name
    /// them: by it a copy of the disk is told from the disk. `None` where nothing is known.
    #[must_use]
    pub fn hardware(&self) -> Option<u64> {
        self.log.hardware()
    }

    /// The first offset it still has.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log.log_start_offset()
    }

    /// One past the last offset that is shipped.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.log.durable_offset()
    }

    /// The offset below which this upstream acknowledged everything.
    #[must_use]
    pub fn committed(&self) -> Offset {
        self.consumer.committed()
    }

    /// What the upstream kept with the log, up to 255 bytes; empty if nothing was.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        match self.noted.as_deref().unwrap_or_else(|| self.consumer.metadata()) {
            PROGRESS_LOST => &[],
            kept => kept,
        }
    }

    /// Whether what was acknowledged, and what was kept, is not known any more: every copy of it
    /// was damaged, and nothing was kept since.
    #[must_use]
    pub fn is_progress_lost(&self) -> bool {
        self.noted.is_none() && self.consumer.metadata() == PROGRESS_LOST
    }

    /// Keeps bytes with the log. They survive a power cut when this returns; costs a device flush.
    ///
    /// # Errors
    /// Those of [`Consumer::commit_with`] and [`Consumer::sync`]. The bytes may or may not be kept
    /// then.
    pub fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        self.noted = None;
        // What was deleted meanwhile cannot be committed to; the records behind it can.
        let committed = self.consumer.committed().max(self.log_start());
        let below = self.acknowledged.take().map_or(committed, |below| below.max(committed));
        self.consumer.commit_with(below, bytes)?;
        self.consumer.sync()
    }

    /// Everything below `offset` is durable upstream. Committed when the call ends, also if it
    /// fails: for what is learned beside what the call returns.
    pub fn acknowledged(&mut self, offset: Offset) {
        self.acknowledged = self.acknowledged.max(Some(offset));
    }

    /// Keeps bytes with the log as soon as the committed offset moves, and as safely as that.
    pub fn note(&mut self, bytes: &[u8]) {
        self.noted = Some(bytes.to_vec());
    }

    /// What was noted, and acknowledged.
    pub(super) fn into_noted(self) -> (Option<Vec<u8>>, Option<Offset>) {
        (self.noted, self.acknowledged)
    }
}

/// What an upstream tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Requests with records that were sent and not answered.
    pub in_flight: usize,
    /// Where upstream the last acknowledged record stands.
    pub upstream_offset: Option<i64>,
    /// Offsets of records here and where they stand upstream, the youngest last: a sparse map.
    pub offset_map: Vec<(Offset, i64)>,
    /// Times that shipping went on behind offsets which the log does not have any more.
    pub gaps: u64,
    /// Offsets in these gaps.
    pub gap_records: u64,
    /// Records the upstream refused, which went to the dead-letter log.
    pub refused: u64,
    /// Records that may stand upstream twice, for nobody can tell whether they arrived.
    pub maybe_doubled: u64,
    /// Times another device was found to ship under this one's identity: a copied disk.
    pub identity_shared: u64,
    /// Batches that were sent as they are stored: no record of them was decoded.
    pub sent_as_stored: u64,
    /// Batches whose records were encoded anew: small ones put together, large ones split.
    pub sent_encoded: u64,
    /// How sure it is that nothing is shipped twice.
    pub delivery: Delivery,
    /// Settings of the upstream that will do harm, each with what to change.
    pub warnings: Vec<String>,
}

impl UpstreamStatus {
    /// Where upstream the record of this offset stands, by the sparse map: exactly there if nobody
    /// else writes to that partition and no gap lies between it and the place before it in the map,
    /// else near there. `None` if it is older than the map, or not known to have arrived.
    #[must_use]
    pub fn upstream_offset_of(&self, offset: Offset) -> Option<i64> {
        let behind = self.offset_map.partition_point(|(here, _)| *here <= offset);
        let (here, there) = self.offset_map.get(behind.checked_sub(1)?)?;
        let place = there.checked_add(offset - *here)?;
        self.upstream_offset.is_some_and(|last| place <= last).then_some(place)
    }
}

/// What is promised of the records that arrive upstream. All of them arrive, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delivery {
    /// Each stands there once.
    #[default]
    ExactlyOnce,
    /// Each stands there, and after failures some may twice.
    AtLeastOnce,
}
