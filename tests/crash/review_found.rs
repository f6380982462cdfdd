//! What a hostile reading of the code has found, each as small as it could be made (I2, I8, I13,
//! I19). All on the simulated disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::simulation::{CallKind, Disk, Fault, Keep, Profile};
use forebay::{
    ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Media, Offset, OffsetSpec, Visibility,
};

const DIR: &str = "/log";
const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn options(mode: IoMode, segment_bytes: usize) -> LogOptions {
    let options = Log::options().segment_bytes(segment_bytes).max_batch_bytes(4096).io_mode(mode);
    options.flush(FlushPolicy::Manual)
}

fn value(offset: i64, what: char) -> Vec<u8> {
    format!("{offset} {}", what.to_string().repeat(900)).into_bytes()
}

fn append_to(log: &Log, end: i64, what: char) {
    for offset in log.log_end_offset().get()..end {
        assert_eq!(log.append(value(offset, what)).unwrap().get(), offset);
    }
}

fn read(log: &Log) -> Result<Vec<(i64, Vec<u8>)>, forebay::Error> {
    let mut found = Vec::new();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch?.records() {
            let record = record.unwrap();
            found.push((record.offset().get(), record.value().to_vec()));
        }
    }
    Ok(found)
}

fn values(range: std::ops::Range<i64>, what: char) -> Vec<(i64, Vec<u8>)> {
    range.map(|offset| (offset, value(offset, what))).collect()
}

fn fault(on: CallKind, name: &str, times: u64, errno: i32) -> Fault {
    Fault { on, name: Some(name.to_owned()), after: 0, times, errno }
}

/// I19: an append that is refused because the checkpoint cannot be written changes nothing, however
/// often it is tried: the copy of the tail is kept once.
#[test]
fn appends_that_the_checkpoint_refuses_leave_nothing_behind() {
    let disk = Disk::new(Profile::default());
    let options = options(IoMode::Positioned, 1 << 16).media(Media::TornOverwrite);
    let log = options.clone().open_on(&disk, DIR).unwrap();
    append_to(&log, 3, 'a');
    log.flush().unwrap();
    let before = disk.read_file("/log/checkpoint").unwrap().len();
    disk.fail(fault(CallKind::Write, "checkpoint", u64::MAX, ENOSPC));
    for _ in 0..300 {
        assert_eq!(log.append(value(3, 'a')).unwrap_err().kind(), ErrorKind::OutOfSpace);
    }
    disk.clear_faults();
    append_to(&log, 6, 'a');
    log.flush().unwrap();
    assert_eq!(disk.read_file("/log/checkpoint").unwrap().len(), before);
    let again = options.open_on(&disk.power_cut(Keep::None), DIR).unwrap();
    assert!(!again.recovery().checkpoint_lost);
    assert_eq!(read(&again).unwrap(), values(0..6, 'a'));
}

/// V14: an append whose tail has no room in the checkpoint leaves flushing and deleting working.
#[test]
fn an_append_refused_for_the_copy_of_its_tail_leaves_deletion_working() {
    let disk = Disk::new(Profile::default());
    let options = options(IoMode::Positioned, 1 << 18).media(Media::TornOverwrite);
    let log = options.torn_bytes(1 << 16).open_on(&disk, DIR).unwrap();
    append_to(&log, 40, 'a');
    log.flush().unwrap();
    disk.set_space(Some(0));
    for start in 1..30 {
        assert_eq!(log.append(value(40, 'a')).unwrap_err().kind(), ErrorKind::OutOfSpace);
        assert_eq!(log.delete_records(Offset::new(start)).unwrap().get(), start);
    }
    disk.set_space(None);
    append_to(&log, 45, 'a');
    assert_eq!(log.flush().unwrap().get(), 45);
}

/// V14: a consumer for which there is no room is not there, and stands in nobody's way.
#[test]
fn a_consumer_refused_on_a_full_disk_leaves_flush_and_deletion_working() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let log = options(mode, 4096).open_on(&disk, DIR).unwrap();
        append_to(&log, 9, 'a');
        let mut full = false;
        for number in 0..64 {
            disk.set_space(Some(0));
            let name = format!("{number:0>100}");
            match log.consumer(&name) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OutOfSpace);
                    assert!(log.consumers().iter().all(|known| known.name != name));
                    full = true;
                    break;
                }
            }
        }
        assert!(full);
        assert_eq!(log.flush().unwrap().get(), 9, "{mode:?}");
        assert_eq!(log.delete_records(Offset::new(8)).unwrap().get(), 8, "{mode:?}");
    }
}

