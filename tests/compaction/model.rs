//! Any history: the log makes the same table as a map does.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::history::{History, small};
use crate::util::{Ground, OpenIn, Place, every_case, ways};

#[derive(Clone, Debug)]
enum Op {
    /// A batch of records of these keys, some without a value.
    Append(Vec<(u64, Option<usize>)>),
    Compact,
    Flush,
    Close,
    Kill,
    /// Another one takes over what is old.
    Retain,
}

fn record() -> impl Strategy<Value = (u64, Option<usize>)> {
    let value = prop_oneof![1 => Just(None), 8 => (0_usize..300).prop_map(Some)];
    (0_u64..24, value)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop::collection::vec(record(), 1..9).prop_map(Op::Append),
        3 => Just(Op::Compact),
        1 => Just(Op::Flush),
        1 => Just(Op::Close),
        1 => Just(Op::Kill),
        1 => Just(Op::Retain),
    ]
}

/// I2, I4: offsets never change, every offset is stood over, and each key has its newest record.
#[test]
fn whatever_is_done_the_log_makes_the_table_that_a_map_makes() {
    let cases = if every_case() { 256 } else { 40 };
    for (mode, ground) in ways() {
        let mut runner = TestRunner::new(Config {
            cases: if ground == Ground::System { cases / 4 } else { cases },
            failure_persistence: None,
            ..Config::default()
        });
        let ops = prop::collection::vec(op(), 1..120);
        runner
            .run(&ops, |ops| {
                let mut place = ground.place();
                let options = || small(mode).min_cleanable_dirty_percent(60);
                let mut log = options().open_in(&place).unwrap();
                let mut history = History::default();
                for op in ops {
                    match op {
                        Op::Append(records) => history.append(&log, records),
                        Op::Compact => {
                            let report = log.compact().unwrap();
                            let below = report.cleaned_offset.get();
                            let found = history.check_compacted(&log, below, "compacted");
                            let sealed = found.iter().filter(|r| r.offset < below).count();
                            assert_eq!(report.records_after, sealed as u64, "{report:?}");
                        }
                        Op::Flush => drop(log.flush().unwrap()),
                        Op::Retain => drop(log.apply_retention().unwrap()),
                        Op::Close => {
                            log.close().unwrap();
                            log = options().open_in(&place).unwrap();
                            assert!(log.recovery().clean);
                        }
                        Op::Kill => {
                            let next: Place = place.killed();
                            drop(log);
                            place = next;
                            log = options().open_in(&place).unwrap();
                            assert_eq!(log.log_end_offset().get(), history.end());
                        }
                    }
                }
                history.check(&log, "at the end");
                assert!(log.verify().unwrap().is_whole());
                Ok(())
            })
            .unwrap();
    }
}
