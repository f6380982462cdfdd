//! Nothing is known any more of what was shipped: it is found again by what the records are.
//!
//! Floor 6. Every copy of the committed offsets was damaged at once, and with them went the id that
//! was shipped under. Of each producer whose batches stand in the topic, the last one is looked for
//! in the log; behind the one that is found shipping goes on, under a new id.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::calls::{Node, Topic};
use super::link::With;
use super::reading::Reading;
use super::unseen::await_replicas;
use crate::{ErrorKind, Offset, OffsetSpec, Record, Result, TimestampType};

/// How much of the topic's end is looked at first, in offsets; then four times as much.
const FIRST_LOOK: i64 = 10_000;
/// How many bytes are read back at the most.
const READ_BYTES_MAX: usize = 64 << 20;

/// Of so many of a batch's last records it is kept what they are.
const RECORDS_MAX: usize = 64;

/// What is known of a producer's last batch.
struct Last {
    /// What its last records are.
    records: Vec<u64>,
    /// They have the times they were given.
    timed: bool,
}

/// One past the last offset that stands upstream, as far as can be found; `None` if nothing does.
pub(super) fn find(
    node: &mut Node,
    topic: &Topic,
    partition: i32,
    with: &mut With<'_, '_>,
) -> Result<Option<Offset>> {
    await_replicas(node, topic, partition, with)?;
    let found = search(node, topic, partition, with)?;
    let start = with.source.log_start();
    if found.is_none() && start > Offset::ZERO {
        // How many of them is not known: no count would be true.
        let warning = format!(
            "what was shipped is not known any more, and the log begins at offset {start}: whether \
             the records before it arrived cannot be told"
        );
        with.memory.status.warnings.push(warning);
    }
    Ok(found)
}

fn search(
    node: &mut Node,
    topic: &Topic,
    partition: i32,
    with: &mut With<'_, '_>,
) -> Result<Option<Offset>> {
    let first = node.end_offset(&topic.name, partition, true, &*with.network)?;
    let end = node.end_offset(&topic.name, partition, false, &*with.network)?;
    if first >= end {
        return Ok(None);
    }
    let (mut look, mut read) = (FIRST_LOOK, 0);
    loop {
        let from = first.max(end.saturating_sub(look));
        let lasts = lasts(node, topic, partition, from..end, &mut read, with);
        let lasts = match lasts {
            Err(error) if error.kind() == ErrorKind::UpstreamRejected => break,
            lasts => lasts?,
        };
        let found = in_log(&lasts, with)?;
        if found.is_some() || from == first {
            return Ok(found);
        }
        if read >= READ_BYTES_MAX {
            break;
        }
        look = look.saturating_mul(4);
    }
    // Something stands there, and whose it is was not found out.
    with.count_in_doubt();
    Ok(None)
}

/// The last batch of each producer among these offsets.
fn lasts(
    node: &mut Node,
    topic: &Topic,
    partition: i32,
    offsets: std::ops::Range<i64>,
    read: &mut usize,
    with: &With<'_, '_>,
) -> Result<BTreeMap<i64, Last>> {
    let mut found = BTreeMap::new();
    let mut reading = Reading::new(topic, partition, offsets.start);
    while reading.at < offsets.end && *read < READ_BYTES_MAX {
        let fetched = reading.ask(node, &*with.network)?;
        *read += fetched.records.len();
        let any = reading.visit(&fetched, |batch| {
            if batch.producer_id() >= 0 && !batch.is_control() && !batch.is_empty() {
                let timed = batch.timestamp_type() == TimestampType::CreateTime;
                let skipped = batch.len().saturating_sub(RECORDS_MAX);
                let records = batch.records().flatten().skip(skipped);
                let last = Last { records: records.map(|one| hash(&one, timed)).collect(), timed };
                found.insert(batch.producer_id(), last);
            }
            Ok(())
        })?;
        if !any {
            break;
        }
    }
    Ok(found)
}

/// Behind which offset the log has one of these batches: the one that lies furthest back, if the
/// same records are there more than once, for then nothing is left out.
fn in_log(lasts: &BTreeMap<i64, Last>, with: &With<'_, '_>) -> Result<Option<Offset>> {
    let mut by_record: BTreeMap<(bool, u64), Vec<i64>> = BTreeMap::new();
    for (producer, last) in lasts {
        if let Some(record) = last.records.last() {
            by_record.entry((last.timed, *record)).or_default().push(*producer);
        }
    }
    let mut end = None;
    let durable = with.source.durable();
    for batch in with.source.log().reader(OffsetSpec::Earliest)? {
        // What is damaged is passed over, here as when it is shipped.
        let Ok(batch) = batch else { continue };
        for record in batch.records().flatten().take_while(|record| record.offset() < durable) {
            for timed in [false, true] {
                let key = (timed, hash(&record, timed));
                let Some(producers) = by_record.get_mut(&key) else { continue };
                let next = Offset::new(record.offset().get() + 1);
                let mut there = Vec::new();
                for producer in producers.iter() {
                    if let Some(last) = lasts.get(producer)
                        && is_before(last, next, with)?
                    {
                        there.push(*producer);
                    }
                }
                if !there.is_empty() {
                    end = Some(next);
                    producers.retain(|producer| !there.contains(producer));
                }
            }
        }
    }
    Ok(end)
}

/// Whether the log has the records of this batch right before `next`.
fn is_before(last: &Last, next: Offset, with: &With<'_, '_>) -> Result<bool> {
    let count = i64::try_from(last.records.len()).unwrap_or(i64::MAX);
    let first = Offset::new(next.get().saturating_sub(count));
    if first < with.source.log_start() {
        return Ok(false);
    }
    let mut theirs = last.records.iter();
    for ours in with.source.log().reader(OffsetSpec::At(first))? {
        let Ok(ours) = ours else { return Ok(false) };
        for record in ours.records() {
            let Ok(record) = record else { return Ok(false) };
            if record.offset() >= next {
                return Ok(theirs.next().is_none());
            }
            if theirs.next() != Some(&hash(&record, last.timed)) {
                return Ok(false);
            }
        }
    }
    Ok(theirs.next().is_none())
}

/// What a record is, its offset apart, and its time if a broker gave it one.
fn hash(record: &Record<'_>, timed: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (record.key(), record.is_tombstone(), record.value()).hash(&mut hasher);
    if timed {
        record.timestamp().hash(&mut hasher);
    }
    for header in record.headers() {
        header.hash(&mut hasher);
    }
    hasher.finish()
}
