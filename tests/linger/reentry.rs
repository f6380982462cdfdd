//! A linger used from inside itself: by hooks, by what becomes a record, by an archive that the
//! append of a batch leads to. Nothing waits for itself, and nothing is lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use forebay::{
    Archive, ArchivedSegment, ErrorKind, Linger, LogId, LogOptions, NewRecord, Offset, Refusal,
    Result, SealedSegment, Ticket,
};

#[cfg(feature = "simulation")]
use crate::util::kind;
use crate::util::{MODES, all_texts, manual, scratch};
use crate::{counting, offsets};

/// Runs it on a thread of its own, so that one that waits for itself fails the test.
fn ends<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (told, hears) = mpsc::channel();
    let thread = thread::spawn(move || told.send(run()));
    let value = hears.recv_timeout(Duration::from_secs(60)).expect("it waits for itself");
    thread.join().unwrap().unwrap();
    value
}

/// A hook that hands in a record for each one it looks at, and waits for it.
#[test]
fn a_hook_may_use_the_linger_it_is_called_from() {
    for mode in MODES {
        for background in [false, true] {
            ends(move || {
                let dir = scratch();
                let known: Arc<OnceLock<Linger>> = Arc::default();
                let inside = Arc::clone(&known);
                let hook = move |record: &NewRecord<'_>| {
                    if record.get_key().is_some() {
                        return Ok(());
                    }
                    let linger = inside.get().unwrap();
                    let about = NewRecord::new("about").key(record.get_value().unwrap());
                    let offset = linger.append(about).and_then(|ticket| ticket.wait_durable());
                    offset.map(drop).map_err(|error| Refusal::new("value", error.to_string()))
                };
                let log = manual(mode).background(background).validate(hook);
                let log = log.open(dir.path()).unwrap();
                let linger = known.get_or_init(|| counting(&log, 1)).clone();
                let tickets: Vec<_> =
                    (0..5).map(|n| linger.append(format!("{n}")).unwrap()).collect();
                assert_eq!(offsets(&tickets), [1, 3, 5, 7, 9]);
                // The hook holds the log as long as this one does.
                log.set_options(manual(mode).background(background)).unwrap();
            });
        }
    }
}

/// What a value is made of may append as well, to the linger and to the log.
#[test]
fn what_makes_a_record_or_a_batch_may_use_the_linger() {
    for mode in MODES {
        ends(move || {
            let dir = scratch();
            let log = manual(mode).open(dir.path()).unwrap();
            let linger = counting(&log, 2);
            struct Makes<'a>(&'a Linger);
            impl<'a> From<Makes<'a>> for NewRecord<'static> {
                fn from(makes: Makes<'a>) -> NewRecord<'static> {
                    makes.0.append("inside").unwrap();
                    makes.0.flush().unwrap();
                    NewRecord::new("outside".to_owned())
                }
            }
            let ticket = linger.append(Makes(&linger)).unwrap();
            let batch = (0..3).map(|n| {
                linger.append(format!("in the iterator {n}")).unwrap();
                "in the batch"
            });
            log.append_batch(batch).unwrap();
            linger.flush().unwrap();
            assert_eq!(ticket.wait().unwrap().get(), 1);
            let texts = all_texts(&log);
            let expected = [
                "inside",
                "outside",
                "in the iterator 0",
                "in the iterator 1",
                "in the iterator 2",
            ];
            let mut found = texts.iter().filter(|text| *text != "in the batch");
            assert!(found.by_ref().eq(expected.iter()), "{texts:?}");
            assert_eq!(texts.len(), 8);
        });
    }
}

/// A hook that panics hands in nothing, and leaves nothing locked.
#[test]
fn a_hook_that_panics_leaves_the_linger_as_it_was() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).validate(|record: &NewRecord<'_>| {
            assert!(record.get_value() != Some(b"bad"), "on purpose");
            Ok(())
        });
        let log = log.open(dir.path()).unwrap();
        let linger = counting(&log, 2);
        let first = linger.append("0").unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| linger.append("bad"))).is_err());
        let second = linger.append("1").unwrap();
        assert_eq!(offsets(&[first, second]), [0, 1]);
    }
}

