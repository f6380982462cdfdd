//! The replicator's one thread: does what the engine says and tells it what happened.
//!
//! Floor 6. Keeps I16: the consumer it reads through sees only what is durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::engine::{Engine, Event, Step};
use super::{LinkState, ReplicatorOptions, ReplicatorStatus, Shared, Source, Upstream};
use crate::{Consumer, Error, ErrorKind, Log, Offset, OffsetSpec, Result, Visibility};

/// While it waits for records the thread looks this often whether it is to stop.
const IDLE_STEP: Duration = Duration::from_millis(100);
/// Under a policy that never flushes by itself, how often an idle log's last records are flushed.
const IDLE_FLUSH: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    log: Log,
    consumer: Consumer,
    upstream: Box<dyn Upstream>,
    engine: Engine,
    shared: Arc<Shared>,
    started: Instant,
    flushed_at: Duration,
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
            started: Instant::now(),
            flushed_at: Duration::ZERO,
        }
    }

    pub(super) fn run(mut self) {
        let stopped = Stopped(Arc::clone(&self.shared));
        while !self.shared.status.lock().stop {
            let now = self.now();
            let done = match self.engine.next(now) {
                Step::Connect => self.connect(),
                Step::Ship => self.ship(),
                Step::Acknowledge(left) => self.acknowledge(left),
                Step::Idle => self.idle(),
                Step::Wait(left) => {
                    self.wait(left);
                    Ok(())
                }
            };
            if let Err(error) = done {
                if self.log_is_gone(&error) {
                    self.note(|status| status.set_error(&error));
                    break;
                }
                self.link_failed(&error);
            }
        }
        self.upstream.disconnect();
        drop(stopped);
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Asks the upstream what it has, and resumes there.
    fn connect(&mut self) -> Result<()> {
        self.set_link(LinkState::Connecting, None);
        // What the upstream is asked about should be all there is. A log that cannot be flushed any
        // more still ships what is durable.
        let _ = self.flush();
        let committed = self.consumer.committed();
        let source = Source {
            log_id: self.log.id(),
            log_start: self.log.log_start_offset(),
            durable: self.log.durable_offset(),
            committed,
        };
        let resume = self.upstream.connect(&source)?;
        let durable = self.log.durable_offset();
        if resume > durable {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the upstream has records up to {resume}, this log up to {durable}"),
            ));
        }
        let from = resume.max(self.log.log_start_offset());
        self.consumer.seek(OffsetSpec::At(from))?;
        self.commit(from)?;
        self.note(|status| {
            status.connects += 1;
            status.rewinds += u64::from(from < committed);
        });
        self.set_link(LinkState::Connected, None);
        self.engine.on(Event::Connected(from), self.now());
        Ok(())
    }

    fn ship(&mut self) -> Result<()> {
        let missed = self.consumer.missed();
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
        self.upstream.send(&batch)?;
        let bytes = batch.as_bytes().len() as u64;
        self.note(|status| {
            status.records_sent += batch.len() as u64;
            status.batches_sent += 1;
            status.bytes_sent += bytes;
        });
        self.engine.on(Event::Sent { next: batch.next_offset(), bytes }, self.now());
        Ok(())
    }

    fn acknowledge(&mut self, left: Duration) -> Result<()> {
        let below = self.upstream.acknowledge(left.min(IDLE_STEP))?;
        let below = below.min(self.consumer.position());
        if below > self.consumer.committed() {
            match self.commit(below) {
                // What was deleted meanwhile cannot be committed; the records behind it will be.
                Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => {}
                committed => committed?,
            }
        }
        let now = self.now();
        self.engine.on(Event::Acknowledged(below), now);
        if self.engine.is_overdue(now) {
            return Err(Error::upstream("no acknowledgement came in time"));
        }
        Ok(())
    }

    /// Moves the committed offset: only on what the upstream itself said.
    fn commit(&mut self, below: Offset) -> Result<()> {
        self.consumer.commit_offset(below)?;
        self.note(|status| status.committed = below);
        Ok(())
    }

    /// Waits for durable records, and makes the last ones of an idle log durable.
    fn idle(&mut self) -> Result<()> {
        let undurable = self.log.log_end_offset() > self.log.durable_offset();
        if undurable && self.now().saturating_sub(self.flushed_at) >= IDLE_FLUSH {
            // As in `connect`; what is durable was shipped already.
            let _ = self.flush();
        }
        let position = self.consumer.position();
        match self.log.wait_for(position, Visibility::Durable, IDLE_STEP) {
            Ok(true) => {
                self.engine.on(Event::Arrived, self.now());
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Poisoned => {
                self.note(|status| status.set_error(&error));
                self.wait(IDLE_STEP);
                Ok(())
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

    /// Sleeps until the time is over or the replicator is to stop.
    fn wait(&self, left: Duration) {
        let deadline = Instant::now().checked_add(left);
        let mut progress = self.shared.status.lock();
        while !progress.stop {
            match deadline {
                Some(at) if !self.shared.changed.wait_until(&mut progress, at).timed_out() => {}
                _ => break,
            }
        }
    }

    /// An error of the log itself ends the replicator; all others are the link's.
    fn log_is_gone(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Closed && self.log.reader(OffsetSpec::Latest).is_err()
    }

    fn link_failed(&mut self, error: &Error) {
        self.upstream.disconnect();
        let now = self.now();
        let wait = self.engine.on(Event::Failed, now);
        self.note(|status| {
            status.failures += 1;
            status.set_error(error);
        });
        self.set_link(LinkState::Waiting, wait.and_then(|wait| Instant::now().checked_add(wait)));
    }

    fn set_link(&self, link: LinkState, retry_at: Option<Instant>) {
        let mut progress = self.shared.status.lock();
        progress.status.link = link;
        progress.retry_at = retry_at;
        self.shared.changed.notify_all();
    }

    fn note(&self, change: impl FnOnce(&mut ReplicatorStatus)) {
        change(&mut self.shared.status.lock().status);
        self.shared.changed.notify_all();
    }
}

impl ReplicatorStatus {
    fn set_error(&mut self, error: &Error) {
        self.last_error = Some(error.to_string());
        self.last_error_kind = Some(error.kind());
    }
}

/// Says that the thread is over, also when the upstream panicked.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        let mut progress = self.0.status.lock();
        progress.status.link = LinkState::Stopped;
        progress.retry_at = None;
        self.0.changed.notify_all();
    }
}

/// A start for the jitter that differs between the devices of a fleet.
fn seed(log: &Log) -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        bytes.copy_from_slice(log.id().as_bytes().split_at(8).0);
    }
    u64::from_be_bytes(bytes)
}
