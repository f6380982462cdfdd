//! Little room: a log at its budget is compacted and goes on; where there is none, nothing is lost.

use forebay::{ErrorKind, NewRecord};

use crate::history::{History, small};
use crate::util::{OpenIn, kind, ways};

/// A budget of a few segments holds any number of records of few keys, although the log is never
/// compacted but when there is no room: and it is never exceeded.
#[test]
fn a_log_at_its_budget_is_compacted_and_goes_on() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let refused = small(mode).budget_bytes(1).open_in(&place).unwrap_err().to_string();
        assert!(refused.contains("three segments"), "{refused}");
        let least = refused.split("needs ").nth(1).unwrap().split(':').next().unwrap();
        let budget = least.parse::<u64>().unwrap() + (64 << 10);
        let log = small(mode).budget_bytes(budget).open_in(&place).unwrap();
        let mut history = History::default();
        for round in 0..150 {
            history.fill(&log, 20, 8);
            assert!(place.taken() <= budget, "{} in round {round}", place.taken());
        }
        history.check(&log, "at the budget");
        // Keys that are all new leave nothing to take: it is refused, and the log is as before.
        let mut refused = None;
        for key in 0..2000_u32 {
            let key = key.to_be_bytes();
            let record = NewRecord::new("x".repeat(200)).key(&key[..]);
            if let Err(error) = log.append(record) {
                refused = Some(error);
                break;
            }
        }
        assert_eq!(refused.expect("it is full").kind(), ErrorKind::OutOfSpace);
        let end = log.log_end_offset();
        for _ in 0..3 {
            let record = NewRecord::new("x".repeat(200)).key("one more");
            assert_eq!(kind(log.append(record)), ErrorKind::OutOfSpace);
        }
        assert_eq!(log.log_end_offset(), end);
        assert!(log.verify().unwrap().is_whole());
        assert!(place.taken() <= budget);
    }
}

/// A disk without room for the copy: an error, the log as before, and once there is room it works.
#[test]
#[cfg(feature = "simulation")]
fn a_full_disk_is_an_error_of_the_compaction_alone() {
    for mode in crate::util::MODES {
        let place = crate::util::Ground::Simulated.place();
        let log = small(mode).open_in(&place).unwrap();
        let mut history = History::default();
        history.fill(&log, 400, 200);
        log.flush().unwrap();
        let disk = place.disk().unwrap();
        let mut done = 0;
        for spare in (0..40_000).step_by(1024) {
            disk.set_space(Some(place.taken() + spare));
            match log.compact() {
                Ok(_) => done += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}"),
            }
            assert!(!place.exists("compacted.new"), "with {spare} bytes left");
            history.check(&log, &format!("with {spare} bytes left"));
            let report = log.apply_retention().unwrap();
            assert!(report.compaction_error.is_none(), "100 per cent");
        }
        assert!(done > 0);
        disk.set_space(None);
        history.fill(&log, 100, 20);
        let below = log.compact().unwrap().cleaned_offset.get();
        history.check_compacted(&log, below, "with room");
    }
}
