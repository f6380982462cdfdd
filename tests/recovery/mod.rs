//! A machine with one log that is written, cut and held to what it promised; no code of the crate.
//!
//! [`World`] drives a log on a simulated disk and keeps what was promised in [`Truth`]; a watcher
//! may end copies of the machine before any storage call and hold each to the truth of that moment
//! with [`check`].
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code; every test program uses a part of it"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use forebay::simulation::{Call, CallKind, Disk, Keep};
use forebay::{Log, LogOptions, Offset, OffsetSpec, RecoveryReport};

pub(crate) const DIR: &str = "/data/log";
const CONSUMER: &str = "reader";

/// Deterministic chance: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What was promised, and what may have happened, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// The value of every record ever appended, at its offset; the last may be under way.
    pub(crate) values: Vec<Vec<u8>>,
    /// Below this a power cut takes nothing.
    pub(crate) durable: i64,
    /// Below this the death of the process takes nothing.
    pub(crate) end: i64,
    /// The log start is one of these: a deletion may be under way.
    pub(crate) start: [i64; 2],
    /// How many steps were begun.
    pub(crate) steps: usize,
    /// The consumer's commit that was synced, and the highest it ever made.
    pub(crate) committed: [i64; 2],
}

/// One step of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// One record of so many bytes.
    Append(usize),
    /// Three records in one batch, so many bytes each.
    Batch(usize),
    Flush,
    /// Appends until a segment more is there, of batches of so many bytes.
    Roll(usize),
    /// Deletes the older half.
    Delete,
    Commit,
    Close,
    Kill,
    /// A power cut by this seed.
    Power(u64),
}

/// A log that is driven.
pub(crate) struct World {
    pub(crate) disk: Disk,
    pub(crate) options: LogOptions,
    pub(crate) truth: Arc<Mutex<Truth>>,
    log: Option<Log>,
    watcher: Option<Watcher>,
    written: u64,
}

/// Called before every storage call that may change what a crash leaves.
pub(crate) type Watcher = Arc<dyn Fn(&Disk, &Call, &Truth) + Send + Sync>;

impl World {
    pub(crate) fn new(disk: Disk, options: LogOptions) -> World {
        let truth = Arc::default();
        World { disk, options, truth, log: None, watcher: None, written: 0 }
    }

    pub(crate) fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }

    /// From now on this looks at every change.
    pub(crate) fn watch(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
        self.attach();
    }

    fn attach(&self) {
        let Some(watcher) = self.watcher.clone() else { return };
        let truth = Arc::clone(&self.truth);
        let last = Mutex::new((0, 0, Truth::default().durable));
        self.disk.watch(move |disk, call| {
            if !changes(call.kind) {
                return;
            }
            let truth = truth.lock().unwrap().clone();
            let now = (disk.image(), disk.loose(), truth.durable);
            // The same state under the same promises was looked at.
            if std::mem::replace(&mut *last.lock().unwrap(), now) != now {
                watcher(disk, call, &truth);
            }
        });
    }

    pub(crate) fn log(&mut self) -> Log {
        if self.log.is_none() {
            let log = self.options.clone().open_on(&self.disk, DIR).unwrap();
            self.adopt(&log);
            self.log = Some(log);
        }
        self.log.clone().unwrap()
    }

    /// Takes over what a recovery found; it was checked before.
    fn adopt(&self, log: &Log) {
        let mut truth = self.truth();
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        truth.values.truncate(end as usize);
        truth.start = [start; 2];
        truth.end = end;
        truth.durable = truth.durable.max(log.durable_offset().get());
        let committed = log.consumers().first().map_or(0, |known| known.committed.get());
        truth.committed = [truth.committed[0].min(committed), committed];
    }

    /// A value that was never written before.
    fn value(&mut self, bytes: usize) -> Vec<u8> {
        self.written += 1;
        let mut chance = Chance(self.written);
        let mut value = format!("{} ", self.written).into_bytes();
        while value.len() < bytes {
            value.extend(chance.next().to_be_bytes());
        }
        value
    }

    pub(crate) fn append(&mut self, count: usize, bytes: usize) {
        let log = self.log();
        let values: Vec<Vec<u8>> = (0..count).map(|_| self.value(bytes)).collect();
        self.truth().values.extend(values.iter().cloned());
        log.append_batch(values).unwrap();
        let mut truth = self.truth();
        truth.end = truth.values.len() as i64;
        truth.durable = truth.durable.max(log.durable_offset().get());
    }

    pub(crate) fn run(&mut self, ops: &[Op]) {
        for op in ops {
            self.step(*op);
        }
    }

    pub(crate) fn step(&mut self, op: Op) {
        self.truth().steps += 1;
        match op {
            Op::Append(bytes) => self.append(1, bytes),
            Op::Batch(bytes) => self.append(3, bytes),
            Op::Flush => {
                let durable = self.log().flush().unwrap().get();
                let mut truth = self.truth();
                assert_eq!(durable, truth.end, "a flush covers what was appended before it");
                truth.durable = durable;
            }
            Op::Roll(bytes) => {
                let before = self.log().stats().segments;
                while self.log().stats().segments == before {
                    self.append(1, bytes);
                }
            }
            Op::Delete => {
                let log = self.log();
                let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
                let before = start + (end - start) / 2;
                self.truth().start[1] = before;
                log.delete_records(Offset::new(before)).unwrap();
                let mut truth = self.truth();
                truth.start = [before; 2];
                truth.durable = truth.durable.max(log.durable_offset().get());
            }
            Op::Commit => {
                let log = self.log();
                let mut consumer = log.consumer(CONSUMER).unwrap();
                let to = log.log_end_offset().min(log.durable_offset()).get();
                let highest = self.truth().committed[1].max(to);
                self.truth().committed[1] = highest;
                consumer.commit_offset(Offset::new(highest)).unwrap();
                consumer.sync().unwrap();
                self.truth().committed[0] = highest;
            }
            Op::Close => {
                self.log().close().unwrap();
                self.log = None;
                let mut truth = self.truth();
                truth.durable = truth.end;
            }
            Op::Kill => self.restart(self.disk.kill()),
            Op::Power(seed) => {
                let mut truth = self.truth();
                truth.end = truth.durable;
                drop(truth);
                self.restart(self.disk.power_cut(Keep::Seed(seed)));
            }
        }
    }

    /// Goes on on this disk, on which nothing but the log's files is left of the process.
    pub(crate) fn restart(&mut self, disk: Disk) {
        self.disk.unwatch();
        // What the end of a handle writes is on the old disk alone.
        self.log = None;
        self.disk = disk;
        self.attach();
        self.log();
    }
}

