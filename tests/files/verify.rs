//! Verifying a log: it finds what a reader would stumble over, no more and no less, and changes
//! nothing (I4, I5).

use std::thread;

use forebay::{ErrorKind, FlushPolicy, Log, Offset, OffsetSpec, VerifyReport};

use crate::util::fixture::{Fixture, fill, options};
use crate::util::{self, Ground, MODES, OpenIn, grounds, kind, manual, scratch, ways};

fn ranges(report: &VerifyReport) -> Vec<std::ops::Range<i64>> {
    report.damaged.iter().map(|range| range.start.get()..range.end.get()).collect()
}

/// Everything is counted as it is, in the log just written, flushed, closed and opened again, with
/// records deleted; no byte changes.
#[test]
fn a_whole_log_is_counted_and_left_as_it_is() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = options(mode).open_in(&dir).unwrap();
        let mut records = Vec::new();
        assert_eq!(log.verify().unwrap().segments, 0, "an empty log");
        fill(&log, &mut records, 60);
        let check = |log: &Log, start: usize| {
            let before = dir.files();
            let report = log.verify().unwrap();
            assert!(dir.files() == before, "verify wrote something");
            assert!(report.is_whole(), "{report:?}");
            assert_eq!((report.index_mismatches, report.time_index_mismatches), (0, 0));
            assert_eq!(report.log_start_offset, log.log_start_offset());
            assert_eq!(report.log_end_offset, log.log_end_offset());
            assert_eq!(report.records, u64::try_from(records.len() - start).unwrap());
            let segments = dir.segments();
            assert_eq!(report.segments, segments.len() as u64);
            let batches: Vec<_> = segments.iter().flat_map(|name| dir.batches_of(name)).collect();
            assert_eq!(report.batches, batches.len() as u64);
            let bytes: usize = batches.iter().map(|(_, places)| places.len()).sum();
            assert_eq!((report.bytes, report.gaps), (bytes as u64, 0));
        };
        check(&log, 0);
        log.flush().unwrap();
        check(&log, 0);
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(5)).unwrap();
        drop(consumer);
        log.delete_records(Offset::new(40)).unwrap();
        check(&log, 40);
        let other = log.clone();
        log.close().unwrap();
        assert_eq!(kind(other.verify()), ErrorKind::Closed);
        check(&options(mode).open_in(&dir).unwrap(), 40);
    }
}

/// Each batch of a closed log is damaged in turn, and pairs of them: the report has exactly the
/// ranges a reader reports, and counts exactly what it reads.
#[test]
fn damage_is_what_a_reader_stumbles_over() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        for (n, (offsets, name, places)) in fixture.batches.iter().enumerate() {
            for distance in [0, 1, 7] {
                let dir = ground.place();
                let mut damaged = fixture.clone();
                let (_, other, more) = &fixture.batches[(n + distance) % fixture.batches.len()];
                for (name, at) in [(name, places.start + 65), (other, more.start + 66)] {
                    damaged.bytes_mut(name)[at] ^= 0x10;
                }
                damaged.put(&dir);
                let log = options(mode).open_in(&dir).unwrap();
                let report = log.verify().unwrap();
                let found = util::read_through(&log, OffsetSpec::Earliest);
                assert!(found.lost.iter().any(|lost| lost.start <= offsets.start));
                assert_eq!(ranges(&report), found.lost, "{offsets:?} and {distance} further");
                assert_eq!(report.damaged_ranges, found.lost.len() as u64);
                assert_eq!(report.records, found.records.len() as u64);
                assert!(!report.is_whole());
            }
        }
    }
}

/// Every byte of every segment is changed, one at a time: it is damage that a reader sees as well,
/// or it is no damage to either.
#[test]
fn every_byte_counts_for_verify_as_it_does_for_a_reader() {
    let fixture = Fixture::closed(MODES[0], Ground::System);
    let grounds: Vec<_> = grounds().collect();
    for name in fixture.names(".log") {
        for at in (0..fixture.bytes(&name).len()).step_by(7) {
            let dir = grounds[at / 7 % grounds.len()].place();
            let mut damaged = fixture.clone();
            damaged.bytes_mut(&name)[at] ^= 0x81;
            damaged.put(&dir);
            let log = options(MODES[at % 2]).open_in(&dir).unwrap();
            let report = log.verify().unwrap();
            let found = util::read_through(&log, OffsetSpec::Earliest);
            assert_eq!(ranges(&report), found.lost, "{name} at {at}");
            assert_eq!(report.records, found.records.len() as u64, "{name} at {at}");
        }
    }
}

/// A segment that is gone, or stands in another's place, is a range that cannot be read.
#[test]
fn missing_and_exchanged_segments_are_found() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let names = fixture.names(".log");
        assert!(names.len() >= 3, "{names:?}");
        let dir = ground.place();
        fixture.put(&dir);
        let log = options(mode).open_in(&dir).unwrap();
        dir.remove(&names[1]);
        let report = log.verify().unwrap();
        let found = util::read_through(&log, OffsetSpec::Earliest);
        assert_eq!((ranges(&report), report.damaged_ranges), (found.lost, 1), "{report:?}");
        drop(log);

        let mut exchanged = fixture.clone();
        let first = exchanged.bytes(&names[0]).clone();
        *exchanged.bytes_mut(&names[1]) = first;
        exchanged.put(&dir);
        let log = options(mode).open_in(&dir).unwrap();
        let report = log.verify().unwrap();
        let found = util::read_through(&log, OffsetSpec::Earliest);
        assert_eq!((ranges(&report), report.damaged_ranges), (found.lost, 1), "{report:?}");
    }
}

