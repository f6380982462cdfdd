//! What a log takes of memory stays below its formula, and below the bound that was set: measured
//! in every allocation the process makes.
#![expect(unsafe_code, reason = "a global allocator that counts can only be unsafe")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use forebay::{
    Cleanup, CompactionReport, Error, ErrorKind, IoMode, Log, LogOptions, Media, NewRecord, Offset,
    OffsetSpec, RecoveryMode, Timestamp,
};
use util::{MODES, at, kind, manual, scratch};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// One test at a time, for all of the process is measured.
static ALONE: Mutex<()> = Mutex::new(());

struct Measuring;

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches two atomics.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // As if it were copied: both are there for a moment.
        grow(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static MEASURING: Measuring = Measuring;

/// The most that was taken during `work` above what was there before, on a thread of its own: no
/// buffer is kept from before.
fn peak<T: Send>(work: impl FnOnce() -> T + Send) -> (usize, T) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let done = thread::scope(|scope| scope.spawn(work).join().unwrap());
    (PEAK.load(Ordering::Relaxed) - before, done)
}

/// The largest indexes that segments of this size can have: a batch of one small record each.
fn dense(mode: IoMode) -> LogOptions {
    let options = manual(mode).segment_bytes(512 << 10).max_batch_bytes(16 << 10);
    options.index_interval_bytes(1).media(Media::PowerSafe)
}

const SEGMENTS: u64 = 20;
/// The indexes of one of these segments, by the formula.
const INDEX_BYTES: usize = 24 * ((512 << 10) / 61 + 2);

fn write(options: &LogOptions, dir: &Path) {
    let log = options.clone().open(dir).unwrap();
    for n in 0.. {
        let time = Timestamp::from_millis(n);
        log.append(NewRecord::new("").timestamp(time)).unwrap();
        if n % 1000 == 0 {
            log.append(NewRecord::new(vec![7; 12 << 10]).timestamp(time)).unwrap();
            if log.stats().segments == SEGMENTS {
                break;
            }
        }
    }
    log.flush().unwrap();
    log.close().unwrap();
}

/// Reads all of it twice, at random places, by times; one reader.
fn read(log: &Log) {
    let end = log.log_end_offset().get();
    let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
    for _ in 0..2 {
        let batches = reader.by_ref().map(|batch| batch.unwrap().len()).sum::<usize>();
        assert_eq!(i64::try_from(batches).unwrap(), end);
        reader.seek(OffsetSpec::Earliest).unwrap();
    }
    for n in 0..400 {
        let place = n * 7919 % end;
        reader.seek(at(place)).unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert!(batch.base_offset().get() <= place && batch.next_offset().get() > place);
        reader.seek(OffsetSpec::Timestamp(Timestamp::from_millis(n * 331 % end))).unwrap();
    }
}

/// Everything but appending that a log can be asked for.
fn maintain(log: &Log, elsewhere: &Path) {
    assert!(log.verify().unwrap().is_whole());
    log.snapshot(elsewhere.join("snapshot")).unwrap();
    log.export(elsewhere.join("export")).unwrap();
    let end = log.log_end_offset();
    log.delete_records(Offset::new(end.get() / 2)).unwrap();
}

fn bound(options: &LogOptions, readers: usize) -> usize {
    let names = usize::try_from(SEGMENTS).unwrap() * 256;
    options.memory_bytes_max(readers) + names
}

