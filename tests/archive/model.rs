//! A log with an archive against a model: everything that was ever appended is read, once and in
//! order, from archive and log together, whatever is moved, deleted, closed or killed between (I1,
//! I2, I4, I7).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay::{Consumer, ErrorKind, Log, Offset, Reader};
use proptest::prelude::*;

use crate::tiers::{Moody, Tiers, Where, move_below, read_through, setups};
use crate::util::numbered::{bases, numbers, text};
use crate::util::{self, at, kind, texts};

#[derive(Clone, Debug)]
enum Operation {
    Append(usize),
    Flush,
    /// As retention does it.
    Move(u16),
    /// Ahead of retention.
    Archive(u16),
    /// Without the archive.
    Delete(u16),
    /// The archive fails, or works again.
    Mood(bool),
    Read(u16),
    Step,
    Seek(u16),
    Consume,
    Commit,
    Close,
    Kill,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (1_usize..6).prop_map(Operation::Append),
        1 => Just(Operation::Flush),
        4 => any::<u16>().prop_map(Operation::Move),
        2 => any::<u16>().prop_map(Operation::Archive),
        1 => any::<u16>().prop_map(Operation::Delete),
        1 => any::<bool>().prop_map(Operation::Mood),
        3 => any::<u16>().prop_map(Operation::Read),
        6 => Just(Operation::Step),
        1 => any::<u16>().prop_map(Operation::Seek),
        5 => Just(Operation::Consume),
        2 => Just(Operation::Commit),
        1 => Just(Operation::Close),
        1 => Just(Operation::Kill),
    ]
}

/// What the two tiers have to be. The archive holds whole segments.
#[derive(Default)]
struct Model {
    /// The batches' bases.
    batches: Vec<i64>,
    end: i64,
    start: i64,
    /// Which offsets are in the archive.
    archived: Vec<bool>,
    /// Up to where it was handed over since the log was opened.
    up_to: i64,
    failing: bool,
    position: i64,
    consumed: i64,
    committed: i64,
    missed: u64,
}

impl Model {
    fn has(&self, offset: i64) -> bool {
        offset >= self.start || self.archived[usize::try_from(offset).unwrap()]
    }

    /// The first offset from here on that can be read.
    fn next(&self, from: i64) -> i64 {
        (from..self.end).find(|offset| self.has(*offset)).unwrap_or(self.end.max(from))
    }

    /// What reading from an offset has to give.
    fn all(&self, from: i64) -> Vec<i64> {
        (from..self.end).filter(|offset| self.has(*offset)).collect()
    }

    /// What the next batch from an offset on gives, behind what is missed.
    fn batch(&self, from: i64) -> Vec<i64> {
        let from = self.next(from);
        let end = self.batches.iter().copied().find(|base| *base > from).unwrap_or(self.end);
        (from..end).collect()
    }

    fn archive(&mut self, segments: &[i64], below: i64) {
        for pair in segments.windows(2).filter(|pair| pair[1] <= below) {
            // What lies below the start is gone, but a segment is kept whole.
            if pair[1] > self.start {
                for offset in pair[0]..pair[1] {
                    self.archived[usize::try_from(offset).unwrap()] = true;
                }
            }
        }
    }
}

struct Run {
    tiers: Tiers,
    moody: Arc<Moody>,
    log: Log,
    reader: Reader,
    consumer: Consumer,
    model: Model,
}

impl Run {
    fn new(tiers: Tiers) -> Run {
        let moody = Moody::new(tiers.archive.archive());
        let log = tiers.open_with(moody.clone());
        let reader = log.reader(at(0)).unwrap();
        let consumer = log.consumer("c").unwrap();
        Run { tiers, moody, log, reader, consumer, model: Model::default() }
    }

    fn reopen(self, kill: bool) -> Run {
        let Run { mut tiers, log, reader, consumer, mut model, .. } = self;
        if kill {
            tiers.kill();
        }
        drop((reader, consumer, log));
        let moody = Moody::new(tiers.archive.archive());
        moody.failing.store(model.failing, Ordering::SeqCst);
        let log = tiers.open_with(moody.clone());
        let consumer = log.consumer("c").unwrap();
        assert_eq!(consumer.position().get(), model.committed);
        (model.consumed, model.missed, model.up_to) = (model.committed, 0, 0);
        model.position = model.start;
        let reader = log.reader(at(model.start)).unwrap();
        Run { tiers, moody, log, reader, consumer, model }
    }

    /// Whether reading from here asks the archive, and that says no.
    fn away(&self, from: i64) -> bool {
        self.model.failing && from < self.model.start
    }

    fn read(&mut self, from: i64) {
        let Run { log, model, .. } = self;
        if model.failing && from < model.start {
            assert_eq!(kind(log.reader(at(from))), ErrorKind::Upstream);
        } else if model.has(from) || from >= model.start {
            let found = read_through(log, from);
            assert_eq!((found.numbers, found.lost), (model.all(from), vec![]), "from {from}");
        } else {
            assert_eq!(kind(log.reader(at(from))), ErrorKind::OffsetOutOfRange);
        }
    }

