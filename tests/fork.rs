//! A forked child has the handles, but not the log: every call there is refused or harmless, none
//! hangs on a lock that was held at the fork, and nothing the child does reaches the parent (I9).
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "pre_exec, to work in a new process between fork and exec")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use forebay::{
    Consumer, Error, ErrorKind, FlushPolicy, IoMode, Log, Offset, OffsetSpec, Reader, RecordBatch,
    Visibility,
};
use util::{MODES, all_texts, kind, manual, scratch, texts};

/// What a process has of its logs when it forks.
struct Held {
    log: Log,
    mirror: Log,
    reader: Reader,
    consumer: Consumer,
    batch: RecordBatch,
    #[cfg(feature = "replicator")]
    replicator: forebay::Replicator,
}

type Slot = Arc<Mutex<Option<Held>>>;

const SECONDS_MAX: u32 = 60;

fn hold(dir: &Path, mode: IoMode, policy: FlushPolicy, background: bool) -> Held {
    let options = manual(mode).segment_bytes(4096).background(background);
    let log = options.clone().flush(policy).open(dir.join("log")).unwrap();
    let mirror = options.mirror_of(log.id()).open(dir.join("mirror")).unwrap();
    for n in 0..50 {
        log.append(format!("{n:0>200}")).unwrap();
    }
    let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let consumer = log.consumer("c").unwrap();
    #[cfg(feature = "replicator")]
    let replicator = {
        let upstream = forebay::LogUpstream::new(dir.join("second"));
        forebay::Replicator::start(&log, "copy", upstream, Default::default()).unwrap()
    };
    Held {
        log,
        mirror,
        reader,
        consumer,
        batch,
        #[cfg(feature = "replicator")]
        replicator,
    }
}

/// Does `work` with what is held in a forked child; a failed check fails here.
fn in_child(slot: &Slot, dir: &Path, work: impl Fn(Held) + Send + Sync + 'static) {
    let report = dir.join("report");
    let (slot, told) = (Arc::clone(slot), report.clone());
    let child = move || {
        // SAFETY: sets a timer of the child; a child that hangs is ended by it.
        unsafe { libc::alarm(SECONDS_MAX) };
        let held = slot.try_lock().unwrap().take().unwrap();
        match catch_unwind(AssertUnwindSafe(|| work(held))) {
            Ok(()) => Ok(()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&t| t.to_owned()));
                fs::write(&told, text.unwrap_or_default())?;
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
        }
    };
    let mut command = Command::new("true");
    // SAFETY: the closure runs in the child, on the only thread there is. It allocates, which the
    // C library's fork allows for, and takes no lock of another thread's: that is what is tested.
    unsafe { command.pre_exec(child) };
    let status = command.status();
    let told = fs::read_to_string(&report).unwrap_or_default();
    let status = status.unwrap_or_else(|error| panic!("in the child: {error}: {told}"));
    assert_eq!(status.signal(), None, "the child hangs, or died");
    assert!(status.success());
}

fn refused<T>(what: &str, result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("{what} is not refused"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Closed, "{what}: {error}");
            assert!(error.to_string().contains("forked"), "{what}: {error}");
        }
    }
}

