//! Readers of a log that somebody else writes: what they promise on every state of its files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use forebay::{
    ErrorKind, FollowReader, IoMode, Log, Offset, OffsetSpec, ReadOnlyLog, ReadOnlyOptions,
    Visibility,
};
use util::fixture::{self, Fixture, fill};
use util::{Ground, MODES, Owned, Place, at, kind, manual, records, scratch, segments};

fn follow(mode: IoMode, dir: &Path) -> ReadOnlyLog {
    ReadOnlyLog::options().io_mode(mode).open(dir).unwrap()
}

/// What a follower gives until it has nothing more: records, and ranges it says are lost.
fn drain(reader: &mut FollowReader) -> (Vec<Owned>, Vec<std::ops::Range<i64>>) {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    for step in 0.. {
        assert!(step < 100_000, "the reader does not end");
        match reader.next() {
            None => break,
            Some(Ok(batch)) => found.extend(records(&batch)),
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                let range = error.lost_offsets().unwrap();
                lost.push(range.start.get()..range.end.get());
            }
        }
    }
    (found, lost)
}

fn all(log: &ReadOnlyLog) -> (Vec<Owned>, Vec<std::ops::Range<i64>>) {
    drain(&mut log.reader(OffsetSpec::Earliest).unwrap())
}

/// Names, kinds, lengths, times and bytes of everything in a directory.
fn picture(dir: &Path) -> Vec<(PathBuf, u64, SystemTime, Vec<u8>)> {
    let names = [vec![dir.to_path_buf()], util::files(dir)].concat();
    let look = |path: PathBuf| {
        let data = fs::symlink_metadata(&path).unwrap();
        let bytes = if data.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        (path, data.len(), data.modified().unwrap(), bytes)
    };
    names.into_iter().map(look).collect()
}

#[test]
fn a_follower_sees_what_is_appended_rolled_closed_and_reopened() {
    for mode in MODES {
        let dir = scratch();
        let mut truth = Vec::new();
        let mut log = fixture::options(mode).open(dir.path()).unwrap();
        let followed = follow(mode, dir.path());
        let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
        assert_eq!((followed.id(), followed.dir()), (Some(log.id()), log.dir()));
        let mut seen = Vec::new();
        for round in 0..40 {
            fill(&log, &mut truth, round % 7);
            let end = log.log_end_offset();
            seen.extend(drain(&mut reader).0);
            assert_eq!(seen, truth, "{mode:?} {round}");
            assert_eq!((reader.next_offset(), followed.log_end_offset()), (end, end));
            assert!(followed.durable_offset() <= log.durable_offset());
            if round % 10 == 9 {
                log.close().unwrap();
                assert!(drain(&mut reader).0.is_empty());
                assert_eq!(followed.durable_offset(), end);
                log = fixture::options(mode).open(dir.path()).unwrap();
            } else if round % 5 == 3 {
                log.flush().unwrap();
                followed.refresh().unwrap();
                assert_eq!(followed.durable_offset(), end);
            }
        }
        assert!(segments(dir.path()).len() > 3);
        assert_eq!((reader.retracted(), reader.missed()), (0, 0));
        assert_eq!(all(&followed), (truth.clone(), Vec::new()));
        // Another follower that comes later reads the same, from any offset.
        let later = follow(mode, dir.path());
        for (from, truth) in truth.iter().enumerate() {
            let mut reader = later.reader(at(i64::try_from(from).unwrap())).unwrap();
            let batch = reader.next().unwrap().unwrap();
            assert_eq!(records(&batch)[0], *truth, "from {from}");
        }
    }
}