fn when(call: &Call, truth: &Truth) -> String {
    format!("in step {} before {:?} {:?}", truth.steps, call.kind, call.path)
}

/// Whether a call of this kind can change what a crash leaves.
pub(crate) fn changes(kind: CallKind) -> bool {
    !matches!(
        kind,
        CallKind::Open
            | CallKind::Look
            | CallKind::List
            | CallKind::Lock
            | CallKind::Read
            | CallKind::MapRead
            | CallKind::Clock
            | CallKind::Random
    )
}

/// The values of a log by offset; damage is an error.
pub(crate) fn read(log: &Log) -> Result<Vec<(i64, Vec<u8>)>, String> {
    let mut read = Vec::new();
    for batch in log.reader(OffsetSpec::Earliest).map_err(|error| error.to_string())? {
        for record in batch.map_err(|error| error.to_string())?.records() {
            let record = record.map_err(|error| error.to_string())?;
            read.push((record.offset().get(), record.value().to_vec()));
        }
    }
    Ok(read)
}

/// What ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Process,
    Power,
}

/// Opens what a crash left and holds it to the truth (I1, I2, I13, I20); the log, for more.
pub(crate) fn check(
    disk: &Disk,
    options: &LogOptions,
    truth: &Truth,
    end: End,
) -> Result<Log, String> {
    let log = options.clone().open_on(disk, DIR).map_err(|error| format!("open: {error}"))?;
    let report = log.recovery();
    let [start, durable, last] =
        [log.log_start_offset(), log.durable_offset(), log.log_end_offset()].map(Offset::get);
    let tell = |what: String| Err(format!("{what}; {report:?}"));
    let kept = if end == End::Process { truth.end } else { truth.durable };
    if !(start <= durable && durable <= last) {
        return tell(format!("I1: {start} {durable} {last}"));
    }
    if last < kept.max(truth.start[0]) || last as usize > truth.values.len() {
        let all = truth.values.len();
        return tell(format!("the log ends at {last}: {kept} were promised, {all} written"));
    }
    if start < truth.start[0] || start > truth.start[1] {
        return tell(format!("the log starts at {start}, not in {:?}", truth.start));
    }
    let read = match read(&log) {
        Ok(read) => read,
        Err(error) => return tell(format!("reading: {error}")),
    };
    if !read.iter().map(|(offset, _)| *offset).eq(start..last) {
        return tell(format!("not all of {start} to {last} are read: {} records", read.len()));
    }
    if let Some((offset, _)) = read.iter().find(|(n, value)| truth.values[*n as usize] != *value) {
        return tell(format!("{offset} has other bytes"));
    }
    let committed = log.consumers().first().map_or(0, |known| known.committed.get());
    if committed < truth.committed[0] || committed > truth.committed[1] {
        return tell(format!("the consumer is at {committed}, not in {:?}", truth.committed));
    }
    match nothing_lost(report) {
        Ok(()) => Ok(log.clone()),
        Err(error) => tell(error),
    }
}