/// Writing, rolling, reading, looking up, maintaining and recovering a log of many segments takes
/// no more than the formula says, with a bound and without; and the bound is what makes it so.
#[test]
fn a_log_takes_no_more_memory_than_its_formula_says() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for mode in MODES {
        let dir = scratch();
        let free = dense(mode);
        let limit = free.memory_bytes_max(1) - 15 * 2 * INDEX_BYTES;
        let tight = free.clone().memory_limit_bytes(limit);
        assert!(tight.memory_bytes_max(1) <= limit);
        let mut peaks = Vec::new();
        for options in [&tight, &free] {
            if std::ptr::eq(options, &tight) {
                let (written, ()) = peak(|| write(options, dir.path()));
                assert!(written <= bound(options, 0), "{mode:?}: writing took {written}");
            }
            let (all_read, shown) = peak(|| {
                let log = options.clone().open(dir.path()).unwrap();
                read(&log);
                let stats = log.stats();
                assert!(stats.memory_bytes <= stats.memory_bytes_max);
                assert!(stats.memory_bytes_max <= bound(options, 0) as u64);
                stats
            });
            println!("{mode:?}: reading took {all_read} of {}", bound(options, 1));
            assert!(all_read <= bound(options, 1), "{mode:?}: reading took {all_read}");
            // What is shown is what is there, buffers of a moment left out.
            assert!(shown.memory_bytes <= all_read as u64);
            peaks.push((all_read, shown.open_sealed_segments));
        }
        assert!(peaks[0].0 + (1 << 20) < peaks[1].0, "the bound changes nothing: {peaks:?}");
        assert!(peaks[0].1 < peaks[1].1 && peaks[1].1 == 16, "{peaks:?}");
        assert!(peaks[1].0 > bound(&tight, 1), "the bound would hold without being kept");
        let killed = scratch();
        util::copy_dir(dir.path(), killed.path());
        std::fs::remove_file(killed.path().join("checkpoint")).unwrap();
        for (what, place) in [("closed", &dir), ("killed", &killed)] {
            let (kept, ()) = peak(|| {
                let elsewhere = scratch();
                let log = tight.clone().open(place.path()).unwrap();
                maintain(&log, elsewhere.path());
            });
            println!("{mode:?}: {what}: maintaining took {kept} of {}", bound(&tight, 0));
            assert!(kept <= bound(&tight, 0), "{mode:?}, {what}: maintaining took {kept}");
        }
    }
}

/// Batches as large as they may be, with readers, consumers, a thread of the log's own and a medium
/// that tears.
#[test]
fn large_batches_many_readers_and_torn_media_stay_below_the_formula() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for mode in MODES {
        let dir = scratch();
        let options = Log::options().io_mode(mode).segment_bytes(1 << 20).background(true);
        let options = options.max_batch_bytes(300_000).media(Media::TornOverwrite);
        let options = options.torn_bytes(64 << 10);
        let (taken, ()) = peak(|| {
            let log = options.clone().open(dir.path()).unwrap();
            let mut consumers: Vec<_> =
                (0..8).map(|n| log.consumer(&format!("{n:0>249}")).unwrap()).collect();
            // Larger every time: a buffer that grows by doubling would pass its bound.
            for n in 1..60 {
                let bytes = vec![b'x'; n * 4999];
                log.append(&bytes).unwrap();
                drop(bytes);
                if n % 7 == 0 {
                    log.flush().unwrap();
                }
                for consumer in &mut consumers {
                    consumer.poll(Duration::ZERO).unwrap().unwrap();
                    consumer.commit().unwrap();
                }
            }
        });
        // The test's own value is one more batch.
        let most = options.memory_bytes_max(8) + 300_000 + 10 * 256;
        println!("{mode:?}: {taken} of {most}");
        assert!(taken <= most, "{mode:?}: {taken} of {most}");
    }
}

/// Batches as large as a segment: written, read, recovered, written again by the first flush after
/// a kill, verified and copied.
#[test]
fn batches_as_large_as_a_segment_stay_below_the_formula() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    const SEGMENT: usize = 2 << 20;
    for mode in MODES {
        let (dir, killed) = (scratch(), scratch());
        let options = manual(mode).segment_bytes(SEGMENT).max_batch_bytes(SEGMENT);
        let options = options.media(Media::PowerSafe).recovery(RecoveryMode::Full);
        let value = vec![7; SEGMENT - 80];
        let most = |readers| options.memory_bytes_max(readers) + 10 * 256;
        let (written, ()) = peak(|| {
            let log = options.clone().open(dir.path()).unwrap();
            for _ in 0..4 {
                log.append(&value).unwrap();
            }
            util::copy_dir(dir.path(), killed.path());
            log.flush().unwrap();
        });
        assert!(written <= most(0), "{mode:?}: writing took {written} of {}", most(0));
        let (recovered, ()) = peak(|| {
            let log = options.clone().open(killed.path()).unwrap();
            assert_eq!(log.durable_offset(), Offset::ZERO);
            log.append(&value).unwrap();
            log.flush().unwrap();
            let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
            assert_eq!(reader.by_ref().map(|batch| batch.unwrap().len()).sum::<usize>(), 5);
        });
        assert!(recovered <= most(1), "{mode:?}: recovering took {recovered} of {}", most(1));
        let (kept, ()) = peak(|| {
            let elsewhere = scratch();
            let log = options.clone().open(killed.path()).unwrap();
            maintain(&log, elsewhere.path());
        });
        println!("{mode:?}: {written}, {recovered}, {kept} of {}", most(0));
        assert!(kept <= most(0), "{mode:?}: maintaining took {kept} of {}", most(0));
    }
}

