//! A process that forks while it has a log open: the child has the handles, but not the log, and
//! does it no harm however it ends (I8, I9, V16).
#![cfg(unix)]
#![expect(unsafe_code, reason = "fork")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::{
    ErrorKind, FlushPolicy, IoMode, LingerOptions, Log, LogOptions, Offset, OffsetSpec, Visibility,
};
use util::{MODES, all_texts, scratch};

fn options(mode: IoMode, background: bool) -> LogOptions {
    let interval = FlushPolicy::Interval(Duration::from_secs(3600));
    Log::options().io_mode(mode).segment_bytes(64 << 10).flush(interval).background(background)
}

/// Every mode, with and without a thread of the log's own.
fn ways() -> impl Iterator<Item = (IoMode, bool)> {
    MODES.into_iter().flat_map(|mode| [false, true].map(|background| (mode, background)))
}

/// A forked child; killed if it is still there at the end.
struct Forked(libc::pid_t);

impl Forked {
    /// Forks; the child runs `run` and ends there, without the destructors of the test.
    fn run(run: impl FnOnce()) -> Forked {
        // SAFETY: the child goes on with this thread alone. It calls this crate, which holds no
        // lock across the fork on this thread, and the allocator, which the C library makes ready
        // in a forked child; then it ends by `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "cannot fork");
        if pid > 0 {
            return Forked(pid);
        }
        let done = catch_unwind(AssertUnwindSafe(run));
        // SAFETY: ends the process; nothing of it is used any more.
        unsafe { libc::_exit(if done.is_ok() { 0 } else { 1 }) }
    }

    /// Waits for its end, which has to be a good one.
    fn wait(self) {
        let start = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: a child of this process, and a place for its status.
            let ended = unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) };
            if ended == self.0 {
                assert_eq!(status, 0, "the child failed: its own words are above");
                std::mem::forget(self);
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "the child hangs");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        // SAFETY: a child of this process that was not waited for, so that its id is its own.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: as above.
        unsafe { libc::waitpid(self.0, &raw mut status, 0) };
    }
}

fn kind<T>(result: forebay::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Everything that changes a log is refused in the child, and the files stay as they were.
#[test]
fn a_forked_child_cannot_write() {
    for (mode, background) in ways() {
        let dir = scratch();
        let log = options(mode, background).open(dir.path()).unwrap();
        log.append_batch(["a", "b", "c"]).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(1)).unwrap();
        let forked = Forked::run(|| {
            let closed = Some(ErrorKind::Closed);
            assert_eq!(kind(log.append("no")), closed);
            assert_eq!(kind(log.append_batch(["no", "no"])), closed);
            assert_eq!(kind(log.append_at(Offset::new(3), "no")), closed);
            assert_eq!(kind(log.flush()), closed);
            assert_eq!(kind(log.delete_records(Offset::new(2))), closed);
            assert_eq!(kind(consumer.commit_offset(Offset::new(3))), closed);
            assert_eq!(kind(consumer.sync()), closed);
            assert_eq!(kind(log.consumer("d")), closed);
            assert_eq!(kind(log.delete_consumer("c")), closed);
            let end = Offset::new(3);
            assert_eq!(kind(log.wait_for(end, Visibility::Written, Duration::ZERO)), closed);
            assert_eq!(kind(options(mode, false).open(dir.path())), Some(ErrorKind::Locked));
        });
        forked.wait();
        assert_eq!(log.append("d").unwrap().get(), 3);
        assert_eq!(consumer.committed().get(), 1);
        assert_eq!(log.log_start_offset().get(), 0);
        drop(consumer);
        log.close().unwrap();
        let log = options(mode, false).open(dir.path()).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(all_texts(&log), ["a", "b", "c", "d"]);
        assert_eq!(log.consumer("c").unwrap().committed().get(), 1);
        assert!(log.consumers().iter().all(|known| known.name == "c"));
    }
}