#[test]
fn a_follower_can_be_cloned_sent_and_shared_and_its_options_configured() {
    fn shared<T: Clone + Send + Sync + std::fmt::Debug>() {}
    fn sent<T: Send + std::fmt::Debug>() {}
    shared::<ReadOnlyLog>();
    sent::<FollowReader>();
    let options: ReadOnlyOptions = serde_json::from_str(r#"{"poll_interval_ms":20}"#).unwrap();
    assert_eq!(options, ReadOnlyLog::options().poll_interval(Duration::from_millis(20)));
    let dir = scratch();
    Log::open(dir.path()).unwrap();
    for wrong in [0, 51] {
        let options = ReadOnlyLog::options().poll_interval(Duration::from_millis(wrong));
        assert_eq!(kind(options.open(dir.path())), ErrorKind::InvalidArgument);
    }
}

#[test]
fn where_there_is_no_log_none_is_made() {
    let dir = scratch();
    let missing = dir.path().join("missing");
    assert_eq!(kind(Log::open_read_only(&missing)), ErrorKind::NotFound);
    assert!(!missing.exists());
    assert_eq!(kind(Log::open_read_only(dir.path())), ErrorKind::NotFound);
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    assert_eq!(kind(Log::open_read_only(dir.path())), ErrorKind::NotFound);
    let file = dir.path().join("notes.txt");
    assert_eq!(kind(Log::open_read_only(file)), ErrorKind::InvalidArgument);
    assert_eq!(util::files(dir.path()).len(), 1);
}

/// The writer makes `log.meta` first, then the checkpoint, then the first segment.
#[test]
fn a_follower_may_come_before_the_first_segment() {
    for mode in MODES {
        for also_checkpoint in [false, true] {
            let (made, dir) = (scratch(), scratch());
            drop(manual(mode).open(made.path()).unwrap());
            let copy = |name: &str| fs::copy(made.path().join(name), dir.path().join(name));
            copy("log.meta").unwrap();
            if also_checkpoint {
                copy("checkpoint").unwrap();
            }
            let followed = follow(mode, dir.path());
            let mut reader = followed.reader(OffsetSpec::Latest).unwrap();
            assert!(reader.next().is_none());
            assert_eq!(followed.log_end_offset(), Offset::ZERO);
            let log = manual(mode).open(dir.path()).unwrap();
            assert_eq!(followed.id(), Some(log.id()));
            assert!(reader.next().is_none());
            log.append("first").unwrap();
            assert_eq!(util::texts(&reader.next().unwrap().unwrap()), ["first"]);
        }
    }
}

#[test]
fn waiting_ends_with_the_record_or_the_time() {
    let dir = scratch();
    let log = manual(IoMode::Mapped).open(dir.path()).unwrap();
    let followed = Log::open_read_only(dir.path()).unwrap();
    let (soon, long) = (Duration::from_millis(10), Duration::from_secs(60));
    let (written, durable) = (Visibility::Written, Visibility::Durable);
    assert!(!followed.wait_for(Offset::ZERO, written, soon).unwrap());
    assert_eq!(
        kind(followed.wait_for(Offset::new(-1), written, soon)),
        ErrorKind::OffsetOutOfRange
    );
    let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
    let mut safe = followed.reader(OffsetSpec::Earliest).unwrap().visibility(durable);
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        log.append("x").unwrap();
        log
    });
    assert_eq!(util::texts(&reader.poll(long).unwrap().unwrap()), ["x"]);
    let log = writer.join().unwrap();
    assert!(followed.wait_for(Offset::ZERO, written, Duration::ZERO).unwrap());
    assert!(!followed.wait_for(Offset::ZERO, durable, soon).unwrap());
    assert!(safe.next().is_none() && safe.poll(soon).unwrap().is_none());
    log.flush().unwrap();
    assert!(followed.wait_for(Offset::ZERO, durable, long).unwrap());
    assert_eq!(util::texts(&safe.next().unwrap().unwrap()), ["x"]);
    log.append_batch(["y", "z"]).unwrap();
    assert!(safe.next().is_none() && reader.next().is_some());
    assert_eq!(safe.next_offset(), Offset::new(1));
}

