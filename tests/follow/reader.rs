//! Readers of a log that somebody else writes: what they promise on every state of its files.

use std::fs;
use std::process::Command;
use std::time::Duration;

use forebay::{
    ErrorKind, FollowReader, IoMode, Log, Offset, OffsetSpec, ReadOnlyLog, ReadOnlyOptions,
    Timestamp, Visibility,
};

use crate::util::fixture::{self, Fixture, fill};
use crate::util::followed::{all, drain, follow, picture};
use crate::util::{
    self, Ground, MODES, Owned, Place, assert_did, at, kind, manual, records, scratch, segments,
};

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
    let mut child = util::child(module_path!(), test, "reader", dir.path());
    if fs::write(dir.path().join("probe"), "x").is_ok() {
        // Root may everything: somebody else then, with a copy of this program he may run.
        fs::remove_file(dir.path().join("probe")).unwrap();
        let program = scratch();
        let copy = program.path().join("test");
        // Copied by another process: a child that some other test starts just now would have the
        // copy open for writing, and then it cannot be run.
        let copying = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status();
        assert!(copying.unwrap().success());
        for path in [program.path(), &copy] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut other = Command::new(&copy);
        other.args(child.get_args()).uid(65534).gid(65534).current_dir("/");
        other.env(util::CHILD, "reader").env("FOREBAY_TEST_DIR", dir.path());
        let output = other.output().unwrap();
        return assert_did(&output);
    }
    assert_did(&child.output().unwrap());
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

/// As the writer finds them, for every time there is, in each state of the files.
#[test]
fn times_are_found_where_the_writer_finds_them() {
    let spec = |time| OffsetSpec::Timestamp(Timestamp::from_millis(time));
    for mode in MODES {
        let dir = scratch();
        let mut truth = Vec::new();
        let mut log = fixture::options(mode).open(dir.path()).unwrap();
        let followed = follow(mode, dir.path());
        for round in 0..6 {
            fill(&log, &mut truth, 14);
            if round == 2 {
                log.close().unwrap();
                log = fixture::options(mode).open(dir.path()).unwrap();
            }
            if round == 4 {
                log.delete_records(Offset::new(50)).unwrap();
                for path in util::files(dir.path()) {
                    let index = path.extension().is_some_and(|name| name == "timeindex");
                    let _ = index.then(|| fs::remove_file(path).unwrap());
                }
            }
            let start = usize::try_from(log.log_start_offset().get()).unwrap();
            let later = follow(mode, dir.path());
            let times = truth.iter().flat_map(|record| [record.timestamp, record.timestamp + 1]);
            for time in times.chain([i64::MIN, -1, 0, i64::MAX]) {
                let found = truth.iter().skip(start).find(|record| record.timestamp >= time);
                let found = found.map_or(log.log_end_offset().get(), |record| record.offset);
                assert_eq!(log.reader(spec(time)).unwrap().next_offset().get(), found);
                for followed in [&followed, &later] {
                    let reader = followed.reader(spec(time)).unwrap();
                    assert_eq!(reader.next_offset().get(), found, "{mode:?} {round} {time}");
                }
            }
        }
        // A segment that is gone from the middle is passed by; reading tells of it.
        let files = segments(dir.path());
        let middle = files.len() / 2;
        let base = |at: usize| files[at].file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let hole: std::ops::Range<i64> = base(middle)..base(middle + 1);
        fs::remove_file(&files[middle]).unwrap();
        let followed = follow(mode, dir.path());
        for time in truth.iter().map(|record| record.timestamp) {
            let mut reader = followed.reader(spec(time)).unwrap();
            let seen = truth.iter().skip(reader.next_offset().get().try_into().unwrap());
            let due = |record: &&Owned| record.timestamp >= time && !hole.contains(&record.offset);
            assert_eq!(seen.clone().find(due).map(|r| r.offset), seen.map(|r| r.offset).next());
            reader.seek(spec(time)).unwrap();
        }
    }
}

/// What a snapshot or an export has not finished is no log yet.
#[test]
fn an_unfinished_copy_is_refused() {
    let dir = scratch();
    util::ten(IoMode::Mapped, dir.path()).close().unwrap();
    fs::write(dir.path().join("unfinished-copy"), "x").unwrap();
    assert_eq!(kind(Log::open_read_only(dir.path())), ErrorKind::InvalidArgument);
    fs::remove_file(dir.path().join("unfinished-copy")).unwrap();
    assert_eq!(all(&Log::open_read_only(dir.path()).unwrap()).0.len(), 10);
}

/// On a filesystem that is mounted read-only: by a bind mount, where this user may make one.
#[test]
fn a_follower_reads_from_a_read_only_mount() {
    let mount = |arguments: &[&std::ffi::OsStr]| {
        let done = std::process::Command::new("mount").args(arguments).output();
        done.map(|output| output.status.success()).unwrap_or(false)
    };
    let (dir, place) = (scratch(), scratch());
    let mut truth = Vec::new();
    let log = fixture::options(IoMode::Mapped).open(dir.path()).unwrap();
    fill(&log, &mut truth, 60);
    log.flush().unwrap();
    let (from, to) = (dir.path().as_os_str(), place.path().as_os_str());
    if !mount(&["--bind".as_ref(), from, to]) {
        println!("skipped: this user may not mount");
        return;
    }
    let unmount = Unmount(place.path());
    assert!(mount(&["-o".as_ref(), "remount,bind,ro".as_ref(), to]), "no read-only mount");
    assert!(fs::write(place.path().join("probe"), "x").is_err(), "it can be written to");
    for mode in MODES {
        let followed = follow(mode, place.path());
        let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
        assert_eq!(drain(&mut reader), (truth.clone(), Vec::new()), "{mode:?}");
        assert_eq!(followed.durable_offset(), log.durable_offset());
        // The writer, who can write, goes on in its own place, and is followed.
        let seen = truth.len();
        fill(&log, &mut truth, 30);
        assert_eq!(drain(&mut reader), (truth[seen..].to_vec(), Vec::new()), "{mode:?}");
        assert_eq!(kind(Log::open(place.path())), ErrorKind::Locked);
    }
    drop(unmount);
}

/// Takes a mount away, also after a panic.
struct Unmount<'a>(&'a std::path::Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let done = std::process::Command::new("umount").arg(self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
