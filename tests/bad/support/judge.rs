//! What may come of opening a damaged log, whatever the damage: all data, isolation that is told,
//! or a typed refusal; never wrong bytes, silence, a panic, gigabytes, minutes, or a write to what
//! was refused (V1, V2, V10, V13).

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use forebay::{Error, ErrorKind, Log, Offset, RecoveryReport, SegmentFile};

use super::heap;
use super::image::{self, Image, Seen};
use super::sample::{DURABLE, STALE, Sample, WRITTEN, options};

use crate::util::{Found, at, read_through, texts};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Whole,
    Isolated,
    Refused,
}

/// The class, and what a row may want to look at besides.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) class: Class,
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) took: Duration,
    pub(crate) heap: usize,
}

const TIME_MAX: Duration = Duration::from_secs(10);
const HEAP_BYTES_MAX: usize = 64 << 20;

/// Opens what lies in `dir`, which is `image`, a damaged copy of the sample; fails on whatever must
/// never happen.
pub(crate) fn judge(sample: &Sample, image: &Image, dir: &Path) -> Verdict {
    let before = Seen::of(dir);
    let started = Instant::now();
    let (mut verdict, heap) = heap::peak(|| {
        inspect(image, dir);
        open(sample, image, dir, &before)
    });
    verdict.took = started.elapsed();
    verdict.heap = heap;
    assert!(verdict.took < TIME_MAX, "V13: it took {:?}", verdict.took);
    assert!(heap < HEAP_BYTES_MAX, "V13: it held {heap} bytes");
    verdict
}

/// Looks into every segment file there: it ends, and changes nothing.
fn inspect(image: &Image, dir: &Path) {
    for name in image.keys().filter(|name| name.ends_with(".log")) {
        let Ok(segment) = SegmentFile::open(dir.join(name)) else { continue };
        for (_, batch) in segment.take(10_000).flatten() {
            batch.records().for_each(drop);
        }
    }
}

fn open(sample: &Sample, image: &Image, dir: &Path, before: &Seen) -> Verdict {
    let log = match options(sample.mode()).open(dir) {
        Ok(log) => log,
        Err(error) => return refused(sample, &error, dir, before),
    };
    let report = log.recovery().clone();
    let found = read_through(&log, forebay::OffsetSpec::Earliest);
    let known = known_durable(sample, image, &report);
    check_truth(sample, &log, &found, known);
    let missing = check_told(sample, &log, &found, &report, known);
    check_isolation(sample, image, &missing, &report, known);
    check_lookups(sample, &log, &found);
    check_commits(sample, image, &log, &report);
    let end = check_alive(&log);
    log.close().expect("V17: it closes");
    check_kept(sample, image, dir, &report, known);
    check_again(sample, dir, &found, end, report.foreign_files.len());
    let told = report.damaged_ranges + report.checkpoint_slots_damaged > 0
        || report.lost.is_some()
        || report.checkpoint_lost
        || report.seal_lost
        || report.bytes_cut > 0;
    let whole = missing.is_empty() && !told;
    let class = if whole { Class::Whole } else { Class::Isolated };
    Verdict { class, kind: None, took: Duration::ZERO, heap: 0 }
}

/// A refusal is typed, says where, frees the lock, and has changed nothing.
fn refused(sample: &Sample, error: &Error, dir: &Path, before: &Seen) -> Verdict {
    let typed = [
        ErrorKind::Io,
        ErrorKind::OutOfSpace,
        ErrorKind::Corrupt,
        ErrorKind::InvalidArgument,
        ErrorKind::UnsupportedFormat,
        ErrorKind::ReadOnly,
    ];
    let text = error.to_string();
    assert!(typed.contains(&error.kind()), "{text}");
    assert!(error.path().is_some_and(|path| path.starts_with(dir)), "it says where: {text}");
    assert!(!text.contains('\n'), "{text}");
    if let Some(difference) = before.difference(&Seen::of(dir)) {
        panic!("refused, and yet {difference}: {text}");
    }
    let again = options(sample.mode()).open(dir).map(drop).unwrap_err();
    assert_eq!(again.kind(), error.kind(), "the second time: {again}");
    Verdict { class: Class::Refused, kind: Some(error.kind()), took: Duration::ZERO, heap: 0 }
}

/// What the log once was is written in the checkpoint alone: where that is said to be lost, nobody
/// can know of records whose files are gone as well.
fn forgotten(report: &RecoveryReport) -> bool {
    report.checkpoint_lost || report.created
}

