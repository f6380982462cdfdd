//! Retention by bytes, number and age: what goes, when, and what it costs; by a model that knows
//! nothing of the code (I1, I2, I15).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forebay::{
    ArchiveDir, ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec, OnFull,
    RetentionReport,
};
use proptest::prelude::*;

use crate::util::numbered::{bases, numbers, text};
use crate::util::{self, Ground, MODES, OpenIn, Place, all_texts, kind, manual, texts, ways};

fn small(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(4096)
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        log.append(text(log.log_end_offset().get())).unwrap();
    }
}

/// What the log has to hold: the segments, oldest first, the last one active.
#[derive(Clone, Debug, Default)]
struct Model {
    segments: Vec<Modelled>,
    end: i64,
    /// Milliseconds that have passed.
    clock: i64,
}

#[derive(Clone, Debug)]
struct Modelled {
    base: i64,
    bytes: u64,
    /// When its successor was begun.
    sealed: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    bytes: Option<u64>,
    records: Option<u64>,
    age: Option<i64>,
}

impl Rules {
    fn on(self, mut options: LogOptions) -> LogOptions {
        if let Some(bytes) = self.bytes {
            options = options.retention_bytes(bytes);
        }
        if let Some(records) = self.records {
            options = options.retention_records(records);
        }
        if let Some(age) = self.age {
            options = options.retention_age(Duration::from_millis(age.unsigned_abs()));
        }
        options
    }
}

impl Model {
    /// One batch more; `rolled` before it.
    fn append(&mut self, records: i64, bytes: u64, rolled: bool) {
        if rolled {
            self.segments.last_mut().unwrap().sealed = self.clock;
        }
        if rolled || self.segments.is_empty() {
            self.segments.push(Modelled { base: self.end, bytes: 0, sealed: i64::MAX });
        }
        self.segments.last_mut().unwrap().bytes += bytes;
        self.end += records;
    }

    /// What the rules take; the causes of each.
    fn retain(&mut self, rules: Rules) -> [u64; 3] {
        let mut causes = [0; 3];
        while self.segments.len() > 1 {
            let stays: u64 = self.segments[1..].iter().map(|segment| segment.bytes).sum();
            let behind = (self.end - self.segments[1].base).unsigned_abs();
            let age = self.clock - self.segments[0].sealed;
            let cause = if rules.bytes.is_some_and(|least| stays >= least) {
                0
            } else if rules.records.is_some_and(|least| behind >= least) {
                1
            } else if rules.age.is_some_and(|most| age >= most) {
                2
            } else {
                break;
            };
            causes[cause] += 1;
            self.segments.remove(0);
        }
        causes
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn start(&self) -> i64 {
        self.segments.first().map_or(0, |segment| segment.base)
    }
}

fn causes(report: &RetentionReport) -> [u64; 3] {
    [report.segments_by_bytes, report.segments_by_records, report.segments_by_age]
}

#[derive(Clone, Debug)]
enum Operation {
    Append(i64, usize),
    Flush,
    Pass(u64),
    Apply,
    Close,
    Kill,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (1_i64..5, 1_usize..700).prop_map(|(count, bytes)| Operation::Append(count, bytes)),
        1 => Just(Operation::Flush),
        3 => (0_u64..4000).prop_map(Operation::Pass),
        2 => Just(Operation::Apply),
        1 => Just(Operation::Close),
        1 => Just(Operation::Kill),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let bytes = proptest::option::of(0_u64..30_000);
    let records = proptest::option::of(1_u64..80);
    let age = proptest::option::of(1_i64..9000);
    (bytes, records, age).prop_map(|(bytes, records, age)| Rules { bytes, records, age })
}

/// A log beside the model of it.
struct Run {
    dir: Place,
    log: Log,
    mode: IoMode,
    rules: Rules,
    model: Model,
    /// The start when it moved last.
    start: i64,
}

impl Run {
    fn options(mode: IoMode, rules: Rules) -> LogOptions {
        rules.on(small(mode))
    }

    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Append(count, bytes) => self.append(*count, *bytes),
            Operation::Flush => assert_eq!(self.log.flush().unwrap().get(), self.model.end),
            Operation::Pass(_) if self.dir.ground() == Ground::System => {}
            Operation::Pass(time) => {
                self.dir.pass(Duration::from_millis(*time));
                self.model.clock += i64::try_from(*time).unwrap();
            }
            Operation::Apply => self.apply(),
            Operation::Close => self.reopen(),
            Operation::Kill => {
                let killed = self.dir.killed();
                let _until_it_is_closed = std::mem::replace(&mut self.dir, killed);
                self.reopen();
            }
        }
        let start = self.log.log_start_offset().get();
        assert_eq!(start, self.start, "{operation:?} deletes nothing");
        let (durable, end) = (self.log.durable_offset().get(), self.log.log_end_offset().get());
        assert!(start <= durable && durable <= end && end == self.model.end, "I1");
    }

    fn append(&mut self, count: i64, bytes: usize) {
        let (model, before) = (&mut self.model, self.log.stats());
        let made = (0..count).map(|n| format!("{} {}", model.end + n, "y".repeat(bytes)));
        self.log.append_batch(made.collect::<Vec<_>>()).unwrap();
        let after = self.log.stats();
        let rolled = after.rolls - before.rolls;
        assert!(rolled <= 1);
        model.append(count, after.bytes_appended - before.bytes_appended, rolled == 1);
        if rolled == 1 {
            model.retain(self.rules);
            self.compare();
        }
    }

    fn apply(&mut self) {
        let (model, rolls) = (&mut self.model, self.log.stats().rolls);
        let start = model.start();
        let report = self.log.apply_retention().unwrap();
        if self.log.stats().rolls > rolls {
            // The active one was old enough to be sealed.
            assert!(self.rules.age.is_some());
            model.segments.last_mut().unwrap().sealed = model.clock;
            let active = Modelled { base: model.end, bytes: 0, sealed: i64::MAX };
            model.segments.push(active);
        }
        let before = model.bytes();
        let due = model.retain(self.rules);
        assert_eq!(causes(&report), due, "{:?}", self.rules);
        assert_eq!(report.segments_deleted, due.iter().sum::<u64>());
        assert_eq!(report.bytes_deleted, before - model.bytes());
        assert_eq!(report.records_deleted, (model.start() - start).unsigned_abs());
        assert_eq!((report.log_start_offset.get(), report.held_back), (model.start(), None));
        self.compare();
    }

    fn reopen(&mut self) {
        let before = self.log.log_start_offset();
        let next = Run::options(self.mode, self.rules);
        self.log.clone().close().unwrap();
        self.log = next.open_in(&self.dir).unwrap();
        assert_eq!(self.log.log_start_offset(), before, "an open applies no retention");
        assert_eq!(self.log.recovery().segments_deleted, 0);
        assert_eq!(self.log.recovery().damaged_ranges, 0);
    }

    /// After retention the log is the model.
    fn compare(&mut self) {
        self.start = self.log.log_start_offset().get();
        assert_eq!(self.start, self.model.start(), "{:?}", self.rules);
        let files: Vec<_> = self.model.segments.iter().map(|segment| segment.base).collect();
        assert_eq!(bases(&self.dir), if files.is_empty() { vec![0] } else { files });
    }
}