/// An archive that uses the linger whose batch it was called for.
#[derive(Default)]
struct Inside {
    linger: OnceLock<Linger>,
    tickets: Mutex<Vec<Ticket>>,
    found: Mutex<Vec<ErrorKind>>,
}

impl Archive for Inside {
    fn store(&self, _: &SealedSegment<'_>) -> Result<()> {
        let Some(linger) = self.linger.get() else { return Ok(()) };
        let mut tickets = self.tickets.lock().unwrap();
        // More than fit a batch, and fewer than may wait.
        for n in 0..5 {
            tickets.push(linger.append(format!("inside {n}")).unwrap());
        }
        let mut found = self.found.lock().unwrap();
        found.extend(tickets.last().unwrap().wait().err().map(|error| error.kind()));
        found.extend(linger.flush().err().map(|error| error.kind()));
        Ok(())
    }

    fn find(&self, _: LogId, _: Offset) -> Result<Option<ArchivedSegment>> {
        Ok(None)
    }

    fn attach(&self, _: LogId, _: &Path) -> Result<()> {
        Ok(())
    }
}

fn archiving(options: LogOptions, archive: &Arc<Inside>) -> LogOptions {
    let archive = Arc::clone(archive) as Arc<dyn Archive>;
    options.segment_bytes(4096).retention_bytes(8192).archive(archive)
}

/// From inside the append of a batch, what is handed in goes behind it, whole and in order; waiting
/// there would never end, and is refused.
#[test]
fn an_archive_may_use_the_linger_whose_batch_it_was_called_for() {
    for mode in MODES {
        ends(move || {
            let dir = scratch();
            let archive = Arc::new(Inside::default());
            let log = archiving(manual(mode), &archive).open(dir.path()).unwrap();
            let linger = archive.linger.get_or_init(|| counting(&log, 2)).clone();
            let mut outside = Vec::new();
            while archive.tickets.lock().unwrap().len() < 15 {
                let text = format!("outside {} {}", outside.len(), "x".repeat(500));
                outside.push(linger.append(text).unwrap());
                assert!(outside.len() < 1000, "the archive is never called");
            }
            linger.flush().unwrap();
            let inside = std::mem::take(&mut *archive.tickets.lock().unwrap());
            let found = archive.found.lock().unwrap().clone();
            assert!(found.len() >= 6 && found.iter().all(|kind| *kind == ErrorKind::WouldBlock));
            let mut all: Vec<_> = offsets(&inside);
            assert!(all.is_sorted(), "{all:?}");
            let outer = offsets(&outside);
            assert!(outer.is_sorted());
            all.extend(outer);
            all.sort_unstable();
            assert_eq!(all, (0..log.log_end_offset().get()).collect::<Vec<_>>());
            // The archive holds the linger, which holds the log.
            log.close().unwrap();
        });
    }
}

/// The thread that appends for all panics: its batch says so, and others go on.
#[test]
#[cfg(feature = "simulation")]
fn a_panic_inside_the_append_of_a_batch_leaves_nobody_waiting() {
    use crate::util::{Ground, OpenIn};
    use forebay::simulation::CallKind;

    for mode in MODES {
        ends(move || {
            let place = Ground::Simulated.place();
            let log = manual(mode).segment_bytes(8192).open_in(&place).unwrap();
            let linger = counting(&log, 2);
            let mut tickets = vec![linger.append("0").unwrap(), linger.append("1").unwrap()];
            let waits = linger.append("2").unwrap();
            let disk = place.disk().unwrap().clone();
            // Of the next segment.
            disk.watch(|_, call| assert!(call.kind != CallKind::CreateNew, "on purpose"));
            let large = "x".repeat(8050);
            let done = catch_unwind(AssertUnwindSafe(|| linger.append(large).map(drop)));
            assert!(done.is_err(), "{mode:?}: it panics");
            disk.unwatch();
            let error = waits.wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            assert!(error.to_string().contains("panicked"), "{error}");
            tickets.extend(["a", "b"].map(|text| linger.append(text).unwrap()));
            assert_eq!(offsets(&tickets), [0, 1, 2, 3]);
            assert_eq!(kind(linger.flush()), ErrorKind::Io, "a batch has failed");
            linger.flush().unwrap();
            log.close().unwrap();
        });
    }
}