#[test]
fn readers_begin_where_they_are_told_and_seek() {
    let dir = scratch();
    let log = util::ten(IoMode::Positioned, dir.path());
    let followed = Log::open_read_only(dir.path()).unwrap();
    let mut reader = followed.reader(OffsetSpec::Latest).unwrap();
    assert!(reader.next().is_none());
    assert_eq!(kind(followed.reader(at(11))), ErrorKind::OffsetOutOfRange);
    assert_eq!(kind(followed.reader(at(-1))), ErrorKind::OffsetOutOfRange);
    reader.seek(at(7)).unwrap();
    assert_eq!(util::texts(&reader.next().unwrap().unwrap()), ["7"]);
    assert_eq!(kind(reader.seek(at(12))), ErrorKind::OffsetOutOfRange);
    assert_eq!(reader.next_offset(), Offset::new(8));
    log.append_batch(["10", "11", "12"]).unwrap();
    let mut middle = followed.reader(at(11)).unwrap();
    assert_eq!(util::texts(&middle.next().unwrap().unwrap()), ["11", "12"]);
}

/// Not a byte, not a time, not a name: whatever state the files are in, indexes missing included.
#[test]
fn a_follower_changes_nothing() {
    let unindexed = |mut fixture: Fixture| {
        fixture.files.retain(|(name, _)| !name.ends_with("index"));
        fixture
    };
    for mode in MODES {
        let fixtures = [
            Fixture::closed(mode, Ground::System),
            Fixture::killed(mode, Ground::System, 20, 40),
            unindexed(Fixture::closed(mode, Ground::System)),
            unindexed(Fixture::killed(mode, Ground::System, 20, 40)),
        ];
        for fixture in fixtures {
            let dir = scratch();
            fixture.put(&Place::at(dir.path()));
            // What an open for writing would remove, put right or pass by.
            fs::write(dir.path().join("00000000000000000000.log.new"), "x").unwrap();
            let mut rights = fs::metadata(dir.path()).unwrap().permissions();
            rights.set_readonly(true);
            fs::set_permissions(dir.path(), rights).unwrap();
            let before = picture(dir.path());
            let followed = follow(mode, dir.path());
            assert_eq!(all(&followed), (fixture.records.clone(), Vec::new()));
            for from in 0..fixture.end() {
                followed.reader(at(from)).unwrap().next().unwrap().unwrap();
            }
            followed
                .wait_for(Offset::new(fixture.end()), Visibility::Durable, Duration::ZERO)
                .unwrap();
            assert_eq!(followed.id(), Some(fixture.id));
            drop(followed);
            assert!(before == picture(dir.path()), "something was changed");
        }
    }
}

