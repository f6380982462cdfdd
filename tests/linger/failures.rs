//! What stands in the way of a batch is told to every ticket of it, and to the next flush; and the
//! linger goes on when it can.

#[cfg(feature = "simulation")]
use forebay::FlushPolicy;
use forebay::{ErrorKind, LingerOptions, NewRecord, Refusal};

use crate::util::{OpenIn, kind, manual, ways};
#[cfg(feature = "simulation")]
use crate::{batch_sizes, util::all_texts};
use crate::{counting, offsets};

/// I19: a disk that is full refuses the batch, all of it, and takes the next one when it has room.
#[test]
#[cfg(feature = "simulation")]
fn a_full_disk_is_told_to_every_ticket_of_the_batch() {
    use crate::util::{Ground, MODES};

    for mode in MODES {
        let place = Ground::Simulated.place();
        let log = manual(mode).segment_bytes(8192).open_in(&place).unwrap();
        let linger = counting(&log, 4);
        let text = |n: i64| format!("{n} {}", "x".repeat(700));
        let mut kept = Vec::new();
        for n in 0..4 {
            kept.push(linger.append(text(n)).unwrap());
        }
        place.disk().unwrap().set_space(Some(0));
        let mut n = 4;
        let lost = loop {
            let batch: Vec<_> = (n..n + 4).map(|n| linger.append(text(n)).unwrap()).collect();
            if batch[0].try_wait().unwrap().is_err() {
                break batch;
            }
            kept.extend(batch);
            n += 4;
        };
        for ticket in &lost {
            assert_eq!(kind(ticket.wait()), ErrorKind::OutOfSpace, "{mode:?}");
            assert_eq!(kind(ticket.wait_durable()), ErrorKind::OutOfSpace);
            assert_eq!(kind(ticket.try_wait().unwrap()), ErrorKind::OutOfSpace);
        }
        // A batch of which nobody keeps a ticket fails aloud too, at the next flush.
        drop(linger.append("x".repeat(5000)).unwrap());
        assert_eq!(kind(linger.flush()), ErrorKind::OutOfSpace);
        assert_eq!(log.stats().appends_refused, 2);
        let end = log.log_end_offset().get();
        assert_eq!(offsets(&kept), (0..end).collect::<Vec<_>>());

        place.disk().unwrap().set_space(None);
        let next: Vec<_> = (0..4).map(|n| linger.append(text(n)).unwrap()).collect();
        assert_eq!(offsets(&next), (end..end + 4).collect::<Vec<_>>());
        linger.flush().unwrap();
        assert!(batch_sizes(&log).iter().all(|records| *records == 4));
        assert!(log.verify().unwrap().is_whole());
    }
}

/// The close of the log, and nobody else, is left to say that the last batch found no room.
#[test]
#[cfg(feature = "simulation")]
fn a_close_says_that_a_batch_found_no_room() {
    use crate::util::{Ground, MODES};

    for mode in MODES {
        let place = Ground::Simulated.place();
        let log = manual(mode).segment_bytes(16384).open_in(&place).unwrap();
        let linger = counting(&log, 100);
        let large = vec![b'x'; 5000];
        for _ in 0..3 {
            log.append(&large).unwrap();
        }
        let ticket = linger.append(&large).unwrap();
        // Enough for what a close writes, and too little for the next segment.
        place.disk().unwrap().set_space(Some(3 * 4096));
        assert_eq!(kind(log.clone().close()), ErrorKind::OutOfSpace, "{mode:?}");
        assert_eq!(kind(ticket.wait()), ErrorKind::OutOfSpace);
        drop((log, linger, ticket));
        let log = manual(mode).segment_bytes(16384).open_in(&place).unwrap();
        assert_eq!((log.log_end_offset().get(), log.recovery().clean), (3, true));
    }
}

