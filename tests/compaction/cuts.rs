//! I12: the power is cut and the process killed before every call of a compaction, its recovery's
//! as well: each segment is the old one or the new one, and the log makes the same table.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use forebay::simulation::{CallKind, Disk, Fault, Keep, Names, Profile, Torn};
use forebay::{ErrorKind, IoMode, Log, LogOptions};

use crate::history::{History, small};
use crate::util::MODES;

const DIR: &str = "/data/log";

/// The disks and modes to try.
fn profiles() -> Vec<(Profile, IoMode)> {
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

/// What is known at one moment.
#[derive(Clone, Debug, Default)]
struct Truth {
    history: History,
    durable: i64,
}

struct World {
    disk: Disk,
    options: LogOptions,
    log: Option<Log>,
    history: History,
    truth: Arc<Mutex<Truth>>,
    looked: Arc<AtomicU64>,
    merged: Arc<AtomicU64>,
}

impl World {
    fn new(profile: Profile, options: LogOptions) -> World {
        let disk = Disk::new(profile);
        let log = Some(options.clone().open_on(&disk, DIR).unwrap());
        World {
            disk,
            options,
            log,
            history: History::default(),
            truth: Arc::default(),
            looked: Arc::default(),
            merged: Arc::default(),
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn fill(&mut self, count: u64, keys: u64) {
        self.disk.unwatch();
        let log = self.log.take().unwrap();
        self.history.fill(&log, count, keys);
        log.flush().unwrap();
        self.log = Some(log);
        self.take_note();
    }

    fn take_note(&self) {
        let durable = self.log().durable_offset().get();
        *self.truth.lock().unwrap() = Truth { history: self.history.clone(), durable };
    }

    /// From now on every state that a stop would leave is looked at.
    fn watch(&self) {
        let (truth, looked) = (Arc::clone(&self.truth), Arc::clone(&self.looked));
        let (options, merged) = (self.options.clone(), Arc::clone(&self.merged));
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
            let what = |stop: &str| format!("{stop} before {call:?}");
            look(&disk.kill(), &options, &truth, &merged, &what("killed"));
            let one = usize::try_from(seen).unwrap() % disk.loose().max(1);
            for keep in
                [Keep::None, Keep::All, Keep::Seed(seen), Keep::Only(one), Keep::AllBut(one)]
            {
                let next = disk.power_cut(keep);
                look(&next, &options, &truth, &merged, &what(&format!("cut {keep:?}")));
            }
        });
    }

    fn restart(&mut self, next: Disk) {
        self.disk.unwatch();
        self.log = None;
        self.disk = next;
        self.watch();
        self.log = Some(self.options.clone().open_on(&self.disk, DIR).unwrap());
        self.take_note();
    }
}

/// Opens what is left and holds it to the truth, compacts it, and opens that again.
fn look(disk: &Disk, options: &LogOptions, truth: &Truth, merged: &AtomicU64, what: &str) {
    let open = |disk: &Disk| {
        let log = options.clone().open_on(disk, DIR);
        let log = log.unwrap_or_else(|error| panic!("{error} {what}"));
        let report = log.recovery();
        assert_eq!((report.damaged_ranges, report.lost.clone()), (0, None), "{what}");
        assert_eq!(report.foreign_files, Vec::<String>::new(), "{what}");
        assert!(log.log_end_offset().get() >= truth.durable, "{what}");
        merged.fetch_add(report.segments_merged, Ordering::Relaxed);
        log
    };
    let log = open(disk);
    truth.history.check(&log, what);
    assert!(!disk.file_names(DIR).iter().any(|name| name == "compacted.new"), "{what}");
    let report = log.verify().unwrap();
    // A cut may have torn the slot of the checkpoint that was being written.
    assert_eq!(report.damaged_ranges, 0, "{what}: {report:?}");
    let report = log.compact().unwrap();
    truth.history.check_compacted(&log, report.cleaned_offset.get(), what);
    drop(log);
    truth.history.check(&open(&disk.kill()), &format!("again, {what}"));
}

#[test]
fn whatever_stops_a_compaction_leaves_the_same_table() {
    let mut merged = 0;
    for (profile, mode) in profiles() {
        let options = small(mode).segment_bytes(4096);
        let mut world = World::new(profile, options);
        world.fill(90, 30);
        for (count, keys, end) in [(0, 1, 1), (60, 6, 2), (60, 40, 0), (40, 3, 0)] {
            world.fill(count, keys);
            world.watch();
            world.log().compact().unwrap();
            match end {
                0 => {}
                1 => world.restart(world.disk.kill()),
                _ => world.restart(world.disk.power_cut(Keep::Seed(7))),
            }
        }
        let log = world.log.take().unwrap();
        log.close().unwrap();
        world.disk.unwatch();
        let looked = world.looked.load(Ordering::Relaxed);
        assert!(looked > 150, "{looked} states");
        merged += world.merged.load(Ordering::Relaxed);
    }
    assert!(merged > 20, "{merged} files that were merged were left over");
}

/// Recovery is cut as well: what removes a file that is left over, and all else at open.
#[test]
fn whatever_stops_the_open_behind_a_cut_compaction_leaves_the_same_table() {
    for (profile, mode) in profiles() {
        let mut world = World::new(profile, small(mode));
        world.fill(120, 9);
        let ends = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&ends);
        world.disk.watch(move |disk, call| {
            if matches!(call.kind, CallKind::Unlink | CallKind::Rename | CallKind::SyncDir) {
                let mut kept = kept.lock().unwrap();
                let seed = kept.len() as u64;
                kept.push(disk.kill());
                kept.push(disk.power_cut(Keep::Seed(seed)));
            }
        });
        world.log().compact().unwrap();
        world.disk.unwatch();
        let ends = std::mem::take(&mut *ends.lock().unwrap());
        assert!(ends.len() > 10, "{}", ends.len());
        for end in ends.into_iter().step_by(3) {
            world.restart(end);
            world.take_note();
        }
        world.disk.unwatch();
        let looked = world.looked.load(Ordering::Relaxed);
        assert!(looked > 30, "{looked} states");
    }
}

