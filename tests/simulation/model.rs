//! Random operations against a `Vec`, in both I/O modes and on every ground at once: the same
//! answers, and at the end the same files (I1, I2, I4, I5, I12, I14).

use std::collections::BTreeMap;
use std::time::Duration;

use forebay::{
    Consumer, ConsumerOptions, ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec,
    Reader, Visibility,
};
use proptest::prelude::*;

use crate::util::{self, Ground, OpenIn, Owned, Place, at, kind, records, ways};

#[derive(Clone, Debug)]
enum Operation {
    Append(Shape),
    Batch(Vec<Shape>),
    TooLarge,
    Flush,
    Read {
        from: u16,
        batches: u8,
    },
    /// A reader that is kept as long as the log is open.
    ReadOn,
    Seek(u16),
    Consume(u8, Step),
    Reopen(How, FlushPolicy),
}

/// What a record looks like; its content follows from its offset.
#[derive(Clone, Debug)]
struct Shape {
    value: Option<u16>,
    key: Option<u8>,
    headers: u8,
    timestamp: i64,
}

#[derive(Clone, Debug)]
enum Step {
    Poll,
    Commit,
    CommitOffset(u16),
    Seek(u16),
    Drop,
    Delete,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Close,
    Drop,
    Kill,
}

fn shape() -> impl Strategy<Value = Shape> {
    let value = prop_oneof![
        6 => (0_u16..120).prop_map(Some),
        2 => (0_u16..650).prop_map(Some),
        1 => Just(None)
    ];
    let timestamp = prop_oneof![
        4 => 1_790_000_000_000_i64..1_790_000_100_000,
        1 => any::<i64>(),
        1 => Just(-1)
    ];
    (value, proptest::option::of(0_u8..20), 0_u8..3, timestamp)
        .prop_map(|(value, key, headers, timestamp)| Shape { value, key, headers, timestamp })
}

