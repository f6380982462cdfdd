//! Media that tear what they rewrite, as SD cards and USB sticks do: with `Media::TornOverwrite` no
//! cut takes a durable record (I2, I3, I13, I20), for one more device sync a flush and not more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use forebay::simulation::{CallKind, Disk, Keep, Names, Profile, Torn};
use forebay::{ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Media};

use crate::recovery::{Cutter, DIR, End, Op, Truth, World, by_chance, check};

/// A disk that tears the flash pages it was writing.
fn card(bytes: usize, seed: u64) -> Disk {
    Disk::new(Profile { torn: Torn::Overwrite { bytes }, seed, ..Profile::default() })
}

fn options(torn_bytes: usize, segment_bytes: usize) -> LogOptions {
    let options = Log::options().segment_bytes(segment_bytes).max_batch_bytes(segment_bytes);
    options.torn_bytes(torn_bytes).flush(FlushPolicy::Manual)
}

/// What an unoptimised build has time for, and what a release build does.
fn cutter(options: &LogOptions) -> Arc<Cutter> {
    let (pieces, random) = if cfg!(debug_assertions) { (1, 2) } else { (3, 24) };
    Cutter::new(options, pieces, random)
}

/// Every kind of step, each behind and before steps of other kinds.
const SHORT: [Op; 34] = [
    Op::Append(40),
    Op::Flush,
    Op::Append(40),
    Op::Append(300),
    Op::Flush,
    Op::Commit,
    Op::Batch(100),
    Op::Flush,
    Op::Roll(900),
    Op::Append(10),
    Op::Flush,
    Op::Kill,
    Op::Append(10),
    Op::Flush,
    Op::Delete,
    Op::Append(500),
    Op::Close,
    Op::Append(70),
    Op::Commit,
    Op::Flush,
    Op::Append(10),
    Op::Power(3),
    Op::Append(10),
    Op::Flush,
    Op::Append(10),
    Op::Close,
    Op::Close,
    Op::Append(1),
    Op::Kill,
    Op::Kill,
    Op::Append(1),
    Op::Power(4),
    Op::Flush,
    Op::Append(1),
];

/// I2: flash pages of 4 KiB, cut before every change of a run that has every kind of step.
#[test]
fn no_cut_takes_a_durable_record_of_a_card_that_tears_four_kilobytes() {
    for segment_bytes in [4096, 16384] {
        let options = options(4096, segment_bytes);
        let cutter = cutter(&options);
        let mut world = World::new(card(4096, 1), options);
        world.watch(cutter.watcher());
        world.run(&SHORT);
        cutter.must_hold(500);
        assert!(cutter.restored.load(Ordering::Relaxed) > 0, "nothing was ever torn");
    }
}

/// The same where a page is larger than many segments, and where it is a part of one.
#[test]
fn no_cut_takes_a_durable_record_of_a_card_that_tears_sixty_four_kilobytes() {
    for (segment_bytes, bytes) in [(8192, 900), (256 << 10, 30_000)] {
        let options = options(65536, segment_bytes);
        let cutter = cutter(&options);
        let mut world = World::new(card(65536, 2), options);
        world.watch(cutter.watcher());
        for op in SHORT {
            world.step(match op {
                Op::Roll(_) => Op::Roll(bytes),
                Op::Append(300) => Op::Append(bytes),
                op => op,
            });
        }
        cutter.must_hold(300);
        assert!(cutter.restored.load(Ordering::Relaxed) > 0, "nothing was ever torn");
    }
}

/// The same by chance, and with a flush before every append returns.
#[test]
fn no_cut_takes_a_durable_record_whatever_is_done() {
    let mut restored = 0;
    for seed in 0..if cfg!(debug_assertions) { 6 } else { 60 } {
        let torn_bytes = [4096, 65536, 512][seed as usize % 3];
        let policies = [FlushPolicy::Manual, FlushPolicy::EveryAppend];
        let options = options(torn_bytes, 8192).flush(policies[seed as usize % 2]);
        let cutter = cutter(&options);
        let torn = Torn::Overwrite { bytes: torn_bytes };
        let names = [Names::Strict, Names::Journal][seed as usize / 2 % 2];
        let disk =
            Disk::new(Profile { torn, names, stale: seed % 5 == 1, seed, ..Profile::default() });
        let mut world = World::new(disk, options);
        world.watch(cutter.watcher());
        let length = if cfg!(debug_assertions) { 30 } else { 100 };
        world.run(&by_chance(seed, length, 2000));
        cutter.must_hold(200);
        restored += cutter.restored.load(Ordering::Relaxed);
    }
    assert!(restored > 0, "nothing was ever torn");
}