/// I8: a sync that fails poisons the log; the tickets of the batch behind which it failed are told,
/// later records are refused at once, and what was answered before can be read.
#[test]
#[cfg(feature = "simulation")]
fn a_failed_sync_is_told_to_every_ticket_and_refuses_what_comes_later() {
    use crate::util::{Ground, MODES};
    use forebay::simulation::{CallKind, Fault};

    for mode in MODES {
        for policy in [FlushPolicy::EveryAppend, FlushPolicy::Manual] {
            let place = Ground::Simulated.place();
            let log = manual(mode).flush(policy).open_in(&place).unwrap();
            let linger = counting(&log, 2);
            let good = [linger.append("0").unwrap(), linger.append("1").unwrap()];
            assert_eq!(good[1].wait_durable().unwrap().get(), 1);
            let fault = Fault {
                on: CallKind::SyncFile,
                name: Some(".log".to_owned()),
                after: 0,
                times: 1,
                errno: 5,
            };
            place.disk().unwrap().fail(fault);
            let bad = [linger.append("2").unwrap(), linger.append("3").unwrap()];
            match policy {
                FlushPolicy::Manual => {
                    assert_eq!(offsets(&bad), [2, 3], "written they are");
                    assert_eq!(kind(bad[0].wait_durable()), ErrorKind::Io, "{mode:?}");
                    assert_eq!(kind(bad[1].wait_durable()), ErrorKind::Poisoned);
                }
                _ => {
                    assert_eq!(kind(bad[0].wait()), ErrorKind::Io, "{mode:?}");
                    assert_eq!(kind(bad[1].wait()), ErrorKind::Io);
                    assert_eq!(kind(linger.flush()), ErrorKind::Io);
                }
            }
            assert_eq!(kind(linger.append("4")), ErrorKind::Poisoned);
            assert_eq!(offsets(&good), [0, 1]);
            assert_eq!(all_texts(&log), ["0", "1", "2", "3"], "reading goes on");
            drop(linger);
            assert!(log.close().is_err());
        }
    }
}

/// I8: what waits when a sync fails elsewhere is told so by whoever appends it.
#[test]
#[cfg(feature = "simulation")]
fn what_waits_when_the_log_is_poisoned_is_told() {
    use crate::util::{Ground, MODES};
    use forebay::simulation::{CallKind, Fault};

    for mode in MODES {
        for by_close in [false, true] {
            let place = Ground::Simulated.place();
            let log = manual(mode).open_in(&place).unwrap();
            let linger = counting(&log, 100);
            let ticket = linger.append("waits").unwrap();
            log.append("x").unwrap();
            let on = CallKind::SyncFile;
            place.disk().unwrap().fail(Fault { on, name: None, after: 0, times: 1, errno: 5 });
            assert_eq!(kind(log.flush()), ErrorKind::Io);
            match by_close {
                true => assert_eq!(kind(log.close()), ErrorKind::Poisoned, "{mode:?}"),
                false => assert_eq!(kind(linger.flush()), ErrorKind::Poisoned, "{mode:?}"),
            }
            assert_eq!(kind(ticket.wait()), ErrorKind::Poisoned);
        }
    }
}

/// The hook looks at a record when it is handed in, so that its company has nothing to fear.
#[test]
fn a_hook_refuses_a_record_when_it_is_handed_in() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).validate(|record: &NewRecord<'_>| match record.get_key() {
            Some(_) => Ok(()),
            None => Err(Refusal::new("key", "has none")),
        });
        let log = log.open_in(&place).unwrap();
        let linger = counting(&log, 2);
        let first = linger.append(NewRecord::new("a").key("k")).unwrap();
        let error = linger.append("b").unwrap_err();
        assert_eq!((error.refused_field(), error.refused_record()), (Some("key"), Some(0)));
        let second = linger.append(NewRecord::tombstone("k")).unwrap();
        assert_eq!(offsets(&[first, second]), [0, 1], "{mode:?}");
        assert_eq!(log.stats().appends_refused, 1);
    }
}

/// What a budget that is spent does: the batch is refused, or takes the place of the oldest.
#[test]
fn a_spent_budget_is_the_policys_business() {
    use forebay::OnFull;

    for (mode, ground) in ways() {
        for on_full in [OnFull::Reject, OnFull::DropOldest] {
            let place = ground.place();
            let options = manual(mode).segment_bytes(8192).budget_bytes(160 << 10);
            let log = options.on_full(on_full).open_in(&place).unwrap();
            let linger = log.linger(LingerOptions::new().batch_records(5)).unwrap();
            let tickets: Vec<_> = (0..400)
                .map(|n| linger.append(format!("{n} {}", "x".repeat(900))).unwrap())
                .collect();
            let done: Vec<_> = tickets.iter().map(|ticket| ticket.wait()).collect();
            let first_refused = done.iter().position(Result::is_err);
            match on_full {
                OnFull::DropOldest => {
                    assert_eq!(first_refused, None, "{mode:?}");
                    assert!(log.log_start_offset().get() > 0);
                }
                _ => {
                    let at = first_refused.unwrap();
                    assert_eq!(at % 5, 0, "whole batches (I14)");
                    assert!(done[at..].iter().all(Result::is_err), "{mode:?}");
                    assert_eq!(log.log_end_offset().get(), at as i64);
                    assert_eq!(kind(linger.flush()), ErrorKind::OutOfSpace);
                    linger.flush().unwrap();
                }
            }
        }
    }
}
