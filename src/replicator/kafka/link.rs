//! One open link to a partition's leader: what is on its way, and what its answers mean.
//!
//! Floor 6. Five batches are on their way at most, one while the broker has no state of the id:
//! then it would take any sequence first, and refuse the ones before it for ever. An answer that
//! is no success ends the link; the next connect asks what arrived.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::patience::Patience;
use super::super::upstream::{Source, UpstreamStatus};
use super::calls::{Node, Produced, Topic};
use super::channel::Awaited;
use super::codes::{self, Verdict};
use super::identity::Identity;
use super::network::Network;
use super::preflight::Forgetting;
use super::settings::Settings;
use crate::{
    Compression, Error, ErrorKind, NewRecord, Offset, ProducerStamp, RecordBatch, Result, Timestamp,
};

/// What a broker keeps of a producer's last batches: more must not be on their way.
const WINDOW: usize = 5;
/// A stored batch of so many bytes is sent as it is; smaller ones are put together.
const AS_STORED_BYTES: usize = 16 << 10;
/// How many places of the sparse map are kept.
const OFFSET_MAP_MAX: usize = 64;
/// How often a batch is tried again that a broker refuses without a reason, or as damaged.
const TRIES: u32 = 3;
/// For how long a broker is sent nothing for one answer that asks for it. Quotas ask for seconds;
/// an answer that was damaged on its way could ask for weeks.
const THROTTLE_MAX: Duration = Duration::from_secs(60);

/// What is remembered of a link over its connections.
#[derive(Debug)]
pub(super) struct Memory {
    /// One past the highest offset that this process has sent or found upstream.
    pub(super) sent: Option<Offset>,
    /// Below this offset, batches of at most so many records: a larger one was refused.
    split: Option<(Offset, usize)>,
    /// The offset a refusal was about, and how often it came.
    refused: Option<(Offset, u32)>,
    /// The topic takes no markers of gaps.
    pub(super) unmarked: bool,
    /// How often the leader was asked in vain where its log ends.
    pub(super) untold: u32,
    /// The producer id is of no use any more.
    pub(super) renew: bool,
    /// The sequences from here on are refused for no reason that can be seen.
    pub(super) unexplained: Option<(Offset, u32)>,
    throttled_until: Duration,
    /// When the broker forgets the producer.
    pub(super) forgetting: Forgetting,
    /// An answer did not come in time, or a connection; since the last look.
    pub(super) late: Arc<AtomicBool>,
    pub(super) unreached: bool,
    /// How long they are waited for.
    pub(super) answers: Patience,
    pub(super) connections: Patience,
    /// When the connection was begun that is open.
    pub(super) begun: Duration,
    pub(super) status: UpstreamStatus,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            sent: None,
            split: None,
            refused: None,
            unmarked: false,
            untold: 0,
            renew: false,
            unexplained: None,
            throttled_until: Duration::ZERO,
            forgetting: Forgetting::default(),
            late: Arc::default(),
            unreached: false,
            answers: Patience::with_answers(),
            connections: Patience::with_connections(),
            begun: Duration::ZERO,
            status: UpstreamStatus::default(),
        }
    }
}

impl With<'_, '_> {
    /// Whether gaps are marked in the topic.
    pub(super) fn marks_gaps(&self) -> bool {
        // What compaction took is superseded, not lost: nobody has to be told.
        self.settings.mark_gaps && !self.memory.unmarked && !self.source.log().is_compacted()
    }

    /// What is durable and not known to be acknowledged may stand upstream, and nobody can tell: it
    /// is shipped again, and may be doubled.
    pub(super) fn count_in_doubt(&mut self) {
        let in_doubt = self.source.durable() - self.source.committed();
        self.memory.status.maybe_doubled += in_doubt.max(0).unsigned_abs();
    }
}

impl Memory {
    /// So many records are gone before they were shipped.
    pub(super) fn count_gap(&mut self, records: u64) {
        self.status.gaps += 1;
        self.status.gap_records += records;
    }

    /// A call failed. Where it waited in vain, the next one waits longer.
    pub(super) fn failed(&mut self) {
        if self.late.swap(false, Ordering::Relaxed) {
            self.answers.ran_out();
        }
        if std::mem::take(&mut self.unreached) {
            self.connections.ran_out();
        }
    }

