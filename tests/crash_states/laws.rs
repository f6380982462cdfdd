//! What has to hold after every recovery: one function for each law, named by its number.
//!
//! Every function compares what the public API shows, or what the oracle itself reads in the files,
//! with the model. A broken law is a value, so that a disk that lies can be shown to break one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use forebay::{
    ConsumerInfo, ConsumerOptions, Error, ErrorKind, Log, Offset, OffsetSpec, RecordBatch,
    RecoveryReport, Visibility,
};

use super::image::{Chain, Image, Slot};
use super::model::{Batch, Content, Model};

/// A law that was broken, and how.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) law: u8,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V{}: {}", self.law, self.what)
    }
}

pub(crate) type Law = Result<(), Violation>;

pub(crate) fn broken<T>(law: u8, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { law, what: what.into() })
}

fn holds(law: u8, is: bool, what: impl FnOnce() -> String) -> Law {
    if is { Ok(()) } else { broken(law, what()) }
}

/// What a recovered log is held to: the model, and which of its promises this end of the machine or
/// process leaves.
#[derive(Clone, Debug)]
pub(crate) struct Duty<'a> {
    pub(crate) model: &'a Model,
    /// The log ends here or above.
    pub(crate) end_from: i64,
    /// The process died alone: what was written is there, and so is every commit.
    pub(crate) kill: bool,
}

