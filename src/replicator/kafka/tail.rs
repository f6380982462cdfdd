//! Reads back what stands upstream, where the broker's producer state does not say enough.
//!
//! Floor 6. A Fetch returns what lies below the high watermark only: what is found there is safe.
//! Batches are stored upstream as they were sent, with the producer id and sequence in them.

use super::gap::is_marker;
use super::identity::{Finding, Known, judge};
use super::link::{Link, With};
use super::open::{begin_anew, start};
use super::reading::Reading;
use super::unseen::await_replicas;
use crate::{Delivery, Error, ErrorKind, Offset, OffsetSpec, RecordBatch, Result, Resume};

/// What a walk over the tail came to.
enum Walked {
    /// To the high watermark, from the offset that was asked for.
    Whole,
    /// The same, but upstream has deleted what lay at its begin.
    Part,
    /// Everything that is there: upstream ends below the offset that was asked for. It has lost
    /// what it had acknowledged.
    Lost {
        /// Nothing was deleted at its begin.
        from_zero: bool,
        end: i64,
    },
    /// It may not be read.
    Denied,
}

/// Visits the batches of our producer id from where the last acknowledged one stands, to the last
/// one that the leader has now.
fn walk(
    link: &mut Link,
    with: &mut With<'_, '_>,
    visit: impl FnMut(&RecordBatch, &mut With<'_, '_>) -> Result<()>,
) -> Result<Walked> {
    await_replicas(&mut link.node, &link.topic, link.partition, with)?;
    walk_from(link.identity.upstream.max(0), link, with, visit)
}