/// I2: a copy is kept through maps too, where the medium lets itself be mapped.
#[test]
fn the_protection_works_through_maps() {
    for torn_bytes in [4096, 65536] {
        let options = options(torn_bytes, 8192).io_mode(IoMode::Mapped);
        let options = options.media(Media::TornOverwrite);
        let cutter = cutter(&options);
        let mut world = World::new(Disk::new(Profile::default()), options);
        world.watch(cutter.watcher());
        world.run(&SHORT);
        cutter.must_hold(500);
    }
}

/// The tests above could fail: without the protection the same run on the same card loses records
/// that were durable, and says so when it is opened.
#[test]
fn without_the_protection_a_card_takes_durable_records() {
    for torn_bytes in [4096, 65536] {
        let options = options(torn_bytes, 16384).media(Media::PowerSafe);
        let cutter = Cutter::new(&options, 2, 24);
        let cutter = Arc::new(Cutter { failures_max: 100, ..Arc::into_inner(cutter).unwrap() });
        let mut world = World::new(card(torn_bytes, 1), options);
        world.watch(cutter.watcher());
        // As far as the first power cut, behind which the model would have to know what was lost.
        world.run(&SHORT[..21]);
        let failures = cutter.failures.lock().unwrap();
        assert!(!failures.is_empty(), "{:?} states, all whole", cutter.states);
        assert!(failures.iter().any(|line| line.contains("promised")), "{failures:?}");
    }
}

/// I20: a restored end is reported exactly where the durable bytes were torn.
#[test]
fn a_torn_end_that_was_restored_is_reported() {
    let options = options(4096, 16384);
    let mut world = World::new(card(4096, 5), options.clone());
    world.run(&[Op::Append(700), Op::Append(3000), Op::Flush]);
    let segment = format!("{DIR}/00000000000000000000.log");
    let durable = world.log().stats().batch_bytes as usize;
    let before = world.disk.read_device(&segment).unwrap()[..durable].to_vec();
    let states = Arc::new(Mutex::new([0_u64; 2]));
    let (seen, name) = (states.clone(), segment.clone());
    world.watch(Arc::new(move |disk: &Disk, _: &_, truth: &Truth| {
        for seed in 0..20 {
            let cut = disk.power_cut(Keep::Seed(seed));
            let torn = cut.read_file(&name).unwrap()[..durable] != before;
            let log = check(&cut, &options, truth, End::Power).unwrap();
            assert_eq!(log.recovery().ends_restored, u64::from(torn), "{:?}", log.recovery());
            assert_eq!(log.recovery().media, Some(Media::TornOverwrite));
            seen.lock().unwrap()[usize::from(torn)] += 1;
        }
    }));
    world.run(&[Op::Append(50); 6]);
    let [whole, torn] = *states.lock().unwrap();
    assert!(whole >= 10 && torn >= 10, "{whole} whole, {torn} torn");
}

/// How many files and directories are synced by what `run` does.
fn syncs(disk: &Disk, run: impl FnOnce()) -> (u64, u64) {
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let counted = counts.clone();
    disk.watch(move |_, call| {
        let count = match call.kind {
            CallKind::SyncFile => &counted.0,
            CallKind::SyncDir => &counted.1,
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    });
    run();
    disk.unwatch();
    (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed))
}