    /// A link was opened, at this time.
    pub(super) fn opened(&mut self, now: Duration, settings: &Settings) {
        // A server that could not be asked before another one could says nothing of the link.
        self.late.store(false, Ordering::Relaxed);
        self.unreached = false;
        let took = now.saturating_sub(self.begun);
        self.answers.answered(took, settings.request_timeout);
        self.connections.answered(took, settings.connect_timeout);
    }

    /// For how long the broker wants nothing.
    pub(super) fn throttled(&self, network: &dyn Network) -> Duration {
        match self.throttled_until {
            // Asked before every batch: no clock is read for nothing.
            Duration::ZERO => Duration::ZERO,
            until => until.saturating_sub(network.now()),
        }
    }
}

/// A batch on its way.
#[derive(Debug)]
struct Flight {
    awaited: Awaited,
    offsets: Range<Offset>,
}

pub(super) struct Link {
    pub(super) node: Node,
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) identity: Identity,
    /// The next offset to be put on its way.
    pub(super) next: Offset,
    /// Below it everything is acknowledged.
    pub(super) acknowledged: Offset,
    /// The broker has a state of the id.
    pub(super) known: bool,
    /// The leader may not be asked what it has: batches go as they are stored, one at a time.
    pub(super) blind: bool,
    /// When the broker last took a batch, or said what it has.
    pub(super) heard: Duration,
    /// What was sent last the broker may have forgotten by now.
    forgettable: bool,
    in_flight: VecDeque<Flight>,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    /// Up to which offset it is to be sent.
    pending_until: Offset,
    /// The last record that was sent of a batch, and that batch's end: no record lies between.
    emptied: Option<Range<Offset>>,
}

impl Link {
    pub(super) fn new(node: Node, topic: Topic, partition: i32, identity: Identity) -> Link {
        Link {
            node,
            topic,
            partition,
            identity,
            next: Offset::ZERO,
            acknowledged: Offset::ZERO,
            known: false,
            blind: false,
            heard: Duration::ZERO,
            forgettable: false,
            in_flight: VecDeque::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            pending_until: Offset::ZERO,
            emptied: None,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// What a call needs beside the link itself.
pub(super) struct With<'a, 's> {
    pub(super) settings: &'a Settings,
    pub(super) network: &'a mut dyn Network,
    pub(super) memory: &'a mut Memory,
    pub(super) source: &'a mut Source<'s>,
}

impl Link {
    /// Takes the next batch. It is sent at once if it is large; small ones wait for others, until
    /// [`Link::flush`].
    pub(super) fn send(&mut self, batch: &RecordBatch, with: &mut With<'_, '_>) -> Result<()> {
        let offsets = (batch.next_offset() - batch.base_offset()).unsigned_abs();
        if offsets != batch.len() as u64 {
            return self.send_runs(batch, with);
        }
        let begins = if self.pending.is_empty() { self.next } else { self.pending_until };
        if batch.base_offset() > begins || self.marker_is_due() {
            self.flush(with)?;
            // Deletion may have ended within the batch.
            let first = batch.records().next().transpose()?;
            let to = first.map_or(batch.base_offset(), |record| record.offset());
            let time = first.map(|record| record.timestamp());
            match self.marker_is_due() && to <= self.next {
                // In the place of a record that the broker did not take.
                true => self.put_marker(time, with)?,
                false => self.pass_gap(to, time, with)?,
            }
        }
        let stored = batch.as_bytes().len();
        let whole = batch.base_offset() >= self.next && batch.is_producible();
        // What was compressed on the device stays so, however small: nothing is decoded for it.
        let compressed = batch.compression() != Compression::None;
        let due = compressed || stored >= AS_STORED_BYTES;
        let alone = (whole && due && self.fits(stored, with)) || self.blind;
        if alone {
            self.flush(with)?;
        }
        self.wait_for_more(batch, batch.next_offset());
        if alone || self.pending_bytes >= with.settings.merge_bytes {
            self.flush(with)?;
        }
        Ok(())
    }

    /// Takes a batch in which compaction has left gaps: each run of records is sent for itself, for
    /// the sequence is arithmetic on the offset, and begins anew behind a gap.
    fn send_runs(&mut self, batch: &RecordBatch, with: &mut With<'_, '_>) -> Result<()> {
        self.flush(with)?;
        for (run, time) in runs_of(batch)? {
            if run.end <= self.next {
                continue;
            }
            if run.start > self.next || self.marker_is_due() {
                match self.marker_is_due() && run.start <= self.next {
                    true => self.put_marker(Some(time), with)?,
                    false => self.pass_gap(run.start, Some(time), with)?,
                }
            }
            self.wait_for_more(batch, run.end);
            self.flush(with)?;
        }
        // What is asked for is that all of the batch is accounted for.
        self.emptied = (self.next < batch.next_offset()).then(|| self.next..batch.next_offset());
        self.account_for_emptied();
        Ok(())
    }

    fn wait_for_more(&mut self, batch: &RecordBatch, until: Offset) {
        self.pending.push(batch.clone());
        self.pending_bytes += batch.as_bytes().len();
        self.pending_until = until;
    }

    /// Behind a batch's last record there may be offsets without one: they are acknowledged with
    /// it.
    fn account_for_emptied(&mut self) {
        if let Some(emptied) = &self.emptied
            && (self.acknowledged >= emptied.start || self.in_flight.is_empty())
        {
            self.acknowledged = self.acknowledged.max(emptied.end);
            self.emptied = None;
        }
    }

    /// Whether the topic takes a batch of so many bytes, as far as is known.
    fn fits(&self, bytes: usize, with: &With<'_, '_>) -> bool {
        bytes <= with.settings.batch_bytes_max
            && with.memory.split.is_none_or(|(below, _)| self.next >= below)
    }

    /// Waits until everything on its way is answered.
    pub(super) fn settle(&mut self, with: &mut With<'_, '_>) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.answer(self.node.timeout, with)?.ok_or_else(|| self.silent(with))?;
        }
        Ok(())
    }

    fn silent(&self, with: &With<'_, '_>) -> Error {
        with.memory.late.store(true, Ordering::Relaxed);
        Error::upstream(self.node.channel.at("no answer to a batch came in time"))
    }

    /// Sends what waits for more.
    pub(super) fn flush(&mut self, with: &mut With<'_, '_>) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let end = if pending.is_empty() { self.next } else { self.pending_until };
        while self.next < end {
            let until = self.until(&pending, end, with);
            let window = self.window(&pending, with);
            while self.in_flight.len() >= window {
                self.answer(self.node.timeout, with)?.ok_or_else(|| self.silent(with))?;
            }
            if self.node.login_is_due(&*with.network) {
                self.settle(with)?;
                self.node.stay_logged_in(&*with.network)?;
            }
            self.put_on_its_way(&pending, until, with)?;
        }
        Ok(())
    }

