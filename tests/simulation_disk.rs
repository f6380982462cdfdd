//! The simulated disk itself, by what logs on it live through: each part of the fault model is
//! shown to happen, so that a test which passes on it has met it.
#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

use std::collections::BTreeSet;

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{IoMode, Log, LogOptions};

use util::{MODES, all_texts, manual};

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
