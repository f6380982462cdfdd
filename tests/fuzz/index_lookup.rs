//! Indexes: what goes in is what a second reading of Kafka's rule says, what is in the files is
//! what was in memory, and whatever the files say, a lookup finds what a full scan does (I5).

use std::sync::Arc;

use super::input::Input;
use super::oracle::number;
use super::{past, planted};
use crate::codec::encode::{BatchEncoder, stamp};
use crate::codec::index::{
    IndexEntries, IndexEntry, IndexRule, TimeEntry, entries_max, index_bytes, parse_index,
    parse_times, time_bytes,
};
use crate::codec::seal::Seal;
use crate::disk::segment::SegmentData;
use crate::disk::walk::Step;
use crate::disk::{Env, names};
use crate::sys::Pinned;
use crate::sys::sim::{Disk, Profile};
use crate::words::log_id::LogId;
use crate::words::offset::Offset;
use crate::words::record::NewRecord;
use crate::words::time::Timestamp;

/// The first byte says what the rest is: batches for the rule, files to parse, or files beside a
/// segment that is looked into.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() & 3 {
        0 => parsed(input),
        1 => ruled(input),
        _ => looked_up(input),
    }
}

/// Files of any bytes.
fn parsed(mut input: Input<'_>) {
    let segment_bytes = input.u32() as usize;
    let bytes = input.rest();
    let found = parse_index(bytes, segment_bytes);
    assert_eq!(found, index_oracle(bytes, segment_bytes));
    let times = parse_times(bytes);
    assert_eq!(times, times_oracle(bytes));
    if let Some(entries) = found {
        past();
        assert_eq!(index_bytes(&entries), bytes);
        floors(&IndexEntries { entries, times: Vec::new() }, bytes);
    }
    if let Some(times) = times {
        assert_eq!(time_bytes(&times), bytes);
    }
}

fn index_oracle(bytes: &[u8], segment_bytes: usize) -> Option<Vec<IndexEntry>> {
    let (mut entries, mut last) = (Vec::new(), (-1, 0));
    for at in (0..bytes.len()).step_by(8) {
        if at + 8 > bytes.len() {
            return None;
        }
        let offset = i32::from_be_bytes(number(bytes, at));
        let position = i32::from_be_bytes(number(bytes, at + 4));
        if offset <= last.0 || position <= last.1 || position as usize >= segment_bytes {
            return None;
        }
        last = (offset, position);
        entries.push(IndexEntry { offset, position });
    }
    Some(entries)
}

fn times_oracle(bytes: &[u8]) -> Option<Vec<TimeEntry>> {
    let mut entries: Vec<TimeEntry> = Vec::new();
    for at in (0..bytes.len()).step_by(12) {
        if at + 12 > bytes.len() {
            return None;
        }
        let timestamp = i64::from_be_bytes(number(bytes, at));
        let offset = i32::from_be_bytes(number(bytes, at + 8));
        let last = entries.last().copied();
        let rises = last.is_none_or(|last| timestamp > last.timestamp && offset > last.offset);
        if offset < 0 || !rises {
            return None;
        }
        entries.push(TimeEntry { timestamp, offset });
    }
    Some(entries)
}

/// The floor of an offset is the last entry at or below it, by looking at all of them.
fn floors(index: &IndexEntries, targets: &[u8]) {
    let edges = index.entries.iter().flat_map(|entry| {
        let offset = i64::from(entry.offset);
        [offset - 1, offset, offset + 1]
    });
    let targets = targets.as_chunks::<4>().0.iter().map(|one| i64::from(i32::from_be_bytes(*one)));
    for target in edges.take(96).chain(targets.take(32)).chain([-1, 0, i64::MAX, i64::MIN]) {
        let below = |entry: &&IndexEntry| match planted() {
            true => i64::from(entry.offset) < target,
            false => i64::from(entry.offset) <= target,
        };
        let due = index.entries.iter().rev().find(below).copied();
        assert_eq!(index.floor(target), due, "floor of {target}");
    }
}

/// What Kafka's rule makes of batches, told a second time.
#[derive(Default)]
struct Kafka {
    entries: IndexEntries,
    bytes_since: usize,
    highest: Option<(i64, i32)>,
}

impl Kafka {
    fn maybe_time(&mut self) {
        let last = self.entries.times.last().map_or(-1, |last| last.timestamp);
        if let Some((timestamp, offset)) = self.highest.filter(|(time, _)| *time > last) {
            self.entries.times.push(TimeEntry { timestamp, offset });
        }
    }