fn run(mode: IoMode, ground: Ground, mut rules: Rules, operations: &[Operation]) {
    if ground == Ground::System {
        // Nobody waits here for something to get old.
        rules.age = None;
    }
    let dir = ground.place();
    let log = Run::options(mode, rules).open_in(&dir).unwrap();
    let mut run = Run { dir, log, mode, rules, model: Model::default(), start: 0 };
    operations.iter().for_each(|operation| run.step(operation));
    let left = run.log.reader(OffsetSpec::Earliest).unwrap();
    let left: u64 = left.map(|batch| batch.unwrap().len() as u64).sum();
    assert_eq!(left, (run.model.end - run.model.start()).unsigned_abs());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 120,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// What goes is what the model says, to the segment, with the reasons, over closes and kills.
    #[test]
    fn random_operations_with_rules_agree_with_a_model(
        rules in rules(),
        operations in proptest::collection::vec(operation(), 1..150),
    ) {
        for (mode, ground) in ways() {
            run(mode, ground, rules, &operations);
        }
    }
}

/// Kafka's rule to the byte: a segment goes as soon as what stays is as large as was asked for.
#[test]
fn a_segment_goes_when_what_stays_is_as_large_as_was_asked_for() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = small(mode).open_in(&dir).unwrap();
        append(&log, 100);
        log.close().unwrap();
        let all = bases(&dir);
        let total: u64 = dir.segments().iter().map(|name| dir.len(name) as u64).sum();
        let mut stays = total;
        for (n, name) in dir.segments().iter().enumerate().take(all.len() - 1) {
            stays -= dir.len(name) as u64;
            for (least, expected) in [(stays + 1, all[n]), (stays, all[n + 1])] {
                let copy = dir.killed();
                let log = small(mode).retention_bytes(least).open_in(&copy).unwrap();
                assert_eq!(log.log_start_offset(), Offset::ZERO, "never at open");
                let report = log.apply_retention().unwrap();
                assert_eq!(report.log_start_offset.get(), expected);
                assert_eq!(bases(&copy)[0], expected);
                let again = log.apply_retention().unwrap();
                assert_eq!((again.segments_deleted, again.records_deleted), (0, 0));
                let left: Vec<_> = (expected..100).collect();
                assert_eq!(numbers(&all_texts(&log)), left);
            }
        }
    }
}

