//! A machine whose log is appended to, committed and deleted from, with the power cut and the
//! process killed before every call: what every stop has to leave.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::simulation::{Disk, Keep, Names, Profile, Torn};
use forebay::{Consumer, ErrorKind, IoMode, Log, LogOptions, Offset, OffsetSpec};

pub(crate) const DIR: &str = "/data/log";
pub(crate) const CONSUMER: &str = "uplink";

/// One step of a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// So many records of 300 bytes, a batch each.
    Append(usize),
    Flush,
    /// Commits so far behind the end.
    Commit(i64),
    /// Makes the commits safe.
    Sync,
    Retain,
    Close,
    Kill,
    /// A power cut by this seed.
    Power(u64),
}

/// What is known at one moment.
#[derive(Clone, Debug, Default)]
struct Truth {
    /// One past the last record whose append was begun, and returned.
    begun: i64,
    end: i64,
    durable: i64,
    /// Shown, and so safe.
    start: i64,
    /// Where segments begin, or may.
    bases: BTreeSet<i64>,
    /// The last commit, and the one under way; and the lowest since one was synced, which a sync
    /// of something else may have made safe.
    committed: [i64; 2],
    synced: i64,
    /// The records never to be deleted.
    kept: i64,
    /// A consumer holds, so nothing above its commit goes.
    holds: bool,
    /// Segments may be thinned; which are for sure.
    thins: bool,
    thinned: BTreeSet<i64>,
}

/// A log that is driven, and cut.
pub(crate) struct World {
    disk: Disk,
    profile: Profile,
    options: LogOptions,
    truth: Arc<Mutex<Truth>>,
    looked: Arc<AtomicU64>,
    log: Option<(Log, Consumer)>,
}

/// The disks and modes to try.
pub(crate) fn profiles() -> Vec<(Profile, IoMode)> {
    let strict = Profile::default();
    let journal = Profile { names: Names::Journal, stale: true, ..strict.clone() };
    let card = Profile { torn: Torn::Overwrite { bytes: 4096 }, ..strict.clone() };
    vec![
        (strict, IoMode::Mapped),
        (journal.clone(), IoMode::Positioned),
        (journal, IoMode::Mapped),
        (card, IoMode::Positioned),
    ]
}

/// A workload of so many steps by a seed.
pub(crate) fn workload(seed: u64, steps: usize) -> Vec<Op> {
    let mut state = seed;
    // SplitMix64.
    let mut below = move |bound: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    };
    let mut step = || match below(16) {
        0..6 => Op::Append(1 + usize::try_from(below(25)).unwrap()),
        6 | 7 => Op::Flush,
        8..11 => Op::Commit(i64::try_from(below(30)).unwrap()),
        11 => Op::Sync,
        12 | 13 => Op::Retain,
        14 => match below(2) {
            0 => Op::Close,
            _ => Op::Kill,
        },
        _ => Op::Power(below(1 << 32)),
    };
    (0..steps).map(|_| step()).collect()
}

/// How many seeds to try: one, or as many as `FOREBAY_CUT_SEEDS` says.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("FOREBAY_CUT_SEEDS").ok();
    0..asked.map_or(1, |count| count.parse().unwrap())
}

fn value(number: i64) -> String {
    format!("{number:08} {}", "x".repeat(290))
}

impl World {
    /// Retention leaves the newest `kept` records, and all that the consumer has not committed.
    pub(crate) fn new(profile: Profile, options: LogOptions, kept: i64) -> World {
        let truth = Truth { kept, holds: true, ..Truth::default() };
        World {
            disk: Disk::new(profile.clone()),
            profile,
            options,
            truth: Arc::new(Mutex::new(truth)),
            looked: Arc::default(),
            log: None,
        }
    }

    /// Nothing is held, and segments may be thinned.
    pub(crate) fn that_drops(profile: Profile, options: LogOptions) -> World {
        let world = World::new(profile, options, 0);
        *world.truth.lock().unwrap() = Truth { thins: true, ..Truth::default() };
        world
    }

    pub(crate) fn profile(&self) -> Profile {
        self.profile.clone()
    }

    pub(crate) fn looked(&self) -> u64 {
        self.looked.load(Ordering::Relaxed)
    }

    /// How many segments were seen to be thinned.
    pub(crate) fn thinned(&self) -> usize {
        self.truth.lock().unwrap().thinned.len()
    }