    /// How many batches may be on their way. One, where the broker may forget the producer between
    /// two of them: it would refuse the first for some other reason, and take the second for the
    /// first that it ever saw.
    fn window(&mut self, pending: &[RecordBatch], with: &With<'_, '_>) -> usize {
        let times = pending.iter().map(|batch| batch.max_timestamp().millis());
        let quiet = with.network.now().saturating_sub(self.heard);
        let forgetting = with.memory.forgetting;
        let may_come = |time: i64| forgetting.may_come(with.network.wall_millis(), time, quiet);
        let before = std::mem::replace(&mut self.forgettable, times.min().is_some_and(may_come));
        let sure = self.known && !self.blind && !before && !self.forgettable;
        if sure { WINDOW } else { 1 }
    }

    /// Up to which offset the next batch goes: to the end, unless a batch of that size was refused,
    /// is larger than the topic takes, or would have sequences of two epochs.
    fn until(&self, pending: &[RecordBatch], end: Offset, with: &With<'_, '_>) -> Offset {
        let mut until = self.identity.era_end(self.next).map_or(end, |era_end| end.min(era_end));
        if let Some((below, records)) = with.memory.split
            && self.next < below
        {
            let most = i64::try_from(records).unwrap_or(i64::MAX);
            until = until.min(Offset::new(self.next.get().saturating_add(most)));
        }
        let most = with.settings.batch_bytes_max;
        if matches!(pending, [one] if one.as_bytes().len() <= most) {
            return until;
        }
        let bytes = RecordBatch::produced_bytes_max(pending);
        if bytes > most {
            // By the mean size: what is still too large is refused, and split then.
            let records = (end - self.next).max(1).unsigned_abs();
            let fit = u128::from(records) * most as u128 / (bytes as u128 * 2).max(1);
            let fit = i64::try_from(fit).unwrap_or(i64::MAX).max(1);
            until = until.min(Offset::new(self.next.get().saturating_add(fit)));
        }
        until
    }