/// Below which offset the log can know that records were durable: by what its checkpoint says.
fn known_durable(sample: &Sample, image: &Image, report: &RecoveryReport) -> i64 {
    let files_left = image.keys().any(|name| name.ends_with(".log") || name == "checkpoint");
    if forgotten(report) || !files_left {
        return 0;
    }
    match image.get("checkpoint") == sample.stale.get("checkpoint") {
        true => sample.stale_durable,
        false => sample.truth.durable,
    }
}

/// V2: every record was appended, at that offset, and they come in order.
fn check_truth(sample: &Sample, log: &Log, found: &Found, known: i64) {
    let (start, durable, end) =
        (log.log_start_offset(), log.durable_offset(), log.log_end_offset());
    assert!(start <= durable && durable <= end, "I1: {start}, {durable}, {end}");
    assert!(end.get() >= known, "I2: the end fell to {end}");
    let mut next = start.get();
    for record in &found.records {
        assert!(record.offset >= next, "V2: {} when {next} was due", record.offset);
        next = record.offset + 1;
        let truth = usize::try_from(record.offset).ok();
        let truth = truth.and_then(|n| sample.truth.records.get(n));
        assert_eq!(Some(record), truth, "V2: wrong bytes");
    }
}

/// V1, V10: the offsets that are not there any more; those that were durable are told.
fn check_told(
    sample: &Sample,
    log: &Log,
    found: &Found,
    report: &RecoveryReport,
    known: i64,
) -> Vec<i64> {
    let seen: Vec<i64> = found.records.iter().map(|record| record.offset).collect();
    let missing: Vec<i64> = (0..sample.end()).filter(|n| seen.binary_search(n).is_err()).collect();
    let told = report.lost.iter().chain(&report.damaged);
    let told: Vec<Range<i64>> = told.map(|r| r.start.get()..r.end.get()).collect();
    let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
    let due = if forgotten(report) { start..end } else { 0..known.max(end) };
    let cut = missing.iter().any(|n| *n >= due.end && *n < sample.truth.durable);
    let cut_told = report.bytes_cut + report.segments_set_aside > 0 || known == 0;
    assert!(!cut || cut_told, "V1: cut without a word: {report:?}");
    for n in missing.iter().filter(|n| due.contains(n)) {
        let told = told.iter().chain(&found.lost).any(|range| range.contains(n));
        assert!(told, "V1: {n} is missing and nobody says so: {report:?}, {:?}", found.errors);
    }
    missing
}

/// V10, V11: what is whole at its place is read, below the recovery point whatever else is damaged,
/// above it up to the first batch that is not.
fn check_isolation(
    sample: &Sample,
    image: &Image,
    missing: &[i64],
    report: &RecoveryReport,
    known: i64,
) {
    let mut above_is_whole = true;
    for (offsets, name, places) in &sample.truth.batches {
        let original = image::bytes(&sample.image, name).and_then(|b| b.get(places.clone()));
        let now = image::bytes(image, name).and_then(|b| b.get(places.clone()));
        let whole = original == now;
        let durable = offsets.end <= known;
        above_is_whole &= whole || durable;
        let expected = whole && (durable || above_is_whole);
        // Behind the last batch that was flushed, whatever is not zero is not whole either.
        let behind = image::bytes(image, name).and_then(|b| b.get(places.end..));
        let last =
            !sample.truth.batches.iter().any(|(o, f, _)| f == name && o.start >= offsets.end);
        let clear = behind.unwrap_or_default().iter().all(|&byte| byte == 0);
        above_is_whole &= !last || clear || offsets.end < known;
        let gone = missing.iter().find(|n| offsets.contains(n));
        assert!(
            !expected || gone.is_none(),
            "V10: {offsets:?} is whole in {name} and not read: missing {missing:?}, {report:?}"
        );
    }
}

/// I5: from wherever one begins, the same records come.
fn check_lookups(sample: &Sample, log: &Log, found: &Found) {
    for (offsets, ..) in &sample.truth.batches {
        let from = offsets.end - 1;
        let valid = log.log_start_offset().get()..log.log_end_offset().get();
        if !valid.contains(&from) {
            continue;
        }
        let first = log.reader(at(from)).unwrap().find_map(Result::ok);
        let first = first.and_then(|batch| batch.records().next()?.ok().map(|r| r.offset().get()));
        let due = found.records.iter().map(|record| record.offset).find(|offset| *offset >= from);
        assert_eq!(first, due, "I5: read from {from}");
    }
}