/// Any call fails once: the compaction says so or did without, a failed sync poisons (I8), and
/// nothing is lost.
#[test]
fn a_call_that_fails_loses_nothing() {
    let kinds = [
        CallKind::CreateNew,
        CallKind::Open,
        CallKind::Rename,
        CallKind::Unlink,
        CallKind::Read,
        CallKind::Write,
        CallKind::SetLen,
        CallKind::SyncFile,
        CallKind::SyncDir,
        CallKind::Look,
    ];
    let (mut poisoned, mut failed) = (0, 0);
    for mode in MODES {
        for on in kinds {
            for after in 0..6 {
                for errno in [5, 28] {
                    let mut world = World::new(Profile::default(), small(mode));
                    world.fill(80, 12);
                    let what = format!("{mode:?} {on:?} {after} {errno}");
                    world.disk.fail(Fault { on, name: None, after, times: 1, errno });
                    let done = world.log().compact();
                    world.disk.clear_faults();
                    failed += u32::from(done.is_err());
                    let sick = world.log().stats().poisoned.is_some();
                    poisoned += u32::from(sick);
                    world.history.check(world.log(), &what);
                    if !sick {
                        let below = world.log().compact().unwrap().cleaned_offset.get();
                        world.history.check_compacted(world.log(), below, &what);
                    } else {
                        let again = world.log().compact().unwrap_err();
                        assert_eq!(again.kind(), ErrorKind::Poisoned, "{what}");
                    }
                    let next = world.disk.kill();
                    world.log = None;
                    let log = small(mode).open_on(&next, DIR).unwrap();
                    assert_eq!(log.recovery().damaged_ranges, 0, "{what}");
                    world.history.check(&log, &what);
                    let below = log.compact().unwrap().cleaned_offset.get();
                    world.history.check_compacted(&log, below, &what);
                }
            }
        }
    }
    assert!(poisoned > 4 && failed > 20, "{poisoned} {failed}");
}