impl<'a> Duty<'a> {
    pub(crate) fn after_power_cut(model: &'a Model) -> Duty<'a> {
        Duty { model, end_from: model.durable, kill: false }
    }

    pub(crate) fn after_kill(model: &'a Model) -> Duty<'a> {
        Duty { model, end_from: model.end(), kill: true }
    }
}

/// What a recovered log shows of itself.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) durable: i64,
    pub(crate) batches: Vec<(i64, i64)>,
    pub(crate) consumers: Vec<ConsumerInfo>,
    pub(crate) report: RecoveryReport,
}

/// V1: for every record acknowledged as durable at or above the log start, reading its offset
/// returns exactly its key, value, headers and timestamp.
pub(crate) fn v1_no_acknowledged_record_is_lost(seen: &Seen, duty: &Duty<'_>) -> Law {
    let from = seen.start.max(duty.model.start);
    for batch in duty.model.from(from).take_while(|batch| batch.end() <= duty.end_from) {
        let there =
            seen.batches.iter().any(|(base, next)| (*base, *next) == (batch.base, batch.end()));
        holds(1, there, || {
            let (base, end) = (batch.base, batch.end());
            format!(
                "offsets {base}..{end} were acknowledged up to {} and are gone: {seen:?}",
                duty.end_from
            )
        })?;
    }
    Ok(())
}

/// V2: every record returned was handed to append with that offset; batches are whole or absent;
/// offsets rise without a gap from the log start.
pub(crate) fn v2_only_what_was_appended(batch: &RecordBatch, expected: i64, model: &Model) -> Law {
    let gone = v2_what_is_left(batch, expected, model)?;
    holds(2, gone.is_empty(), || format!("{batch:?} lacks the records at {gone:?}"))
}

/// V2 for a batch that a compaction may have taken records of: it has the offsets that it had, and
/// what is left is what was appended. The offsets that have no record any more.
pub(crate) fn v2_what_is_left(
    batch: &RecordBatch,
    expected: i64,
    model: &Model,
) -> Result<Vec<i64>, Violation> {
    let (base, next) = (batch.base_offset().get(), batch.next_offset().get());
    let Some((truth, _)) = model.at(expected) else {
        return broken(2, format!("offset {expected} was never appended, batch {base}..{next}"));
    };
    holds(2, (base, next) == (truth.base, truth.end()), || {
        format!("batch {base}..{next} instead of {}..{}", truth.base, truth.end())
    })?;
    let (mut due, mut gone) = (expected, Vec::new());
    for record in batch.records() {
        let Ok(record) = record else {
            return broken(2, format!("behind offset {due}: {record:?}"));
        };
        let offset = record.offset().get();
        holds(2, (due..next).contains(&offset), || {
            format!("{offset} in {base}..{next}, where {due} or a later one is due")
        })?;
        gone.extend(due..offset);
        let content = &truth.records[usize::try_from(offset - base).unwrap()];
        let found = Content {
            timestamp: record.timestamp().millis(),
            key: record.key().map(<[u8]>::to_vec),
            value: (!record.is_tombstone()).then(|| record.value().to_vec()),
            headers: record
                .headers()
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
        };
        holds(2, found == *content, || {
            format!("offset {offset} is {found:?}, {content:?} was appended")
        })?;
        due = offset + 1;
    }
    gone.extend(due..next);
    Ok(gone)
}

/// V3: what is recovered is a prefix of what was appended, and holds all that was acknowledged.
pub(crate) fn v3_a_prefix(seen: &Seen, duty: &Duty<'_>) -> Law {
    let model = duty.model;
    let highest = model.pending.as_ref().map_or(model.end(), Batch::end);
    let floor = duty.end_from.max(seen.start);
    holds(3, seen.end >= floor && seen.end <= highest.max(seen.start), || {
        format!("the log ends at {}, not within {floor}..={highest}", seen.end)
    })?;
    holds(3, seen.end == seen.start || model.may_end_at(seen.end), || {
        format!("the log ends at {}, inside a batch", seen.end)
    })?;
    let read = seen.batches.last().map_or(seen.start, |last| last.1);
    holds(3, read == seen.end, || format!("read to {read}, the end is {}", seen.end))
}

/// V4: the log start never goes back across a recovery, and never beyond what was asked for.
pub(crate) fn v4_the_start_only_rises(seen: &Seen, duty: &Duty<'_>) -> Law {
    let (from, to) = (duty.model.start, duty.model.start_asked);
    holds(4, (from..=to).contains(&seen.start), || {
        format!("the log starts at {}, not within {from}..={to}", seen.start)
    })
}

/// V5: the log end lies at or above every offset that was shown as durable.
pub(crate) fn v5_no_offset_is_used_again(seen: &Seen, slot: Option<&Slot>) -> Law {
    v5_order(seen.start, seen.durable, seen.end)?;
    let durable = seen.consumers.iter().filter(|one| one.visibility == Visibility::Durable);
    for consumer in durable {
        holds(5, consumer.committed.get() <= seen.end, || {
            format!("{} committed {}, the end is {}", consumer.name, consumer.committed, seen.end)
        })?;
    }
    let point = slot.map_or(0, |slot| slot.recovery_point);
    holds(5, point <= seen.end, || format!("recovery point {point}, end {}", seen.end))
}

/// V5: start, durable and end keep their order (I1).
pub(crate) fn v5_order(start: i64, durable: i64, end: i64) -> Law {
    holds(5, start <= durable && durable <= end, || {
        format!("start {start}, durable {durable}, end {end}")
    })
}

/// V6: the last synced commit is recovered, or a later one, never beyond the end; after the death
/// of the process it is the last one.
pub(crate) fn v6_commits_survive(seen: &Seen, duty: &Duty<'_>) -> Law {
    for follower in &duty.model.followers {
        let settled = if duty.kill { follower.commits.len() } else { follower.synced };
        let found = seen.consumers.iter().find(|one| one.name == follower.name);
        let Some(found) = found else {
            holds(6, settled == 0, || format!("consumer {} is gone", follower.name))?;
            continue;
        };
        let seeing = found.visibility == Visibility::Durable;
        holds(6, seeing == follower.durable, || format!("visibility of {found:?}"))?;
        let allowed = follower.commits[settled.saturating_sub(1)..].iter().chain(&follower.pending);
        let value = found.committed.get();
        let fits = |commit: &i64| {
            value == (*commit).min(seen.end) || value == (*commit).max(seen.start).min(seen.end)
        };
        holds(6, allowed.clone().any(fits), || {
            let allowed: Vec<&i64> = allowed.collect();
            format!("{} committed {value}, not one of {allowed:?}; {seen:?}", follower.name)
        })?;
        holds(6, value <= seen.end, || format!("{} is beyond the end", follower.name))?;
    }
    Ok(())
}

/// V7: every lookup by offset equals a full scan.
pub(crate) fn v7_an_index_is_a_cache(log: &Log, seen: &Seen, model: &Model) -> Law {
    for offset in seen.start..seen.end {
        let reader = log.reader(OffsetSpec::At(Offset::new(offset)));
        match reader.map(|mut reader| reader.next()) {
            Ok(Some(Ok(batch))) => v2_only_what_was_appended(&batch, offset, model)
                .map_err(|broken| Violation { law: 7, what: broken.what })?,
            other => return broken(7, format!("reading at {offset}: {other:?}")),
        }
    }
    let mut at_end = or_broken(7, log.reader(OffsetSpec::At(Offset::new(seen.end))))?;
    let more = at_end.next();
    holds(7, more.is_none(), || format!("something at the end: {more:?}"))
}

/// V8: recovering the same files twice gives the same files and the same report.
pub(crate) fn v8_recovery_is_deterministic(one: &(Image, Seen), two: &(Image, Seen)) -> Law {
    same_files("on a copy", &one.0, &two.0, |_| false)?;
    let (one, two) = (format!("{:?}", one.1), format!("{:?}", two.1));
    holds(8, one == two, || format!("{one}\nand then\n{two}"))
}

/// V8: recovering what a recovery left changes nothing but the checkpoint, and finds nothing to
/// cut; files being made are gone.
pub(crate) fn v8_recovery_is_idempotent(one: &(Image, Seen), two: &(Image, Seen)) -> Law {
    same_files("by another recovery", &one.0, &two.0, |name| name == "checkpoint")?;
    let (seen, report) = (&two.1, &two.1.report);
    let cut = (report.bytes_cut, report.records_cut, report.segments_set_aside);
    holds(8, cut == (0, 0, 0), || format!("the second recovery cut again: {report:?}"))?;
    let (first, second) = (&one.1, seen);
    let before = (first.start, first.end, &first.batches);
    holds(8, before == (second.start, second.end, &second.batches), || {
        format!("{first:?} and then {second:?}")
    })?;
    let made = two.0.files.keys().find(|name| name.ends_with(".new"));
    holds(8, made.is_none(), || format!("{made:?} is left over"))
}

fn same_files(how: &str, one: &Image, two: &Image, but: impl Fn(&str) -> bool) -> Law {
    let names = |image: &Image| -> Vec<String> {
        image.files.keys().filter(|name| !but(name)).cloned().collect()
    };
    let (left, right) = (names(one), names(two));
    holds(8, left == right, || format!("files {left:?} and {how} {right:?}"))?;
    for name in left {
        let (a, b) = (&one.files[&name], &two.files[&name]);
        let at = || a.iter().zip(b).position(|(a, b)| a != b);
        holds(8, a == b, || {
            format!("{name} differs {how} at {:?}, {} and {}", at(), a.len(), b.len())
        })?;
    }
    Ok(())
}

/// V9: recovery makes at most a constant number of calls and some for each segment.
pub(crate) fn v9_recovery_is_bounded(calls: u64, segments: usize) -> Law {
    let most = 150 + 60 * segments as u64;
    holds(9, calls <= most, || format!("{calls} storage calls for {segments} segments"))
}

/// V10: damage makes exactly the touched batch unreadable, with its range; all others are read, and
/// nothing is deleted or cut because of it.
pub(crate) fn v10_damage_is_isolated(
    log: &Log,
    hit: (i64, i64),
    expected: &Seen,
    model: &Model,
) -> Law {
    let mut position = log.log_start_offset().get();
    let reader = or_broken(10, log.reader(OffsetSpec::Earliest))?;
    let mut hits = 0;
    for next in reader {
        match next {
            Ok(batch) => {
                v2_only_what_was_appended(&batch, position, model)?;
                position = batch.next_offset().get();
            }
            Err(error) => {
                let range = error.lost_offsets().map(|lost| (lost.start.get(), lost.end.get()));
                let is = error.kind() == ErrorKind::Corrupt
                    && range == Some((hit.0.max(expected.start), hit.1));
                holds(10, is, || format!("batch {hit:?} was damaged: {error}, {range:?}"))?;
                hits += 1;
                position = hit.1;
            }
        }
    }
    holds(10, hits == 1 && position == expected.end, || {
        format!("{hits} errors, read to {position} of {}", expected.end)
    })
}

/// V11: the log is cut at the first batch that is not whole, above the recovery point only; what
/// is whole before it stays.
pub(crate) fn v11_torn_is_not_rot(seen: &Seen, chain: &Chain, slot: &Slot) -> Law {
    let point = slot.recovery_point.max(seen.start);
    holds(11, chain.end >= slot.recovery_point || point >= slot.recovery_point, || {
        format!("batches are whole to {}, the recovery point is {point}", chain.end)
    })?;
    let end = chain.end.max(seen.start);
    holds(11, seen.end == end, || {
        format!("the log ends at {}, its files are whole to {end}", seen.end)
    })?;
    holds(11, seen.report.damaged_ranges == 0, || format!("damage: {:?}", seen.report))
}

/// V11: the bytes behind the end are in files of their own, byte for byte; of earlier cuts nothing
/// is left once there is a new one.
pub(crate) fn v11_what_was_cut_is_kept(
    after: &BTreeMap<&str, &[u8]>,
    chain: &Chain,
    before: &[String],
) -> Law {
    for (name, bytes) in &chain.asides {
        holds(11, after.get(name.as_str()) == Some(&bytes.as_slice()), || {
            let there = after.get(name.as_str()).map(|found| found.len());
            format!("{} bytes belong into {name}, there are {there:?}", bytes.len())
        })?;
    }
    let cut = chain.asides.keys().next().map(|name| &name[..20]);
    for name in after.keys().filter(|name| !chain.asides.contains_key(**name)) {
        let known = before.iter().any(|one| one == name);
        let fits = known && cut.is_none_or(|cut| name.starts_with(cut));
        holds(11, fits, || format!("{name} is there, the log was cut at {cut:?}"))?;
    }
    Ok(())
}

/// V11: what was set aside is on the device when open returns.
pub(crate) fn v11_asides_survive(one: &BTreeMap<&str, &[u8]>, two: &BTreeMap<&str, &[u8]>) -> Law {
    holds(11, one == two, || {
        let names = |asides: &BTreeMap<&str, &[u8]>| asides.keys().copied().collect::<String>();
        format!("{} became {} by a power cut", names(one), names(two))
    })
}

/// V12: after an error from a sync, nothing is acknowledged as durable by that handle.
pub(crate) fn v12_a_failed_sync_poisons<T: fmt::Debug>(what: &str, got: &Result<T, Error>) -> Law {
    holds(12, got.is_err(), || format!("{what} after a failed sync: {got:?}"))
}

/// V13: no panic, whatever is on the disk; and opening succeeds on what a crash left.
pub(crate) fn v13_no_harm<T>(what: &str, got: std::thread::Result<T>) -> Result<T, Violation> {
    got.or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        broken(13, format!("{what} panicked: {}", text.unwrap_or("no text")))
    })
}