    fn add(&mut self, last: i32, time: i64, position: usize, size: usize, interval: usize) {
        if time > self.highest.map_or(-1, |(highest, _)| highest) {
            self.highest = Some((time, last));
        }
        if self.bytes_since > interval {
            let position = i32::try_from(position).unwrap();
            self.entries.entries.push(IndexEntry { offset: last, position });
            self.maybe_time();
            self.bytes_since = 0;
        }
        self.bytes_since += size;
    }
}

fn ruled(mut input: Input<'_>) {
    let base = i64::from(input.u32());
    let interval = 1 + usize::from(input.u16() % 2000);
    let split = usize::from(input.byte());
    let (mut rule, mut entries) = (IndexRule::new(base, interval), IndexEntries::default());
    let (mut due, mut next, mut position, mut count) = (Kafka::default(), base, 0, 0);
    while !input.is_empty() && count < 256 {
        if count == split {
            // A clean close and an open: nothing of the rule is kept but what the files say.
            let closing = rule.finish();
            entries.add(closing);
            rule = IndexRule::resume(base, interval, &mut entries, closing.time.is_some());
        }
        count += 1;
        let size = 61 + input.below(600);
        next += 1 + i64::from(input.byte() % 20);
        let time = match input.byte() {
            0 => input.i64(),
            small => due.highest.map_or(1000, |(time, _)| time).wrapping_add(i64::from(small) - 64),
        };
        if let Some(found) = rule.add(next - 1, time, position) {
            entries.add(found);
        }
        due.add(i32::try_from(next - 1 - base).unwrap(), time, position, size, interval);
        position += size;
    }
    entries.add(rule.finish());
    due.maybe_time();
    assert_eq!(entries, due.entries, "Kafka's rule");
    let most = entries_max(interval, position);
    assert!(entries.entries.len() <= most && entries.times.len() <= most, "at most {most}");
    if count > 0 {
        past();
        let (index, times) = (index_bytes(&entries.entries), time_bytes(&entries.times));
        assert_eq!(parse_index(&index, position).as_ref(), Some(&entries.entries));
        assert_eq!(parse_times(&times).as_ref(), Some(&entries.times));
        floors(&entries, &index);
    }
}

const LOG: [u8; 16] = *b"the looked up in";
const BASE: i64 = 1000;

/// A batch of the segment that is looked into.
struct Truth {
    first: i64,
    next: i64,
    position: usize,
    size: usize,
    times: Vec<i64>,
}

/// A disk with one sealed segment, and what is in it.
struct Rig {
    disk: Disk,
    batches: Vec<Truth>,
    bytes: usize,
}

impl Rig {
    /// With times that rise, or with times that go to and fro.
    fn new(rising: bool) -> Rig {
        let (mut batches, mut bytes, mut next) = (Vec::new(), Vec::new(), BASE);
        let seal = Seal::of(LogId::from_bytes(LOG));
        for n in 0..48_i64 {
            let mut out = Vec::new();
            let mut encoder = BatchEncoder::begin(&mut out, 4096);
            let mut times = Vec::new();
            for record in 0..1 + n % 3 {
                let jitter = if rising { 0 } else { (n * 7919 + record * 31) % 900 };
                let time = n * 40 + record * 10 + jitter - 100;
                let value = vec![b'v'; (n * 37 % 150) as usize];
                let record = NewRecord::new(value).timestamp(Timestamp::from_millis(time));
                encoder.push(&record, Timestamp::NONE).unwrap();
                times.push(time);
            }
            encoder.finish();
            stamp(&mut out, next, &seal);
            let (first, position, size) = (next, bytes.len(), out.len());
            next += times.len() as i64;
            batches.push(Truth { first, next, position, size, times });
            bytes.extend_from_slice(&out);
        }
        let disk = Disk::new(Profile::default());
        disk.write_file(file("log"), &bytes);
        Rig { disk, batches, bytes: bytes.len() }
    }

    /// The index that belongs to it at this interval.
    fn index(&self, interval: usize) -> IndexEntries {
        let mut due = Kafka::default();
        for batch in &self.batches {
            let last = i32::try_from(batch.next - 1 - BASE).unwrap();
            let highest = *batch.times.iter().max().unwrap();
            due.add(last, highest, batch.position, batch.size, interval);
        }
        due.maybe_time();
        due.entries
    }

    fn end(&self) -> i64 {
        self.batches.last().unwrap().next
    }

    fn first_at(&self, time: i64, from: i64) -> Option<i64> {
        let all = self.batches.iter();
        let mut all = all.flat_map(|batch| (batch.first..).zip(batch.times.iter().copied()));
        all.find(|(offset, at)| *at >= time && *offset >= from).map(|(offset, _)| offset)
    }
}

