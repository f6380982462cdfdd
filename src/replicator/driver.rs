//! Does what the engine says and tells it what happened, one step at a time.
//!
//! Floor 6. Keeps I16: the consumer it reads through sees only what is durable.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::engine::{Engine, Event, Step};
use super::upstream::{Source, Upstream};
use super::{LinkState, ReplicatorOptions, ReplicatorStatus, Shared};
use crate::{Consumer, Error, ErrorKind, Log, Offset, OffsetSpec, Result, Visibility};

/// While it waits, for records, for an answer or for the link, the thread looks this often whether
/// it is to stop, or the log was closed.
pub(super) const IDLE_STEP: Duration = Duration::from_millis(100);
/// While batches are sent one behind the other, how often the upstream is asked what it tells.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// Under a policy that never flushes by itself, how often an idle log's last records are flushed.
const IDLE_FLUSH: Duration = Duration::from_secs(1);

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next step, at once.
    Step,
    /// The next step when the log has records from this offset on, and after this time at the
    /// latest.
    Records(Offset, Duration),
    /// The next step after this time.
    Later(Duration),
    /// None: the log is closed.
    End,
}

pub(super) struct Driver {
    log: Log,
    consumer: Consumer,
    upstream: Box<dyn Upstream>,
    engine: Engine,
    shared: Arc<Shared>,
    flushed_at: Duration,
    bytes_per_second: Option<u64>,
    send_at: Duration,
    told_at: Duration,
    /// One past the highest offset that was sent.
    sent: Offset,
}

impl Driver {
    pub(super) fn new(
        log: Log,
        consumer: Consumer,
        upstream: Box<dyn Upstream>,
        options: &ReplicatorOptions,
        shared: Arc<Shared>,
    ) -> Driver {
        let backoff = Backoff::new(
            Duration::from_millis(options.backoff_min_ms),
            Duration::from_millis(options.backoff_max_ms),
            seed(&log),
        );
        let timeout = Duration::from_millis(options.acknowledge_timeout_ms);
        Driver {
            log,
            consumer,
            upstream,
            engine: Engine::new(backoff, options.in_flight_bytes, timeout),
            shared,
            flushed_at: Duration::ZERO,
            bytes_per_second: options.bytes_per_second,
            send_at: Duration::ZERO,
            told_at: Duration::ZERO,
            sent: Offset::ZERO,
        }
    }

    /// Does what is due.
    pub(super) fn step(&mut self) -> Next {
        let step = self.engine.next(self.now());
        let done = match step {
            // Reading meets a log that was closed; these three need not touch it for long.
            Step::Connect | Step::Wait(_) | Step::Acknowledge(_) => self.check_open(),
            Step::Ship | Step::Idle => Ok(()),
        };
        let done = done.and_then(|()| match step {
            Step::Connect => self.connect().map(|()| Next::Step),
            Step::Ship => self.ship().map(|()| Next::Step),
            Step::Acknowledge(left) => self.acknowledge(left).map(|()| Next::Step),
            Step::Idle => self.idle(),
            Step::Wait(left) => Ok(Next::Later(left)),
        });
        match done {
            Ok(next) => next,
            Err(error) if self.log_is_gone(&error) => {
                self.note(|status| status.set_error(&error));
                Next::End
            }
            Err(error) => {
                self.link_failed(&error);
                Next::Step
            }
        }
    }

    /// Closes the link, for good.
    pub(super) fn end(&mut self) {
        self.upstream.disconnect();
    }

    fn now(&self) -> Duration {
        self.shared.now()
    }