/// V14: no space and no descriptors are typed errors that leave the log as it was.
pub(crate) fn v14_full_is_an_error(error: &Error, end_before: i64, log: &Log) -> Law {
    let typed = matches!(error.kind(), ErrorKind::OutOfSpace | ErrorKind::Io | ErrorKind::Poisoned);
    holds(14, typed, || format!("{:?}: {error}", error.kind()))?;
    let end = log.log_end_offset().get();
    holds(14, end == end_before || error.kind() != ErrorKind::OutOfSpace, || {
        format!("{error}; the end went from {end_before} to {end}")
    })
}

/// V14: a log that exists opens where no block is free.
pub(crate) fn v14_a_full_log_opens(opened: Result<Log, Error>) -> Result<Log, Violation> {
    or_broken(14, opened)
}

/// V14: with no block free, commits and deletes work, and appends say that there is no room and
/// leave the log as it was; what still fits in blocks that are there may go in.
pub(crate) fn v14_the_full_log_is_used(log: &Log, seen: &Seen, model: &mut Model) -> Law {
    for _ in 0..4 {
        let made = Batch::new(!model.seed, model.number, model.end(), 1, 900);
        model.number += 1;
        match log.append_batch(made.records.iter().map(Content::to_new)) {
            Ok(_) => model.batches.push(made),
            Err(error) => {
                holds(14, error.kind() == ErrorKind::OutOfSpace, || format!("append: {error}"))?;
                v14_full_is_an_error(&error, made.base, log)?;
            }
        }
    }
    for known in &seen.consumers {
        let options = ConsumerOptions::new().visibility(known.visibility);
        let mut consumer = or_broken(14, log.consumer_with(&known.name, options))?;
        while or_broken(14, consumer.poll(Duration::ZERO))?.is_some() {}
        or_broken(14, consumer.commit())?;
        or_broken(14, consumer.sync())?;
    }
    let before = log.durable_offset();
    model.start_asked = before.get();
    let start = or_broken(14, log.delete_records(before))?;
    model.start = start.get();
    holds(14, start == before, || format!("deleted below {before}, the start is {start}"))
}