/// A flush costs one device sync on a safe medium and two on a card, however many appends it
/// covers; and none where there is nothing to flush.
#[test]
fn the_protection_costs_one_device_sync_a_flush() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        for (media, files) in [(Media::PowerSafe, 1), (Media::TornOverwrite, 2)] {
            for torn_bytes in [4096, 65536] {
                let disk = Disk::new(Profile::default());
                let options = options(torn_bytes, 1 << 20).io_mode(mode).media(media);
                let log = options.open_on(&disk, DIR).unwrap();
                log.append("the first one makes the files durable").unwrap();
                log.flush().unwrap();
                for appends in [1, 1, 1, 7, 1, 40, 1] {
                    let cost = syncs(&disk, || {
                        for _ in 0..appends {
                            log.append(vec![b'v'; 300]).unwrap();
                        }
                        log.flush().unwrap();
                    });
                    assert_eq!(cost, (files, 0), "{mode:?} {media:?} {appends} appends");
                    assert_eq!(syncs(&disk, || assert!(log.flush().is_ok())), (0, 0));
                }
            }
        }
    }
}

/// What is not set is taken from what the device is, and the report says which and why.
#[test]
fn the_media_is_what_the_device_is_unless_it_is_set() {
    let safe = Disk::new(Profile::default());
    let torn = card(4096, 1);
    for (disk, found) in [(&safe, Media::PowerSafe), (&torn, Media::TornOverwrite)] {
        let log = options(4096, 8192).open_on(disk, "/by itself").unwrap();
        let report = log.recovery().clone();
        assert_eq!(report.media, Some(found));
        if found == Media::TornOverwrite {
            assert!(report.media_reason.contains("simulated flash"), "{}", report.media_reason);
            assert_eq!(report.io_mode, Some(IoMode::Positioned));
        } else {
            assert!(report.media_reason.len() > 10, "{:?}", report.media_reason);
        }
        for media in [Media::PowerSafe, Media::TornOverwrite] {
            let dir = format!("/{media:?}");
            let log = options(4096, 8192).media(media).open_on(disk, dir).unwrap();
            let told = log.recovery();
            assert_eq!(told.media, Some(media));
            assert!(told.media_reason.contains("asked for"), "{:?}", told.media_reason);
            assert_eq!(log.stats().recovery.media, Some(media));
        }
    }
}

/// A device's configuration file can say it.
#[test]
fn the_media_is_an_option_of_a_configuration_file() {
    let text = r#"{"media": "torn_overwrite", "torn_bytes": 16384}"#;
    let read: LogOptions = serde_json::from_str(text).unwrap();
    assert_eq!(read, Log::options().media(Media::TornOverwrite).torn_bytes(16384));
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(written["media"], "torn_overwrite");
    assert_eq!(written["torn_bytes"], 16384);
    assert_eq!(serde_json::from_value::<LogOptions>(written).unwrap(), read);
    let unset = serde_json::to_value(Log::options()).unwrap();
    assert_eq!(unset["media"], serde_json::Value::Null);
    assert_eq!(serde_json::from_value::<LogOptions>(unset).unwrap(), Log::options());
    for wrong in [0, 256, 511, 513, 5000, 65537, 1 << 17] {
        let refused = Log::options().torn_bytes(wrong).open_on(&card(4096, 0), DIR).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert!(refused.to_string().contains(&format!("torn_bytes is {wrong}")), "{refused}");
    }
}

/// A log made for one medium is opened for the other: from that open on it is protected, the very
/// first rewriting and the checkpoint's own included (I2).
#[test]
fn a_log_can_be_switched_between_media() {
    for torn_bytes in [4096, 65536] {
        let torn = options(torn_bytes, 8192);
        let mut world = World::new(card(torn_bytes, 7), torn.clone().media(Media::PowerSafe));
        let steps = [Op::Append(90), Op::Flush, Op::Roll(900), Op::Commit, Op::Append(5)];
        for clean in [true, false] {
            // Nothing is loose, so that the medium has nothing to tear before the switch.
            world.options = torn.clone().media(Media::PowerSafe);
            world.run(&steps);
            world.run(&[Op::Flush, Op::Close]);
            if !clean {
                world.run(&[Op::Append(30), Op::Flush]);
                world.restart(world.disk.power_cut(Keep::All));
                world.restart(world.disk.power_cut(Keep::All));
            }
            let last = world.disk.power_cut(Keep::All);
            world.options = torn.clone();
            let cutter = cutter(&torn);
            world.watch(cutter.watcher());
            world.restart(last);
            assert_eq!(world.log().recovery().media, Some(Media::TornOverwrite));
            world.run(&[Op::Commit, Op::Append(8), Op::Flush, Op::Append(9), Op::Flush]);
            world.run(&[Op::Kill, Op::Append(8), Op::Flush, Op::Close]);
            cutter.must_hold(100);
            world.watch(Arc::new(|_: &_, _: &_, _: &_| {}));
        }
        // And back.
        world.options = torn.media(Media::PowerSafe);
        world.run(&[Op::Append(7), Op::Flush, Op::Close, Op::Kill]);
        assert_eq!(world.log().recovery().media, Some(Media::PowerSafe));
    }
}

