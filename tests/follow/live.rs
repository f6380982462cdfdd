//! Followers in other processes, while the writer appends, rolls, closes, reopens and is killed
//! (V1, V2, V3, V16): they never read anything wrong, twice, or out of order, and skip nothing
//! (I4, I14).

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use forebay::{
    ErrorKind, FlushPolicy, FollowReader, IoMode, LogOptions, Offset, OffsetSpec, ReadOnlyLog,
    RecordBatch,
};

use crate::util::{child, child_role, manual, scratch};

const KILLS: u64 = 14;

fn options(mode: IoMode, cycle: u64) -> LogOptions {
    let policy = match cycle % 4 {
        0 => FlushPolicy::Manual,
        1 => FlushPolicy::EveryBytes(5000),
        2 => FlushPolicy::Interval(Duration::from_millis(2)),
        _ => FlushPolicy::EveryAppend,
    };
    manual(mode).segment_bytes(8192).flush(policy)
}

/// FNV-1a, continued.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What record `n` of a cycle holds: its own checksum over content that only it has.
fn value(cycle: u64, n: u64) -> String {
    let length = usize::try_from((n * 131 + cycle * 17) % 700).unwrap();
    let text = format!("{cycle}:{n}:{}", format!("{n}+").repeat(length / 4));
    format!("{:016x} {text}", hash(7, text.as_bytes()))
}

/// Everything that was read, in one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    next: i64,
    records: u64,
    hash: u64,
}

impl Sum {
    fn take(&mut self, batch: &RecordBatch) {
        for record in batch.records() {
            let record = record.unwrap();
            let offset = record.offset().get();
            assert!(offset >= self.next, "{offset} came after {}", self.next - 1);
            let (sum, text) = record.value().split_at(17);
            let expected = format!("{:016x} ", hash(7, text));
            assert_eq!(sum, expected.as_bytes(), "at {offset} stands something else");
            self.next = offset + 1;
            self.records += 1;
            self.hash = hash(self.hash, &offset.to_be_bytes());
            self.hash = hash(self.hash, record.value());
        }
    }
}

/// The child that writes, until it is killed. Now and then it closes the log and opens it again;
/// one that deletes keeps some hundred records.
fn write(mode: IoMode, cycle: u64, deleting: bool, dir: &Path) {
    let mut n = 0;
    loop {
        let log = options(mode, cycle + n % 3).open(dir).unwrap();
        let until = n + 400 + (cycle * 77) % 300;
        while n < until {
            let count = 1 + n % 4;
            log.append_batch((n..n + count).map(|n| value(cycle, n))).unwrap();
            n += count;
            if n % 61 == 0 {
                log.flush().unwrap();
            }
            if deleting && n % 53 == 0 {
                let keep = Offset::new((log.log_end_offset().get() - 300).max(0));
                log.delete_records(keep.max(log.log_start_offset())).unwrap();
            }
            if n % 37 == 0 {
                thread::sleep(Duration::from_micros(300));
            }
        }
        if n % 2 == 0 {
            log.close().unwrap();
        }
    }
}

