//! Consumers after the death of the process and after a power cut (I7, I17).

use std::time::Duration;

use forebay::{Consumer, FlushPolicy, IoMode, Log, Offset, OffsetSpec};

use crate::util::{
    self, Ground, OpenIn, Place, child, child_role, durable, manual, poll_text, ten_in, texts, ways,
};

const NOW: Duration = Duration::ZERO;

/// Appends and commits by turns, and keeps everything open.
fn commit_much(log: &Log) -> Vec<Consumer> {
    let mut consumers: Vec<_> =
        (0..20).map(|n| log.consumer(&format!("{n}-{}", "x".repeat(200))).unwrap()).collect();
    for n in 0..200 {
        log.append(vec![b'x'; 90]).unwrap();
        let consumer = &mut consumers[n % 20];
        while consumer.poll(NOW).unwrap().is_some() {}
        consumer.commit().unwrap();
    }
    consumers
}

/// A process that aborts loses no commit, whatever the flush policy.
#[test]
fn commits_survive_the_death_of_the_process() {
    if let Some((role, dir)) = child_role() {
        let mode = if role == "Mapped" { IoMode::Mapped } else { IoMode::Positioned };
        let log = manual(mode).segment_bytes(4096).open(dir).unwrap();
        let _consumers = commit_much(&log);
        std::process::abort();
    }
    for (mode, ground) in ways() {
        let mut dir = ground.place();
        if ground == Ground::System {
            let test = "commits_survive_the_death_of_the_process";
            let output =
                child(module_path!(), test, &format!("{mode:?}"), dir.path()).output().unwrap();
            assert!(!output.status.success());
        } else {
            let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
            let _consumers = commit_much(&log);
            dir = dir.killed();
        }
        let log = manual(mode).open_in(&dir).unwrap();
        assert!(!log.recovery().clean);
        assert_eq!(log.log_end_offset().get(), 200);
        let committed: Vec<_> = log.consumers().iter().map(|c| c.committed.get()).collect();
        assert_eq!(committed, (181..=200).collect::<Vec<_>>());
        assert!(log.recovery().consumers_moved_back.is_empty());
    }
}

/// Copies an open log as a power cut might leave it: its active segment is zero, cut, or torn
/// from `position` on.
fn cut_copy(from: &Place, position: usize, damage: usize) -> Place {
    let copy = from.killed();
    let name = copy.segments().pop().unwrap();
    let mut bytes = copy.read(&name);
    match damage {
        0 => bytes[position..].fill(0),
        1 => bytes.truncate(position),
        _ => bytes[position + 5..].fill(0xff),
    }
    copy.write(&name, bytes);
    copy
}

/// I7: what a written consumer had committed of records a power cut took is brought back to the
/// log end, and reported; a durable one is never above the log end.
#[test]
fn a_written_consumer_above_what_a_power_cut_left_is_brought_back() {
    for (mode, ground) in ways() {
        for damage in 0..3 {
            let dir = ground.place();
            let log = ten_in(mode, &dir);
            log.flush().unwrap();
            for _ in 0..5 {
                log.append("unflushed").unwrap();
            }
            let (mut w, mut k) =
                (log.consumer("w").unwrap(), log.consumer_with("d", durable()).unwrap());
            let mut low = log.consumer("low").unwrap();
            w.commit_offset(Offset::new(14)).unwrap();
            low.commit_offset(Offset::new(10)).unwrap();
            while k.poll(NOW).unwrap().is_some() {}
            k.commit().unwrap();
            let active = dir.segments().pop().unwrap();
            let kept = 10 + damage;
            let position = dir.batches_of(&active)[kept].1.start;
            let copy = cut_copy(&dir, position, damage);

            let end = i64::try_from(kept).unwrap();
            let log = manual(mode).open_in(&copy).unwrap();
            assert_eq!(log.log_end_offset().get(), end);
            let moved = &log.recovery().consumers_moved_back;
            assert_eq!(moved.len(), 1, "{moved:?}");
            assert_eq!(
                (moved[0].name.as_str(), moved[0].from.get(), moved[0].to.get()),
                ("w", 14, end)
            );
            assert_eq!((log.recovery().lost.clone(), log.recovery().damaged_ranges), (None, 0));
            let mut consumer = log.consumer("w").unwrap();
            assert_eq!((consumer.committed().get(), consumer.lag()), (end, 0));
            log.append("anew").unwrap();
            assert_eq!(poll_text(&mut consumer).unwrap(), ["anew"]);
            assert_eq!(log.consumer("low").unwrap().committed().get(), 10);
            let consumer = log.consumer_with("d", durable()).unwrap();
            assert_eq!(consumer.committed().get(), 10);
        }
    }
}

/// I2, I17: when a device lies and durable records are gone, the log goes on behind them: neither
/// the durable offset nor a durable consumer is above the end, and the lost range is reported.
#[test]
fn a_durable_consumer_moves_the_log_end_up_when_durable_records_are_gone() {
    for (mode, ground) in ways() {
        for damage in 0..3 {
            let dir = ground.place();
            let log = ten_in(mode, &dir);
            log.flush().unwrap();
            let mut consumer = log.consumer_with("d", durable()).unwrap();
            consumer.commit_offset(Offset::new(8)).unwrap();
            let active = dir.segments().pop().unwrap();
            let position = dir.batches_of(&active)[6].1.start;
            let copy = cut_copy(&dir, position, damage);

            let log = manual(mode).flush(FlushPolicy::EveryAppend).open_in(&copy).unwrap();
            let report = log.recovery();
            assert!(log.log_end_offset().get() >= 10 && log.durable_offset().get() >= 8);
            let covered = report.lost.iter().chain(&report.damaged);
            let covered: Vec<_> = covered.map(|r| r.start.get()..r.end.get()).collect();
            let found = util::read_through(&log, OffsetSpec::Earliest);
            assert_eq!(found.records.len(), 6);
            for gone in 6..10 {
                let told = covered.iter().chain(&found.lost).any(|r| r.contains(&gone));
                assert!(told, "{gone} is gone and not reported: {report:?}");
            }
            let next = log.append("anew").unwrap();
            assert!(next.get() >= 10);
            let mut consumer = log.consumer_with("d", durable()).unwrap();
            assert_eq!(consumer.committed().get(), 8);
            let mut polled = Vec::new();
            for _ in 0..10 {
                polled.extend(consumer.poll(NOW).ok().flatten().map(|batch| texts(&batch)));
            }
            assert_eq!(polled, [["anew"]]);
        }
    }
}

/// I20: a durable consumer that began at the end of a log that was never flushed saw nothing, so
/// a power cut that takes all of it takes nothing that was durable, and none is reported.
#[test]
fn a_durable_consumer_that_began_at_the_end_does_not_make_records_durable() {
    for (mode, ground) in ways() {
        for start in [OffsetSpec::Latest, OffsetSpec::At(Offset::new(10))] {
            let dir = ground.place();
            let log = ten_in(mode, &dir);
            let options = durable().start(start);
            let Ok(_consumer) = log.consumer_with("d", options) else { continue };
            assert_eq!(log.durable_offset(), Offset::ZERO);
            let copy = cut_copy(&dir, 0, 0);
            let log = manual(mode).open_in(&copy).unwrap();
            assert_eq!(log.recovery().lost, None, "nothing was durable once");
            assert_eq!(log.log_end_offset(), Offset::ZERO);
        }
    }
}