/// I2: a copy of an end that was written but lost is not put back over what came after it. Without
/// room for new files recovery goes on in the old ones, and keeps the copies it may need.
#[test]
fn a_copy_of_what_was_lost_is_never_restored_over_what_came_after() {
    let options = options(4096, 65536);
    let mut world = World::new(card(4096, 3), options.clone());
    world.run(&[Op::Append(700), Op::Flush]);
    world.run(&[Op::Append(3000); 5]);
    // An append during the flush copies the page that this flush has not made durable yet.
    let mut truth = world.truth().clone();
    let (log, last) = (world.log(), Arc::new(Mutex::new(None)));
    let (appender, into) = (log.clone(), last.clone());
    world.disk.watch(move |disk, call| {
        let segment = call.path.extension().is_some_and(|kind| kind == "log");
        let mut into = into.lock().unwrap();
        if call.kind == CallKind::SyncFile && segment && into.is_none() {
            appender.append(vec![7; 100]).unwrap();
            *into = Some(disk.kill());
        }
    });
    log.flush().unwrap();
    world.disk.unwatch();
    let last = last.lock().unwrap().take().unwrap();
    truth.values.push(vec![7; 100]);
    let mut in_place = 0;
    // The first pieces, so that some records above the recovery point survive, and not all.
    for kept in 0..last.loose() {
        let cut = last.power_cut(Keep::Prefix(kept));
        cut.set_space(Some(0));
        *world.truth() = Truth { end: truth.durable, ..truth.clone() };
        world.restart(cut);
        if !world.log().recovery().rewriting_in_place {
            continue;
        }
        in_place += 1;
        world.disk.set_space(None);
        for step in 0..8 {
            world.run(&[Op::Append(1500), Op::Flush]);
            let next = world.disk.power_cut(Keep::None);
            let found = check(&next, &options, &world.truth().clone(), End::Power);
            assert!(found.is_ok(), "{kept} kept, step {step}: {:?}", found.err());
        }
    }
    assert!(in_place >= 5, "{in_place} states");
}

/// Copies do not add up from one killed process to the next: the checkpoint stays one that is
/// believed, also where an append makes one more during a flush.
#[test]
fn copies_of_ends_do_not_add_up() {
    let options = options(65536, 1 << 20);
    let mut world = World::new(card(65536, 4), options.clone());
    // Each ends a few bytes before a multiple of 64 KiB, so that copies are as long as they get.
    world.run(&[Op::Append(65440), Op::Flush]);
    for _ in 0..3 {
        world.run(&[Op::Append(65466), Op::Kill]);
    }
    world.run(&[Op::Append(65466)]);
    let log = world.log();
    let (appender, done) = (log.clone(), Arc::new(AtomicU64::new(0)));
    let count = done.clone();
    world.disk.watch(move |_, call| {
        let segment = call.path.extension().is_some_and(|kind| kind == "log");
        let first = segment && call.kind == CallKind::SyncFile;
        if first && count.fetch_add(1, Ordering::Relaxed) == 0 {
            appender.append(vec![7; 100]).unwrap();
        }
    });
    let durable = log.flush().unwrap().get();
    world.disk.unwatch();
    assert!(done.load(Ordering::Relaxed) > 0 && log.log_end_offset().get() == durable + 1);
    for disk in [world.disk.kill(), world.disk.power_cut(Keep::None)] {
        let bytes = disk.read_file(format!("{DIR}/checkpoint")).unwrap().len();
        assert!(bytes <= 2 << 20, "a checkpoint of {bytes} bytes");
        let next = options.clone().open_on(&disk, DIR).unwrap();
        let report = next.recovery();
        assert!(!report.checkpoint_lost && report.checkpoint_slots_damaged == 0, "{report:?}");
        assert!(next.log_end_offset().get() >= durable, "{report:?}");
    }
}
