//! Operations on a log that is compacted, with kills, power cuts inside compactions, calls that
//! fail and bytes that change among them, against a map: the newest record of each key is there,
//! every record is what was appended at its offset, and nothing else is missing than what may go
//! (I2, I4, I5, I9, I12, I15).

mod foreign;
mod table;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::simulation::{CallKind, Disk, Fault, Keep, Names, Profile, Torn};
use forebay::{
    Cleanup, CompactionReport, ErrorKind, IoMode, Log, LogId, LogOptions, Media, Offset,
    OffsetSpec, Reader, Result,
};

use self::table::{Content, Table};
use super::input::Input;
use super::past;

const DIR: &str = "/log";
const OPERATIONS_MAX: usize = 48;
/// How long tombstones stay, in milliseconds.
const RETENTION: u64 = 2000;
/// More keys than the least memory has room for.
const MANY_KEYS: u32 = 2800;

/// The calls that fail, with what they say.
const FAULTS: [(CallKind, i32); 8] = [
    (CallKind::CreateNew, 28),
    (CallKind::Write, 28),
    (CallKind::Write, 5),
    (CallKind::SyncFile, 5),
    (CallKind::Rename, 5),
    (CallKind::SyncDir, 5),
    (CallKind::Unlink, 5),
    (CallKind::Read, 5),
];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

struct World {
    options: LogOptions,
    disk: Disk,
    log: Option<Log>,
    /// One that reads while segments are replaced, and the offset it has come to.
    reader: Option<(Reader, i64)>,
    table: Table,
    mirror: bool,
    /// Compactions happen by themselves, too.
    by_itself: bool,
    /// Milliseconds that have passed.
    now: u64,
    /// How many records were made.
    number: u32,
    /// Many keys may be written, once: it takes its time.
    many: bool,
    /// Bytes may change.
    flips: bool,
    /// A file as it was before its bytes changed, and as it is since.
    flipped: Option<(String, Vec<u8>, Vec<u8>)>,
    /// What was damaged and is not any more may have two records of a key.
    healed: bool,
}

