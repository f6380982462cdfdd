//! A follower and the writer on one simulated disk: the follower steps between any two calls the
//! writer makes to the storage, and whatever it reads there has to be what was appended (I3, I4,
//! I9, I14).
#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

use std::sync::{Arc, Mutex};

use forebay::simulation::{Call, CallKind, Disk, Keep, Profile};
use forebay::{ErrorKind, FollowReader, IoMode, Log, LogOptions, Offset, OffsetSpec, ReadOnlyLog};
use util::{MODES, manual, texts};

const DIR: &str = "/log";

fn options(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(4096).index_interval_bytes(300)
}

/// Who writes: the how manieth, and from which offset on.
#[derive(Clone, Copy, Debug)]
struct Life {
    number: i64,
    from: i64,
}

/// What a life appends at an offset.
fn value(life: Life, offset: i64) -> String {
    let rest = "abcdefg".repeat(1 + usize::try_from(offset % 9).unwrap());
    format!("{}/{}/{offset}/{rest}", life.number, life.from)
}

/// A follower that checks all it reads: each record is one that was appended at its offset, and
/// what a later life appended never follows what it took the place of.
struct Checked {
    mode: IoMode,
    log: Option<ReadOnlyLog>,
    reader: Option<FollowReader>,
    /// What was read at each offset from 0 on and not retracted since.
    read: Vec<String>,
    retracted: u64,
    missed: i64,
    batches: u64,
    holes: u64,
}

impl Checked {
    fn new(mode: IoMode) -> Checked {
        let (read, log, reader) = (Vec::new(), None, None);
        Checked { mode, log, reader, read, retracted: 0, missed: 0, batches: 0, holes: 0 }
    }

    /// Reads what is there now.
    fn step(&mut self, disk: &Disk, at_most: usize) {
        if self.log.is_none() {
            match ReadOnlyLog::options().io_mode(self.mode).open_on(disk, DIR) {
                Ok(log) => self.log = Some(log),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                    return;
                }
            }
        }
        let log = self.log.as_ref().unwrap();
        if self.reader.is_none() {
            let reader = match log.reader(OffsetSpec::Earliest) {
                Err(error) if error.kind() == ErrorKind::Conflict => return self.begin_anew(),
                reader => reader.unwrap(),
            };
            // It may come late.
            let start = usize::try_from(reader.next_offset().get()).unwrap();
            self.read.resize(start, String::new());
            self.reader = Some(reader);
        }
        let reader = self.reader.as_mut().unwrap();
        for _ in 0..at_most {
            let batch = reader.next();
            let next = match &batch {
                Some(Ok(batch)) => batch.base_offset(),
                _ => reader.next_offset(),
            };
            let next = usize::try_from(next.get()).unwrap();
            // What was handed out from there on was taken again, and no less is said.
            let handed = self.read.iter().rposition(|text| !text.is_empty()).map_or(0, |at| at + 1);
            let taken = handed.saturating_sub(next) as u64;
            assert_eq!(reader.retracted() - self.retracted, taken);
            self.retracted = reader.retracted();
            self.read.truncate(next);
            let missed = i64::try_from(reader.missed()).unwrap();
            for _ in self.missed..missed {
                self.read.push(String::new());
            }
            self.missed = missed;
            let Some(batch) = batch else { break };
            let batch = match batch {
                Err(error) if error.kind() == ErrorKind::Conflict => return self.begin_anew(),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    // A power cut left a hole, and nobody has opened the log since.
                    let end = error.lost_offsets().unwrap().end.get();
                    assert_eq!(end, reader.next_offset().get());
                    self.read.resize(usize::try_from(end).unwrap(), String::new());
                    self.holes += 1;
                    continue;
                }
                batch => batch.unwrap(),
            };
            self.batches += 1;
            for text in texts(&batch) {
                let offset = i64::try_from(self.read.len()).unwrap();
                check(&self.read, &text, offset);
                self.read.push(text);
            }
            assert_eq!(usize::try_from(reader.next_offset().get()).unwrap(), self.read.len());
        }
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        assert!(start <= log.durable_offset() && log.durable_offset() <= end, "I1: {log:?}");
    }

    /// The power was cut before `log.meta` was synced: the next open makes another log.
    fn begin_anew(&mut self) {
        assert_eq!(self.batches, 0);
        *self = Checked::new(self.mode);
    }

    /// In the end it has read what the log holds.
    fn at_end(&mut self, disk: &Disk, log: &Log) {
        self.step(disk, usize::MAX);
        let start = usize::try_from(log.log_start_offset().get()).unwrap();
        let truth = util::all_texts(log);
        assert_eq!(self.read.len() - start, truth.len());
        let read = self.read[start..].iter().zip(&truth);
        let missing = |read: &String| read.is_empty() && self.missed > 0;
        assert!(read.clone().all(|(read, truth)| read == truth || missing(read)));
    }
}