/// V14: what each roll adds to the checkpoint never needs a larger one: on a full disk flushing,
/// opening and deleting work.
#[test]
fn rolls_on_a_disk_nearly_full_leave_flush_open_and_deletion_working() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let log = options(mode, 4096).open_on(&disk, DIR).unwrap();
        for number in 0..20 {
            log.consumer(&format!("{number:0>100}")).unwrap();
        }
        let length = disk.read_file("/log/checkpoint").unwrap().len();
        for end in 1..800 {
            disk.set_space(Some(5 * 4096));
            append_to(&log, end, 'a');
            disk.set_space(Some(0));
            if end % 40 == 0 {
                let next = disk.kill();
                let log = options(mode, 4096).open_on(&next, DIR).unwrap();
                assert_eq!(log.log_end_offset().get(), end);
            }
            assert_eq!(log.flush().unwrap().get(), end, "{mode:?}");
            log.delete_records(Offset::new(end - 1)).unwrap();
        }
        assert_eq!(disk.read_file("/log/checkpoint").unwrap().len(), length);
    }
}

/// V6: a commit, or a deletion of a consumer, that was refused does not happen later either.
#[test]
fn what_the_checkpoint_refused_a_consumer_never_happens() {
    let disk = Disk::new(Profile::default());
    let log = options(IoMode::Positioned, 1 << 16).open_on(&disk, DIR).unwrap();
    append_to(&log, 9, 'a');
    let mut consumer = log.consumer("gateway").unwrap();
    consumer.commit_offset(Offset::new(3)).unwrap();
    let mut other = log.consumer("display").unwrap();
    for times in 1..4 {
        disk.fail(fault(CallKind::Write, "checkpoint", times, ENOSPC));
        assert!(consumer.commit_offset(Offset::new(7)).is_err());
        assert_eq!(consumer.committed().get(), 3);
        disk.clear_faults();
        drop(consumer);
        disk.fail(fault(CallKind::Write, "checkpoint", times, ENOSPC));
        assert!(log.delete_consumer("gateway").is_err());
        disk.clear_faults();
        other.commit_offset(Offset::new(i64::try_from(times).unwrap())).unwrap();
        other.sync().unwrap();
        for next in [disk.kill(), disk.power_cut(Keep::None)] {
            let log = options(IoMode::Positioned, 1 << 16).open_on(&next, DIR).unwrap();
            let known = log.consumers();
            let names: Vec<_> = known.iter().map(|known| known.name.as_str()).collect();
            assert_eq!(names, ["gateway", "display"]);
            assert!(known[0].committed.get() <= 3, "{known:?}");
        }
        consumer = log.consumer("gateway").unwrap();
        assert_eq!(consumer.committed().get(), 3);
    }
}

/// I8: who waits for a record is told when the checkpoint's sync fails beside it.
#[test]
fn a_waiter_is_told_of_a_checkpoint_that_failed() {
    for visibility in [Visibility::Written, Visibility::Durable] {
        let disk = Disk::new(Profile::default());
        let options = options(IoMode::Positioned, 1 << 16);
        options.clone().open_on(&disk, DIR).unwrap().close().unwrap();
        let log = options.open_on(&disk, DIR).unwrap();
        let (told, waits) = std::sync::mpsc::channel();
        let waiter = log.clone();
        std::thread::spawn(move || {
            let waited = waiter.wait_for(Offset::new(5), visibility, Duration::from_secs(86_400));
            told.send(waited.map_err(|error| error.kind())).unwrap();
        });
        // For it to fall asleep; awake it would see the failure anyway.
        std::thread::sleep(Duration::from_millis(200));
        disk.fail(fault(CallKind::SyncFile, "checkpoint", 1, EIO));
        log.consumer("gateway").unwrap_err();
        let waited = waits.recv_timeout(Duration::from_secs(60)).expect("it is woken");
        assert_eq!(waited, Err(ErrorKind::Poisoned));
    }
}

/// A flush that the checkpoint refuses is no reason to keep the device and the processor busy.
#[test]
fn a_flush_that_the_checkpoint_refuses_is_tried_again_at_the_policys_pace() {
    let disk = Disk::new(Profile::default());
    let pace = Duration::from_millis(20);
    let options = options(IoMode::Positioned, 1 << 16).flush(FlushPolicy::Interval(pace));
    let log = options.open_on(&disk, DIR).unwrap();
    append_to(&log, 3, 'a');
    let syncs = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&syncs);
    disk.watch(move |_, call| {
        if call.kind == CallKind::SyncFile && call.path.to_string_lossy().ends_with(".log") {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    });
    disk.fail(fault(CallKind::Write, "checkpoint", 500, ENOSPC));
    disk.advance(Duration::from_secs(1));
    assert!(!log.wait_for(Offset::new(9), Visibility::Written, pace * 10).unwrap());
    disk.unwatch();
    let syncs = syncs.load(Ordering::Relaxed);
    assert!(syncs <= 12, "{syncs} device flushes in ten intervals");
}