    /// A batch of the reader that stays open all the time; it is told of what it missed.
    fn step(&mut self) {
        let from = self.model.position;
        let due = self.model.batch(from);
        loop {
            match self.reader.next() {
                None => break assert!(due.is_empty()),
                Some(Ok(batch)) => break assert_eq!(numbers(&texts(&batch)), due),
                Some(Err(error)) if error.kind() == ErrorKind::Upstream => {
                    // It stays where it is, or behind what it was told it missed.
                    assert!(self.model.failing);
                    self.model.position = self.reader.next_offset().get();
                    assert!(self.model.all(from).first().is_none_or(|n| *n >= self.model.position));
                    assert!(self.reader.next().is_none());
                    return;
                }
                Some(Err(error)) => assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange),
            }
        }
        self.model.position = due.last().map_or(self.model.next(from), |last| last + 1);
        assert_eq!(self.reader.next_offset().get(), self.model.position);
    }

    fn consume(&mut self) {
        let from = self.model.consumed;
        let due = self.model.batch(from);
        let read = match self.consumer.poll(Default::default()) {
            Ok(read) => read.map(|batch| texts(&batch)).unwrap_or_default(),
            Err(error) => {
                assert!(self.model.failing && error.kind() == ErrorKind::Upstream, "{error}");
                self.model.consumed = self.consumer.position().get();
                self.model.missed += (self.model.consumed - from).unsigned_abs();
                assert!(self.model.all(from).first().is_none_or(|n| *n >= self.model.consumed));
                return;
            }
        };
        assert_eq!(numbers(&read), due);
        let begin = self.model.next(from);
        self.model.missed += (begin - from).unsigned_abs();
        self.model.consumed = due.last().map_or(begin, |last| last + 1);
        assert_eq!(self.consumer.missed(), self.model.missed);
    }

    fn operate(&mut self, operation: &Operation) {
        let any = |of: u16| i64::from(of) % (self.model.end + 1);
        match operation {
            Operation::Append(count) => {
                let (first, count) = (self.model.end, i64::try_from(*count).unwrap());
                let made = (first..first + count).map(text);
                assert_eq!(self.log.append_batch(made).unwrap().start.get(), first);
                self.model.batches.push(first);
                self.model.end += count;
                self.model.archived.resize(usize::try_from(self.model.end).unwrap(), false);
            }
            Operation::Flush => drop(self.log.flush().unwrap()),
            Operation::Move(of) | Operation::Archive(of) => {
                let (below, segments) = (any(*of), bases(&self.tiers.log));
                let due = segments.iter().rfind(|base| **base <= below).copied().unwrap_or(0);
                match self.log.archive_records(Offset::new(below)) {
                    Ok(done) => {
                        self.model.archive(&segments, below);
                        self.model.up_to = self.model.up_to.max(due).max(self.model.start);
                        assert_eq!(done.get(), self.model.up_to.min(below));
                        if let Operation::Move(_) = operation {
                            move_below(&self.log, below);
                            self.model.start = self.model.start.max(done.get());
                        }
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Upstream);
                        assert!(self.model.failing);
                    }
                }
            }
            Operation::Delete(of) => {
                let below = any(*of);
                self.log.delete_records(Offset::new(below)).unwrap();
                self.model.start = self.model.start.max(below);
            }
            Operation::Mood(failing) => {
                self.model.failing = *failing;
                self.moody.failing.store(*failing, Ordering::SeqCst);
            }
            Operation::Read(of) => self.read(any(*of)),
            Operation::Step => self.step(),
            Operation::Seek(of) => {
                let to = any(*of);
                if !self.away(to) && self.model.has(to.min(self.model.end - 1).max(0)) {
                    self.reader.seek(at(to)).unwrap();
                    self.model.position = to;
                }
            }
            Operation::Consume => self.consume(),
            Operation::Commit => {
                self.consumer.commit().unwrap();
                self.model.committed = self.model.consumed;
            }
            Operation::Close | Operation::Kill => {}
        }
    }
}

fn run(setup: (forebay::IoMode, util::Ground, Where), operations: &[Operation]) {
    let mut run = Run::new(Tiers::new(setup));
    for operation in operations {
        match operation {
            Operation::Close | Operation::Kill => {
                run = run.reopen(matches!(operation, Operation::Kill));
            }
            operation if run.model.end == 0 && !matches!(operation, Operation::Append(_)) => {}
            operation => run.operate(operation),
        }
        assert_eq!(run.log.log_start_offset().get(), run.model.start);
        assert_eq!(run.log.log_end_offset().get(), run.model.end);
        assert!(run.log.durable_offset().get() >= run.model.start, "I1");
    }
    // In the end the archive works, and everything that it or the log has is read.
    run.operate(&Operation::Mood(false));
    if let Some(first) = (0..run.model.end).find(|offset| run.model.has(*offset)) {
        run.read(first);
    }
    while run.model.next(run.model.position) < run.model.end {
        run.step();
    }
    while run.model.next(run.model.consumed) < run.model.end {
        run.consume();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 80,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_operations_with_an_archive_agree_with_a_model(
        operations in proptest::collection::vec(operation(), 1..120),
    ) {
        for setup in setups() {
            run(setup, &operations);
        }
    }
}