/// Whether a record may stand at an offset, behind those.
fn check(read: &[String], text: &str, offset: i64) {
    let mut numbers = text.split('/').map(|number| number.parse().unwrap_or(0));
    let life = Life { number: numbers.next().unwrap(), from: numbers.next().unwrap() };
    assert_eq!(text, value(life, offset));
    let before = read.last().filter(|before| offset > life.from && !before.is_empty());
    if let Some(before) = before {
        assert!(before.starts_with(&format!("{}/", life.number)), "{text} after {before}");
    }
}

/// The writer's life: appends, rolls, flushes, deletes, closes and opens again.
fn live(disk: &Disk, mode: IoMode, number: i64, rounds: i64, deleting: bool) -> Log {
    let mut log = options(mode).open_on(disk, DIR).unwrap();
    let life = Life { number, from: log.log_end_offset().get() };
    for round in 0..rounds {
        let next = log.log_end_offset().get();
        log.append_batch((next..next + 1 + round % 4).map(|n| value(life, n))).unwrap();
        for _ in 0..6 {
            log.append(value(life, log.log_end_offset().get())).unwrap();
        }
        match round % 6 {
            2 => drop(log.flush().unwrap()),
            4 if deleting => {
                let before = log.log_end_offset().get() - 40;
                log.delete_records(Offset::new(before.max(0))).unwrap();
            }
            5 => {
                log.close().unwrap();
                log = options(mode).open_on(disk, DIR).unwrap();
            }
            _ => {}
        }
    }
    log
}

/// Followers that step before every call, or before some of them, so that they come late.
fn followers(mode: IoMode) -> Vec<(u64, usize, Checked)> {
    let follower = |every, at_most| (every, at_most, Checked::new(mode));
    vec![follower(1, usize::MAX), follower(1, 1), follower(5, 3), follower(97, 50)]
}

fn step_all(followers: &mut [(u64, usize, Checked)], disk: &Disk, calls: u64) {
    for (every, at_most, follower) in followers {
        if calls.is_multiple_of(*every) {
            follower.step(disk, *at_most);
        }
    }
}

fn between_all_calls(mode: IoMode, reading: IoMode, deleting: bool) {
    let disk = Disk::new(Profile::default());
    let all = Arc::new(Mutex::new((0_u64, followers(reading))));
    let hooked = Arc::clone(&all);
    disk.watch(move |disk, call| {
        if call.kind != CallKind::Clock && !std::thread::panicking() {
            let (calls, followers) = &mut *hooked.lock().unwrap();
            *calls += 1;
            step_all(followers, disk, *calls);
        }
    });
    let log = live(&disk, mode, 1, 30, deleting);
    disk.unwatch();
    let (calls, followers) = &mut *all.lock().unwrap();
    assert!(*calls > 200, "{calls}");
    for (_, _, follower) in followers.iter_mut() {
        follower.at_end(&disk, &log);
        assert_eq!((follower.retracted, follower.holes), (0, 0));
        assert!(follower.batches > 50, "{}", follower.batches);
        assert!(deleting || follower.missed == 0);
    }
    assert_eq!(deleting, log.log_start_offset() > Offset::ZERO);
}

#[test]
fn between_any_two_calls_of_the_writer_only_what_was_appended_is_read() {
    for mode in MODES {
        for reading in MODES {
            between_all_calls(mode, reading, false);
        }
    }
}

#[test]
fn between_any_two_calls_of_a_writer_that_deletes_only_that_is_missed() {
    for mode in MODES {
        for reading in MODES {
            between_all_calls(mode, reading, true);
        }
    }
}