/// What cannot fit is refused with the numbers, before anything is made.
#[test]
fn a_bound_that_leaves_no_room_is_refused_with_the_numbers() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for mode in MODES {
        let dir = scratch();
        let options = manual(mode).segment_bytes(64 << 10).max_batch_bytes(4096);
        let options = options.media(Media::PowerSafe);
        let path = dir.path().join("log");
        let error = options.clone().memory_limit_bytes(10_000).open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let text = error.to_string();
        for number in ["10000", "4096", "65536"] {
            assert!(text.contains(number), "{text}");
        }
        assert!(!path.exists(), "nothing was made");
        // The number it names is enough, and one less is not.
        let least: usize = text
            .split("these options need ")
            .nth(1)
            .unwrap()
            .split(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let open = |bytes| options.clone().memory_limit_bytes(bytes).open(&path);
        assert_eq!(kind(open(least - 1)), ErrorKind::InvalidArgument);
        let log = open(least).unwrap();
        assert!(least >= options.clone().memory_limit_bytes(least).memory_bytes_max(1));
        // One reader has room, and that is all.
        let reader = log.reader(OffsetSpec::Earliest).unwrap();
        let refused: [Result<(), Error>; 2] =
            [log.reader(OffsetSpec::Earliest).map(drop), log.consumer("c").map(drop)];
        for error in refused.map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
            assert!(error.to_string().contains(&least.to_string()), "{error}");
        }
        assert!(log.consumers().is_empty(), "a refused consumer is not made");
        drop(reader);
        let consumer = log.consumer("c").unwrap();
        assert_eq!(kind(log.reader(OffsetSpec::Earliest)), ErrorKind::OutOfSpace);
        drop(consumer);
        log.reader(OffsetSpec::Earliest).unwrap();
    }
}

/// A reader more takes room from sealed segments, and gives it back.
#[test]
fn readers_and_open_segments_share_what_there_is() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = scratch();
    let options = manual(IoMode::Positioned).segment_bytes(64 << 10).max_batch_bytes(60 << 10);
    let options = options.index_interval_bytes(1).media(Media::PowerSafe);
    let limit = options.memory_bytes_max(1);
    let log = options.memory_limit_bytes(limit).open(dir.path()).unwrap();
    for _ in 0..20 {
        log.append(vec![7; 50_000]).unwrap();
    }
    let open = || log.stats().open_sealed_segments;
    let read = || log.reader(OffsetSpec::Earliest).unwrap().map(|batch| batch.unwrap().len()).sum();
    let all: usize = read();
    assert_eq!((all, open()), (20, 16), "one reader was counted for");
    let mut readers = Vec::new();
    while let Ok(reader) = log.reader(OffsetSpec::Earliest) {
        readers.push(reader);
        assert!(readers.len() < 100);
    }
    assert!(readers.len() > 8, "{}", readers.len());
    assert_eq!(open(), 1);
    for reader in &mut readers {
        assert_eq!(reader.by_ref().map(Result::unwrap).count(), 20);
    }
    drop(readers);
    let again: usize = read();
    assert_eq!((again, open()), (20, 16));
}

/// What a key takes of memory in a compaction, as `LogOptions::compaction_memory_bytes` says.
const KEY_BYTES_MIN: usize = 30;
const KEY_BYTES_MAX: usize = 46;

/// How many keys are compacted: `FOREBAY_MEMORY_KEYS=1000000`, in a release build, for a million.
fn key_count() -> usize {
    std::env::var("FOREBAY_MEMORY_KEYS").map_or(50_000, |count| count.parse().unwrap())
}

/// A log that compacts when it is told to.
fn keyed(mode: IoMode) -> LogOptions {
    let options = manual(mode).segment_bytes(1 << 20).max_batch_bytes(64 << 10);
    let options = options.media(Media::PowerSafe).cleanup(Cleanup::Compact);
    options.min_cleanable_dirty_percent(100)
}

fn key(number: usize) -> String {
    format!("plant/hall-7/line-3/sensor-{number:09}")
}

/// A record of each of these keys, then what seals them.
fn write_keys(options: &LogOptions, dir: &Path, numbers: impl Iterator<Item = usize>) {
    let log = options.clone().open(dir).unwrap();
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(500) {
        let records = some.iter().map(|number| (key(*number), number.to_string()));
        let records: Vec<_> = records.collect();
        let records = records.iter().map(|(key, value)| NewRecord::new(value).key(key));
        log.append_batch(records).unwrap();
    }
    let sealed = log.stats().segments;
    while log.stats().segments == sealed {
        log.append(NewRecord::new(vec![7; 60 << 10]).key("what seals")).unwrap();
    }
    log.flush().unwrap();
    log.close().unwrap();
}

