//! Followers, snapshots, exports, mirrors and archives have what a compacted log has.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use forebay::{Cleanup, IoMode, Log, LogOptions, OffsetSpec, SegmentFile};

use crate::history::{History, small, table};
use crate::util::{Ground, MODES, OpenIn, Owned, at, manual, read_all, records, ways};

/// A follower that reads along, and one that comes behind each compaction, see what is there.
#[test]
fn followers_read_on_behind_a_compaction() {
    for mode in MODES {
        let dir = Ground::System.place();
        let log = small(mode).open_in(&dir).unwrap();
        let mut history = History::default();
        history.fill(&log, 100, 9);
        let followed = Log::open_read_only(dir.path()).unwrap();
        let mut along = followed.reader(OffsetSpec::Earliest).unwrap();
        let mut slow = followed.reader(OffsetSpec::Earliest).unwrap();
        let mut seen: Vec<Owned> = Vec::new();
        for _ in 0..12 {
            history.fill(&log, 70, 9);
            log.flush().unwrap();
            // Into the middle of a segment that is about to be merged.
            for _ in 0..20 {
                slow.poll(Duration::ZERO).unwrap();
            }
            let below = log.compact().unwrap().cleaned_offset.get();
            let left = history.check_compacted(&log, below, "compacted");
            while let Some(batch) = along.poll(Duration::ZERO).unwrap() {
                seen.extend(records(&batch));
            }
            assert!(seen.is_sorted_by(|a, b| a.offset < b.offset));
            assert_eq!(table(&seen), history.table(history.end()));
            let fresh = Log::open_read_only(dir.path()).unwrap();
            let mut all = Vec::new();
            let mut reader = fresh.reader(OffsetSpec::Earliest).unwrap();
            while let Some(batch) = reader.poll(Duration::ZERO).unwrap() {
                all.extend(records(&batch));
            }
            assert_eq!(all, left);
            assert_eq!((reader.missed(), reader.retracted()), (0, 0));
        }
        while slow.poll(Duration::ZERO).unwrap().is_some() {}
        assert_eq!(slow.next_offset().get(), history.end());
        for reader in [along, slow] {
            assert_eq!((reader.missed(), reader.retracted()), (0, 0));
        }
    }
}

/// The writer is opened anew between two looks: what was compacted was not retracted.
#[test]
fn a_follower_takes_no_compaction_for_a_cut() {
    for mode in MODES {
        let dir = Ground::System.place();
        let mut log = small(mode).open_in(&dir).unwrap();
        let mut history = History::default();
        history.fill(&log, 50, 5);
        let followed = Log::open_read_only(dir.path()).unwrap();
        let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
        let mut seen: Vec<Owned> = Vec::new();
        for _ in 0..6 {
            history.fill(&log, 40, 5);
            while let Some(batch) = reader.poll(Duration::ZERO).unwrap() {
                seen.extend(records(&batch));
            }
            // None of what it saw last is as it was then.
            history.fill(&log, 40, 5);
            log.compact().unwrap();
            log.close().unwrap();
            log = small(mode).open_in(&dir).unwrap();
        }
        while let Some(batch) = reader.poll(Duration::ZERO).unwrap() {
            seen.extend(records(&batch));
        }
        assert_eq!((reader.missed(), reader.retracted()), (0, 0));
        assert!(seen.is_sorted_by(|a, b| a.offset < b.offset));
        assert_eq!(table(&seen), history.table(history.end()));
    }
}

/// Snapshots and exports made while the log is compacted hold all of it.
#[test]
fn copies_made_meanwhile_are_whole() {
    for mode in MODES {
        let dir = Ground::System.place();
        let log = small(mode).min_cleanable_dirty_percent(10).open_in(&dir).unwrap();
        let mut history = History::default();
        history.fill(&log, 300, 30);
        let copies = Ground::System.place();
        thread::scope(|scope| {
            let made: Vec<_> = (0..2)
                .map(|kind| {
                    let (log, copies) = (&log, &copies);
                    scope.spawn(move || {
                        for number in 0..12 {
                            let to = copies.path().join(format!("{kind}-{number}"));
                            match kind {
                                0 => drop(log.snapshot(&to).unwrap()),
                                _ => assert_eq!(log.export(&to).unwrap().damaged_ranges, 0),
                            }
                        }
                    })
                })
                .collect();
            while !made.iter().all(thread::ScopedJoinHandle::is_finished) {
                history.fill(&log, 20, 30);
                log.flush().unwrap();
                log.compact().unwrap();
            }
        });
        for number in 0..12 {
            let copy = small(mode).open(copies.path().join(format!("0-{number}"))).unwrap();
            history.check(&copy, "a snapshot");
            assert!(copy.recovery().clean && copy.verify().unwrap().is_whole());
            copy.compact().unwrap();
            history.check(&copy, "a snapshot that is compacted");
            let mut all = Vec::new();
            for path in crate::util::segments(&copies.path().join(format!("1-{number}"))) {
                for item in SegmentFile::open(path).unwrap() {
                    all.extend(records(&item.unwrap().1));
                }
            }
            let end = all.last().unwrap().offset + 1;
            assert_eq!(table(&all), history.table(end), "an export");
        }
    }
}

