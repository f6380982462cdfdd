//! The simulated disk itself, by what logs on it live through: each part of the fault model is
//! shown to happen, so that a test which passes on it has met it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{IoMode, Log, LogOptions, Offset, OffsetSpec};

use crate::util::{MODES, all_texts, manual};

const DIR: &str = "/log";

fn options(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(4096)
}

fn opened(disk: &Disk, mode: IoMode) -> Log {
    options(mode).open_on(disk, DIR).unwrap()
}

#[test]
fn a_killed_process_loses_nothing_and_a_power_cut_what_was_not_flushed() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let log = opened(&disk, mode);
        log.append("flushed").unwrap();
        log.flush().unwrap();
        log.append("not flushed").unwrap();
        let killed = opened(&disk.kill(), mode);
        assert_eq!(all_texts(&killed), ["flushed", "not flushed"]);
        let cut = opened(&disk.power_cut(Keep::None), mode);
        assert_eq!(all_texts(&cut), ["flushed"]);
        let kept = opened(&disk.power_cut(Keep::All), mode);
        assert_eq!(all_texts(&kept), ["flushed", "not flushed"]);
        assert_eq!(all_texts(&log), ["flushed", "not flushed"], "the disk itself is unchanged");
    }
}

#[test]
fn the_same_seed_gives_the_same_calls_pieces_and_images() {
    for mode in MODES {
        let run = || {
            let disk = Disk::new(Profile { seed: 3, ..Profile::default() });
            let log = opened(&disk, mode);
            for n in 0..100 {
                log.append(format!("record {n} {}", "x".repeat(90))).unwrap();
                if n == 7 {
                    log.flush().unwrap();
                }
            }
            let images: Vec<_> =
                (0..50).map(|seed| disk.power_cut(Keep::Seed(seed)).image()).collect();
            (disk.calls(), disk.loose(), disk.image(), images, log.id())
        };
        let first = run();
        assert_eq!(first, run());
        assert!(first.3.iter().collect::<BTreeSet<_>>().len() > 40, "the seeds differ");
    }
}

/// What a directory takes is told at every call, as a second process would see it: bounded by what
/// the log holds, whole blocks of its files when it is closed, less when records are deleted.
#[test]
fn used_bytes_follow_a_log_through_its_life() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let most = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&most);
        disk.watch(move |disk, _| {
            seen.fetch_max(disk.used_bytes("/"), Ordering::Relaxed);
        });
        let log = options(mode).segment_bytes(16 << 10).open_on(&disk, DIR).unwrap();
        for n in 0..300 {
            log.append(format!("record {n} {}", "x".repeat(200))).unwrap();
        }
        log.flush().unwrap();
        let reader = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        log.delete_records(Offset::new(250)).unwrap();
        let pinned = disk.used_bytes(DIR);
        drop(reader);
        let free = disk.used_bytes(DIR);
        assert!(if mode == IoMode::Mapped { free < pinned } else { free == pinned }, "{mode:?}");
        log.close().unwrap();
        disk.unwatch();
        let blocks = |name: &String| {
            let bytes = disk.read_file(Path::new(DIR).join(name)).unwrap();
            bytes.len().next_multiple_of(4096) as u64
        };
        let files: u64 = disk.file_names(DIR).iter().map(blocks).sum();
        assert_eq!(disk.used_bytes(DIR), files);
        assert_eq!(disk.used_bytes("/log/.."), files);
        assert_eq!(disk.power_cut(Keep::All).used_bytes(DIR), files);
        let most = most.load(Ordering::Relaxed);
        assert!(most > 60_000 && most < 180_000, "{mode:?}: {most}");
    }
}