fn policy() -> impl Strategy<Value = FlushPolicy> {
    prop_oneof![
        Just(FlushPolicy::EveryAppend),
        Just(FlushPolicy::Manual),
        Just(FlushPolicy::Interval(Duration::from_millis(1))),
        Just(FlushPolicy::Interval(Duration::from_secs(3600))),
        (1_u64..5000).prop_map(FlushPolicy::EveryBytes),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let step = prop_oneof![
        5 => Just(Step::Poll),
        3 => Just(Step::Commit),
        1 => any::<u16>().prop_map(Step::CommitOffset),
        1 => any::<u16>().prop_map(Step::Seek),
        1 => Just(Step::Drop),
        1 => Just(Step::Delete),
    ];
    let how = prop_oneof![1 => Just(How::Close), 1 => Just(How::Drop), 2 => Just(How::Kill)];
    prop_oneof![
        12 => shape().prop_map(Operation::Append),
        6 => proptest::collection::vec(shape(), 0..6).prop_map(Operation::Batch),
        1 => Just(Operation::TooLarge),
        2 => Just(Operation::Flush),
        5 => (any::<u16>(), 0_u8..12).prop_map(|(from, batches)| Operation::Read { from, batches }),
        4 => Just(Operation::ReadOn),
        1 => any::<u16>().prop_map(Operation::Seek),
        8 => (0_u8..3, step).prop_map(|(who, step)| Operation::Consume(who, step)),
        3 => (how, policy()).prop_map(|(how, policy)| Operation::Reopen(how, policy)),
    ]
}

/// What a log has to be.
#[derive(Default)]
struct Model {
    records: Vec<Owned>,
    /// Where each batch begins.
    bases: Vec<usize>,
    /// Durable is at least this.
    flushed: usize,
    committed: BTreeMap<u8, usize>,
}

impl Model {
    fn make(&self, shapes: &[Shape]) -> Vec<Owned> {
        let make = |(n, shape): (usize, &Shape)| Owned {
            offset: i64::try_from(n).unwrap(),
            timestamp: shape.timestamp,
            key: shape.key.map(|key| format!("key {key}").into_bytes()),
            value: shape
                .value
                .map(|length| format!("{n:04}").repeat(length.into()).into_bytes())
                .map(|mut value| {
                    value.truncate(shape.value.unwrap().into());
                    value
                }),
            headers: (0..shape.headers)
                .map(|h| (format!("h{h}"), (h > 0).then(|| vec![h])))
                .collect(),
        };
        (self.records.len()..).zip(shapes).map(make).collect()
    }

    fn end(&self) -> usize {
        self.records.len()
    }

    /// Any offset from the start to the end, both included.
    fn offset(&self, of: u16) -> usize {
        usize::from(of) % (self.end() + 1)
    }

    /// Where the batch that holds this offset ends.
    fn batch_end(&self, offset: usize) -> usize {
        *self.bases.iter().find(|base| **base > offset).unwrap_or(&self.end())
    }
}

/// One log of one mode, with the handles a program would hold.
struct Subject {
    mode: IoMode,
    dir: Place,
    log: Log,
    reader: Reader,
    consumers: BTreeMap<u8, Consumer>,
}

fn number(offset: Offset) -> usize {
    usize::try_from(offset.get()).unwrap()
}

fn spec(offset: usize) -> OffsetSpec {
    at(i64::try_from(offset).unwrap())
}

fn options(mode: IoMode, policy: FlushPolicy) -> LogOptions {
    Log::options()
        .io_mode(mode)
        .flush(policy)
        .segment_bytes(4096)
        .max_batch_bytes(4096)
        .index_interval_bytes(300)
}

impl Subject {
    fn new(mode: IoMode, ground: Ground, policy: FlushPolicy) -> Subject {
        let dir = ground.place();
        let log = options(mode, policy).open_in(&dir).unwrap();
        let reader = log.reader(OffsetSpec::Earliest).unwrap();
        Subject { mode, dir, log, reader, consumers: BTreeMap::new() }
    }

    fn check(&self, model: &Model) {
        let log = &self.log;
        assert_eq!(number(log.log_end_offset()), model.end());
        assert_eq!(number(log.log_start_offset()), 0);
        let durable = number(log.durable_offset());
        assert!(model.flushed <= durable && durable <= model.end(), "I1: {durable}");
        for info in log.consumers() {
            let who = info.name.strip_prefix("consumer-").unwrap().parse::<u8>().unwrap();
            assert_eq!(Some(&number(info.committed)), model.committed.get(&who));
        }
        assert_eq!(log.consumers().len(), model.committed.len());
    }

    /// Reads up to `batches` from where `reader` stands.
    fn read(reader: &mut Reader, model: &Model, batches: usize) {
        for _ in 0..batches {
            let from = number(reader.next_offset());
            let Some(batch) = reader.next() else {
                return assert_eq!(from, model.end());
            };
            let batch = batch.unwrap();
            let end = model.batch_end(from);
            assert_eq!(records(&batch), model.records[from..end], "I14");
            assert_eq!(number(batch.next_offset()), end);
            assert!(model.bases.contains(&number(batch.base_offset())));
            assert_eq!(number(reader.next_offset()), end);
        }
    }

    fn reopen(self, how: How, policy: FlushPolicy, model: &Model) -> Subject {
        let Subject { mode, mut dir, log, reader, consumers } = self;
        let kill = matches!(how, How::Kill);
        if kill {
            let copy = dir.killed();
            drop((log, reader, consumers));
            dir = copy;
        } else if let How::Close = how {
            log.close().unwrap();
            drop((reader, consumers));
        } else {
            drop((log, reader, consumers));
        }
        let log = options(mode, policy).open_in(&dir).unwrap();
        let report = log.recovery();
        assert!(kill || report.clean, "{how:?}: {report:?}");
        assert_eq!((report.bytes_cut, report.records_cut, report.segments_set_aside), (0, 0, 0));
        assert_eq!((report.damaged_ranges, report.lost.clone()), (0, None));
        assert_eq!((report.checkpoint_slots_damaged, report.meta_rebuilt), (0, false));
        assert!(report.consumers_moved_back.is_empty() && report.foreign_files.is_empty());
        let reader = log.reader(spec(model.end() / 2)).unwrap();
        Subject { mode, dir, log, reader, consumers: BTreeMap::new() }
    }

    fn consumer(&mut self, who: u8) -> &mut Consumer {
        let log = self.log.clone();
        self.consumers.entry(who).or_insert_with(|| {
            let visibility = if who == 0 { Visibility::Durable } else { Visibility::Written };
            let options = ConsumerOptions::new().visibility(visibility);
            log.consumer_with(&format!("consumer-{who}"), options).unwrap()
        })
    }

    fn consume(&mut self, who: u8, step: &Step, model: &Model) {
        let (log, name) = (self.log.clone(), format!("consumer-{who}"));
        if let Step::Drop | Step::Delete = step {
            self.consumers.remove(&who);
            if let Step::Delete = step {
                log.delete_consumer(&name).unwrap();
            }
            return;
        }
        let consumer = self.consumer(who);
        let before = number(consumer.position());
        // A durable consumer's end moves by itself under some policies: only bounds are known.
        match step {
            Step::Poll => match consumer.poll(Duration::ZERO).unwrap() {
                Some(batch) => {
                    let end = model.batch_end(before);
                    assert_eq!(records(&batch), model.records[before..end]);
                    assert_eq!(number(consumer.position()), end);
                    assert!(who != 0 || end <= number(log.durable_offset()), "I16");
                }
                None if who == 0 => assert!(before >= model.flushed, "all of it is durable"),
                None => assert_eq!(before, model.end()),
            },
            Step::Commit | Step::CommitOffset(_) => {
                let to = match step {
                    Step::CommitOffset(of) => model.offset(*of),
                    _ => before,
                };
                let visible = if who == 0 { number(log.durable_offset()) } else { model.end() };
                let result = match step {
                    Step::Commit => consumer.commit(),
                    _ => consumer.commit_offset(Offset::new(i64::try_from(to).unwrap())),
                };
                match to <= visible {
                    true => result.unwrap(),
                    false => assert_eq!(kind(result), ErrorKind::OffsetOutOfRange),
                }
            }
            Step::Seek(of) => {
                let to = model.offset(*of);
                if consumer.seek(spec(to)).is_ok() {
                    assert_eq!(number(consumer.position()), to);
                }
            }
            Step::Drop | Step::Delete => unreachable!("handled above"),
        }
        assert_eq!(
            consumer.lag(),
            u64::try_from(model.end() - number(consumer.committed())).unwrap()
        );
        assert_eq!(consumer.missed(), 0);
    }
}

/// One operation on one log; the model has it already.
fn apply(subject: &mut Subject, operation: &Operation, model: &Model, made: &[Owned]) {
    match operation {
        Operation::Append(_) => {
            let offset = subject.log.append(made[0].to_new()).unwrap();
            assert_eq!(offset.get(), made[0].offset);
        }
        Operation::Batch(_) => {
            let range = subject.log.append_batch(made.iter().map(Owned::to_new)).unwrap();
            assert_eq!(
                (number(range.start), number(range.end)),
                (model.end() - made.len(), model.end())
            );
        }
        Operation::TooLarge => {
            assert_eq!(kind(subject.log.append(vec![0; 4096])), ErrorKind::RecordTooLarge);
        }
        Operation::Flush => assert_eq!(number(subject.log.flush().unwrap()), model.end()),
        Operation::Read { from, batches } => {
            let mut reader = subject.log.reader(spec(model.offset(*from))).unwrap();
            Subject::read(&mut reader, model, (*batches).into());
        }
        Operation::ReadOn => Subject::read(&mut subject.reader, model, 3),
        Operation::Seek(to) => subject.reader.seek(spec(model.offset(*to))).unwrap(),
        Operation::Consume(who, step) => subject.consume(*who, step, model),
        Operation::Reopen(..) => unreachable!("done by the caller"),
    }
}

/// The bytes of a log's data files, with the seal, which depends on the log's id, left out.
fn data_files(dir: &Place) -> Vec<(String, Vec<u8>)> {
    let mut files = dir.files();
    files.retain(|(name, _)| name.ends_with(".log") || name.ends_with("index"));
    for (name, bytes) in files.iter_mut().filter(|(name, _)| name.ends_with(".log")) {
        for (_, places) in dir.batches_of(name) {
            bytes[places.start + 12..places.start + 16].fill(0);
        }
    }
    files
}

fn run(first: FlushPolicy, operations: &[Operation]) {
    let mut model = Model::default();
    let mut subjects: Vec<_> =
        ways().map(|(mode, ground)| Subject::new(mode, ground, first)).collect();
    for operation in operations {
        let shapes = match operation {
            Operation::Append(shape) => std::slice::from_ref(shape),
            Operation::Batch(shapes) => shapes,
            _ => &[],
        };
        let made = model.make(shapes);
        if !made.is_empty() {
            model.bases.push(model.end());
            model.records.extend(made.clone());
        }
        if let Operation::Reopen(how, policy) = operation {
            subjects = subjects.into_iter().map(|s| s.reopen(*how, *policy, &model)).collect();
        } else {
            subjects.iter_mut().for_each(|subject| apply(subject, operation, &model, &made));
        }
        let clean = matches!(operation, Operation::Reopen(How::Close | How::Drop, _));
        if clean || matches!(operation, Operation::Flush) {
            model.flushed = model.end();
        }
        if let Operation::Consume(who, _) = operation {
            match agree(&mut subjects, *who) {
                Some(offset) => model.committed.insert(*who, offset),
                None => model.committed.remove(who),
            };
        }
        subjects.iter().for_each(|subject| subject.check(&model));
    }
    let files = subjects.into_iter().map(|subject| {
        subject.log.clone().close().unwrap();
        let all = options(subject.mode, FlushPolicy::Manual).open_in(&subject.dir).unwrap();
        assert_eq!(util::read_all(&all), model.records);
        drop(all);
        data_files(&subject.dir)
    });
    let files: Vec<_> = files.collect();
    assert!(files.iter().all(|other| *other == files[0]), "the files differ");
}

/// What a consumer committed, the same everywhere. An interval ends at other moments in each log,
/// so that a durable consumer may be further in one: it is brought to the lowest offset.
fn agree(subjects: &mut [Subject], who: u8) -> Option<usize> {
    let name = format!("consumer-{who}");
    let committed = subjects.iter().map(|subject| {
        let consumers = subject.log.consumers();
        let info = consumers.into_iter().find(|info| info.name == name);
        info.map(|info| number(info.committed))
    });
    let committed: Vec<_> = committed.collect();
    let lowest = committed.iter().copied().min().flatten();
    if committed.iter().any(|offset| *offset != lowest) {
        assert_eq!(who, 0);
        assert!(committed.iter().all(Option::is_some), "{committed:?}");
        let lowest = Offset::new(i64::try_from(lowest.unwrap()).unwrap());
        for subject in subjects {
            subject.consumer(who).commit_offset(lowest).unwrap();
        }
    }
    lowest
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    })]

    /// I2, I4, I14: every answer is the model's, after every operation, in both modes.
    #[test]
    fn random_operations_agree_with_a_vec_and_give_the_same_files(
        first in policy(),
        operations in proptest::collection::vec(operation(), 1..200),
    ) {
        run(first, &operations);
    }
}