/// The same from another offset.
fn walk_from(
    from: i64,
    link: &mut Link,
    with: &mut With<'_, '_>,
    mut visit: impl FnMut(&RecordBatch, &mut With<'_, '_>) -> Result<()>,
) -> Result<Walked> {
    let producer = link.identity.producer;
    let mut reading = Reading::new(&link.topic, link.partition, from);
    let mut walked = Walked::Whole;
    loop {
        let fetched = match reading.ask(&mut link.node, &*with.network) {
            Ok(fetched) => fetched,
            Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => {
                let (name, partition) = (&link.topic.name, link.partition);
                let first = link.node.end_offset(name, partition, true, &*with.network)?;
                let end = link.node.end_offset(name, partition, false, &*with.network)?;
                walked = match end < reading.at {
                    true => Walked::Lost { from_zero: first == 0, end },
                    false => Walked::Part,
                };
                if first >= end {
                    return Ok(walked);
                }
                reading.at = first;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::UpstreamRejected => return Ok(Walked::Denied),
            Err(error) => return Err(error),
        };
        let any = reading.visit(&fetched, |batch| {
            match batch.producer_id() == producer && !batch.is_control() {
                true => visit(batch, with),
                false => Ok(()),
            }
        })?;
        if reading.at >= fetched.high_watermark {
            return Ok(walked);
        }
        if !any {
            let text = format!("it has no batch at offset {}, below its end", reading.at);
            return Err(Error::upstream(link.node.channel.at(text)));
        }
    }
}

/// What a leader would know of the producer, if this were the producer's last batch.
fn known_by(batch: &RecordBatch) -> Known {
    let last = i64::from(batch.base_sequence()) + batch.len().max(1) as i64 - 1;
    let last_sequence = i32::try_from(last % (1 << 31)).unwrap_or(0);
    Known { epoch: batch.producer_epoch(), last_sequence }
}

/// The broker has no state of the id: what of it stands in the topic is looked for.
pub(super) fn search(link: &mut Link, with: &mut With<'_, '_>) -> Result<Resume> {
    let committed = with.source.committed();
    let mut found: Option<(Known, i64)> = None;
    let walked = walk(link, with, |batch, _| {
        found = Some((known_by(batch), batch.next_offset().get()));
        Ok(())
    })?;
    let sent = with.memory.sent.unwrap_or_else(|| with.source.durable());
    let in_doubt = (sent - committed).max(0).unsigned_abs();
    if let Walked::Denied = walked {
        with.memory.status.maybe_doubled += in_doubt;
        with.memory.status.delivery = Delivery::AtLeastOnce;
        return Ok(Resume::at(link.identity.unacknowledged(committed)));
    }
    let known = found.map(|(known, _)| known);
    match judge(&link.identity, known, committed) {
        Finding::Has(next) if next > with.source.durable() => beyond(link, next, with),
        Finding::Has(next) => {
            if let Some((_, upstream)) = found {
                link.identity.upstream = upstream;
                with.source.note(&link.identity.encode());
            }
            // Below the committed offset, it has lost what it had acknowledged.
            Ok(Resume::at(link.identity.skip(next)))
        }
        Finding::Forgotten => {
            let mut from = link.identity.unacknowledged(committed);
            match walked {
                Walked::Part => with.memory.status.maybe_doubled += in_doubt,
                Walked::Lost { from_zero, end } => {
                    link.identity.upstream = end;
                    with.source.note(&link.identity.encode());
                    from = all_lost(link, from_zero, with);
                }
                _ => {}
            }
            Ok(Resume::at(link.identity.skip(from)))
        }
        Finding::Stranger => shared(link, with),
    }
}

/// Upstream has nothing of our id, and ends below where it had acknowledged records: where to
/// begin again.
fn all_lost(link: &Link, from_zero: bool, with: &mut With<'_, '_>) -> Offset {
    let (committed, identity) = (with.source.committed(), &link.identity);
    if from_zero {
        let first = identity.before.map_or(identity.era.anchor, |(before, _)| before.anchor);
        return first.min(committed).max(with.source.log_start());
    }
    // What is left of the topic begins above zero: whether retention or the loss has taken what
    // was ours cannot be told.
    let warning = format!(
        "the topic '{}' ends below what it had acknowledged: records before offset {committed} \
         may be lost there",
        link.topic.name
    );
    with.memory.status.warnings.push(warning);
    committed
}

/// Upstream has more of our id than the log has: either the log has lost its end, or another device
/// ships under the same identity.
pub(super) fn beyond(link: &mut Link, next: Offset, with: &mut With<'_, '_>) -> Result<Resume> {
    let (alike, walked) = compare(link, with)?;
    match (alike, walked) {
        (None, Walked::Whole) => {
            // The log continues behind what was shipped, so that no offset has two contents.
            with.source.log().skip_to(next)?;
            with.source.log().flush()?;
            Ok(Resume::unsure(next, with.source.committed()))
        }
        (None, _) => {
            with.count_in_doubt();
            begin_anew(link, start(with), with)
        }
        (Some(differs), _) => apart(link, differs, with),
    }
}

/// The identity was made on another device: this disk was copied from its, or moved. Before
/// anything is shipped, what stands upstream is compared; `None` where nothing is of another log.
pub(super) fn copied(
    link: &mut Link,
    hardware: u64,
    with: &mut With<'_, '_>,
) -> Result<Option<Resume>> {
    if !link.identity.is_copied(hardware) {
        return Ok(None);
    }
    let differs = compare(link, with)?.0;
    differs.map(|differs| apart(link, differs, with)).transpose()
}

/// Goes on under an identity of its own, from the first offset at which another device shipped
/// something else under this one.
pub(super) fn apart(link: &mut Link, differs: Offset, with: &mut With<'_, '_>) -> Result<Resume> {
    with.memory.status.identity_shared += 1;
    begin_anew(link, differs.max(with.source.committed()), with)
}

/// Another device ships under this one's identity: behind the last record that both have, this one
/// goes on under an identity of its own.
pub(super) fn shared(link: &mut Link, with: &mut With<'_, '_>) -> Result<Resume> {
    let committed = with.source.committed();
    let (differs, _) = compare(link, with)?;
    apart(link, differs.unwrap_or(committed), with)
}

/// Compares what stands upstream under our id with the log: the first offset that holds something
/// else there.
fn compare(link: &mut Link, with: &mut With<'_, '_>) -> Result<(Option<Offset>, Walked)> {
    let identity = link.identity.clone();
    let mut differs: Option<Offset> = None;
    let walked = walk(link, with, |batch, with| {
        let near = with.source.committed();
        let Finding::Has(next) = judge(&identity, Some(known_by(batch)), near) else {
            return Ok(());
        };
        let first = Offset::new(next.get() - batch.len() as i64);
        let found = first_difference(batch, first, with)?;
        differs = match (differs, found) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Ok(())
    })?;
    Ok((differs, walked))
}

/// The first offset of a batch from upstream, its first record at `first` here, where the log has
/// another record. What the log has no longer, or not at all, is not compared.
fn first_difference(
    theirs: &RecordBatch,
    first: Offset,
    with: &With<'_, '_>,
) -> Result<Option<Offset>> {
    let log = with.source.log();
    let from = first.max(log.log_start_offset());
    if from >= log.log_end_offset() {
        return Ok(None);
    }
    let mut ours = Vec::new();
    let until = Offset::new(first.get() + theirs.len() as i64);
    for batch in log.reader(OffsetSpec::At(from))? {
        let Ok(batch) = batch else { break };
        let done = batch.next_offset() >= until;
        ours.push(batch);
        if done {
            break;
        }
    }
    let mut ours = ours.iter().flat_map(RecordBatch::records).flatten();
    let skipped = usize::try_from(from - first).unwrap_or(0);
    for (at, record) in theirs.records().enumerate().skip(skipped) {
        let Ok(record) = record else { return Ok(None) };
        if is_marker(&record) {
            continue;
        }
        let offset = Offset::new(first.get() + i64::try_from(at).unwrap_or(0));
        let Some(own) = ours.find(|own| own.offset() >= offset) else { return Ok(None) };
        let same = own.offset() == offset
            && own.key() == record.key()
            && own.value() == record.value()
            && own.is_tombstone() == record.is_tombstone()
            && own.headers() == record.headers();
        if !same {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// Looks below the high watermark for what was stored before this link was opened, and takes it
/// for acknowledged, unless it is of another log: then from which offset on.
pub(super) fn confirm(link: &mut Link, with: &mut With<'_, '_>) -> Result<Option<Offset>> {
    let identity = link.identity.clone();
    let (near, acknowledged) = (link.next, link.acknowledged);
    let mut differs = None;
    let mut safe: Option<(Offset, i64)> = None;
    // The last of them stands so far up at least, and is what it is about: what lies before it does
    // not have to come back over the link.
    let last = identity.shipped(link.acknowledged, near) - 1;
    let at = identity.upstream.max(0).saturating_add(last.max(0));
    let walked = walk_from(at, link, with, |batch, with| {
        if let Finding::Has(next) = judge(&identity, Some(known_by(batch)), near) {
            if next > acknowledged && differs.is_none() {
                let first = Offset::new(next.get() - batch.len() as i64);
                differs = first_difference(batch, first, with)?;
            }
            safe = Some((identity.skip(next), batch.next_offset().get()));
        }
        Ok(())
    })?;
    if let Walked::Denied = walked {
        let warning = "what is stored upstream cannot be read back: grant READ on the topic";
        with.memory.status.warnings.push(warning.to_owned());
        with.memory.status.delivery = Delivery::AtLeastOnce;
        safe = Some((near, link.identity.upstream));
    }
    if differs.is_some() {
        // Then everything is compared: where it begins to differ may lie before.
        return Ok(compare(link, with)?.0.or(differs));
    }
    if let Some((below, upstream)) = safe.filter(|(below, _)| *below > link.acknowledged) {
        link.identity.upstream = upstream;
        with.memory.status.upstream_offset = Some(upstream - 1);
        link.acknowledge(below.min(near), with);
    }
    Ok(None)
}
