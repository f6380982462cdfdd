//! A log whose first, middle or last segment an input has changed: opened, read, verified, opened
//! again. Wherever nobody forges batches, every record is the one that was appended (V2), what is
//! whole is read (V10, V11), and in any case what is read is what a second reading of the file
//! finds there, recovery is idempotent (I12), and the log lives on (I1, I2, I13, I20).

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{ErrorKind, IoMode, Log, LogOptions, Offset, OffsetSpec, Timestamp};

use super::input::Input;
use super::oracle;
use super::{past, planted};

const DIR: &str = "/log";

/// What was appended at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

/// Where a batch lies.
#[derive(Clone, Debug)]
struct Place {
    first: i64,
    next: i64,
    segment: usize,
    start: usize,
    end: usize,
}

/// A log as its process left it.
struct Sample {
    disk: Disk,
    id: [u8; 16],
    segments: Vec<(String, Vec<u8>)>,
    batches: Vec<Place>,
    records: Vec<Content>,
    /// What its checkpoint knows to be durable.
    durable: i64,
}

fn options(mapped: bool) -> LogOptions {
    let mode = if mapped { IoMode::Mapped } else { IoMode::Positioned };
    let options = Log::options().flush(forebay::FlushPolicy::Manual).io_mode(mode);
    options.segment_bytes(4096).max_batch_bytes(2048).index_interval_bytes(300)
}

fn content(offset: i64) -> Content {
    let value = [format!("value {offset} ").into_bytes(), vec![b'v'; (offset * 37 % 300) as usize]];
    Content {
        offset,
        timestamp: 1_790_000_000_000 + offset * 7919 % 1000,
        key: (offset % 3 > 0).then(|| format!("key {offset}").into_bytes()),
        value: value.concat(),
    }
}

impl Sample {
    fn new(closed: bool, mapped: bool) -> Sample {
        let disk = Disk::new(Profile { seed: u64::from(closed), ..Profile::default() });
        let log = options(mapped).open_on(&disk, DIR).unwrap();
        let mut records: Vec<Content> = Vec::new();
        let mut durable = 0;
        for batch in 0..24 {
            let first = records.len() as i64;
            records.extend((first..=first + batch % 3).map(content));
            let new = records[first as usize..].iter().map(|one| {
                let new = forebay::NewRecord::new(&one.value);
                let new = new.timestamp(Timestamp::from_millis(one.timestamp));
                match &one.key {
                    Some(key) => new.key(key),
                    None => new,
                }
            });
            log.append_batch(new).unwrap();
            if batch == 16 {
                durable = log.flush().unwrap().get();
                log.consumer("reader").unwrap().commit_offset(Offset::new(5)).unwrap();
            }
        }
        let id = *log.id().as_bytes();
        if closed {
            log.close().unwrap();
            durable = records.len() as i64;
        }
        let disk = disk.kill();
        let mut names = disk.file_names(DIR);
        names.retain(|name| name.ends_with(".log"));
        let read = |name: String| {
            let bytes = disk.read_file(format!("{DIR}/{name}")).unwrap();
            (name, bytes)
        };
        let segments: Vec<_> = names.into_iter().map(read).collect();
        assert!(segments.len() >= 3, "{}", segments.len());
        let mut batches = Vec::new();
        for (segment, (_, bytes)) in segments.iter().enumerate() {
            let mut start = 0;
            while let Some(batch) = oracle::whole(&bytes[start..], Some(&id)) {
                let (first, end) = (batch.base, start + batch.size);
                let next = first + i64::from(batch.last_delta) + 1;
                batches.push(Place { first, next, segment, start, end });
                start = end;
            }
        }
        assert_eq!(batches.len(), 24);
        Sample { disk, id, segments, batches, records, durable }
    }
}

