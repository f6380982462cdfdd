//! One log: failed syncs, closing, and the log's own thread.

use std::time::Duration;

use forebay::simulation::{CallKind, Fault, Keep};
use forebay::{Consumer, ErrorKind, FlushPolicy, Log, LogOptions, Offset, OffsetSpec, Visibility};
use shuttle::thread;

use crate::judge::{
    Acknowledged, DIR, EVER, assert_ordered, chance, disk, options, read_all, text,
};

/// I8: after a sync that failed once, nothing is called durable that is not, although the next one
/// claims to succeed; and whoever waits for what cannot come any more is told, not left asleep.
pub fn a_failed_sync_is_heard_of_by_all_and_nothing_is_durable_after_it() {
    let disk = disk();
    let every = options().flush(FlushPolicy::EveryAppend);
    let log = every.clone().open_on(&disk, DIR).expect("it opens");
    let name = [".log", "checkpoint"][chance(2) as usize];
    let after = chance(4);
    let name = Some(name.to_owned());
    disk.fail(Fault { on: CallKind::SyncFile, name, after, times: 1, errno: 5 });
    let acknowledged = Acknowledged::default();
    let appenders = [0, 1].map(|me| {
        let (log, disk, acknowledged) = (log.clone(), disk.clone(), acknowledged.clone());
        thread::spawn(move || {
            for number in 0..2 {
                match log.append(text(me, number)) {
                    Ok(offset) => {
                        acknowledged.durable_to(&disk, offset + 1, Some((me, number)));
                    }
                    Err(error) => return assert_told(error.kind()),
                }
            }
        })
    });
    // The last offset that both appenders together reach; and one that never comes.
    let waiters =
        [(Visibility::Durable, 3), (Visibility::Written, 1000)].map(|(visibility, at)| {
            let (log, disk, acknowledged) = (log.clone(), disk.clone(), acknowledged.clone());
            thread::spawn(move || match log.wait_for(Offset::new(at), visibility, EVER) {
                Ok(came) => {
                    assert!(
                        came && visibility == Visibility::Durable,
                        "nothing else ends the wait"
                    );
                    acknowledged.durable_to(&disk, Offset::new(at + 1), None);
                }
                Err(error) => assert_told(error.kind()),
            })
        });
    appenders.into_iter().for_each(|thread| thread.join().expect("it ends"));
    if log.append(text(2, 0)).is_ok() {
        // The sync that fails has not come: whoever waits for what never comes hears of the close.
        let _ = log.close();
        return waiters.into_iter().for_each(|thread| thread.join().expect("it is told"));
    }
    waiters.into_iter().for_each(|thread| thread.join().expect("it is told"));
    assert_eq!(log.flush().map_err(|error| error.kind()), Err(ErrorKind::Poisoned));
    let durable = log.durable_offset();
    drop(log);
    let log = every.clone().open_on(&disk.power_cut(Keep::None), DIR).expect("it opens");
    assert!(log.log_end_offset() >= durable, "what was said to be durable");
    assert_ordered(&read_all(&log));
    acknowledged.judge(&every);
}

fn assert_told(kind: ErrorKind) {
    assert!(matches!(kind, ErrorKind::Io | ErrorKind::Poisoned | ErrorKind::Closed), "{kind:?}");
}