/// V15: a jump of the wall clock moves no offset and takes no record.
pub(crate) fn v15_the_wall_clock_orders_nothing(before: &[i64; 3], after: &[i64; 3]) -> Law {
    holds(15, before == after, || format!("start, durable, end {before:?} became {after:?}"))
}

/// V16: a second opener is told that the log is locked.
pub(crate) fn v16_one_writer(second: Result<Log, Error>) -> Law {
    match second {
        Err(error) if error.kind() == ErrorKind::Locked => Ok(()),
        other => broken(16, format!("a second opener got {other:?}")),
    }
}

/// V17: after recovery an append, a flush, a read and a synced commit succeed.
pub(crate) fn v17_alive(log: &Log, model: &mut Model) -> Law {
    let made = Batch::new(!model.seed, model.number, model.end(), 2, 120);
    model.number += 1;
    let range = or_broken(17, log.append_batch(made.records.iter().map(Content::to_new)))?;
    holds(17, (range.start.get(), range.end.get()) == (made.base, made.end()), || {
        format!("appended at {range:?} instead of {}", made.base)
    })?;
    let durable = or_broken(17, log.flush())?;
    holds(17, durable.get() == made.end(), || format!("durable {durable} after a flush"))?;
    let mut reader = or_broken(17, log.reader(OffsetSpec::At(range.start)))?;
    match reader.next() {
        Some(Ok(batch)) => {
            model.batches.push(made);
            v2_only_what_was_appended(&batch, range.start.get(), model)?;
        }
        other => return broken(17, format!("reading the new record: {other:?}")),
    }
    model.durable = model.end();
    let options = ConsumerOptions::new().visibility(Visibility::Durable);
    let mut consumer = or_broken(17, log.consumer_with("alive", options))?;
    while or_broken(17, consumer.poll(Duration::ZERO))?.is_some() {}
    or_broken(17, consumer.commit())?;
    or_broken(17, consumer.sync())?;
    let position = consumer.position().get();
    holds(17, position == model.end(), || format!("a durable consumer read to {position}"))
}

