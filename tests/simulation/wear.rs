//! What a log counts as made to go to the device is what the device had to write.
//!
//! The simulated disk knows which pages each sync wrote. Index files are counted without being
//! synced: they come on top.

use std::time::Duration;

use forebay::simulation::{CallKind, Disk, Fault, Keep, Profile, Torn};
use forebay::{FlushPolicy, IoMode, Log, LogOptions, Offset, Store, Wear};

use crate::util::{MODES, manual};

const PAGE: u64 = 4096;

fn disk(torn: Torn) -> Disk {
    Disk::new(Profile { torn, ..Profile::default() })
}

/// Bytes of the index files that lie there, in whole pages.
fn indexes(disk: &Disk) -> u64 {
    let names = disk.file_names("/log");
    let indexes = names.iter().filter(|name| name.ends_with("index"));
    let pages = indexes.map(|name| disk.read_file(format!("/log/{name}")).unwrap().len() as u64);
    pages.map(|bytes| bytes.next_multiple_of(PAGE)).sum()
}

/// What a log has counted beyond what its disk wrote for syncs, in pages; never less.
#[track_caller]
fn beyond(wear: Wear, disk: &Disk) -> u64 {
    assert_eq!(wear.sectors * 512, wear.device_bytes);
    let real = disk.synced_bytes();
    assert!(wear.device_bytes >= real, "counted {} of {real}", wear.device_bytes);
    assert_eq!((wear.device_bytes - real) % PAGE, 0);
    (wear.device_bytes - real) / PAGE
}

fn options(mode: IoMode, policy: FlushPolicy) -> LogOptions {
    manual(mode).segment_bytes(64 << 10).flush(policy)
}

fn policies() -> [FlushPolicy; 4] {
    [
        FlushPolicy::EveryAppend,
        FlushPolicy::EveryBytes(10_000),
        FlushPolicy::Interval(Duration::from_secs(1)),
        FlushPolicy::Manual,
    ]
}

/// Appends values of all sizes from `from` on, over several segments.
fn append(log: &Log, disk: &Disk, count: usize) {
    for n in 0..count {
        log.append(vec![b'x'; 50 + n * 37 % 3000]).unwrap();
        disk.advance(Duration::from_millis(100));
    }
}

/// Every flush policy in both modes: exactly the pages that the syncs wrote, the index files on
/// top.
#[test]
fn what_is_counted_is_what_syncs_wrote_and_the_index_files() {
    for mode in MODES {
        for policy in policies() {
            let disk = disk(Torn::PowerSafe);
            let log = options(mode, policy).open_on(&disk, "/log").unwrap();
            append(&log, &disk, 200);
            log.flush().unwrap();
            let wear = log.stats().wear;
            assert_eq!(beyond(wear, &disk) * PAGE, indexes(&disk), "{mode:?} {policy:?}");
            assert_eq!(wear.payload_bytes, log.stats().bytes_appended);
            let after = log.clone();
            log.close().unwrap();
            let closed = after.stats().wear;
            assert_eq!(beyond(closed, &disk) * PAGE, indexes(&disk), "{mode:?} {policy:?}");
            assert!(closed.syncs > wear.syncs && closed.device_bytes > wear.payload_bytes);
            // The next open begins at nothing, and writes what closing leaves to do.
            let disk = disk.power_cut(Keep::All);
            let before = indexes(&disk);
            let log = options(mode, policy).open_on(&disk, "/log").unwrap();
            assert_eq!(log.stats().wear, Wear::default(), "a clean open writes nothing");
            append(&log, &disk, 3);
            log.flush().unwrap();
            assert_eq!(beyond(log.stats().wear, &disk) * PAGE, 0);
            let after = log.clone();
            log.close().unwrap();
            let rewritten = beyond(after.stats().wear, &disk);
            assert_eq!(indexes(&disk), before, "the same number of pages");
            assert_eq!(rewritten, 2, "the last segment's two, written again");
        }
    }
}