/// Appends, commits, waits and readers against a close: what was acknowledged before is there
/// after it, the directory is free as soon as it returns, and no old handle reaches the log's files
/// any more, whatever the next owner does.
pub fn what_comes_before_a_close_is_kept_and_nothing_comes_behind_it() {
    let disk = disk();
    let options = options();
    let log = options.clone().open_on(&disk, DIR).expect("it opens");
    log.append(text(0, 0)).expect("there is room");
    let writers = [1, 2].map(|me| {
        let log = log.clone();
        thread::spawn(move || append_until_closed(&log, me))
    });
    let consumer = log.consumer("c").expect("it is free");
    let committer = thread::spawn(move || commit_until_closed(consumer));
    let reader = {
        let log = log.clone();
        thread::spawn(move || {
            let Ok(reader) = log.reader(OffsetSpec::Earliest) else { return };
            for batch in reader {
                match batch {
                    Ok(batch) => assert_eq!(batch.records().count(), 1),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
                }
            }
        })
    };
    let others = [0, 1].map(|which| {
        let log = log.clone();
        thread::spawn(move || {
            let done = match which {
                0 => log.flush().map(drop),
                _ => log.wait_for(Offset::new(1000), Visibility::Written, EVER).map(drop),
            };
            if let Err(error) = done {
                assert_closed(error.kind(), 0);
            }
        })
    });
    log.close().expect("the device works");
    // The next owner, at once.
    let next = options.clone().open_on(&disk, DIR).expect("the directory is free");
    let before = next.log_end_offset();
    assert!(next.recovery().clean, "it was closed");
    assert_eq!(next.durable_offset(), before, "what was there is durable");
    next.append(text(3, 0)).expect("there is room");
    let appended = writers.map(|thread| thread.join().expect("it ends"));
    let committed = committer.join().expect("it ends");
    reader.join().expect("it ends");
    others.into_iter().for_each(|thread| thread.join().expect("it ends"));
    next.append(text(3, 1)).expect("there is room");
    let found = read_all(&next);
    assert_ordered(&found);
    for (me, count) in [(0, 1), (1, appended[0]), (2, appended[1]), (3, 2)] {
        let there = found.iter().filter(|(_, (thread, _))| *thread == me).count();
        assert_eq!(there, count, "thread {me}: what was acknowledged, and nothing else");
    }
    assert_eq!(found.len() as i64, before.get() + 2, "nothing came in between");
    let kept = next.consumers().first().map_or(0, |consumer| consumer.committed.get());
    assert_eq!(kept, committed, "the last commit that was acknowledged");
    next.close().expect("the device works");
    assert!(options.open_on(&disk, DIR).expect("it opens").recovery().clean);
}

/// Up to where it committed.
fn commit_until_closed(mut consumer: Consumer) -> i64 {
    loop {
        let committed = consumer.committed().get();
        if let Err(error) = consumer.poll(EVER).and_then(|_| consumer.commit()) {
            return assert_closed(error.kind(), committed);
        }
    }
}

/// How many it appended.
fn append_until_closed(log: &Log, me: usize) -> usize {
    for number in 0..3 {
        if let Err(error) = log.append(text(me, number)) {
            assert_closed(error.kind(), 0);
            return number;
        }
    }
    3
}

fn assert_closed(kind: ErrorKind, value: i64) -> i64 {
    assert_eq!(kind, ErrorKind::Closed);
    value
}

/// A log with a thread of its own: it helps, ends with the log's last handle or its close, and what
/// was appended is durable then.
pub fn the_thread_of_a_log_ends_with_it() {
    let disk = disk();
    let options = options().background(true).flush(FlushPolicy::Interval(Duration::from_secs(1)));
    let log = options.clone().open_on(&disk, DIR).expect("it opens");
    let writers = [0, 1].map(|me| {
        let log = log.clone();
        thread::spawn(move || {
            for number in 0..2 {
                log.append(text(me, number)).expect("there is room");
            }
        })
    });
    let late = chance(2) == 0;
    if late {
        // The clock makes a flush due, under appends.
        disk.advance(Duration::from_secs(2));
    }
    writers.into_iter().for_each(|thread| thread.join().expect("it ends"));
    match chance(2) {
        0 => log.close().expect("the device works"),
        _ => drop(log),
    }
    judge_cut(&disk.power_cut(Keep::None), &options);
}

fn judge_cut(cut: &forebay::simulation::Disk, options: &LogOptions) {
    let log = options.clone().background(false).open_on(cut, DIR).expect("it opens");
    let found = read_all(&log);
    assert_eq!(found.len(), 4, "all is durable");
    assert_ordered(&found);
}
