//! Retention with an archive: nothing goes that the archive has not taken, and everything that was
//! ever appended is read, once and in order (I1, I2, I4, I10, I15).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use forebay::{
    Archive, ArchiveDir, ArchivedSegment, Error, ErrorKind, Hold, IoMode, Log, LogId, LogOptions,
    Offset, OffsetSpec, OnFull, SealedSegment, Store,
};

use crate::tiers::{Moody, Tiers, append, read_from, setups};
use crate::util::numbered::{bases, numbers, text};
use crate::util::{self, Ground, kind, poll_text};

/// All of it, and what the log itself holds is what its rules let stay.
fn check_all(log: &Log, count: i64) {
    assert_eq!(read_from(log, 0), (0..count).collect::<Vec<_>>());
    let start = log.log_start_offset().get();
    for from in [start - 1, start, start + 1, count / 2].map(|from| from.clamp(0, count)) {
        assert_eq!(read_from(log, from), (from..count).collect::<Vec<_>>());
    }
}

fn open(tiers: &Tiers, options: LogOptions) -> (Log, Arc<Moody>) {
    let moody = Moody::new(tiers.archive.archive());
    (tiers.log.open(options.archive(moody.clone())).unwrap(), moody)
}

/// By itself, after each append that begins a segment.
#[test]
fn what_the_rules_expire_moves_to_the_archive() {
    for setup in setups() {
        for background in [false, true] {
            let tiers = Tiers::new(setup);
            let options = tiers.options().retention_records(30).background(background);
            let (log, moody) = open(&tiers, options);
            append(&log, 400);
            log.apply_retention().unwrap();
            let start = log.log_start_offset().get();
            assert!((340..=370).contains(&start), "{start}");
            check_all(&log, 400);
            let stored = moody.stored.lock().unwrap().clone();
            assert!(stored.windows(2).all(|pair| pair[0].end == pair[1].start), "{stored:?}");
            assert_eq!((stored[0].start, stored.last().unwrap().end), (0, start));
            assert_eq!(bases(&tiers.log)[0], start);
            let report = log.apply_retention().unwrap();
            assert_eq!(report.segments_deleted, 0);
            assert_eq!(moody.stored.lock().unwrap().len(), stored.len(), "once");
            log.close().unwrap();
        }
    }
}

/// A failing archive keeps everything, is reported, and is tried again at the next pass; a part of
/// it that was taken goes.
#[test]
fn retention_waits_for_the_archive() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let (log, moody) = open(&tiers, tiers.options().retention_records(30));
        moody.failing.store(true, Ordering::SeqCst);
        append(&log, 300);
        for n in 0..3 {
            assert_eq!(kind(log.apply_retention()), ErrorKind::Upstream);
            assert_eq!((log.log_start_offset(), bases(&tiers.log)[0]), (Offset::ZERO, 0));
            assert!(log.stats().archive_failures > n);
            assert!(log.stats().archive_error.unwrap().contains("no carrier"));
        }
        assert_eq!(read_from(&log, 0), (0..300).collect::<Vec<_>>());
        let before = log.stats().segments_archived;
        moody.failing.store(false, Ordering::SeqCst);
        let report = log.apply_retention().unwrap();
        assert_eq!(log.stats().archive_error, None);
        assert_eq!(report.segments_deleted, log.stats().segments_archived - before);
        assert!(report.segments_deleted > 15);
        check_all(&log, 300);
        // A panic is no worse.
        moody.panicking.store(true, Ordering::SeqCst);
        append(&log, 100);
        assert!(log.apply_retention().unwrap_err().to_string().contains("a bad day"));
        moody.panicking.store(false, Ordering::SeqCst);
        log.apply_retention().unwrap();
        check_all(&log, 400);
    }
}

/// A hold keeps segments from the archive as well, until its consumer has committed.
#[test]
fn what_is_held_is_not_archived_yet() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let options = tiers.options().retention_records(30).hold(Hold::Each(vec!["c".into()]));
        let (log, moody) = open(&tiers, options);
        let mut consumer = log.consumer("c").unwrap();
        append(&log, 200);
        let report = log.apply_retention().unwrap();
        assert_eq!(report.held_back.unwrap().consumer, "c");
        assert_eq!(moody.stores.load(Ordering::SeqCst), 0);
        consumer.commit_offset(Offset::new(100)).unwrap();
        let report = log.apply_retention().unwrap();
        assert!(report.log_start_offset.get() > 80 && report.log_start_offset.get() <= 100);
        // One that goes back into the archive holds everything.
        consumer.commit_offset(Offset::new(10)).unwrap();
        append(&log, 100);
        let held = log.apply_retention().unwrap();
        assert_eq!(held.log_start_offset, report.log_start_offset);
        assert_eq!(held.held_back.unwrap().offset.get(), 10);
        consumer.seek(OffsetSpec::At(Offset::new(10))).unwrap();
        for number in 10..300 {
            assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [number]);
        }
        consumer.commit().unwrap();
        assert!(log.apply_retention().unwrap().log_start_offset.get() > 250);
        assert_eq!(consumer.missed(), 0);
        check_all(&log, 300);
    }
}