/// V18: the report's numbers equal what the oracle counts in the files.
pub(crate) fn v18_the_report_is_honest(
    seen: &Seen,
    chain: &Chain,
    (closed, clean): (bool, bool),
    duty: &Duty<'_>,
) -> Law {
    let report = &seen.report;
    holds(18, report.clean == clean, || format!("clean mark {clean}: {report:?}"))?;
    holds(18, !duty.model.closed || closed, || "an acknowledged close left no mark".to_owned())?;
    let found = (report.bytes_cut, report.records_cut, report.segments_set_aside);
    let counted = (chain.bytes_behind, chain.records_behind, chain.segments_behind);
    holds(18, found == counted, || {
        format!("bytes, records, segments cut {found:?}, counted {counted:?}: {report:?}")
    })?;
    let spared = report.damaged.is_empty()
        && report.lost.is_none()
        && !report.seal_lost
        && report.foreign_files.is_empty();
    holds(18, spared, || format!("damage where there was only a crash: {report:?}"))?;
    let mut moved: BTreeMap<&str, i64> = BTreeMap::new();
    for one in &report.consumers_moved_back {
        holds(18, one.to.get() == seen.end && one.from > one.to, || format!("{one:?}"))?;
        moved.insert(&one.name, one.from.get());
    }
    for follower in duty.model.followers.iter().filter(|one| moved.contains_key(one.name)) {
        let from = moved[follower.name];
        let known = follower.commits.iter().chain(&follower.pending).any(|commit| *commit == from);
        holds(18, known, || format!("{} never committed {from}", follower.name))?;
    }
    Ok(())
}

/// V18: ends restored, slots damaged, segments deleted and what there was no room for, as the
/// report tells them and as the oracle counts them.
pub(crate) fn v18_the_numbers_agree<T: PartialEq + fmt::Debug>(
    told: &T,
    counted: &T,
    report: &RecoveryReport,
) -> Law {
    holds(18, told == counted, || format!("told {told:?}, counted {counted:?}: {report:?}"))
}

pub(crate) fn or_broken<T>(law: u8, got: Result<T, Error>) -> Result<T, Violation> {
    got.or_else(|error| broken(law, format!("{:?}: {error}", error.kind())))
}

/// Reads a log from its start, comparing every record (V2).
pub(crate) fn look(log: &Log, model: &Model) -> Result<Seen, Violation> {
    let start = log.log_start_offset().get();
    let mut expected = start;
    let mut batches = Vec::new();
    let reader = or_broken(2, log.reader(OffsetSpec::Earliest))?;
    for next in reader {
        let batch = or_broken(2, next)?;
        v2_only_what_was_appended(&batch, expected, model)?;
        expected = batch.next_offset().get();
        batches.push((batch.base_offset().get(), expected));
    }
    Ok(Seen {
        start,
        end: log.log_end_offset().get(),
        durable: log.durable_offset().get(),
        batches,
        consumers: log.consumers(),
        report: log.recovery().clone(),
    })
}

/// The laws about what a recovered log holds.
pub(crate) fn content(seen: &Seen, duty: &Duty<'_>) -> Law {
    v1_no_acknowledged_record_is_lost(seen, duty)?;
    v3_a_prefix(seen, duty)?;
    v4_the_start_only_rises(seen, duty)?;
    v6_commits_survive(seen, duty)
}