    fn watch(&self) {
        let (truth, looked) = (Arc::clone(&self.truth), Arc::clone(&self.looked));
        let options = self.options.clone();
        let last = Mutex::new((0, 0));
        self.disk.watch(move |disk, call| {
            if std::thread::panicking() {
                return;
            }
            let now = (disk.image(), disk.loose());
            if std::mem::replace(&mut *last.lock().unwrap(), now) == now {
                return;
            }
            let truth = truth.lock().unwrap().clone();
            let seen = looked.fetch_add(1, Ordering::Relaxed);
            let what = |stop: &str| format!("{stop} before {call:?}: {truth:?}");
            if seen.is_multiple_of(2) {
                check(&disk.kill(), &options, &truth, true, &what("killed"));
            }
            // By turns, since the states differ little from call to call.
            let loose = disk.loose().max(1);
            let one = usize::try_from(seen).unwrap() % loose;
            let whole = [Keep::None, Keep::All, Keep::Seed(seen + 1_000_000)];
            let part = [Keep::Only(one), Keep::AllBut(one), Keep::Prefix(one)];
            let turn = usize::try_from(seen).unwrap() % 3;
            let some = if seen.is_multiple_of(2) { Keep::Seed(seen) } else { whole[turn] };
            for keep in [some, part[turn]] {
                let next = disk.power_cut(keep);
                check(&next, &options, &truth, false, &what(&format!("cut {keep:?}")));
            }
        });
    }

    fn open(&mut self) {
        self.watch();
        let log = self.options.clone().open_on(&self.disk, DIR).unwrap();
        let consumer = log.consumer(CONSUMER).unwrap();
        self.log = Some((log, consumer));
        self.take_note();
        // What the consumer had committed may have been lost, and is not what counts any more.
        let committed = self.log.as_ref().unwrap().1.committed().get();
        let mut truth = self.truth.lock().unwrap();
        truth.committed = [committed; 2];
        truth.synced = truth.synced.min(committed);
    }

    /// What is shown now is true from now on.
    fn take_note(&mut self) {
        let (log, _) = self.log.as_ref().unwrap();
        let mut truth = self.truth.lock().unwrap();
        truth.end = log.log_end_offset().get();
        truth.begun = truth.end;
        truth.durable = log.durable_offset().get();
        assert!(log.log_start_offset().get() >= truth.start);
        truth.start = log.log_start_offset().get();
        truth.bases.extend(segments(&self.disk).iter().map(|(base, _)| *base));
        let end = truth.end;
        truth.bases.insert(end);
        let gaps = segments(&self.disk).into_iter().filter(|(_, bytes)| *bytes == 61);
        truth.thinned.extend(gaps.map(|(base, _)| base));
    }

    pub(crate) fn run(&mut self, workload: &[Op]) {
        self.open();
        for op in workload {
            self.step(*op);
            self.take_note();
        }
        self.disk.unwatch();
        self.log = None;
    }

    fn step(&mut self, op: Op) {
        let (log, consumer) = self.log.as_mut().unwrap();
        match op {
            Op::Append(count) => {
                for _ in 0..count {
                    let number = log.log_end_offset().get();
                    {
                        let mut truth = self.truth.lock().unwrap();
                        truth.begun = number + 1;
                        truth.bases.insert(number);
                    }
                    log.append(value(number)).unwrap();
                    self.truth.lock().unwrap().end = number + 1;
                }
            }
            Op::Flush => assert_eq!(log.flush().unwrap(), log.log_end_offset()),
            Op::Commit(behind) => {
                let to = (log.log_end_offset().get() - behind).max(log.log_start_offset().get());
                {
                    let mut truth = self.truth.lock().unwrap();
                    truth.committed[1] = to;
                    truth.synced = truth.synced.min(to);
                }
                consumer.commit_offset(Offset::new(to)).unwrap();
                self.truth.lock().unwrap().committed[0] = to;
            }
            Op::Sync => {
                consumer.sync().unwrap();
                let mut truth = self.truth.lock().unwrap();
                truth.synced = truth.committed[0];
            }
            Op::Retain => drop(log.apply_retention().unwrap()),
            Op::Close | Op::Kill | Op::Power(_) => self.restart(op),
        }
    }

