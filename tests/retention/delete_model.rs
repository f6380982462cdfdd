//! Deleting from the front against a model, and under a replicator that is shipping (I1, I2, I7).

use forebay::{ErrorKind, IoMode, Log, Offset};
use proptest::prelude::*;

use crate::util::numbered::{bases, numbers, text};
use crate::util::{self, Ground, OpenIn, Place, at, kind, manual, texts, ways};

#[derive(Clone, Debug)]
enum Operation {
    Append(usize),
    Flush,
    Delete(u16),
    Read(u16),
    Consume,
    Commit,
    Close,
    Kill,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (1_usize..5).prop_map(Operation::Append),
        1 => Just(Operation::Flush),
        3 => any::<u16>().prop_map(Operation::Delete),
        3 => any::<u16>().prop_map(Operation::Read),
        3 => Just(Operation::Consume),
        1 => Just(Operation::Commit),
        1 => Just(Operation::Close),
        2 => Just(Operation::Kill),
    ]
}

/// What a log with a moving start has to be: the batches' bases, the start, the consumer.
#[derive(Default)]
struct Model {
    bases: Vec<i64>,
    end: i64,
    start: i64,
    position: i64,
    committed: i64,
    missed: u64,
}

impl Model {
    fn batch_end(&self, offset: i64) -> i64 {
        self.bases.iter().copied().find(|base| *base > offset).unwrap_or(self.end)
    }

    /// What opening the consumer makes of the committed offset.
    fn open(&mut self) {
        self.position = self.committed.max(self.start);
        self.missed = (self.position - self.committed).unsigned_abs();
    }

    fn check(&self, log: &Log) {
        assert_eq!(log.log_start_offset().get(), self.start);
        assert_eq!(log.log_end_offset().get(), self.end);
        let durable = log.durable_offset().get();
        assert!(self.start <= durable && durable <= self.end, "I1: {durable}");
    }
}

fn run(mode: IoMode, ground: Ground, operations: &[Operation]) {
    let open = |dir: &Place| manual(mode).segment_bytes(4096).open_in(dir).unwrap();
    let (mut dir, mut model) = (ground.place(), Model::default());
    let mut log = open(&dir);
    let mut consumer = log.consumer("c").unwrap();
    for operation in operations {
        let any = |of: u16| model.start + i64::from(of) % (model.end - model.start + 1);
        match operation {
            Operation::Append(count) => {
                let end = model.end + i64::try_from(*count).unwrap();
                let made: Vec<_> = (model.end..end).map(text).collect();
                assert_eq!(log.append_batch(&made).unwrap().start.get(), model.end);
                model.bases.push(model.end);
                model.end = end;
            }
            Operation::Flush => assert_eq!(log.flush().unwrap().get(), model.end),
            Operation::Delete(of) => {
                let before = any(*of);
                assert_eq!(log.delete_records(Offset::new(before)).unwrap().get(), before);
                model.start = before;
            }
            Operation::Read(of) => {
                let from = any(*of);
                let read = log.reader(at(from)).unwrap().flat_map(|batch| texts(&batch.unwrap()));
                let read: Vec<_> = read.collect();
                assert_eq!(numbers(&read), (from..model.end).collect::<Vec<_>>());
            }
            Operation::Consume => {
                let from = model.position.max(model.start);
                model.missed += (from - model.position).unsigned_abs();
                let end = if from == model.end { from } else { model.batch_end(from) };
                let read = util::poll_text(&mut consumer).unwrap_or_default();
                assert_eq!(numbers(&read), (from..end).collect::<Vec<_>>());
                model.position = end;
            }
            Operation::Commit => match model.position >= model.start {
                true => {
                    consumer.commit().unwrap();
                    model.committed = model.position;
                }
                false => assert_eq!(kind(consumer.commit()), ErrorKind::OffsetOutOfRange),
            },
            Operation::Close | Operation::Kill => {
                if let Operation::Kill = operation {
                    dir = dir.killed();
                }
                drop((log, consumer));
                log = open(&dir);
                let report = log.recovery();
                assert_eq!((report.damaged_ranges, report.lost.clone()), (0, None));
                assert_eq!(report.bytes_cut, 0);
                assert!(report.segments_deleted <= 1, "the active one of a deletion up to the end");
                consumer = log.consumer("c").unwrap();
                model.open();
            }
        }
        model.check(&log);
        assert_eq!(consumer.position().get(), model.position);
        assert_eq!(
            (consumer.missed(), consumer.committed().get()),
            (model.missed, model.committed)
        );
    }
    // The segment that was active when all was deleted goes at the next call.
    assert_eq!(log.delete_records(Offset::ZERO).unwrap().get(), model.start);
    let bases = bases(&dir);
    assert!(bases.len() < 2 || bases[1] > model.start, "{bases:?} hold nothing below the start");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// I1, I2, I7: every answer is the model's, across closes and kills.
    #[test]
    fn random_operations_with_deletions_agree_with_a_model(
        operations in proptest::collection::vec(operation(), 1..120),
    ) {
        for (mode, ground) in ways() {
            run(mode, ground, &operations);
        }
    }
}

/// What is deleted while it is shipped is a gap upstream; everything else arrives, in order, and
/// no failure of the link is counted.
#[test]
#[cfg(feature = "replicator")]
fn a_replicator_passes_over_what_is_deleted_before_it_is_shipped() {
    use std::time::Duration;

    use crate::util::{MODES, scratch};
    use forebay::{FlushPolicy, LogUpstream, Replicator, ReplicatorOptions};

    for mode in MODES {
        let (dir, second) = (scratch(), scratch());
        let options = manual(mode).segment_bytes(4096).flush(FlushPolicy::EveryBytes(2000));
        let log = options.open(dir.path()).unwrap();
        for number in 0..40 {
            log.append(text(number)).unwrap();
        }
        log.delete_records(Offset::new(20)).unwrap();
        let upstream = LogUpstream::new(second.path());
        let replicator =
            Replicator::start(&log, "copy", upstream, ReplicatorOptions::new()).unwrap();
        log.flush().unwrap();
        replicator.wait_until(Offset::new(40), Duration::from_secs(60)).unwrap();
        for number in 40..2000 {
            log.append(text(number)).unwrap();
            if number % 97 == 0 {
                log.delete_records(Offset::new(number - 5)).unwrap();
            }
        }
        log.flush().unwrap();
        replicator.wait_until(Offset::new(2000), Duration::from_secs(60)).unwrap();
        let status = replicator.status();
        assert_eq!((status.failures, status.rewinds), (0, 0), "{status:?}");
        replicator.stop().unwrap();
        let mirror = Log::options().mirror_of(log.id()).open(second.path()).unwrap();
        let shipped = numbers(&util::all_texts(&mirror));
        assert!(shipped.is_sorted() && shipped.iter().all(|number| *number >= 20));
        let left = numbers(&util::all_texts(&log));
        assert!(shipped.ends_with(&left), "what is still there arrived: {left:?}");
        let passed = 2000 - 20 - u64::try_from(shipped.len()).unwrap();
        assert_eq!(status.unreadable_records, passed, "and what was passed over is counted");
    }
}