/// Without a rule nothing goes; with one, whatever is sealed may, but never the active segment.
#[test]
fn nothing_goes_without_a_rule_and_the_active_segment_never() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = small(mode).open_in(&dir).unwrap();
        append(&log, 100);
        let all = bases(&dir);
        let report = log.apply_retention().unwrap();
        assert_eq!((report.segments_deleted, report.held_back), (0, None));
        assert_eq!(bases(&dir), all);
        drop(log);
        let log = small(mode).retention_bytes(0).open_in(&dir).unwrap();
        log.apply_retention().unwrap();
        assert_eq!(bases(&dir), all[all.len() - 1..]);
        let log_start = log.log_start_offset().get();
        assert_eq!(numbers(&all_texts(&log)), (log_start..100).collect::<Vec<_>>());
        append(&log, 1);
        assert_eq!(log.log_end_offset().get(), 101, "I2");
    }
}

/// A log that is appended to keeps to its rules by itself, with a thread of its own or without.
#[test]
fn a_log_keeps_to_its_rules_by_itself() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = small(mode).retention_records(40).open_in(&dir).unwrap();
        append(&log, 1000);
        let start = log.log_start_offset().get();
        assert!((1000 - 60..=960).contains(&start), "{start}");
        assert!(bases(&dir).len() <= 6);
        assert!(log.stats().segments_deleted > 60);
    }
    for mode in MODES {
        let dir = Ground::System.place();
        let options = small(mode).retention_records(40).background(true);
        let log = options.open_in(&dir).unwrap();
        append(&log, 1000);
        while log.log_start_offset().get() < 1000 - 60 {
            thread::yield_now();
        }
        assert!(log.log_start_offset().get() <= 960);
        log.close().unwrap();
    }
}

/// A file that cannot be removed: the start stands, and the next call removes it; and where the
/// start cannot be written, nothing has happened.
#[test]
#[cfg(feature = "simulation")]
fn what_fails_half_way_is_done_by_the_next_call() {
    use forebay::simulation::{CallKind, Fault};

    for mode in MODES {
        let dir = Ground::Simulated.place();
        let disk = dir.disk().unwrap();
        let log = small(mode).open_in(&dir).unwrap();
        append(&log, 100);
        log.close().unwrap();
        let log = small(mode).retention_records(30).open_in(&dir).unwrap();
        let all = bases(&dir);
        let fault = |on, name: &str| {
            disk.fail(Fault { on, name: Some(name.to_owned()), after: 0, times: 1, errno: 5 });
        };
        fault(CallKind::Unlink, ".log");
        assert_eq!(kind(log.apply_retention()), ErrorKind::Io);
        let start = log.log_start_offset().get();
        assert!(start > 50, "decided and shown");
        assert_eq!(bases(&dir), all, "nothing is gone");
        let report = log.apply_retention().unwrap();
        assert!(report.segments_deleted > 4 && report.records_deleted == 0);
        assert_eq!(bases(&dir)[0], start);
        assert_eq!(numbers(&all_texts(&log)), (start..100).collect::<Vec<_>>());
        append(&log, 1);
        fault(CallKind::SyncFile, "checkpoint");
        let end = log.log_end_offset();
        let refused = (0..40).find_map(|_| log.append(text(0)).err()).unwrap();
        assert_eq!(refused.kind(), ErrorKind::Poisoned, "I8: {refused}");
        assert!(log.log_end_offset() > end, "the append that rolled is none the worse for it");
        assert_eq!(kind(log.apply_retention()), ErrorKind::Poisoned);
    }
}

/// Once the sizes are known, a look that finds nothing asks the system for nothing but clocks.
#[test]
#[cfg(feature = "simulation")]
fn a_look_that_finds_nothing_costs_no_system_call() {
    use std::sync::Mutex;

    use forebay::simulation::CallKind;

    for mode in MODES {
        for age in [false, true] {
            let dir = Ground::Simulated.place();
            let mut options = small(mode).retention_bytes(1 << 30).retention_records(1 << 30);
            if age {
                options = options.retention_age(Duration::from_secs(3600));
            }
            let log = options.clone().open_in(&dir).unwrap();
            append(&log, 100);
            log.close().unwrap();
            let log = options.open_in(&dir).unwrap();
            log.apply_retention().unwrap();
            let calls = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&calls);
            dir.disk().unwrap().watch(move |_, call| {
                if call.kind != CallKind::Clock {
                    seen.lock().unwrap().push(call.clone());
                }
            });
            for _ in 0..10 {
                assert_eq!(log.apply_retention().unwrap().segments_deleted, 0);
            }
            assert_eq!(*calls.lock().unwrap(), [], "{mode:?}");
        }
    }
}