/// What an input did to a segment.
struct Change {
    segment: usize,
    bytes: Vec<u8>,
    /// Batches were made that nobody appended.
    forged: bool,
    /// They may say of themselves that they stand elsewhere in the log than they do.
    overlaps: bool,
    /// Bytes were copied from elsewhere, with whole batches among them.
    copied: bool,
}

pub(crate) fn run(data: &[u8]) {
    thread_local! {
        static SAMPLES: [Sample; 4] =
            [(true, true), (true, false), (false, true), (false, false)]
                .map(|(closed, mapped)| Sample::new(closed, mapped));
    }
    let mut input = Input::new(data);
    let flags = input.byte();
    SAMPLES.with(|samples| {
        let sample = &samples[usize::from(flags & 3)];
        let mapped = flags & 1 == 0;
        let change = change(sample, &mut input, flags & 4 != 0);
        let disk = match flags & 8 {
            0 => sample.disk.kill(),
            _ => sample.disk.power_cut(Keep::All),
        };
        let name = &sample.segments[change.segment].0;
        disk.write_file(format!("{DIR}/{name}"), &change.bytes);
        if flags & 16 != 0 {
            for kind in ["index", "timeindex"] {
                disk.remove_file(format!("{DIR}/{}", name.replace("log", kind)));
            }
        }
        let blank = flags & 0xe0 == 0xe0;
        if blank {
            disk.write_file(format!("{DIR}/checkpoint"), &[0; 24 << 10]);
        }
        judge(sample, &change, &disk, mapped, if blank { 0 } else { sample.durable });
    });
}

/// Up to eight changes, one after the other.
fn change(sample: &Sample, input: &mut Input<'_>, forge: bool) -> Change {
    let count = sample.segments.len();
    let segment = match input.byte() % 4 {
        0 => count / 2,
        1 => 0,
        _ => count - 1,
    };
    let bytes = sample.segments[segment].1.clone();
    let mut change = Change { segment, bytes, forged: false, overlaps: false, copied: false };
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        step(sample, &mut change, input, forge);
    }
    if planted() && change.bytes.first() == Some(&0xff) {
        // The planted fault: a record that nobody appended, with all its sums made right.
        let place = sample.batches.iter().find(|place| place.segment == segment).unwrap();
        change.bytes = sample.segments[segment].1.clone();
        change.bytes[place.end - 4] ^= 1;
        oracle::mend(&mut change.bytes[place.start..place.end], Some(&sample.id));
    }
    change
}

fn step(sample: &Sample, change: &mut Change, input: &mut Input<'_>, forge: bool) {
    let places = places(sample, change);
    let bytes = &mut change.bytes;
    let kind = input.byte();
    let at = input.below(bytes.len());
    match kind % 10 {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << (kind >> 5),
        1 => {
            let most = usize::from(input.byte());
            let new = input.bytes(most);
            let end = (at + new.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&new[..end - at]);
        }
        2 => {
            let end = (at + input.below(2048)).min(bytes.len());
            bytes[at..end].fill(0);
        }
        3 => bytes.truncate(at),
        4 => bytes.resize((bytes.len() + input.below(2048)).min(8192), 0),
        5 => {
            let (length, to) = (input.below(1024), input.below(bytes.len()));
            let length = length.min(bytes.len() - at.max(to));
            bytes.copy_within(at..at + length, to);
            change.copied = true;
        }
        6 => {
            // A batch of any segment, whole, where another one begins.
            let source = &sample.batches[input.below(sample.batches.len())];
            let target = places[input.below(places.len())].start;
            let batch = &sample.segments[source.segment].1[source.start..source.end];
            let end = (target + batch.len()).min(bytes.len());
            if target < end {
                bytes[target..end].copy_from_slice(&batch[..end - target]);
            }
            change.copied = true;
        }
        7 if forge => edited(sample, change, input, kind >= 200),
        8 if forge => appended(sample, change, input),
        _ => {
            let end = (at + 512).min(bytes.len());
            bytes[at - at % 512..end].fill(kind);
        }
    }
}