fn nothing_lost(report: &RecoveryReport) -> Result<(), String> {
    let silent = report.damaged_ranges == 0
        && report.lost.is_none()
        && !report.checkpoint_lost
        && !report.seal_lost;
    if silent { Ok(()) } else { Err("it reports damage where there is none".to_owned()) }
}

/// It can be written to, and what is flushed now stays.
pub(crate) fn check_alive(disk: &Disk, options: &LogOptions, log: &Log) -> Result<(), String> {
    let tell = |error: forebay::Error| format!("alive: {error}");
    let offset = log.append("alive").map_err(tell)?;
    log.flush().map_err(tell)?;
    let next = options.clone().open_on(&disk.power_cut(Keep::None), DIR).map_err(tell)?;
    let last = read(&next)?.pop();
    let is = last == Some((offset.get(), b"alive".to_vec()));
    if is { Ok(()) } else { Err(format!("alive: the last record is {last:?}")) }
}

/// Cuts the power before every change of a run, and checks every state.
pub(crate) struct Cutter {
    pub(crate) options: LogOptions,
    /// Every subset of so many loose pieces or fewer.
    pub(crate) pieces: usize,
    /// So many by chance.
    pub(crate) random: u64,
    /// It ends after so many failures.
    pub(crate) failures_max: usize,
    pub(crate) states: AtomicU64,
    /// Ends that were restored, over all states.
    pub(crate) restored: AtomicU64,
    pub(crate) failures: Mutex<Vec<String>>,
    pub(crate) stop: AtomicBool,
}

impl Cutter {
    pub(crate) fn new(options: &LogOptions, pieces: usize, random: u64) -> Arc<Cutter> {
        Arc::new(Cutter {
            options: options.clone(),
            pieces,
            random,
            failures_max: 5,
            states: AtomicU64::new(0),
            restored: AtomicU64::new(0),
            failures: Mutex::default(),
            stop: AtomicBool::new(false),
        })
    }

    pub(crate) fn watcher(self: &Arc<Cutter>) -> Watcher {
        let cutter = Arc::clone(self);
        Arc::new(move |disk, call, truth| {
            cutter.all_ends(disk, truth, &when(call, truth));
        })
    }

    /// Ends the machine in every way.
    pub(crate) fn all_ends(&self, disk: &Disk, truth: &Truth, when: &str) {
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        self.state(&disk.kill(), truth, End::Process, &format!("killed {when}"));
        let loose = disk.loose();
        let mut keeps = vec![Keep::None, Keep::All];
        if loose <= self.pieces {
            keeps = (0..1_u64 << loose).map(Keep::Mask).collect();
        }
        if loose > 0 {
            let mut chance = Chance(disk.image() ^ loose as u64);
            keeps.extend((0..self.random).map(|_| Keep::Seed(chance.next())));
        }
        for keep in keeps {
            let what = format!("cut {when}, {loose} loose, {keep:?}");
            self.state(&disk.power_cut(keep), truth, End::Power, &what);
        }
    }

    fn state(&self, disk: &Disk, truth: &Truth, end: End, what: &str) {
        let number = self.states.fetch_add(1, Ordering::Relaxed);
        let checked = check(disk, &self.options, truth, end).and_then(|log| {
            self.restored.fetch_add(log.recovery().ends_restored, Ordering::Relaxed);
            if number.is_multiple_of(4) { check_alive(disk, &self.options, &log) } else { Ok(()) }
        });
        if let Err(error) = checked {
            let mut failures = self.failures.lock().unwrap();
            failures.push(format!("{what}: {error}"));
            self.stop.store(failures.len() >= self.failures_max, Ordering::Relaxed);
        }
    }

    /// All states held.
    #[track_caller]
    pub(crate) fn must_hold(&self, at_least: u64) {
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        let states = self.states.load(Ordering::Relaxed);
        let restored = self.restored.load(Ordering::Relaxed);
        println!("{states} states, {restored} ends restored");
        assert!(states >= at_least, "only {states} states were looked at");
    }
}

/// A workload by chance, of appends mostly.
pub(crate) fn by_chance(seed: u64, length: usize, bytes: usize) -> Vec<Op> {
    let mut chance = Chance(seed);
    let mut any = || match chance.below(24) {
        0..6 => Op::Append(1 + chance.below(bytes as u64 / 8) as usize),
        6..9 => Op::Append(1 + chance.below(bytes as u64) as usize),
        9..11 => Op::Batch(1 + chance.below(bytes as u64 / 3) as usize),
        11..17 => Op::Flush,
        17 => Op::Roll(bytes),
        18 => Op::Delete,
        19 => Op::Commit,
        20 => Op::Close,
        21..23 => Op::Kill,
        _ => Op::Power(chance.next()),
    };
    (0..length).map(|_| any()).collect()
}