/// Deleting works on a disk on which nothing else does.
#[test]
#[cfg(feature = "simulation")]
fn retention_works_on_a_full_disk_and_makes_room_for_what_comes() {
    for mode in MODES {
        let dir = Ground::Simulated.place();
        let log = small(mode).open_in(&dir).unwrap();
        append(&log, 100);
        log.close().unwrap();
        let log = small(mode).retention_records(30).open_in(&dir).unwrap();
        dir.disk().unwrap().set_space(Some(0));
        // What a rule has expired goes before an append is refused.
        append(&log, 40);
        assert!(log.log_start_offset().get() > 60);
        assert_eq!(log.stats().appends_refused, 0);
        assert!(log.apply_retention().is_ok());
    }
}

/// Threads append, flush, read, consume and apply retention at once: nobody hangs, nobody sees a
/// wrong record, and in the end the rules are kept.
#[test]
fn threads_that_append_read_and_retain_see_one_history() {
    for mode in MODES {
        let dir = Ground::System.place();
        let policy = FlushPolicy::EveryBytes(5000);
        let log = small(mode).flush(policy).retention_records(100).open_in(&dir).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let appenders: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..800 {
                            while let Err(error) = {
                                let end = log.log_end_offset();
                                log.append_at(end, text(end.get()))
                            } {
                                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let report = log.apply_retention().unwrap();
                        assert!(report.log_start_offset <= log.log_start_offset());
                    }
                });
            }
            scope.spawn(|| {
                let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
                while !done.load(Ordering::Relaxed) {
                    let from = reader.next_offset();
                    match reader.next() {
                        None => thread::yield_now(),
                        Some(Ok(batch)) => assert_eq!(texts(&batch), [text(from.get())]),
                        Some(Err(error)) => {
                            assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
                        }
                    }
                }
            });
            appenders.into_iter().for_each(|appender| appender.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        log.apply_retention().unwrap();
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        assert!(end == 2400 && (end - 120..=end - 100).contains(&start), "{start}..{end}");
        assert_eq!(numbers(&all_texts(&log)), (start..end).collect::<Vec<_>>());
    }
}

/// What was closed says so, and a segment that `delete_records` could not take yet goes.
#[test]
fn a_closed_log_refuses_and_what_lies_below_the_start_goes_with_any_look() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = small(mode).open_in(&dir).unwrap();
        append(&log, 20);
        let first = bases(&dir)[1];
        drop(log);
        let dir = ground.place();
        let log = small(mode).open_in(&dir).unwrap();
        append(&log, usize::try_from(first).unwrap());
        log.delete_records(Offset::new(first)).unwrap();
        append(&log, 3);
        assert_eq!(bases(&dir), [0, first], "it was active");
        let report = log.apply_retention().unwrap();
        assert_eq!((report.segments_deleted, report.records_deleted), (1, 0));
        assert_eq!(bases(&dir), [first]);
        let other = log.clone();
        log.close().unwrap();
        assert_eq!(kind(other.apply_retention()), ErrorKind::Closed);
    }
}

/// With an archive nothing goes before that has it, by rules or to make room: all that was ever
/// appended can be read.
#[test]
fn what_goes_has_been_handed_over() {
    for mode in MODES {
        for budget in [None, Some(448 << 10)] {
            let (dir, archive) = (Ground::System.place(), util::scratch());
            let mut options =
                small(mode).archive(Arc::new(ArchiveDir::new(archive.path()).unwrap()));
            options = match budget {
                None => options.retention_records(60),
                Some(bytes) => options.budget_bytes(bytes).on_full(OnFull::DropOldest),
            };
            let log = options.open_in(&dir).unwrap();
            append(&log, 1200);
            let start = log.log_start_offset().get();
            assert!(start > 600, "{start}");
            assert!(log.stats().segments_archived >= log.stats().segments_deleted);
            let from = log.reader(OffsetSpec::At(Offset::ZERO)).unwrap();
            let all: Vec<_> = from.flat_map(|batch| texts(&batch.unwrap())).collect();
            assert_eq!(numbers(&all), (0..1200).collect::<Vec<_>>());
        }
    }
}