/// The batches of the segment that is changed.
fn places<'s>(sample: &'s Sample, change: &Change) -> Vec<&'s Place> {
    sample.batches.iter().filter(|place| place.segment == change.segment).collect()
}

/// Other bytes inside a batch, with its sums made right; mostly over the same offsets as before.
fn edited(sample: &Sample, change: &mut Change, input: &mut Input<'_>, anywhere: bool) {
    let places = places(sample, change);
    let place = places[input.below(places.len())];
    let Some(batch) = change.bytes.get_mut(place.start..place.end) else { return };
    let from = input.below(batch.len());
    let most = usize::from(input.byte() % 32);
    let new = input.bytes(most);
    let end = (from + new.len()).min(batch.len());
    batch[from..end].copy_from_slice(&new[..end - from]);
    if anywhere {
        change.overlaps = true;
    } else {
        // Those of the log: an earlier change may have hit them.
        let last = i32::try_from(place.next - place.first - 1).unwrap();
        batch[..8].copy_from_slice(&place.first.to_be_bytes());
        batch[23..27].copy_from_slice(&last.to_be_bytes());
    }
    oracle::mend(batch, Some(&sample.id));
    change.forged = true;
}

/// One more batch behind the last, of whatever bytes.
fn appended(sample: &Sample, change: &mut Change, input: &mut Input<'_>) {
    let mut batch = vec![0; 61];
    let places = places(sample, change);
    let last = places[places.len() - 1];
    let tail = input.byte();
    batch.extend_from_slice(input.bytes(usize::from(tail)));
    batch[..8].copy_from_slice(&(last.next + i64::from(tail & 1)).to_be_bytes());
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&i32::from(tail % 5).to_be_bytes());
    batch[57..61].copy_from_slice(&i32::from(tail % 3).to_be_bytes());
    oracle::mend(&mut batch, Some(&sample.id));
    let bytes = &mut change.bytes;
    let from = last.end.min(bytes.len());
    bytes.resize(bytes.len().max(from + batch.len()), 0);
    bytes[from..from + batch.len()].copy_from_slice(&batch);
    change.forged = true;
    change.overlaps |= change.segment + 1 < sample.segments.len();
}

/// What was read, and what could not be.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    records: Vec<Content>,
    errors: usize,
}

fn read(log: &Log, from: OffsetSpec) -> Found {
    let mut found = Found { records: Vec::new(), errors: 0 };
    let mut reader = log.reader(from).unwrap();
    for step in 0.. {
        assert!(step < 2000, "reading ends");
        match reader.next() {
            None => break,
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                found.errors += 1;
            }
            Some(Ok(batch)) => {
                for record in batch.records() {
                    match record {
                        Ok(record) => found.records.push(Content {
                            offset: record.offset().get(),
                            timestamp: record.timestamp().millis(),
                            key: record.key().map(<[u8]>::to_vec),
                            value: record.value().to_vec(),
                        }),
                        Err(error) => {
                            let kind = error.kind();
                            let typed = matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported);
                            assert!(typed, "{error}");
                            found.errors += 1;
                        }
                    }
                }
            }
        }
    }
    found
}