fn file(kind: &str) -> String {
    format!("/log/{BASE:020}.{kind}")
}

/// Index files that were written whole, cut, zeroed, flipped, or by somebody else, beside a segment
/// that is whole.
fn looked_up(mut input: Input<'_>) {
    thread_local! {
        static RIGS: [Rig; 2] = [Rig::new(true), Rig::new(false)];
    }
    let flags = input.byte();
    RIGS.with(|rigs| {
        let rig = &rigs[usize::from(flags & 1)];
        assert!(names::parse_segment_file(file("log").trim_start_matches("/log/")).is_some());
        let honest = rig.index(1 + usize::from(input.byte()) * 8);
        // The one may have been written anew under another interval when the power went.
        let other = rig.index(1 + usize::from(input.byte()) * 8);
        let (mut index, mut times) = (index_bytes(&honest.entries), time_bytes(&honest.times));
        if flags & 2 != 0 {
            index = index_bytes(&other.entries);
        }
        let mut lies = harm(&mut input, &mut index, flags & 4 != 0);
        lies |= harm(&mut input, &mut times, flags & 8 != 0);
        rig.disk.write_file(file("index"), &index);
        rig.disk.write_file(file("timeindex"), &times);
        let env = Env {
            storage: Arc::new(rig.disk.clone()),
            dir: "/log".into(),
            names: None,
            seal: Seal::of(LogId::from_bytes(LOG)),
            mapped: flags & 16 != 0,
            segment_bytes: 1 << 20,
            index_interval_bytes: 400,
            torn_bytes: None,
            memory_bounded: flags & 32 != 0,
            written: Default::default(),
        };
        if parse_index(&index, rig.bytes).is_some() && parse_times(&times).is_some() {
            past();
        }
        let data = SegmentData::open_sealed(&env, Offset::new(BASE)).unwrap();
        if flags & 64 != 0 && !lies {
            found_by_time(rig, &data, &env, &mut input);
        }
        found_by_offset(rig, &data, &env, &mut input);
    });
}

/// Changes a file as a power cut or a bad sector does, or, where it may, as nobody does by
/// accident; whether it was the latter.
fn harm(input: &mut Input<'_>, bytes: &mut Vec<u8>, lie: bool) -> bool {
    if lie {
        let length = input.below(400);
        let lied = input.bytes(length);
        if input.bit() {
            *bytes = lied.to_vec();
        } else {
            let at = input.below(bytes.len());
            let end = (at + lied.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&lied[..end - at]);
        }
        return true;
    }
    match input.byte() & 7 {
        1 => bytes.clear(),
        // A file is cut at a page, or at what was its end.
        2 => bytes.truncate(0),
        3 => bytes.fill(0),
        4 if !bytes.is_empty() => {
            let bit = input.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        5 => {
            let at = input.below(bytes.len());
            bytes[at..].fill(0);
        }
        6 => bytes.extend_from_slice(&[0; 20]),
        _ => {}
    }
    false
}

fn found_by_offset(rig: &Rig, data: &SegmentData, env: &Env, input: &mut Input<'_>) {
    for _ in 0..6 {
        let target = BASE + input.below((rig.end() - BASE) as usize) as i64;
        let due = rig.batches.iter().find(|batch| batch.next > target).unwrap();
        let none = Pinned::of_vec(Vec::new());
        let mut walker = data.walker_near(env, Offset::new(target), none).unwrap();
        assert!(walker.position() <= due.position, "{target}: begins behind its batch");
        loop {
            match walker.next(data, &env.seal).unwrap() {
                Step::Batch(batch) if batch.header.next_offset() <= target => {}
                Step::Batch(batch) => {
                    assert_eq!(
                        (batch.header.base_offset, batch.position),
                        (due.first, due.position)
                    );
                    assert_eq!(batch.header.next_offset(), due.next);
                    break;
                }
                other => panic!("{target}: {other:?}"),
            }
        }
    }
}

fn found_by_time(rig: &Rig, data: &SegmentData, env: &Env, input: &mut Input<'_>) {
    let highest = rig.batches.iter().flat_map(|batch| &batch.times).max().copied().unwrap();
    assert_eq!(data.max_timestamp(env).unwrap(), highest, "the highest time");
    for _ in 0..4 {
        let time = (i64::from(input.u16()) % 3200 - 150).min(highest);
        let from = BASE + if input.bit() { input.below(90) as i64 } else { 0 };
        let found = data.first_at(env, time, Offset::new(from), true).unwrap();
        let due = rig.first_at(time, from);
        assert_eq!(found.map(Offset::get), due, "the first record at {time}, from {from}");
    }
}