/// As a user who may not write there, in a process of its own.
#[test]
fn a_follower_needs_no_right_to_write() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let test = "a_follower_needs_no_right_to_write";
    if let Some((_, dir)) = util::child_role() {
        assert!(fs::write(dir.join("probe"), "x").is_err(), "this user may write");
        let followed = Log::open_read_only(&dir).unwrap();
        assert_eq!(all(&followed).0.len(), 10);
        return;
    }
    let dir = scratch();
    util::ten(IoMode::Mapped, dir.path()).close().unwrap();
    for path in util::files(dir.path()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let mut child = util::child(test, "reader", dir.path());
    if fs::write(dir.path().join("probe"), "x").is_ok() {
        // Root may everything: somebody else then, with a copy of this program he may run.
        fs::remove_file(dir.path().join("probe")).unwrap();
        let program = scratch();
        let copy = program.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        for path in [program.path(), &copy] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut other = std::process::Command::new(&copy);
        other.args(child.get_args()).uid(65534).gid(65534).current_dir("/");
        other.env(util::CHILD, "reader").env("FOREBAY_TEST_DIR", dir.path());
        child = other;
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The active segment arrives byte by byte, with junk, an older write or nothing behind: what is
/// whole is read, at once and once, and nothing else.
#[test]
fn at_the_tail_only_whole_batches_exist() {
    for mode in MODES {
        let fixture = Fixture::killed(mode, Ground::System, 20, 12);
        let name = fixture.names(".log").pop().unwrap();
        let bytes = fixture.bytes(&name).clone();
        let used = fixture.batches.last().unwrap().2.end;
        let behind = |kind: usize| match kind {
            0 => Vec::new(),
            1 => vec![0; 8192],
            2 => vec![0xff; 700],
            _ => bytes[61..600.min(used)].to_vec(),
        };
        for kind in 0..4 {
            let dir = scratch();
            fixture.put(&Place::at(dir.path()));
            let path = dir.path().join(&name);
            let put = |length: usize| {
                let file = [bytes[..length].to_vec(), behind(kind)].concat();
                fs::write(&path, &file).unwrap();
                file
            };
            // Nothing above the recovery point is there yet.
            let known = fixture.batches.iter();
            let known = known.filter(|b| b.1 == name && b.0.end <= fixture.durable);
            let from = known.map(|batch| batch.2.end).max().unwrap_or(0);
            put(from);
            let followed = follow(mode, dir.path());
            let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
            let mut seen = drain(&mut reader).0;
            for length in from..=used {
                let file = put(length);
                let (more, lost) = drain(&mut reader);
                seen.extend(more);
                assert!(lost.is_empty(), "{mode:?} {kind} {length}: {lost:?}");
                let whole = fixture.batches.iter();
                // What stands behind may happen to be the missing bytes.
                let whole = whole.filter(|b| b.1 != name || file.starts_with(&bytes[..b.2.end]));
                let end = whole.map(|b| b.0.end).max().unwrap();
                assert_eq!(reader.next_offset().get(), end, "{mode:?} {kind} {length}");
                assert_eq!(seen, fixture.records[..usize::try_from(end).unwrap()]);
            }
        }
    }
}

/// I13: every byte of every file is flipped, in one of four kinds of log: only true records are
/// read, and what is missing in sealed segments, or below the recovery point, is told.
#[test]
fn a_flipped_byte_is_never_read_and_never_hidden() {
    for (at, mode) in MODES.into_iter().enumerate() {
        let fixtures =
            [Fixture::closed(mode, Ground::System), Fixture::killed(mode, Ground::System, 20, 25)];
        for (fixture, first) in fixtures.into_iter().zip([at, at + 2]) {
            let dir = scratch();
            fixture.put(&Place::at(dir.path()));
            for (name, bytes) in &fixture.files {
                let path = dir.path().join(name);
                let step = if name == "checkpoint" { 41 } else { 4 };
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                for place in (first..used).step_by(step) {
                    let mut flipped = bytes.clone();
                    flipped[place] ^= 0x41;
                    fs::write(&path, &flipped).unwrap();
                    check(&fixture, dir.path(), &format!("{mode:?} {name} {place}"));
                }
                fs::write(&path, bytes).unwrap();
            }
        }
    }
}

/// Only true records, in order; what is missing below the durable offset is told.
fn check(fixture: &Fixture, dir: &Path, what: &str) {
    let followed = match ReadOnlyLog::options().io_mode(fixture.mode).open(dir) {
        Ok(followed) => followed,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{what}: {error}");
            return;
        }
    };
    let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
    let (found, lost) = drain(&mut reader);
    let mut previous = -1;
    for record in &found {
        assert!(record.offset > previous, "{what}");
        previous = record.offset;
        assert_eq!(Some(record), fixture.records.get(usize::try_from(previous).unwrap()), "{what}");
    }
    let (start, end) = (followed.log_start_offset(), followed.log_end_offset());
    assert!(start <= followed.durable_offset() && followed.durable_offset() <= end, "I1: {what}");
    let missing = (0..fixture.end()).filter(|n| !found.iter().any(|record| record.offset == *n));
    for n in missing.filter(|n| *n < end.get()) {
        assert!(lost.iter().any(|range| range.contains(&n)), "{what}: {n} is not told: {lost:?}");
    }
    assert_eq!((reader.retracted(), reader.missed()), (0, 0), "{what}");
    let last = fixture.batches.last().unwrap();
    if !what.contains(&last.1) && !what.contains("checkpoint") {
        assert_eq!(end.get(), fixture.end(), "{what}");
    }
}

/// Every segment is cut at every length: the last one ends there, another one is damaged.
#[test]
fn a_cut_file_ends_the_log_or_is_told() {
    for mode in MODES {
        let fixture = Fixture::killed(mode, Ground::System, 30, 10);
        let dir = scratch();
        fixture.put(&Place::at(dir.path()));
        let names = fixture.names(".log");
        for name in &names {
            let bytes = fixture.bytes(name);
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            for length in 0..used {
                fs::write(dir.path().join(name), &bytes[..length]).unwrap();
                let last = names.last() == Some(name);
                let what = if last { format!("checkpoint {length}") } else { format!("{length}") };
                check_cut(&fixture, dir.path(), &what, last);
            }
            fs::write(dir.path().join(name), bytes).unwrap();
        }
    }
}

fn check_cut(fixture: &Fixture, dir: &Path, what: &str, last: bool) {
    check(fixture, dir, if last { "checkpoint" } else { what });
    let followed = follow(fixture.mode, dir);
    let (found, lost) = all(&followed);
    if last {
        assert!(found.len() <= fixture.records.len(), "{what}");
    } else {
        assert_eq!(lost.len(), 1, "{what}: {lost:?}");
        let told: i64 = lost.iter().map(|range| range.end - range.start).sum();
        assert_eq!(i64::try_from(found.len()).unwrap() + told, fixture.end(), "{what}");
    }
}

#[test]
fn checkpoint_and_meta_may_be_missing_or_garbage() {
    for mode in MODES {
        for fixture in
            [Fixture::closed(mode, Ground::System), Fixture::killed(mode, Ground::System, 20, 25)]
        {
            for names in [["checkpoint", "-"], ["log.meta", "-"], ["checkpoint", "log.meta"]] {
                for with in [None, Some(Vec::new()), Some(vec![0xa5; 9000])] {
                    let dir = scratch();
                    fixture.put(&Place::at(dir.path()));
                    for name in names.iter().filter(|name| **name != "-") {
                        fs::remove_file(dir.path().join(name)).unwrap();
                        if let Some(bytes) = &with {
                            fs::write(dir.path().join(name), bytes).unwrap();
                        }
                    }
                    let followed = follow(mode, dir.path());
                    let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
                    assert_eq!(drain(&mut reader).0, fixture.records, "{names:?} {with:?}");
                    let known = !names.contains(&"log.meta") || !names.contains(&"checkpoint");
                    assert_eq!(followed.id(), known.then_some(fixture.id), "{names:?}");
                    if !known {
                        continue;
                    }
                    // The writer puts it right, and the follower goes on.
                    let log = fixture::options(mode).open(dir.path()).unwrap();
                    log.append("more").unwrap();
                    let batch = reader.next().unwrap().unwrap();
                    assert_eq!(util::texts(&batch), ["more"], "{names:?} {with:?}");
                    assert_eq!((reader.retracted(), reader.missed()), (0, 0));
                }
            }
        }
    }
}

/// A killed writer takes nothing: reopening after it retracts nothing.
#[test]
fn nothing_is_retracted_by_a_recovery_that_cuts_nothing() {
    for mode in MODES {
        let fixture = Fixture::killed(mode, Ground::System, 20, 25);
        let dir = scratch();
        fixture.put(&Place::at(dir.path()));
        let followed = follow(mode, dir.path());
        let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
        assert_eq!(drain(&mut reader).0, fixture.records);
        for round in 0..5 {
            let copy = scratch();
            let log = fixture::options(mode).open(dir.path()).unwrap();
            log.append(format!("{round}")).unwrap();
            let batch = reader.next().unwrap().unwrap();
            assert_eq!(util::texts(&batch), [format!("{round}")]);
            // The writer dies: what it left is put back once it has closed.
            util::copy_dir(dir.path(), copy.path());
            drop(log);
            util::copy_dir(copy.path(), dir.path());
            assert!(reader.next().is_none());
        }
        assert_eq!((reader.retracted(), reader.missed()), (0, 0));
    }
}

/// As a power cut does it: the files fall back to what they were, and the log goes on otherwise.
#[test]
fn what_a_recovery_took_is_counted_and_read_anew() {
    for mode in MODES {
        // How often the log is opened before the follower looks again.
        for opens in [1, 2, 5] {
            for batches in [3, 40] {
                let dir = scratch();
                let kept = scratch();
                let log = fixture::options(mode).open(dir.path()).unwrap();
                let mut truth = Vec::new();
                fill(&log, &mut truth, 20);
                log.flush().unwrap();
                util::copy_dir(dir.path(), kept.path());
                let cut = truth.len();
                let followed = follow(mode, dir.path());
                let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
                let mut behind = followed.reader(OffsetSpec::Earliest).unwrap();
                let first = behind.next().unwrap().unwrap();
                let mut latest = followed.reader(OffsetSpec::Latest).unwrap();
                fill(&log, &mut truth, batches);
                assert_eq!(drain(&mut reader).0, truth);
                assert_eq!(drain(&mut latest).0, truth[cut..]);
                drop(log);
                let before = truth.len();
                for path in util::files(dir.path()) {
                    fs::remove_file(path).unwrap();
                }
                util::copy_dir(kept.path(), dir.path());

                let mut again = truth[..cut].to_vec();
                for n in 0..opens {
                    let log = fixture::options(mode).open(dir.path()).unwrap();
                    let offset = log.append(format!("other {n}")).unwrap();
                    let timestamp = util::read_all(&log).last().unwrap().timestamp;
                    let other = Owned::value(format!("other {n}"));
                    again.push(Owned { offset: offset.get(), timestamp, ..other });
                    if n % 2 == 0 {
                        let unclean = scratch();
                        util::copy_dir(dir.path(), unclean.path());
                        drop(log);
                        util::copy_dir(unclean.path(), dir.path());
                    }
                }
                let what = format!("{mode:?} {opens} {batches}");
                assert_eq!(drain(&mut reader).0, again[cut..], "{what}");
                let taken = u64::try_from(before - cut).unwrap();
                assert_eq!((reader.retracted(), reader.missed()), (taken, 0), "{what}");
                assert_eq!(drain(&mut latest).0, again[cut..], "{what}");
                assert_eq!(latest.retracted(), taken, "{what}");
                let seen = [records(&first), drain(&mut behind).0].concat();
                assert_eq!(seen, again, "{what}");
                assert_eq!((behind.retracted(), behind.missed()), (0, 0), "{what}");
                assert_eq!(followed.log_end_offset().get(), again.len() as i64);
            }
        }
    }
}

#[test]
fn deleted_segments_are_missed_and_counted() {
    for mode in MODES {
        let dir = scratch();
        let log = fixture::options(mode).open(dir.path()).unwrap();
        let mut truth = Vec::new();
        fill(&log, &mut truth, 200);
        log.flush().unwrap();
        let followed = follow(mode, dir.path());
        let idle = follow(mode, dir.path());
        let mut early = idle.reader(OffsetSpec::Earliest).unwrap();
        let mut begun = followed.reader(OffsetSpec::Earliest).unwrap();
        assert_eq!(begun.next().unwrap().unwrap().base_offset(), Offset::ZERO);
        let mut latest = followed.reader(OffsetSpec::Latest).unwrap();
        let files = segments(dir.path());
        assert!(files.len() > 6);
        for path in &files[..4] {
            fs::remove_file(path).unwrap();
        }
        let base = files[4].file_stem().unwrap().to_str().unwrap().parse::<i64>().unwrap();
        let kept = &truth[usize::try_from(base).unwrap()..];
        assert_eq!(drain(&mut early), (kept.to_vec(), Vec::new()), "{mode:?}");
        assert_eq!((early.missed(), early.retracted()), (base.unsigned_abs(), 0));
        // An open file can be read to its end although it is gone.
        let (seen, lost) = drain(&mut begun);
        assert_eq!(seen.len() as u64 + 1 + begun.missed(), truth.len() as u64);
        assert!(lost.is_empty() && begun.missed() > 0, "{lost:?}");
        assert!(drain(&mut latest).0.is_empty());
        assert_eq!(latest.missed(), 0);
        assert_eq!(followed.log_start_offset().get(), base);
        fill(&log, &mut truth, 5);
        assert_eq!(drain(&mut latest).0, drain(&mut early).0);
    }
}

/// I4: a segment that is gone from the middle is no deletion.
#[test]
fn a_hole_is_told_once_with_its_range() {
    for mode in MODES {
        let fixture = Fixture::closed(mode, Ground::System);
        let dir = scratch();
        fixture.put(&Place::at(dir.path()));
        let files = segments(dir.path());
        let base = |at: usize| files[at].file_stem().unwrap().to_str().unwrap().parse().unwrap();
        fs::remove_file(&files[1]).unwrap();
        let followed = follow(mode, dir.path());
        let (found, lost) = all(&followed);
        let hole: std::ops::Range<i64> = base(1)..base(2);
        assert_eq!(lost, std::slice::from_ref(&hole));
        assert_eq!(found.len() as i64, fixture.end() - (hole.end - hole.start));
        let mut inside = followed.reader(at(hole.start + 1)).unwrap();
        assert_eq!(drain(&mut inside).1, vec![hole.start + 1..hole.end; 1]);
    }
}

/// Names that lead to no files of ours, or to files that are none: nothing hangs, nothing is read.
#[test]
fn foreign_files_are_passed_by() {
    for mode in MODES {
        let fixture = Fixture::killed(mode, Ground::System, 20, 25);
        let dir = scratch();
        let bait = scratch();
        fs::write(bait.path().join("bait"), vec![7; 4096]).unwrap();
        let fifo = |path: &Path| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        };
        let link = |path: &Path| {
            std::os::unix::fs::symlink(bait.path().join("bait"), path).unwrap();
        };
        let folder = |path: &Path| fs::create_dir(path).unwrap();
        let junk = |path: &Path| fs::write(path, vec![2; 70_000]).unwrap();
        let empty = |path: &Path| fs::write(path, "").unwrap();
        let makers: [&dyn Fn(&Path); 5] = [&fifo, &link, &folder, &junk, &empty];
        let inside = fixture.batches.last().unwrap().0.start;
        let names = [
            format!("{:020}.log", 5),
            format!("{inside:020}.log"),
            format!("{:020}.log", fixture.end() + 1000),
            format!("{:020}.index", 0),
            "checkpoint.new".to_owned(),
            "checkpoint".to_owned(),
            "log.meta".to_owned(),
        ];
        for make in makers {
            for name in &names {
                fixture.put(&Place::at(dir.path()));
                let path = dir.path().join(name);
                let _ = fs::remove_file(&path);
                make(&path);
                let before = picture(dir.path());
                let followed = follow(mode, dir.path());
                let (found, lost) = all(&followed);
                assert_eq!(found, fixture.records, "{name}");
                assert!(lost.is_empty(), "{name}: {lost:?}");
                assert!(before == picture(dir.path()));
            }
        }
    }
}

#[test]
fn another_log_in_the_same_place_is_a_conflict() {
    let (dir, other) = (scratch(), scratch());
    util::ten(IoMode::Mapped, dir.path()).close().unwrap();
    util::ten(IoMode::Mapped, other.path()).close().unwrap();
    let followed = Log::open_read_only(dir.path()).unwrap();
    let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
    reader.next().unwrap().unwrap();
    for path in util::files(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    util::copy_dir(other.path(), dir.path());
    assert_eq!(kind(followed.refresh()), ErrorKind::Conflict);
    assert_eq!(kind(followed.refresh()), ErrorKind::Conflict);
    let mut seen = 0;
    let failed = loop {
        match reader.next() {
            Some(Ok(_)) => seen += 1,
            Some(Err(error)) => break error,
            None => panic!("the end was reached in another log"),
        }
    };
    assert_eq!(failed.kind(), ErrorKind::Conflict);
    assert!(seen <= 9 && reader.next().is_none());
    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(kind(followed.refresh()), ErrorKind::NotFound);
}