/// After a kill and after a power cut: what is written again, cut or copied is counted.
#[test]
fn what_an_unclean_stop_makes_an_open_write_again_is_counted() {
    let tears = Torn::Overwrite { bytes: 4096 };
    let ways = [(IoMode::Mapped, Torn::PowerSafe), (IoMode::Positioned, Torn::PowerSafe)];
    for (mode, torn) in ways.into_iter().chain([(IoMode::Positioned, tears)]) {
        for policy in [FlushPolicy::Manual, FlushPolicy::EveryBytes(30_000)] {
            let disk = disk(torn);
            let log = options(mode, policy).open_on(&disk, "/log").unwrap();
            append(&log, &disk, 100);
            let appended = log.stats().bytes_appended;
            let mut cuts = vec![disk.kill()];
            cuts.extend((0..20).map(|seed| disk.power_cut(Keep::Seed(seed))));
            for (n, disk) in cuts.into_iter().enumerate() {
                let log = options(mode, policy).open_on(&disk, "/log").unwrap();
                log.flush().unwrap();
                append(&log, &disk, 5);
                log.flush().unwrap();
                let wear = log.stats().wear;
                // The last flush left a part behind: that much is written again at least.
                let again = log.recovery().segments_rewritten > 0 || n == 0;
                assert!(!again || wear.device_bytes > wear.payload_bytes + appended / 20);
                // What the killed process had populated and not used is no work of this one.
                let populated = if n == 0 { appended / 8 + PAGE } else { 0 };
                let real = disk.synced_bytes();
                assert!(wear.device_bytes + populated >= real, "{wear:?} of {real}");
                // Indexes made anew, and what lies between runs of whole batches.
                let bound = indexes(&disk) / PAGE + 2;
                let more = wear.device_bytes.saturating_sub(real) / PAGE;
                assert!(more <= bound, "{mode:?} {torn:?} {policy:?} {n}: {more} of {bound} pages");
            }
        }
    }
}

/// On a medium that tears, the copies of the tail are counted with each flush.
#[test]
fn copies_of_tails_are_counted() {
    let bytes = |torn| {
        let disk = disk(torn);
        let policy = FlushPolicy::EveryAppend;
        let log = options(IoMode::Positioned, policy).open_on(&disk, "/log").unwrap();
        append(&log, &disk, 50);
        let wear = log.stats().wear;
        assert_eq!(beyond(wear, &disk) * PAGE, indexes(&disk));
        wear.device_bytes
    };
    let (safe, torn) = (bytes(Torn::PowerSafe), bytes(Torn::Overwrite { bytes: 4096 }));
    assert!(torn >= safe + 49 * PAGE, "{torn} and {safe}: a slot of a page for each rewriting");
}

/// A sync that failed is not counted: nobody knows what the device has.
#[test]
fn a_failed_sync_counts_for_nothing() {
    for mode in MODES {
        let disk = disk(Torn::PowerSafe);
        let log = options(mode, FlushPolicy::Manual).open_on(&disk, "/log").unwrap();
        append(&log, &disk, 10);
        let before = log.stats().wear;
        let name = Some(".log".to_owned());
        disk.fail(Fault { on: CallKind::SyncFile, name, after: 0, times: 1, errno: 5 });
        log.flush().unwrap_err();
        let after = log.stats().wear;
        assert_eq!((after.device_bytes, after.syncs), (before.device_bytes, before.syncs));
    }
}

/// Deleting, committing and reading write checkpoints and nothing else.
#[test]
fn deleting_and_committing_count_checkpoints() {
    for mode in MODES {
        let disk = disk(Torn::PowerSafe);
        let log = options(mode, FlushPolicy::Manual).open_on(&disk, "/log").unwrap();
        append(&log, &disk, 200);
        log.flush().unwrap();
        let (before, real) = (log.stats().wear, disk.synced_bytes());
        for n in 1..=5 {
            log.delete_records(Offset::new(n * 20)).unwrap();
        }
        let mut consumer = log.consumer("uplink").unwrap();
        consumer.commit_offset(Offset::new(150)).unwrap();
        consumer.sync().unwrap();
        let wear = log.stats().wear;
        let counted = wear.device_bytes - before.device_bytes;
        assert_eq!(counted, disk.synced_bytes() - real, "{mode:?}");
        assert!((6 * PAGE..=8 * PAGE).contains(&counted), "{mode:?}: {counted}");
        assert!(wear.syncs >= before.syncs + 6);
    }
}