/// Opens the log and compacts it; what was taken at most meanwhile.
fn compact(options: &LogOptions, dir: &Path) -> (usize, CompactionReport) {
    peak(|| options.clone().open(dir).unwrap().compact().unwrap())
}

/// Every key is there once, at the offset of its newest record.
fn check_keys(options: &LogOptions, dir: &Path, keys: usize) {
    let log = options.clone().open(dir).unwrap();
    let (mut next, mut last) = (0, -1);
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch.unwrap().records() {
            let record = record.unwrap();
            let offset = record.offset().get();
            assert!(offset > last);
            last = offset;
            // In order of offsets: the keys that were written once, then the others.
            let once = keys - keys.div_ceil(4);
            let number = if next < once { next / 3 * 4 + next % 3 + 1 } else { (next - once) * 4 };
            if number >= keys {
                assert_eq!(record.key(), Some(&b"what seals"[..]));
                continue;
            }
            let newest = if next < once { number } else { keys + number / 4 };
            assert_eq!(offset, i64::try_from(newest).unwrap());
            assert_eq!(record.key(), Some(key(number).as_bytes()));
            assert_eq!(record.value(), number.to_string().as_bytes());
            next += 1;
        }
    }
    assert_eq!(next, keys, "each key is there");
    assert!(log.verify().unwrap().is_whole());
}

/// A compaction takes what the formula says, and of that for each key what its option says, every
/// allocation counted; one that has no room for all keys goes through the log several times, keeps
/// its bound, and does the same.
#[test]
fn a_compaction_takes_no_more_memory_for_a_key_than_it_says() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let keys = key_count();
    let with_seal = |keys: usize| keys as u64..=keys as u64 + 1;
    for mode in MODES {
        let few = keyed(mode).compaction_memory_bytes(64 << 10);
        let ample = keyed(mode).compaction_memory_bytes(keys * 200);
        let room = (keys * 6).max(64 << 10);
        let tight = keyed(mode).compaction_memory_bytes(room);
        let limit = tight.memory_bytes_max(1);
        let limited = keyed(mode).memory_limit_bytes(limit);
        let (dir, copy) = (scratch(), scratch());
        write_keys(&ample, dir.path(), (0..keys).chain((0..keys).step_by(4)));
        util::copy_dir(dir.path(), copy.path());
        let (taken, report) = compact(&ample, dir.path());
        assert!(report.passes == 1 && with_seal(keys).contains(&report.keys), "{report:?}");
        assert_eq!(report.records_after, report.keys, "{report:?}");
        let superseded = report.superseded;
        assert!(superseded >= keys.div_ceil(4) as u64, "{report:?}");
        check_keys(&ample, dir.path(), keys);
        // What is not keys: the same segments with few new ones, for those that are not take none.
        write_keys(&few, dir.path(), (0..100).map(|n| n * keys / 100));
        let (other, again) = compact(&few, dir.path());
        assert!(again.passes == 1 && with_seal(100).contains(&again.keys), "{again:?}");
        let by_keys = taken - other;
        println!(
            "{mode:?}: {keys} keys in {} segments take {by_keys} bytes, {} a million, and {other}",
            report.segments_before,
            by_keys as u64 * 1_000_000 / keys as u64
        );
        assert!(by_keys <= KEY_BYTES_MAX * keys, "{mode:?}: {keys} keys take {by_keys}");
        assert!(by_keys >= KEY_BYTES_MIN * keys, "{mode:?}: {keys} keys take {by_keys}");
        let names = usize::try_from(report.segments_before + 2).unwrap() * 256;
        let most = ample.memory_bytes_max(0) + names;
        assert!(taken <= most, "{mode:?}: {taken} of {most}");

        for options in [&tight, &limited] {
            let place = scratch();
            util::copy_dir(copy.path(), place.path());
            let (kept, report) = compact(options, place.path());
            println!("{mode:?}: {} passes take {kept} bytes", report.passes);
            assert!(report.passes > 2, "{report:?}");
            assert_eq!(report.superseded, superseded, "{report:?}");
            assert!(kept <= options.memory_bytes_max(0) + names, "{mode:?}: {kept}");
            if std::ptr::eq(options, &tight) {
                // What is copied differs, and so does the buffer for that.
                let most = other + room + (512 << 10);
                assert!(kept <= most, "{mode:?}: {kept} of {most}, {other} and {room}");
            }
            check_keys(options, place.path(), keys);
        }
        assert!(limited.memory_bytes_max(0) <= limit);
    }
}