/// I5: an index file that is missing, cut, longer or changed by a bit is counted; it is no damage.
#[test]
fn index_files_that_are_not_what_they_have_to_be_are_counted() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let names: Vec<_> =
            ["index", "timeindex"].iter().flat_map(|part| fixture.names(part)).collect();
        let sealed = fixture.names(".log");
        let sealed = &sealed[..sealed.len() - 1];
        let of_sealed = |name: &String| sealed.iter().any(|log| log[..20] == name[..20]);
        for name in names.iter().filter(|name| of_sealed(name)) {
            let bytes = fixture.bytes(name).clone();
            assert!(bytes.len() > 20, "{name} has entries");
            let mut changed = bytes.clone();
            changed[5] ^= 1;
            let contents = [
                None,
                Some(vec![]),
                Some(bytes[..bytes.len() - 1].to_vec()),
                Some([bytes.clone(), vec![0]].concat()),
                Some(changed),
            ];
            for content in contents {
                let dir = ground.place();
                fixture.put(&dir);
                let log = options(mode).open_in(&dir).unwrap();
                match content {
                    Some(content) => dir.write(name, content),
                    None => dir.remove(name),
                }
                let report = log.verify().unwrap();
                let times = u64::from(name.ends_with("timeindex"));
                let counted = (report.index_mismatches, report.time_index_mismatches);
                assert_eq!(counted, (u64::from(name.ends_with(".index")), times), "{name}");
                assert!(report.is_whole());
            }
        }
    }
}

/// The small files: changed under an open log, each fault is named.
#[test]
fn faults_of_the_checkpoint_and_the_meta_file_are_named() {
    for (mode, ground) in ways() {
        for name in ["log.meta", "checkpoint"] {
            let dir = ground.place();
            let log = util::ten_in(mode, &dir);
            log.flush().unwrap();
            let mut consumer = log.consumer("c").unwrap();
            consumer.commit_offset(Offset::new(3)).unwrap();
            assert_eq!(log.verify().unwrap().faults, [""; 0]);
            let bytes = dir.read(name);
            dir.write(name, vec![0xee; bytes.len()]);
            let report = log.verify().unwrap();
            assert!(!report.is_whole());
            assert!(report.faults.iter().any(|fault| fault.contains(name)), "{report:?}");
            if name == "log.meta" {
                dir.remove(name);
                assert_eq!(log.verify().unwrap().faults, ["log.meta is missing"]);
            }
            dir.write(name, bytes);
            assert_eq!(log.verify().unwrap().faults, [""; 0]);
        }
    }
}

/// The gaps of a mirror are counted; the records of a batch that was sealed wrongly are not read.
#[test]
fn gaps_are_counted() {
    for (mode, ground) in ways() {
        let (dir, second) = (ground.place(), ground.place());
        let log = util::ten_in(mode, &dir);
        let mirror = manual(mode).mirror_of(log.id()).open_in(&second).unwrap();
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        for n in 0..10 {
            let batch = reader.next().unwrap().unwrap();
            if ![0, 4, 5].contains(&n) {
                mirror.append_mirrored(&batch).unwrap();
            }
        }
        let report = mirror.verify().unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert_eq!((report.batches, report.gaps, report.records), (9, 2, 7));
    }
}

/// While others append, roll, flush, commit and delete, a whole log stays whole, every time.
#[test]
fn a_log_that_is_written_to_meanwhile_is_found_whole() {
    for mode in MODES {
        let dir = scratch();
        let policy = FlushPolicy::EveryBytes(2000);
        let log = options(mode).flush(policy).open(dir.path()).unwrap();
        thread::scope(|scope| {
            let appender = scope.spawn(|| {
                let mut consumer = log.consumer("c").unwrap();
                for n in 0..3000 {
                    log.append(format!("{n} {}", "x".repeat(100))).unwrap();
                    consumer.commit_offset(log.log_end_offset()).unwrap();
                    if n % 50 == 0 {
                        let before = (log.log_end_offset().get() - 200).max(0);
                        log.delete_records(Offset::new(before)).unwrap();
                    }
                }
            });
            let mut runs = 0;
            while !appender.is_finished() || runs == 0 {
                let report = log.verify().unwrap();
                assert!(report.is_whole(), "{report:?}");
                assert_eq!((report.index_mismatches, report.time_index_mismatches), (0, 0));
                let most = report.log_end_offset - report.log_start_offset;
                assert!(report.records <= u64::try_from(most).unwrap(), "{report:?}");
                runs += 1;
            }
        });
        let report = log.verify().unwrap();
        let all = log.log_end_offset() - log.log_start_offset();
        assert_eq!(report.records, u64::try_from(all).unwrap());
    }
}