/// A budget for about a dozen segments.
fn budgeted(tiers: &Tiers) -> LogOptions {
    let options = tiers.options().segment_bytes(16 << 10).budget_bytes(400 << 10);
    options.on_full(OnFull::DropOldest)
}

/// With `DropOldest` an append that has no room drops what the archive has taken, and is refused
/// while that fails: nothing is lost by either.
#[test]
fn what_could_not_be_archived_is_not_dropped() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let (log, moody) = open(&tiers, budgeted(&tiers));
        append(&log, 1500);
        assert!(log.log_start_offset() > Offset::ZERO);
        check_all(&log, 1500);
        moody.failing.store(true, Ordering::SeqCst);
        let mut count = 1500;
        let refused = loop {
            match log.append(text(count)) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
            assert!(count < 3000, "it is full at some time");
        };
        assert_eq!(refused.kind(), ErrorKind::OutOfSpace);
        let start = log.log_start_offset();
        for _ in 0..5 {
            assert_eq!(kind(log.append(text(count))), ErrorKind::OutOfSpace);
        }
        assert_eq!(log.log_start_offset(), start);
        let held: Vec<_> = (start.get()..count).collect();
        assert_eq!(read_from(&log, start.get()), held);
        moody.failing.store(false, Ordering::SeqCst);
        append(&log, 500);
        check_all(&log, count + 500);
        log.flush().unwrap();
        log.close().unwrap();
        let (log, _) = open(&tiers, budgeted(&tiers));
        check_all(&log, count + 500);
    }
}

/// What was thinned out of the log is in the archive, and readers get it there: in order, from
/// every place, by readers that were there before and by new ones, and across a restart.
#[test]
fn what_was_thinned_out_is_read_in_the_archive() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let options = || budgeted(&tiers).thin_keep_one_in(3);
        let (log, moody) = open(&tiers, options());
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        for number in 0..1500 {
            append(&log, 1);
            if number % 3 == 0 {
                let batch = reader.next().unwrap().unwrap();
                assert_eq!(batch.base_offset().get(), number / 3);
                assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [number / 3]);
            }
        }
        assert!(log.stats().records_dropped > 0);
        let stored = moody.stored.lock().unwrap().clone();
        assert!(stored.windows(2).all(|pair| pair[0].end == pair[1].start), "{stored:?}");
        check_all(&log, 1500);
        assert_eq!(reader.map(Result::unwrap).count(), 1500 - 500);
        for number in 500..1500 {
            assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [number]);
        }
        assert_eq!(consumer.missed(), 0);
        drop(consumer);
        log.close().unwrap();
        let (log, moody) = open(&tiers, options());
        for from in (0..1500).step_by(17) {
            assert_eq!(read_from(&log, from), (from..1500).collect::<Vec<_>>());
        }
        // Gaps come to the archive again after a restart, and hide nothing there.
        append(&log, 600);
        assert_eq!(log.stats().archive_failures, 0);
        check_all(&log, 2100);
        // An archive that cannot answer is waited for; one that lost it is passed, and counted.
        moody.failing.store(true, Ordering::SeqCst);
        let start = log.log_start_offset();
        let mut held = log.reader(OffsetSpec::At(start)).unwrap();
        let stopped = held.by_ref().map_while(Result::ok).last();
        let at = held.next_offset();
        assert!(stopped.is_some() && at.get() < 2100, "it met a gap: {at}");
        assert!(held.next().is_none(), "it ended once");
        assert_eq!(held.next_offset(), at);
        moody.failing.store(false, Ordering::SeqCst);
        let rest: Vec<_> = held.flat_map(|batch| util::texts(&batch.unwrap())).collect();
        assert_eq!(numbers(&rest), (at.get()..2100).collect::<Vec<_>>());
        let folder = tiers.folder(&log);
        folder.clear();
        let mut consumer = log.consumer("c").unwrap();
        consumer.seek(OffsetSpec::At(start)).unwrap();
        let mut read = Vec::new();
        while let Some(text) = poll_text(&mut consumer) {
            read.extend(numbers(&text));
        }
        let missed = 2100 - start.get() - i64::try_from(read.len()).unwrap();
        assert!(missed > 0 && read.is_sorted());
        assert_eq!(consumer.missed(), missed.unsigned_abs());
    }
}

/// Without an archive thinning is as ever.
#[test]
fn thinning_without_an_archive_counts_what_is_missed() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.log.open(budgeted(&tiers).thin_keep_one_in(3)).unwrap();
        append(&log, 1500);
        let mut consumer = log.consumer("c").unwrap();
        let from = consumer.position().get();
        let mut read = 0;
        while let Some(text) = poll_text(&mut consumer) {
            read += text.len() as i64;
        }
        assert_eq!(consumer.missed(), (1500 - from - read).unsigned_abs());
        assert!(consumer.missed() > 0);
    }
}