    fn put_on_its_way(
        &mut self,
        batches: &[RecordBatch],
        until: Offset,
        with: &mut With<'_, '_>,
    ) -> Result<()> {
        let era = self.identity.era_of(self.next);
        let stamp = ProducerStamp::new(self.identity.producer, era.epoch, era.sequence(self.next));
        let offsets = self.next..until;
        let first = batches.partition_point(|batch| batch.next_offset() <= offsets.start);
        let end = batches.partition_point(|batch| batch.base_offset() < offsets.end);
        let these = batches.get(first..end).unwrap_or_default();
        let mut bytes = Vec::new();
        let by = with.settings.compression;
        let as_stored = RecordBatch::produce_packed(these, offsets.clone(), stamp, by, &mut bytes)?;
        let status = &mut with.memory.status;
        status.sent_as_stored += u64::from(as_stored);
        status.sent_encoded += u64::from(!as_stored);
        self.dispatch(bytes, offsets, with)
    }

    /// Sends a batch that stands for these offsets.
    pub(super) fn dispatch(
        &mut self,
        bytes: Vec<u8>,
        offsets: Range<Offset>,
        with: &mut With<'_, '_>,
    ) -> Result<()> {
        let throttled = with.memory.throttled(&*with.network);
        if !throttled.is_zero() {
            // An answer that came since the last batch was taken asked for it.
            with.network.sleep(throttled);
        }
        let until = offsets.end;
        with.memory.sent = Some(with.memory.sent.map_or(until, |sent| sent.max(until)));
        let awaited = self.node.produce(&self.topic, self.partition, bytes, &*with.network)?;
        self.in_flight.push_back(Flight { awaited, offsets });
        self.next = until;
        with.memory.status.in_flight = self.in_flight.len();
        Ok(())
    }

    /// Takes the next answer, if it comes within `max_wait`; the offset acknowledged by it.
    pub(super) fn answer(
        &mut self,
        max_wait: Duration,
        with: &mut With<'_, '_>,
    ) -> Result<Option<Offset>> {
        let Some(first) = self.in_flight.front() else { return Ok(None) };
        let awaited = first.awaited;
        let (topic, partition) = (&self.topic, self.partition);
        let answer = self.node.produced(topic, partition, &awaited, max_wait, &*with.network)?;
        let Some(answer) = answer else { return Ok(None) };
        let Some(flight) = self.in_flight.pop_front() else { return Ok(None) };
        if !answer.throttle.is_zero() {
            let throttle = answer.throttle.min(THROTTLE_MAX);
            with.memory.throttled_until = with.network.now().saturating_add(throttle);
        }
        with.memory.status.in_flight = self.in_flight.len();
        match codes::verdict(answer.code) {
            Verdict::Stored | Verdict::StoredBefore => {
                self.stored(&flight.offsets, &answer, with).map(Some)
            }
            verdict => Err(self.refused(verdict, &flight.offsets, &answer, with)),
        }
    }

    fn stored(
        &mut self,
        offsets: &Range<Offset>,
        answer: &Produced,
        with: &mut With<'_, '_>,
    ) -> Result<Offset> {
        self.known = true;
        self.heard = with.network.now();
        if answer.base_offset >= 0 {
            if answer.base_offset < self.identity.upstream && !self.blind {
                let text = format!(
                    "it stored at {}, behind {}: the topic was cut short, or made anew",
                    answer.base_offset, self.identity.upstream
                );
                return Err(Error::upstream(self.node.channel.at(text)));
            }
            let count = offsets.end - offsets.start;
            self.identity.upstream = answer.base_offset.saturating_add(count);
            with.memory.status.upstream_offset = Some(self.identity.upstream - 1);
            note_place(&mut with.memory.status, offsets.start, answer.base_offset);
        }
        self.acknowledge(offsets.end, with);
        Ok(self.acknowledged)
    }

    /// Everything below is stored, on all replicas that have to have it.
    pub(super) fn acknowledge(&mut self, below: Offset, with: &mut With<'_, '_>) {
        self.acknowledged = self.acknowledged.max(below);
        self.account_for_emptied();
        self.identity.acknowledged(below);
        let memory = &mut *with.memory;
        (memory.refused, memory.unexplained) = (None, None);
        if memory.split.is_some_and(|(until, _)| below >= until) {
            memory.split = None;
        }
        with.source.note(&self.identity.encode());
        with.source.acknowledged(self.acknowledged);
    }