/// The child that follows, until the parent says where the log ends; then it says what it read.
/// One that is restless opens the log anew every few batches.
fn read(mode: IoMode, restless: bool, dir: &Path) {
    let open = || loop {
        match ReadOnlyLog::options().io_mode(mode).poll_interval(Duration::from_millis(1)).open(dir)
        {
            Ok(log) => break log,
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
        thread::sleep(Duration::from_millis(1));
    };
    let mut sum = Sum::default();
    let mut reader = open().reader(OffsetSpec::Earliest).unwrap();
    let stop = dir.with_extension("stop");
    // It may come late.
    let mut missed = reader.next_offset().get().unsigned_abs();
    for round in 0_u64.. {
        while let Some(batch) = reader.poll(Duration::from_millis(20)).unwrap() {
            sum.take(&batch);
            assert_eq!(reader.next_offset().get(), sum.next);
            assert_eq!(reader.retracted(), 0);
            if restless && sum.records % 64 == 0 {
                missed += reader.missed();
                reader = reopen(&open(), sum.next, &mut missed);
            }
        }
        assert_eq!(reader.retracted(), 0);
        assert!(round < 10_000, "the parent is gone");
        let end = fs::read_to_string(&stop).ok().and_then(|text| text.parse::<i64>().ok());
        if end.is_some_and(|end| end <= sum.next) {
            break;
        }
    }
    missed += reader.missed();
    println!("<{} {} {} {missed}>", sum.next, sum.records, sum.hash);
}

/// A reader of a follower that was opened only now; what was deleted meanwhile counts as missed.
fn reopen(log: &ReadOnlyLog, next: i64, missed: &mut u64) -> FollowReader {
    loop {
        match log.reader(OffsetSpec::At(Offset::new(next.max(log.log_start_offset().get())))) {
            Ok(reader) => {
                *missed += (reader.next_offset().get() - next).unsigned_abs();
                return reader;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}"),
        }
    }
}

fn start(test: &str, role: &str, dir: &Path) -> Child {
    child(module_path!(), test, role, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(test: &str, mode: IoMode, deleting: bool) {
    if let Some((role, dir)) = child_role() {
        return match role.split_once(' ').unwrap() {
            ("write", cycle) => write(mode, cycle.parse().unwrap(), false, &dir),
            ("delete", cycle) => write(mode, cycle.parse().unwrap(), true, &dir),
            ("read", "positioned") => read(IoMode::Positioned, false, &dir),
            ("read", "restless") => read(IoMode::Auto, true, &dir),
            _ => read(IoMode::Auto, false, &dir),
        };
    }
    let dir = scratch();
    let path = dir.path().join("log");
    let followers = ["read auto", "read positioned", "read restless"];
    let followers = followers.map(|role| (role, start(test, role, &path)));
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for cycle in 0..KILLS {
        let role = if deleting { "delete" } else { "write" };
        let mut writer = start(test, &format!("{role} {cycle}"), &path);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        // Some die while they still open the log.
        let millis = if cycle % 5 == 4 { 3 } else { 20 + (random >> 33) % 90 };
        thread::sleep(Duration::from_millis(millis));
        writer.kill().unwrap();
        let output = writer.wait_with_output().unwrap();
        let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
        assert!(killed, "the writer: {}", String::from_utf8_lossy(&output.stderr));
    }
    let log = options(mode, 0).open(&path).unwrap();
    let mut truth = Sum::default();
    for batch in log.reader(OffsetSpec::At(log.log_start_offset())).unwrap() {
        truth.take(&batch.unwrap());
    }
    let end = log.log_end_offset().get();
    assert!(end > 2000, "the writers hardly ran: {end}");
    let start_offset = log.log_start_offset().get();
    assert_eq!(deleting, start_offset > 0);
    assert_eq!(truth.next, end);
    log.close().unwrap();
    fs::write(path.with_extension("stop"), end.to_string()).unwrap();
    for (role, follower) in followers {
        let output = follower.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{role}: {errors}");
        let mut said = String::new();
        (&output.stdout[..]).read_to_string(&mut said).unwrap();
        let line = said.split_once('<').unwrap().1.split_once('>').unwrap().0;
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let [next, records, hash, missed] = numbers[..] else { panic!("{line}") };
        assert_eq!(next, end.unsigned_abs(), "{role}");
        if deleting {
            // Nothing but what was missed is missing.
            assert_eq!(records + missed, next, "{role}");
        } else {
            assert_eq!((records, hash, missed), (truth.records, truth.hash, 0), "{role}");
        }
    }
}

#[test]
fn followers_of_a_killed_mapped_writer_read_what_it_wrote() {
    run("followers_of_a_killed_mapped_writer_read_what_it_wrote", IoMode::Mapped, false);
}

#[test]
fn followers_of_a_killed_positioned_writer_read_what_it_wrote() {
    run("followers_of_a_killed_positioned_writer_read_what_it_wrote", IoMode::Positioned, false);
}

#[test]
fn followers_of_a_log_that_is_deleted_from_miss_that_alone() {
    run("followers_of_a_log_that_is_deleted_from_miss_that_alone", IoMode::Mapped, true);
}