/// Sums add up, and a lifetime is what is left over time.
#[test]
fn wear_adds_up_and_says_how_long_a_card_lasts() {
    let disk = disk(Torn::PowerSafe);
    let log = options(IoMode::Mapped, FlushPolicy::EveryAppend).open_on(&disk, "/log").unwrap();
    append(&log, &disk, 20);
    let wear = log.stats().wear;
    let twice: Wear = [wear, wear].into_iter().sum();
    assert_eq!(twice.device_bytes, 2 * wear.device_bytes);
    assert_eq!(twice.per_payload_byte(), wear.per_payload_byte());
    let (rated, hour) = (1_000_000_000_000, Duration::from_secs(3600));
    let lasts = wear.lifetime(rated, hour).unwrap();
    assert_eq!(twice.lifetime(rated, 2 * hour).unwrap(), lasts);
    let exact = rated as f64 / wear.device_bytes as f64 * 3600.0;
    assert!((lasts.as_secs_f64() - exact).abs() <= 1.0, "{lasts:?} for {exact}");
    assert_eq!(wear.lifetime(rated, Duration::ZERO), None);
    assert_eq!(Wear::default().lifetime(rated, hour), None);
    assert!(Wear::default().per_payload_byte().is_none());
    // No numbers are too large.
    let mut most = wear;
    (most.device_bytes, most.payload_bytes) = (1, u64::MAX);
    assert_eq!(most.lifetime(u64::MAX, Duration::MAX), Some(Duration::from_secs(u64::MAX)));
    most += most;
    most.device_bytes = u64::MAX;
    assert_eq!(most.lifetime(1, Duration::from_secs(1)), Some(Duration::ZERO));
    let json = serde_json::to_value(log.stats()).unwrap();
    assert_eq!(json["wear"]["device_bytes"], wear.device_bytes);
    assert_eq!(serde_json::from_value::<Wear>(json["wear"].clone()).unwrap(), wear);
}

/// A store's sum is that of its logs, those that were closed included, and of its own files; one
/// sync of the whole filesystem counts as what it wrote of each log. It goes on over restarts.
#[test]
fn a_store_sums_up_what_its_logs_and_its_own_files_made_go_to_the_device() {
    for mode in MODES {
        let disk = disk(Torn::PowerSafe);
        let options = || {
            let logs = options(mode, FlushPolicy::Manual).segment_bytes(16 << 10);
            Store::options().logs(logs).max_open_logs(40)
        };
        let store = options().open_on(&disk, "/store").unwrap();
        let mut payload = 0;
        for round in 0..4 {
            // More than are flushed one by one, and more than may be open.
            for n in 0..50 {
                let log = store.log(&format!("log{n}")).unwrap();
                let before = log.stats().bytes_appended;
                for _ in 0..8 {
                    log.append(vec![b'x'; 900 + 100 * round]).unwrap();
                }
                payload += log.stats().bytes_appended - before;
            }
            store.flush().unwrap();
            let (wear, real) = (store.stats().wear, disk.synced_bytes());
            assert_eq!(wear.payload_bytes, payload);
            assert!(wear.device_bytes >= real, "{mode:?}: counted {} of {real}", wear.device_bytes);
            // What was closed has index files: two pages, written again each time. Logs that were
            // flushed together have a page of checkpoint that the next sync writes.
            let bound = real / 5 + 100 * PAGE;
            assert!(wear.device_bytes <= real + bound, "{mode:?}: {wear:?} of {real}");
        }
        let before = store.stats().wear;
        store.close().unwrap();
        let store = options().open_on(&disk, "/store").unwrap();
        let (wear, real) = (store.stats().wear, disk.synced_bytes());
        assert!(wear.device_bytes > before.device_bytes && wear.device_bytes >= real);
        assert_eq!(wear.payload_bytes, payload);
    }
}