/// An archive keeps what retention takes of a compacted log, also where it has a segment already
/// from before it was compacted, and readers go on there.
#[test]
fn an_archive_keeps_what_retention_takes_of_a_compacted_log() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let second = place.beside("archive");
        let archive = Arc::new(second.archive());
        let options = |mode: IoMode| -> LogOptions {
            small(mode).cleanup(Cleanup::Both).retention_records(80).archive(archive.clone())
        };
        let log = options(mode).open_in(&place).unwrap();
        let mut history = History::default();
        history.fill(&log, 100, 40);
        // Early, and before anything was compacted.
        log.archive_records(log.log_end_offset()).unwrap();
        log.compact().unwrap();
        log.close().unwrap();
        let log = options(mode).open_in(&place).unwrap();
        history.fill(&log, 300, 40);
        log.compact().unwrap();
        log.apply_retention().unwrap();
        assert_eq!(log.stats().archive_error, None);
        let start = log.log_start_offset().get();
        assert!(start > 200, "{start}");
        let reader = log.reader(at(0)).unwrap();
        let all: Vec<_> = reader.flat_map(|batch| records(&batch.unwrap())).collect();
        assert!(all.is_sorted_by(|a, b| a.offset < b.offset));
        assert_eq!(table(&all), history.table(history.end()));
    }
}

/// A segment that was archived early and compacted since is there already; one of another history
/// is still a conflict.
#[test]
fn what_was_archived_before_it_was_compacted_is_no_conflict() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let second = place.beside("archive");
        let archive = Arc::new(second.archive());
        let options = || small(mode).cleanup(Cleanup::Both).archive(archive.clone());
        let log = options().open_in(&place).unwrap();
        let mut history = History::default();
        // One record of each segment goes, so that no two fit into one.
        for number in 0..150 {
            let key = if number % 25 == 7 { 1 } else { number + 10 };
            history.append(&log, [(key, Some(100)), (number + 1000, Some(10))]);
        }
        log.archive_records(log.log_end_offset()).unwrap();
        let report = log.compact().unwrap();
        assert!(report.superseded > 3, "{report:?}");
        assert_eq!(report.segments_after, report.segments_before, "{report:?}");
        log.close().unwrap();
        let log = options().retention_records(1).open_in(&place).unwrap();
        log.apply_retention().unwrap();
        assert_eq!(log.stats().archive_error, None);
        assert!(log.log_start_offset().get() > 200);
        let reader = log.reader(at(0)).unwrap();
        let all: Vec<_> = reader.flat_map(|batch| records(&batch.unwrap())).collect();
        assert_eq!(all, history.records, "the archive has what was there first");
    }
}

/// A mirror of a compacted log, and one that was filled before the source was compacted.
#[test]
fn a_mirror_of_a_compacted_log_makes_the_same_table() {
    for (mode, ground) in ways() {
        let (source, second) = (ground.place(), ground.place());
        let log = small(mode).open_in(&source).unwrap();
        let mirror = manual(mode).segment_bytes(8192).mirror_of(log.id()).open_in(&second).unwrap();
        let mut history = History::default();
        for round in 0..4 {
            history.fill(&log, 150, 12);
            if round % 2 == 1 {
                log.compact().unwrap();
            }
            for batch in log.reader(at(mirror.log_end_offset().get())).unwrap() {
                mirror.append_mirrored(&batch.unwrap()).unwrap();
            }
            assert_eq!(mirror.log_end_offset(), log.log_end_offset());
            assert_eq!(table(&read_all(&mirror)), history.table(history.end()));
            assert!(mirror.verify().unwrap().is_whole());
        }
        mirror.set_options(mirror.current_options().cleanup(Cleanup::Compact)).unwrap();
        mirror.compact().unwrap();
        assert_eq!(table(&read_all(&mirror)), history.table(history.end()));
    }
}