/// Brings the files of one disk to another one, whose followers then see what happened.
fn mirror(from: &Disk, to: &Disk) {
    let names = from.file_names(DIR);
    for name in to.file_names(DIR).iter().filter(|name| !names.contains(name)) {
        to.remove_file(format!("{DIR}/{name}"));
    }
    for name in names {
        let path = format!("{DIR}/{name}");
        let bytes = from.read_file(&path).unwrap();
        if to.read_file(&path).as_ref() != Some(&bytes) {
            to.write_file(&path, &bytes);
        }
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Killed,
    PowerCut(Keep),
}

/// The disk on which the lives are seen by those who survive them all, and the calls so far.
struct Seen {
    disk: Disk,
    calls: u64,
    followers: Vec<(u64, usize, Checked)>,
}

/// One life on `disk`, which ends at its call number `until`; the disk that the next one begins on.
fn life(
    disk: &Disk,
    mode: IoMode,
    number: i64,
    until: u64,
    end: End,
    seen: &Arc<Mutex<Seen>>,
) -> Option<Disk> {
    let next: Arc<Mutex<Option<Disk>>> = Arc::default();
    let (ended, hooked) = (Arc::clone(&next), Arc::clone(seen));
    let mut calls = 0;
    disk.watch(move |disk: &Disk, call: &Call| {
        let over = || ended.lock().unwrap().is_some();
        if call.kind == CallKind::Clock || std::thread::panicking() || over() {
            return;
        }
        let seen = &mut *hooked.lock().unwrap();
        mirror(disk, &seen.disk);
        calls += 1;
        seen.calls += 1;
        step_all(&mut seen.followers, &seen.disk, seen.calls);
        if calls == until {
            *ended.lock().unwrap() = Some(match end {
                End::Killed => disk.kill(),
                End::PowerCut(keep) => disk.power_cut(keep),
            });
        }
    });
    drop(live(disk, mode, number, 8, false));
    disk.unwatch();
    next.lock().unwrap().take()
}

/// The first life ends at one call, the second, which recovers, at another; the third goes on.
fn lives(mode: IoMode, first: u64, second: u64, end: End) -> Option<u64> {
    let disk = Disk::new(Profile::default());
    let followers =
        followers(if first.is_multiple_of(2) { IoMode::Auto } else { IoMode::Positioned });
    let seen = Seen { disk: Disk::new(Profile::default()), calls: first, followers };
    let seen = Arc::new(Mutex::new(seen));
    let disk = life(&disk, mode, 1, first, end, &seen)?;
    let disk = life(&disk, mode, 2, second, end, &seen).unwrap_or(disk);
    life(&disk, mode, 3, u64::MAX, end, &seen);
    let seen = &mut *seen.lock().unwrap();
    mirror(&disk, &seen.disk);
    let log = options(mode).open_on(&disk, DIR).unwrap();
    for (_, _, follower) in &mut seen.followers {
        follower.at_end(&seen.disk, &log);
        assert_eq!(follower.missed, 0);
        if matches!(end, End::Killed) {
            let bad = (follower.retracted, follower.holes);
            assert_eq!(bad, (0, 0), "{mode:?} {first} {second}");
        }
    }
    Some(seen.followers.iter().map(|(_, _, follower)| follower.retracted).sum())
}

/// Ends the lives at every call of the first; says how many offsets were retracted in all.
fn end_at_every_call(mode: IoMode, step: u64, end: impl Fn(u64) -> End) -> u64 {
    let mut retracted = 0;
    let mut ran = 0;
    for first in (1..).step_by(usize::try_from(step).unwrap()) {
        let Some(taken) = lives(mode, first, 1 + first * 7 % 60, end(first)) else { break };
        retracted += taken;
        ran += 1;
    }
    assert!(ran > 20, "{ran}");
    retracted
}

/// V1: kills at every call. A killed writer takes nothing from anybody.
#[test]
fn a_writer_killed_at_any_call_retracts_nothing() {
    for mode in MODES {
        assert_eq!(end_at_every_call(mode, 1, |_| End::Killed), 0);
    }
}

/// The power is cut at every call for the writer's disk; its followers, as over a network, live on.
#[test]
fn what_a_power_cut_takes_is_retracted_and_read_anew() {
    for mode in MODES {
        assert!(end_at_every_call(mode, 3, |_| End::PowerCut(Keep::None)) > 0);
        end_at_every_call(mode, 3, |_| End::PowerCut(Keep::All));
        end_at_every_call(mode, 1, |seed| End::PowerCut(Keep::Seed(seed)));
    }
}