    fn restart(&mut self, op: Op) {
        let (log, consumer) = self.log.take().unwrap();
        drop(consumer);
        let next = match op {
            Op::Close => {
                log.close().unwrap();
                let mut truth = self.truth.lock().unwrap();
                truth.durable = truth.end;
                truth.synced = truth.committed[0];
                drop(truth);
                self.disk.kill()
            }
            Op::Power(seed) => {
                let next = self.disk.power_cut(Keep::Seed(seed));
                let mut truth = self.truth.lock().unwrap();
                // The rest may be gone, and other records come there.
                truth.end = truth.durable;
                truth.committed[0] = truth.committed[0].min(truth.synced);
                next
            }
            _ => self.disk.kill(),
        };
        self.disk.unwatch();
        self.disk = next;
        self.open();
    }
}

/// Base and length of each segment file.
fn segments(disk: &Disk) -> Vec<(i64, usize)> {
    let names = disk.file_names(DIR).into_iter();
    let bases = names.filter_map(|name| name.strip_suffix(".log")?.parse::<i64>().ok());
    let length = |base: i64| disk.read_file(format!("{DIR}/{base:020}.log")).unwrap().len();
    bases.map(|base| (base, length(base))).collect()
}

/// Opens what is left, and holds it to what was known.
fn check(disk: &Disk, options: &LogOptions, truth: &Truth, killed: bool, what: &str) {
    let log = options.clone().open_on(disk, DIR).unwrap_or_else(|error| panic!("{error} {what}"));
    let report = log.recovery();
    assert_eq!((report.damaged_ranges, report.lost.clone()), (0, None), "{what}");
    let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
    assert!(start == 0 || truth.bases.contains(&start), "{start} was never decided, {what}");
    assert!(start >= truth.start, "{start}: a start that was shown fell, {what}");
    let safe = if killed { truth.end } else { truth.durable };
    assert!(end >= safe && end <= truth.begun.max(safe), "{end}, {what}");
    let known = log.consumers();
    if let Some(known) = known.first() {
        let committed = known.committed.get();
        if truth.holds {
            assert!(start <= committed, "{start} above the commit {committed}, {what}");
            assert!(start <= (truth.begun - truth.kept).max(truth.start), "{start}, {what}");
        }
        let least = truth.committed[0].min(truth.committed[1]);
        // What lies above the end was brought back to it (I7).
        assert!(!killed || committed >= least.min(end), "{committed}, {what}");
        assert!(committed >= truth.synced.min(least).min(end), "{committed}, {what}");
    }
    let files = segments(disk);
    assert!(files.len() < 2 || files[1].0 > start, "{files:?} lie below {start}, {what}");
    read(&log, truth, &files, start..end, what);
    // It goes on, and the next look has nothing left to clean up that it does not.
    assert_eq!(log.append(value(end)).unwrap().get(), end, "{what}");
    log.apply_retention().unwrap();
    let first = segments(disk)[1..].first().map_or(i64::MAX, |(base, _)| *base);
    assert!(first > log.log_start_offset().get(), "{what}");
}

/// Every record is there, but for those of whole segments that were thinned.
fn read(
    log: &Log,
    truth: &Truth,
    files: &[(i64, usize)],
    offsets: std::ops::Range<i64>,
    what: &str,
) {
    let next_of = |at: usize| files.get(at + 1).map_or(offsets.end, |(base, _)| *base);
    let mut expected: Vec<i64> = Vec::new();
    for (at, (base, bytes)) in files.iter().enumerate() {
        let gap = truth.thins && *bytes == 61;
        assert!(gap || !truth.thinned.contains(base), "{base} came back, {what}");
        if !gap {
            expected.extend((*base).max(offsets.start)..next_of(at));
        }
    }
    let mut found = Vec::new();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        let batch = batch.unwrap_or_else(|error| panic!("{error}, {what}"));
        for record in batch.records() {
            let record = record.unwrap();
            let number = record.offset().get();
            assert_eq!(record.value(), value(number).as_bytes(), "{what}");
            found.push(number);
        }
    }
    assert_eq!(found, expected, "{files:?} {what}");
    let verified = log.verify().unwrap();
    // A cut leaves a slot half written: that is what the others are for.
    let slot = |fault: &String| fault == "a slot of the checkpoint is damaged";
    let whole = verified.damaged_ranges == 0 && verified.faults.iter().all(slot);
    assert!(whole, "{verified:?} {what}");
    let missed = (offsets.end - offsets.start) - i64::try_from(found.len()).unwrap();
    let mut consumer = log.consumer("another").unwrap();
    loop {
        match consumer.poll(Duration::ZERO) {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => assert_ne!(error.kind(), ErrorKind::Corrupt, "{error} {what}"),
        }
    }
    assert_eq!(i64::try_from(consumer.missed()).unwrap(), missed, "{what}");
}