/// Nor can it hand anything in, although another thread may have held a linger's lock at the fork;
/// and what an end of its own handles would append is its parent's.
#[test]
fn a_forked_child_is_refused_what_lingers() {
    for (mode, background) in ways() {
        let dir = scratch();
        let log = options(mode, background).open(dir.path()).unwrap();
        let linger = log.linger(LingerOptions::new().batch_records(64)).unwrap();
        let known = linger.append("known").unwrap();
        assert_eq!(known.wait().unwrap(), Offset::ZERO);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (linger, stop) = (linger.clone(), &stop);
                    scope.spawn(move || {
                        let mut count = 0;
                        while !stop.load(Ordering::Relaxed) {
                            linger.append("theirs").unwrap();
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            let mut mine = 0;
            for _ in 0..20 {
                let waits = linger.append("mine").unwrap();
                mine += 1;
                let mut theirs = Some((linger.clone(), log.clone()));
                let forked = Forked::run(|| {
                    let closed = Some(ErrorKind::Closed);
                    assert_eq!(kind(linger.append("no")), closed);
                    assert_eq!(kind(linger.flush()), closed);
                    assert_eq!(kind(log.linger(LingerOptions::new())), closed);
                    assert_eq!(known.wait().unwrap(), Offset::ZERO, "known before the fork");
                    let answer = kind(waits.wait());
                    assert!(answer.is_none() || answer == closed, "{answer:?}");
                    drop(theirs.take());
                    // SAFETY: the parent's handle, bit for bit; the parent has its own memory.
                    drop(unsafe { std::ptr::read(&raw const linger) });
                });
                forked.wait();
                waits.wait().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            let theirs: i64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            linger.flush().unwrap();
            assert_eq!(log.log_end_offset().get(), 1 + mine + theirs, "{mode:?} {background}");
        });
        let texts = all_texts(&log);
        assert!(texts.iter().all(|text| text != "no"));
    }
}

/// However the child lets go of the handles, it neither closes the log nor gives its lock away, and
/// does not wait for a thread that only its parent has.
#[test]
fn a_forked_child_that_lets_go_of_the_log_leaves_it_to_its_parent() {
    for (mode, background) in ways() {
        for way in ["drop", "close", "exit"] {
            let dir = scratch();
            let log = options(mode, background).open(dir.path()).unwrap();
            log.append("before").unwrap();
            let consumer = log.consumer("c").unwrap();
            let reader = log.reader(OffsetSpec::Earliest).unwrap();
            let before = util::files(dir.path()).iter().map(|f| f.metadata().unwrap().len()).sum();
            let mut handles = Some((log.clone(), consumer, reader));
            let theirs = log.clone();
            let forked = Forked::run(|| match way {
                "drop" => {
                    drop(handles.take());
                    drop(theirs);
                    // SAFETY: the parent's handle, bit for bit; the parent has its own memory.
                    drop(unsafe { std::ptr::read(&raw const log) });
                }
                "close" => {
                    let closed = kind(theirs.close());
                    assert!(closed.is_none() || closed == Some(ErrorKind::Closed), "{closed:?}");
                }
                _ => {}
            });
            forked.wait();
            let after: u64 =
                util::files(dir.path()).iter().map(|f| f.metadata().unwrap().len()).sum();
            assert_eq!(after, before, "{mode:?} {background} {way}: files were cut or made");
            let second = options(mode, false).open(dir.path());
            assert_eq!(kind(second), Some(ErrorKind::Locked), "{mode:?} {background} {way}");
            log.append("behind").unwrap();
            log.flush().unwrap();
            drop(handles);
            log.close().unwrap();
            let log = options(mode, false).open(dir.path()).unwrap();
            assert!(log.recovery().clean, "{mode:?} {background} {way}: {:?}", log.recovery());
            assert_eq!(all_texts(&log), ["before", "behind"]);
        }
    }
}

/// A child that lives on with the parent's descriptors keeps nobody from opening the log.
#[test]
fn a_forked_child_that_lives_on_does_not_keep_the_log_locked() {
    for (mode, background) in ways() {
        let dir = scratch();
        let log = options(mode, background).open(dir.path()).unwrap();
        log.append("a").unwrap();
        let forked = Forked::run(|| std::thread::sleep(Duration::from_secs(600)));
        log.close().unwrap();
        let log = options(mode, background).open(dir.path()).unwrap();
        assert!(log.recovery().clean);
        log.append("b").unwrap();
        drop(log);
        let log = options(mode, background).open(dir.path()).unwrap();
        assert_eq!(all_texts(&log), ["a", "b"]);
        drop(forked);
    }
}

/// The child can have a log of its own, and the parent's once the parent closed it.
#[test]
fn a_forked_child_can_open_logs_itself() {
    for (mode, background) in ways() {
        let (dir, other) = (scratch(), scratch());
        let log = options(mode, background).open(dir.path()).unwrap();
        log.append("parent").unwrap();
        log.close().unwrap();
        let forked = Forked::run(|| {
            for place in [dir.path(), other.path()] {
                let log = options(mode, background).open(place).unwrap();
                log.append("child").unwrap();
                log.flush().unwrap();
                log.close().unwrap();
            }
        });
        forked.wait();
        let log = options(mode, background).open(dir.path()).unwrap();
        assert_eq!(all_texts(&log), ["parent", "child"]);
        assert_eq!(all_texts(&options(mode, false).open(other.path()).unwrap()), ["child"]);
    }
}