/// The logs of a store share its archive: whichever of them has to make room for the others, also
/// one that nobody has open.
#[test]
fn the_logs_of_a_store_share_an_archive() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let options = || {
            let archive = Arc::new(tiers.archive.archive());
            let logs = tiers.options().segment_bytes(16 << 10).on_full(OnFull::DropOldest);
            let logs = logs.max_batch_bytes(4 << 10).archive(archive);
            Store::options().budget_bytes(700 << 10).reserve_bytes(32 << 10).logs(logs)
        };
        let store = tiers.log.open_store(options()).unwrap();
        let log = store.log("engine").unwrap();
        append(&log, 900);
        drop(log);
        store.close().unwrap();
        let store = tiers.log.open_store(options()).unwrap();
        let log = store.log("cabin").unwrap();
        append(&log, 1500);
        check_all(&log, 1500);
        drop(log);
        let log = store.log("engine").unwrap();
        assert!(log.log_start_offset() > Offset::ZERO, "it gave way, too");
        check_all(&log, 900);
        drop(log);
        store.close().unwrap();
    }
}

/// Everything that retention touches, called from inside, on the appender's thread or the log's
/// own.
struct CallsBack {
    inner: ArchiveDir,
    log: OnceLock<Log>,
    calls: AtomicU64,
}

impl Archive for CallsBack {
    fn store(&self, segment: &SealedSegment<'_>) -> Result<(), Error> {
        if let Some(log) = self.log.get() {
            self.calls.fetch_add(1, Ordering::SeqCst);
            // Any of them may be refused, as on a log that is full; none may hang.
            let _ = log.append(text(log.log_end_offset().get()));
            let _ = log.apply_retention();
            let _ = log.delete_records(Offset::ZERO);
            let _ = log.flush();
            let _ = log.archive_records(log.log_end_offset());
            let _ = log.reader(OffsetSpec::Earliest).and_then(|mut reader| reader.next().unwrap());
            let _ = log.stats();
        }
        self.inner.store(segment)
    }

    fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>, Error> {
        self.inner.find(log, offset)
    }
}

/// I10: also on a full log, where the append that waits for room is the one that archives, and
/// while the log is closed.
#[test]
fn an_archive_may_call_the_log_from_retention() {
    for setup in setups() {
        for background in [false, true] {
            let tiers = Tiers::new(setup);
            let inner = tiers.archive.archive();
            let hook =
                Arc::new(CallsBack { inner, log: OnceLock::new(), calls: AtomicU64::new(0) });
            let options = budgeted(&tiers).retention_records(200).background(background);
            let log = tiers.log.open(options.archive(hook.clone())).unwrap();
            assert!(hook.log.set(log.clone()).is_ok());
            for _ in 0..1200 {
                log.append(text(log.log_end_offset().get())).unwrap();
            }
            log.clone().close().unwrap();
            assert!(hook.calls.load(Ordering::SeqCst) > 10);
            let (log, _) = open(&tiers, budgeted(&tiers));
            let end = log.log_end_offset().get();
            assert_eq!(read_from(&log, 0).len(), usize::try_from(end).unwrap());
        }
    }
}

/// Many threads append to a full log with a slow archive: nobody is refused for what another one
/// is about to move, and nothing is lost.
#[test]
fn threads_share_the_work_on_a_full_log() {
    const THREADS: usize = 4;
    struct Slow(ArchiveDir, AtomicBool);
    impl Archive for Slow {
        fn store(&self, segment: &SealedSegment<'_>) -> Result<(), Error> {
            assert!(!self.1.swap(true, Ordering::SeqCst), "one at a time");
            thread::sleep(Duration::from_millis(2));
            let stored = self.0.store(segment);
            self.1.store(false, Ordering::SeqCst);
            stored
        }
        fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>, Error> {
            self.0.find(log, offset)
        }
    }
    for setup in setups().filter(|setup| setup.1 == Ground::System) {
        let tiers = Tiers::new(setup);
        let slow = Arc::new(Slow(tiers.archive.archive(), AtomicBool::new(false)));
        let log = tiers.log.open(budgeted(&tiers).archive(slow)).unwrap();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..250 {
                        let appended = log.append("y".repeat(300));
                        appended.unwrap_or_else(|error| panic!("{error}: {:?}", log.stats()));
                    }
                });
            }
            let mut consumer = log.consumer("c").unwrap();
            let mut due = 0;
            while due < 250 * THREADS as i64 {
                let batch = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
                assert_eq!(batch.base_offset().get(), due);
                due = batch.next_offset().get();
                consumer.commit().unwrap();
            }
            assert_eq!(consumer.missed(), 0);
        });
        assert_eq!(log.stats().archive_failures, 0);
        assert_eq!(log.stats().io_mode == IoMode::Mapped, setup.0 == IoMode::Mapped);
    }
}