/// Every call of the log.
fn call_log(log: &Log, mirror: &Log, batch: &RecordBatch, dir: &Path) {
    let end = log.log_end_offset();
    let second = Duration::from_secs(1);
    refused("append", log.append("child"));
    refused("append_batch", log.append_batch(["child"]));
    refused("append_batch of none", log.append_batch::<&str>([]));
    refused("append_at", log.append_at(end, "child"));
    refused("append_batch_at", log.append_batch_at(end, ["child"]));
    refused("append_batch_at of none", log.append_batch_at::<&str>(end, []));
    refused("append_mirrored", mirror.append_mirrored(batch));
    refused("flush", log.flush());
    refused("reader", log.reader(OffsetSpec::Earliest));
    refused("consumer", log.consumer("d"));
    refused("delete_consumer", log.delete_consumer("c"));
    refused("wait_for", log.wait_for(end, Visibility::Written, second));
    refused("wait_for what is there", log.wait_for(Offset::ZERO, Visibility::Durable, second));
    refused("delete_records", log.delete_records(end));
    refused("delete_records of none", log.delete_records(Offset::ZERO));
    refused("snapshot", log.snapshot(dir.join("snapshot")));
    refused("export", log.export(dir.join("export")));
    refused("verify", log.verify());
    refused("set_options", log.set_options(log.current_options()));
    assert!(!dir.join("snapshot").exists() && !dir.join("export").exists());
    assert!(log.consumers().is_empty());
    log.clock_synchronised();
    let stats = log.stats();
    assert_eq!((stats.log_end_offset, stats.segments), (end, 0));
    assert!(stats.poisoned.unwrap().contains("forked"));
    assert!(log.log_start_offset() <= log.durable_offset() && log.durable_offset() <= end);
    assert!(log.dir().is_absolute() && log.recovery().created && log.id() != mirror.id());
    assert!(format!("{log:?}").contains("log_end_offset"));
    log.clone().close().unwrap();
}

/// Every call of what reads.
fn call_readers(reader: &mut Reader, consumer: &mut Consumer) {
    refused("Reader::next", reader.next().unwrap());
    assert!(reader.next().is_none(), "not for ever");
    refused("Reader::seek", reader.seek(OffsetSpec::Earliest));
    assert_eq!(reader.next_offset().get(), 1);
    refused("poll", consumer.poll(Duration::ZERO));
    refused("poll that waits", consumer.poll(Duration::from_secs(1)));
    refused("commit", consumer.commit());
    refused("commit_offset", consumer.commit_offset(Offset::new(7)));
    refused("Consumer::sync", consumer.sync());
    refused("Consumer::seek", consumer.seek(OffsetSpec::Latest));
    assert_eq!((consumer.name(), consumer.missed()), ("c", 0));
    assert_eq!((consumer.position().get(), consumer.committed().get()), (0, 0));
    assert!(consumer.lag() >= 50);
    assert!(!format!("{reader:?} {consumer:?}").is_empty());
}

/// Every call, and then the last handles are dropped.
fn call_everything(held: Held, dir: &Path) {
    let Held { log, mirror, mut reader, mut consumer, batch, .. } = held;
    #[cfg(feature = "replicator")]
    {
        assert!(held.replicator.status().last_error.unwrap().contains("forked"));
        refused("wait_until", held.replicator.wait_until(Offset::MAX, Duration::from_secs(1)));
        refused("stop", held.replicator.stop());
    }
    call_log(&log, &mirror, &batch, dir);
    call_readers(&mut reader, &mut consumer);
    assert_eq!(texts(&batch), [format!("{:0>200}", 0)], "what was read stays");
    drop((reader, consumer, log, mirror));
    assert_eq!(texts(&batch).len(), 1);
}

fn policies() -> [FlushPolicy; 3] {
    [
        FlushPolicy::Manual,
        FlushPolicy::EveryAppend,
        // Due whenever the child asks.
        FlushPolicy::Interval(Duration::from_millis(1)),
    ]
}

/// The parent's log goes on as if nothing had been, keeps its lock, and closes cleanly.
fn check_parent(slot: Slot, dir: &Path) {
    let held = slot.lock().unwrap().take().unwrap();
    let path = dir.join("log");
    assert_eq!(kind(Log::open(&path)), ErrorKind::Locked, "the child took the lock with it");
    let Held { log, mut reader, mut consumer, mirror, batch, .. } = held;
    #[cfg(feature = "replicator")]
    held.replicator.stop().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().base_offset().get(), 1);
    let first = consumer.poll(Duration::ZERO).unwrap().unwrap();
    assert_eq!(first.base_offset(), log.log_start_offset());
    consumer.commit().unwrap();
    mirror.append_mirrored(&batch).unwrap();
    let end = log.log_end_offset();
    assert_eq!(log.append("parent").unwrap(), end);
    assert_eq!(log.flush().unwrap(), end + 1);
    assert_eq!(log.consumers().iter().filter(|consumer| consumer.open).count(), 1);
    assert!(log.verify().unwrap().is_whole());
    let all = all_texts(&log);
    assert!(all.iter().all(|text| text != "child") && all.last().unwrap() == "parent");
    drop((reader, consumer, mirror));
    log.close().unwrap();
    let log = Log::open(path).unwrap();
    assert!(log.recovery().clean);
    assert_eq!(all_texts(&log), all);
}