    /// What a refusal leads to at the next connect; the error that ends this one.
    fn refused(
        &mut self,
        verdict: Verdict,
        offsets: &Range<Offset>,
        answer: &Produced,
        with: &mut With<'_, '_>,
    ) -> Error {
        let what = format!(
            "records {} to {} of the topic '{}'{}{}",
            offsets.start,
            offsets.end,
            self.topic.name,
            if answer.why.is_empty() { "" } else { ": " },
            answer.why
        );
        let error = self.node.error(answer.code, &what);
        match verdict {
            Verdict::TooLarge | Verdict::Refused => {}
            Verdict::Corrupt | Verdict::Unexplained => {
                if count(&mut with.memory.refused, offsets.start) < TRIES {
                    return Error::upstream(error.what_failed());
                }
            }
            Verdict::UnknownProducer => {
                with.memory.renew = true;
                return error;
            }
            Verdict::OutOfSequence => {
                count(&mut with.memory.unexplained, offsets.start);
                return error;
            }
            _ => return error,
        }
        let records = (offsets.end - offsets.start).unsigned_abs();
        if records > 1 {
            let half = usize::try_from(records / 2).unwrap_or(usize::MAX).max(1);
            let below = with.memory.split.map_or(offsets.end, |(until, _)| until.max(offsets.end));
            with.memory.split = Some((below, half));
            return Error::upstream(error.what_failed());
        }
        let given_up = match self.give_up_marker(offsets.start, verdict, &error, with) {
            Some(given_up) => given_up,
            None => self.give_up(offsets.start, &error, with),
        };
        match given_up {
            Ok(()) => Error::upstream(error.what_failed()),
            Err(other) => other,
        }
    }

    /// One record that the broker will never take goes to the dead-letter log, and a gap begins
    /// behind it. Without such a log it stops here: nothing is passed over unless somebody said so.
    fn give_up(&mut self, offset: Offset, error: &Error, with: &mut With<'_, '_>) -> Result<()> {
        let Some(dead) = &with.settings.dead_letter else {
            let text = format!(
                "{}; or give KafkaUpstream::dead_letter (C: forebay_upstream_set_dead_letter) a \
                 log for such records",
                error.what_failed()
            );
            return Err(Error::new(ErrorKind::UpstreamRejected, text));
        };
        let mut reader = with.source.log().reader(crate::OffsetSpec::At(offset))?;
        let Some(batch) = reader.next().transpose()? else { return Ok(()) };
        let Some(record) = batch.records().next().transpose()? else { return Ok(()) };
        if record.offset() != offset {
            return Ok(());
        }
        let mut letter = match record.is_tombstone() {
            true => NewRecord::tombstone(record.key().unwrap_or_default()),
            false => NewRecord::new(record.value()),
        };
        if let Some(key) = record.key() {
            letter = letter.key(key);
        }
        for (name, value) in record.headers() {
            letter = match value {
                Some(value) => letter.header(name, value),
                None => letter.header_without_value(name),
            };
        }
        let (at, why) = (offset.get().to_string(), error.what_failed());
        letter = letter.header("forebay.offset", at.as_bytes());
        letter = letter.header("forebay.error", why.as_bytes()).timestamp(record.timestamp());
        dead.append(letter)?;
        dead.flush()?;
        with.memory.status.refused += 1;
        // What lay before was acknowledged, or will be found to have arrived.
        let marked = with.marks_gaps();
        let anchor = Offset::new(offset.get() + i64::from(!marked));
        self.begin_epoch(offset, anchor, marked, with)
    }
}

/// The runs of records that follow one another, from where the reader began, each with the time of
/// its first one.
fn runs_of(batch: &RecordBatch) -> Result<Vec<(Range<Offset>, Timestamp)>> {
    let mut runs: Vec<(Range<Offset>, Timestamp)> = Vec::new();
    for record in batch.records() {
        let record = record?;
        let next = Offset::new(record.offset().get() + 1);
        match runs.last_mut() {
            Some((run, _)) if run.end == record.offset() => run.end = next,
            _ => runs.push((record.offset()..next, record.timestamp())),
        }
    }
    Ok(runs)
}

/// Counts how often something came about the same offset.
fn count(times: &mut Option<(Offset, u32)>, offset: Offset) -> u32 {
    let before = times.filter(|(of, _)| *of == offset).map_or(0, |(_, times)| times);
    *times = Some((offset, before + 1));
    before + 1
}

/// Keeps a place of the sparse map: every one at first, then the older ones ever sparser.
fn note_place(status: &mut UpstreamStatus, here: Offset, there: i64) {
    if status.offset_map.len() >= OFFSET_MAP_MAX {
        let mut nth = 0_usize;
        status.offset_map.retain(|_| {
            nth += 1;
            nth.is_multiple_of(2)
        });
    }
    status.offset_map.push((here, there));
}