/// I8: of two who sync one file at a time, the kernel tells one that it failed. The other must not
/// call it durable.
#[test]
fn a_sync_that_failed_for_an_append_is_no_success_of_the_flush_beside_it() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let log = options(mode, 4096).open_on(&disk, DIR).unwrap();
        append_to(&log, 4 * 65, 'a');
        let (inside, done) = (log.clone(), Arc::new(Mutex::new(false)));
        disk.watch(move |disk, call| {
            let first = call.path.to_string_lossy().ends_with("/00000000000000000000.log");
            if call.kind != CallKind::SyncFile || !first {
                return;
            }
            if std::mem::replace(&mut *done.lock().unwrap(), true) {
                return;
            }
            disk.fail(fault(CallKind::SyncFile, "00000000000000000000.log", 1, EIO));
            let error = inside.append(value(4 * 65, 'a')).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io);
        });
        let flushed = log.flush();
        disk.unwatch();
        let kept = disk.power_cut(Keep::None);
        let again = options(mode, 4096).open_on(&kept, DIR).unwrap();
        if let Ok(durable) = flushed {
            assert_eq!(read(&again).unwrap(), values(0..durable.get(), 'a'), "{mode:?}");
        }
        assert_eq!(flushed.unwrap_err().kind(), ErrorKind::Poisoned);
    }
}

/// I2, I3: a power cut in a flush beside which was appended leaves two copies of tails, and the
/// recovery may cut the log below the newer one's end. The next one must not put it back over what
/// is durable there by then.
#[test]
fn a_copy_of_a_tail_behind_the_cut_is_never_put_back() {
    let card = || options(IoMode::Positioned, 1 << 16).media(Media::TornOverwrite);
    let disk = Disk::new(Profile::default());
    let log = card().open_on(&disk, DIR).unwrap();
    append_to(&log, 2, 'a');
    log.flush().unwrap();
    append_to(&log, 10, 'a');
    let boots = Arc::new(Mutex::new(Vec::new()));
    let (inside, taken) = (log.clone(), Arc::clone(&boots));
    disk.watch(move |disk, call| {
        let mut taken = taken.lock().unwrap();
        if call.kind != CallKind::SyncFile || !taken.is_empty() {
            return;
        }
        append_to(&inside, 11, 'a');
        taken.extend((0..=disk.loose()).map(|count| disk.power_cut(Keep::Prefix(count))));
    });
    log.flush().unwrap();
    disk.unwatch();
    let mut tried = 0;
    for boot in boots.lock().unwrap().iter() {
        for more in 1..9 {
            let boot = boot.kill();
            boot.set_space(Some(0));
            let log = card().open_on(&boot, DIR).unwrap();
            let cut = log.log_end_offset().get();
            assert!(cut >= 2);
            boot.set_space(None);
            append_to(&log, cut + more, 'b');
            log.flush().unwrap();
            tried += u64::from(log.recovery().rewriting_in_place);
            let last = card().open_on(&boot.power_cut(Keep::None), DIR).unwrap();
            let mut wanted = values(0..cut, 'a');
            wanted.extend(values(cut..cut + more, 'b'));
            assert_eq!(read(&last).unwrap(), wanted, "cut at {cut}, {more} more");
        }
    }
    assert!(tried > 0);
}

/// V8, I13: crashes that cut the log at one offset again and again do not fill the disk.
#[test]
fn cuts_at_one_offset_again_and_again_keep_no_more_than_one_cuts_files() {
    for mode in MODES {
        let mut disk = Disk::new(Profile::default());
        let log = options(mode, 4096).open_on(&disk, DIR).unwrap();
        append_to(&log, 2, 'a');
        log.flush().unwrap();
        drop(log);
        let mut most = 0;
        for round in 0..30_usize {
            let log = options(mode, 4096).open_on(&disk, DIR).unwrap();
            assert_eq!(log.log_end_offset().get(), 2);
            for number in 0..24_usize {
                let length = 300 + (number * 37 * (round + 1)) % 900;
                log.append(vec![b'x'; length]).unwrap();
            }
            let torn = disk.power_cut(Keep::All);
            let name = "/log/00000000000000000000.log";
            let mut bytes = torn.read_file(name).unwrap();
            let at = bytes.windows(9).rposition(|at| at == b"aaaaaaaaa").unwrap() + 100;
            bytes[at] ^= 1;
            torn.write_file(name, &bytes);
            let log = options(mode, 4096).open_on(&torn, DIR).unwrap();
            assert_eq!(log.log_end_offset().get(), 2);
            let names = torn.file_names(DIR);
            let asides = names.iter().filter(|name| name.ends_with(".aside")).count() as u64;
            let report = log.recovery();
            most = report.segments_set_aside.max(most);
            assert!(report.segments_set_aside > 0 && asides <= most + 4, "{round}: {names:?}");
            disk = torn.power_cut(Keep::None);
        }
    }
}

/// A crash between making and removing the file that is to tell whether blocks can be reserved does
/// not let the next open map files where they cannot.
#[test]
fn a_probe_that_a_crash_left_is_no_answer() {
    let disk = Disk::new(Profile::default());
    disk.write_file("/log/probe.new", b"");
    let never = Fault { on: CallKind::Allocate, name: None, after: 0, times: u64::MAX, errno: 95 };
    disk.fail(never);
    let log = options(IoMode::Auto, 4096).open_on(&disk, DIR).unwrap();
    assert_eq!(log.recovery().io_mode, Some(IoMode::Positioned));
    append_to(&log, 3, 'a');
}