#[test]
fn every_call_in_a_forked_child_is_refused_and_its_end_closes_nothing() {
    for mode in MODES {
        for policy in policies() {
            for background in [false, true] {
                let dir = scratch();
                let path = dir.path().to_owned();
                let slot = Arc::new(Mutex::new(Some(hold(&path, mode, policy, background))));
                if let FlushPolicy::Interval(interval) = policy {
                    thread::sleep(interval * 2);
                }
                in_child(&slot, dir.path(), move |held| call_everything(held, &path));
                check_parent(slot, dir.path());
            }
        }
    }
}

/// The child may open logs of its own, and what it leaves open there its end frees.
#[test]
fn a_forked_child_opens_logs_of_its_own() {
    for mode in MODES {
        let dir = scratch();
        let path = dir.path().to_owned();
        let slot = Arc::new(Mutex::new(Some(hold(&path, mode, FlushPolicy::Manual, false))));
        in_child(&slot, dir.path(), move |held| {
            assert_eq!(kind(Log::open(held.log.dir())), ErrorKind::Locked);
            let own = manual(mode).open(path.join("own")).unwrap();
            own.append("of the child").unwrap();
            assert_eq!(own.flush().unwrap().get(), 1);
            assert_eq!(own.stats().records_appended, 1);
            assert_eq!(all_texts(&own), ["of the child"]);
            refused("append", held.log.append("child"));
            std::mem::forget(own);
        });
        let own = manual(mode).open(dir.path().join("own")).unwrap();
        assert_eq!(all_texts(&own), ["of the child"]);
        check_parent(slot, dir.path());
    }
}

/// Threads that hold the log's locks, one or the other, at any moment.
fn busy(log: &Log, done: &AtomicBool, n: usize) {
    let mut consumer = log.consumer(&format!("busy-{n}")).unwrap();
    while !done.load(Ordering::Relaxed) {
        match n {
            0 => drop(log.append("busy").unwrap()),
            1 => drop(log.flush().unwrap()),
            2 => {
                consumer.poll(Duration::ZERO).unwrap();
                consumer.commit().unwrap();
                consumer.sync().unwrap();
            }
            3 => assert!(log.stats().poisoned.is_none() && !log.consumers().is_empty()),
            4 => log.clock_synchronised(),
            5 => {
                // A child has to know without the options' lock that a hook is not its own.
                let options = log.current_options();
                log.set_options(options.validate(|_| Ok(()))).unwrap();
            }
            _ => {
                let _ = log.delete_records(log.log_start_offset()).unwrap();
                drop(log.consumer("now-and-then").unwrap());
            }
        }
    }
}

/// Whatever lock is held at the fork: the child never waits for it.
#[test]
fn a_child_that_is_forked_from_busy_threads_does_not_hang() {
    for mode in MODES {
        for policy in policies() {
            let dir = scratch();
            let path: PathBuf = dir.path().to_owned();
            let slot = Arc::new(Mutex::new(Some(hold(&path, mode, policy, true))));
            let log = slot.lock().unwrap().as_ref().unwrap().log.clone();
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                for n in 0..7 {
                    let (log, done) = (log.clone(), &done);
                    scope.spawn(move || busy(&log, done, n));
                }
                let stop = Stop(&done);
                for _ in 0..15 {
                    let path = path.clone();
                    in_child(&slot, dir.path(), move |held| call_everything(held, &path));
                }
                drop(stop);
            });
            drop(log);
            check_parent(slot, dir.path());
        }
    }
}

/// Ends the threads also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