    /// Asks the upstream what it has, and resumes there.
    fn connect(&mut self) -> Result<()> {
        self.set_link(LinkState::Connecting, None);
        // What the upstream is asked about should be all there is. A log that cannot be flushed any
        // more still ships what is durable.
        let _ = self.flush();
        let committed = self.consumer.committed();
        let mut source = Source::new(&self.log, &mut self.consumer);
        let resume = self.upstream.connect(&mut source);
        let (note, known) = source.into_noted();
        let resume = match resume {
            Ok(resume) => resume,
            Err(error) => {
                self.take_in(known, note)?;
                self.tell_upstream();
                return Err(error);
            }
        };
        let durable = self.log.durable_offset();
        if resume.from > durable {
            let from = resume.from;
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the upstream has records up to {from}, this log up to {durable}"),
            ));
        }
        let start = self.log.log_start_offset();
        let (from, acknowledged) = (resume.from.max(start), resume.acknowledged.max(start));
        self.consumer.seek(OffsetSpec::At(from))?;
        self.commit(acknowledged, note)?;
        self.note(|status| {
            status.connects += 1;
            status.rewinds += u64::from(from < committed);
        });
        self.tell_upstream();
        self.set_link(LinkState::Connected, None);
        self.engine.on(Event::Connected { from, acknowledged }, self.now());
        Ok(())
    }

    fn ship(&mut self) -> Result<()> {
        if self.is_held() {
            return Ok(());
        }
        let (from, missed) = (self.consumer.position(), self.consumer.missed());
        let polled = self.consumer.poll(Duration::ZERO);
        let lost = self.consumer.missed() - missed;
        if lost > 0 {
            // Damaged, or deleted before they were shipped.
            self.note(|status| status.unreadable_records += lost);
        }
        let batch = match polled {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.note(|status| status.set_error(&error));
                return Ok(());
            }
            polled => polled?,
        };
        let Some(batch) = batch else {
            self.engine.on(Event::Drained, self.now());
            return Ok(());
        };
        let mut source = Source::new(&self.log, &mut self.consumer);
        let sent = self.upstream.send(&batch, &mut source);
        let (note, known) = source.into_noted();
        self.take_in(known, note)?;
        sent?;
        let bytes = batch.as_bytes().len() as u64;
        let next = batch.next_offset();
        let resent = (self.sent.min(next) - batch.base_offset().max(from)).max(0).unsigned_abs();
        self.sent = self.sent.max(next);
        self.note(|status| {
            status.records_sent += batch.len() as u64;
            status.records_resent += resent;
            status.batches_sent += 1;
            status.bytes_sent += bytes;
        });
        let now = self.now();
        if now.saturating_sub(self.told_at) >= TELL_EVERY {
            self.tell_upstream();
        }
        let not_before = self.pace(bytes, now);
        self.engine.on(Event::Sent { next: batch.next_offset(), bytes, not_before }, now);
        Ok(())
    }

    /// Whether the upstream wants nothing now.
    fn is_held(&mut self) -> bool {
        let pause = self.upstream.pause();
        if !pause.is_zero() {
            let now = self.now();
            self.engine.on(Event::Held(now.saturating_add(pause)), now);
        }
        !pause.is_zero()
    }

    /// When the next batch may be sent, if one of so many bytes was sent now. What was not used is
    /// not saved up: a link that was idle is not flooded.
    fn pace(&mut self, bytes: u64, now: Duration) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.send_at = self.send_at.max(now).saturating_add(takes);
        self.send_at
    }

    fn acknowledge(&mut self, left: Duration) -> Result<()> {
        let mut source = Source::new(&self.log, &mut self.consumer);
        let below = self.upstream.acknowledge(left.min(IDLE_STEP), &mut source);
        let (note, known) = source.into_noted();
        let known = known.max(below.as_ref().ok().copied());
        self.take_in(known, note)?;
        let below = below?.min(self.consumer.position());
        self.tell_upstream();
        let now = self.now();
        self.engine.on(Event::Acknowledged(below), now);
        if !self.is_held() && self.engine.is_overdue(now) {
            return Err(Error::upstream("no acknowledgement came in time"));
        }
        Ok(())
    }

    /// Commits what the upstream acknowledged in a call, however that ended.
    fn take_in(&mut self, below: Option<Offset>, note: Option<Vec<u8>>) -> Result<()> {
        let below = below.map(|below| below.min(self.consumer.position()));
        let Some(below) = below.filter(|below| *below > self.consumer.committed()) else {
            return Ok(());
        };
        match self.commit(below, note) {
            // What was deleted meanwhile cannot be committed; the records behind it will be.
            Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => Ok(()),
            committed => committed,
        }
    }

    /// Moves the committed offset: only on what the upstream itself said.
    fn commit(&mut self, below: Offset, note: Option<Vec<u8>>) -> Result<()> {
        match note {
            Some(note) => self.consumer.commit_with(below, &note)?,
            None => self.consumer.commit_offset(below)?,
        }
        self.note(|status| status.committed = below);
        Ok(())
    }

    /// Looks for durable records, and makes the last ones of an idle log durable.
    fn idle(&mut self) -> Result<Next> {
        let undurable = self.log.log_end_offset() > self.log.durable_offset();
        if undurable && self.now().saturating_sub(self.flushed_at) >= IDLE_FLUSH {
            // As in `connect`; what is durable was shipped already.
            let _ = self.flush();
        }
        let position = self.consumer.position();
        match self.log.wait_for(position, Visibility::Durable, Duration::ZERO) {
            Ok(true) => {
                self.engine.on(Event::Arrived, self.now());
                Ok(Next::Step)
            }
            Ok(false) => {
                if self.consumer.committed() == position
                    && self.shared.status.lock().notices.caught_up(position)
                {
                    self.shared.changed.notify_all();
                }
                Ok(Next::Records(position, IDLE_STEP))
            }
            Err(error) if error.kind() == ErrorKind::Poisoned => {
                self.note(|status| status.set_error(&error));
                Ok(Next::Later(IDLE_STEP))
            }
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.flushed_at = self.now();
        let flushed = self.log.flush().map(drop);
        if let Err(error) = &flushed {
            self.note(|status| status.set_error(error));
        }
        flushed
    }

    /// An error of the log itself ends the replicator; all others are the link's.
    fn log_is_gone(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Closed && self.check_open().is_err()
    }

    /// Whether the log was closed. A failed sync does not count: what is durable still ships.
    fn check_open(&self) -> Result<()> {
        // Not by reading it: that goes on until it is closed to the end.
        match self.log.wait_for(Offset::new(i64::MAX), Visibility::Written, Duration::ZERO) {
            Err(error) if error.kind() == ErrorKind::Closed => Err(error),
            _ => Ok(()),
        }
    }

    fn link_failed(&mut self, error: &Error) {
        self.upstream.disconnect();
        let now = self.now();
        let wait = self.engine.on(Event::Failed, now);
        self.note(|status| {
            status.failures += 1;
            status.set_error(error);
        });
        self.tell_upstream();
        self.set_link(LinkState::Waiting, wait.and_then(|wait| now.checked_add(wait)));
    }

    fn tell_upstream(&mut self) {
        self.told_at = self.now();
        let upstream = self.upstream.status();
        self.note(|status| status.upstream = upstream);
    }

    fn set_link(&self, link: LinkState, retry_at: Option<Duration>) {
        let mut progress = self.shared.status.lock();
        progress.status.link = link;
        progress.retry_at = retry_at;
        progress.look();
        self.shared.changed.notify_all();
    }

    fn note(&self, change: impl FnOnce(&mut ReplicatorStatus)) {
        let mut progress = self.shared.status.lock();
        change(&mut progress.status);
        progress.look();
        drop(progress);
        self.shared.changed.notify_all();
    }
}

impl ReplicatorStatus {
    fn set_error(&mut self, error: &Error) {
        self.last_error = Some(error.to_string());
        self.last_error_kind = Some(error.kind());
    }
}

/// A start for the jitter that differs between the devices of a fleet, and is the same for one.
fn seed(log: &Log) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(log.id().as_bytes().split_at(8).0);
    u64::from_be_bytes(bytes)
}