fn judge(sample: &Sample, change: &Change, disk: &Disk, mapped: bool, known: i64) {
    let log = options(mapped).open_on(disk, DIR).expect("V13: it opens");
    past();
    let report = log.recovery().clone();
    let (start, durable, end) =
        (log.log_start_offset().get(), log.durable_offset().get(), log.log_end_offset().get());
    assert!(start <= durable && durable <= end, "I1: {start}, {durable}, {end}");
    assert!(end >= known, "I2: the end fell to {end} of {known}: {report:?}");
    let found = read(&log, OffsetSpec::Earliest);
    let rising = found.records.windows(2).all(|pair| pair[0].offset < pair[1].offset);
    assert!(rising, "in order");
    assert!(found.records.iter().all(|record| (start..end).contains(&record.offset)));
    if !change.forged {
        true_records(sample, change, &found, known, start);
    }
    let told = log.verify().unwrap();
    if told.opaque_batches == 0 && !change.overlaps {
        assert_eq!(told.damaged_ranges == 0, found.errors == 0, "{told:?}");
        assert!(
            told.damaged_ranges > 0 || told.records == found.records.len() as u64,
            "{told:?}, read {}",
            found.records.len()
        );
    }
    // A copy is found where it lies by who passes it, and by nobody else.
    if !change.copied {
        by_offset_and_time(&log, &found);
    }
    assert_eq!(log.append("alive").expect("V17").get(), end);
    assert_eq!(log.flush().expect("V17").get(), end + 1);
    log.close().expect("V17: it closes");
    again(disk, mapped, (!change.overlaps).then_some(&found), end);
}

/// V2: nothing but what was appended. V10, V11: all that is whole, below the recovery point
/// wherever it lies, above it up to the first change.
fn true_records(sample: &Sample, change: &Change, found: &Found, known: i64, start: i64) {
    for record in &found.records {
        let truth = usize::try_from(record.offset).ok().and_then(|at| sample.records.get(at));
        assert_eq!(Some(record), truth, "V2: a record that nobody appended");
    }
    let original = &sample.segments[change.segment].1;
    let same = original.iter().zip(&change.bytes).take_while(|(one, other)| one == other);
    let whole = sample.batches.iter().filter(|place| place.segment == change.segment);
    let whole = whole.map(|place| place.end).max().unwrap_or_default();
    // Zeros behind the last batch are no change.
    let first = match same.count() {
        n if n >= whole
            && change.bytes.get(n..).unwrap_or_default().iter().all(|byte| *byte == 0) =>
        {
            usize::MAX
        }
        n => n,
    };
    for place in &sample.batches {
        let here = place.segment == change.segment;
        let before = (place.segment, place.end) <= (change.segment, first);
        let in_place = !here || {
            let now = change.bytes.get(place.start..place.end);
            now == original.get(place.start..place.end)
        };
        let due = before || place.next <= known && in_place && !change.copied;
        let read = (place.first..place.next).filter(|offset| *offset >= start).all(|offset| {
            found.records.binary_search_by_key(&offset, |record| record.offset).is_ok()
        });
        assert!(!due || read, "V10: {place:?} is whole and not read, known {known}, {first}");
    }
}

/// I5: from wherever one begins, the same records come.
fn by_offset_and_time(log: &Log, found: &Found) {
    for at in (0..found.records.len()).step_by(5) {
        let from = found.records[at].offset;
        let mut reader = log.reader(OffsetSpec::At(Offset::new(from))).unwrap();
        let batch = reader.find_map(Result::ok).expect("I5: it was read before");
        let first = batch.records().find_map(Result::ok).map(|record| record.offset().get());
        assert_eq!(first, Some(from), "I5");
        let time = OffsetSpec::Timestamp(Timestamp::from_millis(found.records[at].timestamp));
        drop(log.reader(time).expect("a time is looked up"));
    }
}

/// I12: opened once more, nothing is cut and the same is read.
fn again(disk: &Disk, mapped: bool, first: Option<&Found>, end: i64) {
    let log = options(mapped).open_on(&disk.kill(), DIR).expect("I12: it opens again");
    let report = log.recovery();
    assert_eq!((report.bytes_cut, report.segments_set_aside), (0, 0), "I12: {report:?}");
    // Of two batches for one offset, which no log writes, the way of the reader decides; so does it
    // which of two files ends the log.
    let Some(first) = first else { return };
    assert_eq!(log.log_end_offset().get(), end + 1, "I12: {report:?}");
    let mut found = read(&log, OffsetSpec::Earliest);
    found.records.retain(|record| record.offset < end);
    assert!(found == *first, "I12: {found:?}, {first:?}, {report:?}");
}