impl World {
    fn new(input: &mut Input<'_>) -> World {
        let (flags, more) = (input.byte(), input.byte());
        let card = flags & 12 == 12;
        let profile = Profile {
            names: if flags & 2 != 0 { Names::Journal } else { Names::Strict },
            torn: if card { Torn::Overwrite { bytes: 4096 } } else { Torn::PowerSafe },
            stale: flags & 16 != 0,
            seed: u64::from(more >> 4),
            ..Profile::default()
        };
        let mapped = flags & 1 != 0 && !card;
        let (mirror, by_itself) = (flags & 32 != 0, flags & 64 != 0);
        let mut options = Log::options()
            .io_mode(if mapped { IoMode::Mapped } else { IoMode::Positioned })
            .media(if card { Media::TornOverwrite } else { Media::PowerSafe })
            .torn_bytes(4096)
            .segment_bytes(4096)
            .max_batch_bytes(4096)
            .index_interval_bytes(300)
            .cleanup(Cleanup::Compact)
            .delete_retention(Duration::from_millis(RETENTION))
            .min_cleanable_dirty_percent(if by_itself { 40 } else { 100 })
            .compaction_memory_bytes(64 << 10)
            .compression(foreign::codec(more));
        if mirror {
            options =
                options.mirror_of("0123456789abcdef0123456789abcdef".parse::<LogId>().unwrap());
        }
        let disk = Disk::new(profile);
        let log = Some(options.clone().open_on(&disk, DIR).unwrap());
        let table = Table::default();
        let (reader, now, number, many) = (None, 0, 0, flags & 128 != 0);
        let flips = more & 8 != 0;
        World {
            options,
            disk,
            log,
            reader,
            table,
            mirror,
            by_itself,
            now,
            number,
            many,
            flips,
            flipped: None,
            healed: false,
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 24 {
            0..=4 => self.append(input),
            5..=8 => self.fill(input.byte()),
            9 => self.flush(),
            10 | 11 => self.compact(),
            12 => self.delete(input.byte()),
            13 => self.reopen(self.disk.kill()),
            14 => self.reopen(self.disk.power_cut(keep(input))),
            15 => self.close(),
            16 => self.wait(input),
            17 => self.retain(),
            18 if self.flipped.is_some() => self.heal(),
            18 => self.flip(input),
            19 => self.fail(input),
            20 | 21 => self.cut(input),
            22 => self.read_on(input.byte()),
            _ => self.many_keys(),
        }
        let place = usize::from(input.byte());
        let found = self.table.check(self.log());
        self.table.lookups(self.log(), &found, place);
    }

    /// Records of a few keys, which an input says byte by byte.
    fn append(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let records = (0..1 + kind % 6).map(|_| {
            let (key, size) = (input.byte(), input.byte());
            let timestamp = match size % 8 {
                0 => 0,
                1 => i64::MAX,
                2 => 1_767_225_600_000 - i64::from(key) * 7,
                _ => 1_767_225_600_000 + i64::from(size),
            };
            let key = (key != u8::MAX).then(|| key_of(u32::from(key) % 12));
            let value = (size % 5 != 0).then_some(usize::from(size));
            (key, value, timestamp)
        });
        let records: Vec<_> = records.collect();
        let records = records.into_iter().map(|(k, v, t)| self.record(k, v, t)).collect();
        self.add(records, kind, input);
    }

    fn record(&mut self, key: Option<Vec<u8>>, value: Option<usize>, timestamp: i64) -> Content {
        self.number += 1;
        let number = self.number.to_be_bytes();
        let value = value.map(|length| [&number[..], &vec![b'v'; length]].concat());
        let header = self.number.is_multiple_of(3).then(|| number.to_vec());
        Content { offset: -1, timestamp, key, value, header, control: false }
    }

    /// Appends a batch, and notes it if the log has taken it.
    fn add(&mut self, mut records: Vec<Content>, kind: u8, input: &mut Input<'_>) {
        let by = foreign::codec(kind >> 4);
        let end = self.table.end;
        let done = match self.mirror {
            true => {
                let batch = foreign::batch(&mut records, end, by, input);
                if batch.is_empty() {
                    records.clear();
                }
                self.log().append_mirrored(&batch).map(|offsets| {
                    assert_eq!(offsets, batch.base_offset()..batch.next_offset());
                    offsets
                })
            }
            false => {
                for (offset, record) in (end..).zip(&mut records) {
                    record.offset = offset;
                }
                let new = records.iter().map(Content::to_new);
                let log = self.log();
                if kind & 8 == 0 {
                    log.append_batch(new)
                } else {
                    log.append_batch_compressed(by, new)
                }
            }
        };
        let keyless = !self.mirror && records.iter().any(|record| record.key.is_none());
        match done {
            Ok(offsets) => {
                assert!(!keyless, "a record without a key was taken");
                assert!(self.mirror || offsets.start.get() == end, "{offsets:?}, not from {end}");
                self.table.add(records, offsets.end.get());
                if self.by_itself {
                    self.may_compact(self.table.end);
                }
            }
            Err(error) => {
                assert!(keyless && error.kind() == ErrorKind::InvalidArgument, "{error}");
                assert_eq!(self.log().log_end_offset().get(), end, "nothing was written");
            }
        }
    }

    /// Some batches of larger records, so that segments are sealed.
    fn fill(&mut self, seed: u8) {
        let mut chance = u32::from(seed) + 1;
        for _ in 0..4 + seed % 24 {
            let mut records = Vec::new();
            for _ in 0..1 + chance % 3 {
                chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let key = key_of((chance >> 20) % 12);
                let value = (chance >> 8 & 15 != 0).then_some((chance >> 12) as usize % 300);
                let time = 1_767_225_600_000 + i64::from(chance >> 24);
                records.push(self.record(Some(key), value, time));
            }
            let bytes = (chance >> 3).to_be_bytes();
            self.add(records, (chance >> 16) as u8, &mut Input::new(&bytes));
        }
    }

    /// So many keys that the log is gone through several times.
    fn many_keys(&mut self) {
        if !std::mem::take(&mut self.many) {
            return;
        }
        for batch in 0..MANY_KEYS / 100 {
            let keys = (0..100).map(|n| (batch * 100 + n) * 37 % MANY_KEYS);
            let keys: Vec<_> = keys.collect();
            let records = keys
                .into_iter()
                .map(|key| self.record(Some(key_of(1000 + key)), Some(1), 1_767_225_600_000));
            let records = records.collect();
            self.add(records, 0, &mut Input::new(&[]));
        }
    }

    fn flush(&mut self) {
        let durable = self.log().flush().unwrap();
        assert_eq!(durable.get(), self.table.end);
    }

    fn may_compact(&mut self, end: i64) {
        self.table.may_compact(self.now, end, RETENTION);
    }

    fn compact(&mut self) {
        let report = self.log().compact().unwrap();
        self.compacted(&report);
    }

    fn compacted(&mut self, report: &CompactionReport) {
        let below = report.cleaned_offset.get();
        self.may_compact(below);
        let found = self.table.check(self.log());
        if self.table.damaged {
            return;
        }
        past();
        assert_eq!(report.damaged_segments, 0, "{report:?}");
        if self.healed {
            return;
        }
        Table::one_of_each_key(&found, below);
        let left = found.iter().filter(|record| record.offset < below).count() as u64;
        // Records below the log start may stay, where nobody reads them.
        let counted = report.records_after;
        assert!(left == counted || left < counted && self.table.start > 0, "{left}: {report:?}");
        self.verify();
    }

    fn verify(&self) {
        let report = self.log().verify().unwrap();
        if !self.table.damaged {
            // A cut may have torn the slot of the checkpoint that was being written.
            assert_eq!((report.damaged_ranges, report.opaque_batches), (0, 0), "{report:?}");
        }
    }

    fn delete(&mut self, part: u8) {
        let Table { start, end, .. } = self.table;
        let before = start + (end - start) * i64::from(part) / 400;
        let start = self.log().delete_records(Offset::new(before)).unwrap().get();
        if !self.table.damaged {
            assert_eq!(start, before);
        }
        self.table.start = self.table.start.max(start);
    }

    fn retain(&mut self) {
        self.may_compact(if self.by_itself { self.table.end } else { 0 });
        self.log().apply_retention().unwrap();
    }

    fn wait(&mut self, input: &mut Input<'_>) {
        let (passed, wall) = (u64::from(input.byte()) * 20, input.byte());
        self.disk.advance(Duration::from_millis(passed));
        self.now += passed;
        // I15: no jump of the wall clock makes anything old.
        match wall % 8 {
            0 => self.disk.set_wall(0),
            1 => self.disk.set_wall(4_000_000_000_000),
            2 => self.disk.set_wall(1_767_225_600_000 + i64::from(wall) * 1000),
            _ => {}
        }
    }

    fn close(&mut self) {
        let log = self.log.take().unwrap();
        self.reader = None;
        self.flipped = None;
        let closed = log.close();
        assert!(closed.is_ok() || self.table.damaged, "{closed:?}");
        self.open(self.table.end);
    }

    /// Goes on with what a stop has left.
    fn reopen(&mut self, next: Disk) {
        let durable = self.log().durable_offset().get();
        self.reopen_at(next, durable);
    }

    fn reopen_at(&mut self, next: Disk, durable: i64) {
        self.reader = None;
        self.log = None;
        if self.table.damaged {
            self.flipped = None;
        }
        self.disk = next;
        self.open(durable);
    }

    fn open(&mut self, durable: i64) {
        let log = self.options.clone().open_on(&self.disk, DIR).unwrap();
        let end = log.log_end_offset().get();
        let report = log.recovery();
        if !self.table.damaged {
            assert!((durable..=self.table.end).contains(&end), "{durable}, {end}: {report:?}");
            assert_eq!((report.damaged_ranges, &report.lost), (0, &None), "{report:?}");
            assert!(report.foreign_files.is_empty(), "{report:?}");
        }
        let names = self.disk.file_names(DIR);
        assert!(!names.iter().any(|name| name == "compacted.new"), "{names:?}");
        self.table.cut(end);
        self.table.start = log.log_start_offset().get().max(self.table.start);
        self.log = Some(log);
    }

    /// Changes a byte of a sealed segment.
    fn flip(&mut self, input: &mut Input<'_>) {
        let names = self.disk.file_names(DIR);
        let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".log")).collect();
        let (which, place, by) = (input.byte(), input.u16(), input.byte());
        let [sealed @ .., _] = &segments[..] else { return };
        if sealed.is_empty() || by == 0 || !self.flips {
            return;
        }
        let path = format!("{DIR}/{}", sealed[usize::from(which) % sealed.len()]);
        let mut bytes = self.disk.read_file(&path).unwrap();
        if bytes.is_empty() {
            return;
        }
        let place = usize::from(place) % bytes.len();
        let before = bytes.clone();
        bytes[place] ^= by;
        self.flipped = (!self.table.damaged).then(|| (path.clone(), before, bytes.clone()));
        self.table.damaged = true;
        self.disk.write_file(&path, &bytes);
    }

    /// The bytes are what they were: what could not be read was there all the time.
    fn heal(&mut self) {
        let Some((path, before, since)) = self.flipped.take() else { return };
        if self.disk.read_file(&path).is_none_or(|now| now != since) {
            return;
        }
        self.disk.write_file(&path, &before);
        self.table.damaged = false;
        self.healed = true;
        self.reopen(self.disk.kill());
    }

    /// Compacts while a call fails, and goes on.
    fn fail(&mut self, input: &mut Input<'_>) {
        let (kind, after) = (input.byte(), input.byte());
        let (on, errno) = FAULTS[usize::from(kind) % FAULTS.len()];
        let durable = self.log().durable_offset().get();
        self.disk.fail(Fault { on, name: None, after: u64::from(after % 32), times: 1, errno });
        let done = self.log().compact();
        self.disk.clear_faults();
        self.settle(done);
        if self.log().stats().poisoned.is_some() {
            self.reopen_at(self.disk.kill(), durable);
        }
    }

    fn settle(&mut self, done: Result<CompactionReport>) {
        match done {
            Ok(report) => self.may_compact(report.cleaned_offset.get()),
            Err(_) => self.may_compact(self.table.end),
        }
    }

    /// Compacts, and goes on with what a stop before one of its calls would have left.
    fn cut(&mut self, input: &mut Input<'_>) {
        let (call, killed) = (input.byte(), input.byte() < 64);
        let kept = keep(input);
        let durable = self.log().durable_offset().get();
        let left = Arc::new(Mutex::new((u32::from(call), None)));
        let state = Arc::clone(&left);
        self.disk.watch(move |disk, _| {
            let mut state = state.lock().unwrap();
            match state.0 {
                0 => {}
                1 => *state = (0, Some(if killed { disk.kill() } else { disk.power_cut(kept) })),
                calls => state.0 = calls - 1,
            }
        });
        let done = self.log().compact();
        self.disk.unwatch();
        self.settle(done);
        let next = left.lock().unwrap().1.take();
        if let Some(next) = next {
            self.reopen_at(next, durable);
        }
    }

    /// I9: who reads goes on, whatever is put in the place of what it reads.
    fn read_on(&mut self, batches: u8) {
        let Some((mut reader, mut at)) = self.reader.take() else {
            let reader = self.log().reader(OffsetSpec::Earliest).unwrap();
            self.reader = Some((reader, -1));
            return;
        };
        for _ in 0..batches % 16 {
            let Some(next) = reader.next() else { break };
            let Ok(batch) = next else { continue };
            let control = batch.is_control();
            let records = batch.records().map(|record| Content::of(&record.unwrap(), control));
            let found: Vec<_> = records.collect();
            assert!(found.first().is_none_or(|first| first.offset > at), "{at}: {found:?}");
            at = found.last().map_or(at, |last| last.offset);
            self.table.true_records(&found);
        }
        self.reader = Some((reader, at));
    }

    /// Whatever there was: the log is compacted, closed, and opened again.
    fn end(&mut self) {
        let done = self.log().compact();
        if !self.table.damaged {
            self.compacted(&done.unwrap());
        }
        let before = self.table.check(self.log());
        self.verify();
        self.close();
        let after = self.table.check(self.log());
        // A map that was open shows bytes as they were before they changed.
        assert!(before == after || self.table.damaged, "I12: opened again it shows something else");
    }
}

fn key_of(number: u32) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

/// What a power cut keeps.
fn keep(input: &mut Input<'_>) -> Keep {
    let (kind, number) = (input.byte(), input.u16());
    match kind % 8 {
        0 => Keep::None,
        1 => Keep::All,
        2 => Keep::Mask(number.into()),
        3 => Keep::Prefix(usize::from(number % 64)),
        4 => Keep::Only(usize::from(number % 64)),
        5 => Keep::AllBut(usize::from(number % 64)),
        _ => Keep::Seed(number.into()),
    }
}