/// Whether a page of the checkpoint that held something is all zeros: it cannot be told from one
/// that was never written, so an older one serves and nobody knows.
fn a_slot_vanished(sample: &Sample, image: &Image) -> bool {
    let of = |image| image::bytes(image, "checkpoint").cloned().unwrap_or_default();
    let (before, now) = (of(&sample.image), of(image));
    let mut pages = before.chunks(4096).zip(now.chunks(4096));
    let zero = |page: &[u8]| page.iter().all(|&byte| byte == 0);
    now.len() < before.len() || pages.any(|(before, now)| !zero(before) && zero(now))
}

/// V6: a commit is there, or it is said that some may be gone.
fn check_commits(sample: &Sample, image: &Image, log: &Log, report: &RecoveryReport) {
    let told = report.checkpoint_slots_damaged > 0 || forgotten(report);
    let told = told || a_slot_vanished(sample, image);
    let stale = image.get("checkpoint") == sample.stale.get("checkpoint");
    let consumers = log.consumers();
    for (name, expected, before) in [("c", WRITTEN, Some(STALE)), ("d", DURABLE, None)] {
        let committed = consumers.iter().find(|c| c.name == name).map(|c| c.committed.get());
        let kept = committed == Some(expected.min(log.log_end_offset().get()));
        assert!(
            kept || told || (stale && committed == before),
            "V6: {name} has committed {committed:?}, nobody says why: {report:?}"
        );
    }
}

/// V17: it can be appended to, flushed, read and consumed; the end before that.
fn check_alive(log: &Log) -> Offset {
    let end = log.log_end_offset();
    assert_eq!(log.append("alive").expect("V17"), end);
    assert_eq!(log.append_batch(["and", "well"]).expect("V17").start, end + 1);
    assert_eq!(log.flush().expect("V17"), end + 3);
    let batch = log.reader(forebay::OffsetSpec::At(end)).unwrap().next().unwrap().expect("V17");
    assert_eq!(texts(&batch), ["alive"]);
    let mut consumer = log.consumer("alive").expect("V17");
    consumer.seek(forebay::OffsetSpec::At(end)).unwrap();
    let polled = consumer.poll(Duration::ZERO).unwrap().unwrap();
    assert_eq!(texts(&polled), ["alive"]);
    consumer.commit().unwrap();
    end
}

/// I13: below the recovery point no file is changed, damaged or not.
fn check_kept(sample: &Sample, image: &Image, dir: &Path, report: &RecoveryReport, known: i64) {
    for name in sample.truth.names(".log") {
        let Some(image::Node::File(before)) = image.get(&name) else { continue };
        let original = image::bytes(&sample.image, &name).unwrap();
        let batches = sample.truth.batches.iter();
        let durable = batches.filter(|(o, file, _)| *file == name && o.end <= known);
        // Where the recovery point is lost, what is not whole behind the last whole batch is torn.
        let kept = durable.filter(|(.., places)| {
            !forgotten(report) || before.get(places.clone()) == original.get(places.clone())
        });
        let until = kept.map(|(.., places)| places.end).max().unwrap_or(0).min(before.len());
        // Where zeros stand nothing is left to be kept.
        let used = before[..until].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let until = until.min(used);
        let now = std::fs::read(dir.join(&name)).unwrap_or_default();
        assert!(
            now.get(..until) == Some(&before[..until]),
            "I13: {name} was changed below its durable end, {until}"
        );
    }
}

/// I12: opened once more it reads the same.
fn check_again(sample: &Sample, dir: &Path, first: &Found, end: Offset, strays: usize) {
    let truth = &sample.truth.records;
    let log = options(sample.mode()).open(dir).expect("I12: what was opened opens again");
    let report = log.recovery();
    assert_eq!((report.bytes_cut, report.records_cut), (0, 0), "I12: {report:?}");
    assert_eq!(log.log_end_offset(), end + 3, "I12: {report:?}");
    let mut again = read_through(&log, forebay::OffsetSpec::Earliest).records;
    again.retain(|record| record.offset < end.get());
    if strays == 0 {
        assert!(again == first.records, "I12: other records, {report:?}");
    } else {
        // Records whose file lies under a name that is not its own may be found the second time.
        assert!(first.records.iter().all(|record| again.contains(record)), "I12: {report:?}");
        assert!(again.iter().all(|r| truth.iter().any(|true_one| true_one == r)));
    }
    let alive = log.consumer("alive").unwrap().committed();
    assert_eq!(alive, end + 1, "I12");
}
