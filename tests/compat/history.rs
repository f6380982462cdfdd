//! The lives of the stored logs: what happened to each before it was stored.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use forebay::{IoMode, Log, Offset, OffsetSpec};

use super::options;
use crate::util::{Owned, batches_of, copy_dir, durable, read_all, scratch, segments};

/// A record of every kind, by its number.
pub(crate) fn record(n: i64) -> Owned {
    let text = |what: &str| format!("{what} {n}").into_bytes();
    let long = usize::try_from(n * 37 % 260).unwrap();
    Owned {
        offset: n,
        timestamp: 1_790_000_000_000 + n * 7919 % 1000,
        key: match n % 5 {
            0 => None,
            1 => Some(vec![0xff, 0, 0x80]),
            _ => Some(text("key")),
        },
        value: match n % 7 {
            6 => None,
            5 => Some(Vec::new()),
            _ => Some([text("value"), vec![b'v'; long]].concat()),
        },
        headers: match n % 3 {
            0 => Vec::new(),
            1 => vec![("unit".to_owned(), Some(b"C".to_vec()))],
            _ => vec![("null".to_owned(), None), ("bytes".to_owned(), Some(vec![0xfe, 0]))],
        },
    }
}

/// Appends batches of one to three records where the log ends, and keeps what was appended.
fn fill(log: &Log, truth: &mut Vec<Owned>, batches: i64) {
    for _ in 0..batches {
        let end = log.log_end_offset().get();
        let new: Vec<_> = (end..=end + end % 3).map(record).collect();
        log.append_batch(new.iter().map(Owned::to_new)).unwrap();
        truth.extend(new);
    }
}

/// What the death of the process leaves, beside it.
fn killed(dir: &Path) -> PathBuf {
    let copy = PathBuf::from(format!("{}-killed", dir.display()));
    copy_dir(dir, &copy);
    copy
}

/// The offsets of each batch of a segment, and where it lies.
type Batches = Vec<(Range<i64>, Range<usize>)>;

fn last_segment(dir: &Path) -> (PathBuf, Batches) {
    let path = segments(dir).pop().unwrap();
    let batches = batches_of(&path);
    (path, batches)
}

fn cut(path: &Path, bytes: usize) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes as u64).unwrap();
}

fn overwrite(path: &Path, position: usize, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(position as u64)).unwrap();
    file.write_all(bytes).unwrap();
}

/// Two power cuts, a torn tail set aside, durable records lost, records deleted, and then a good
/// day.
fn live(mode: IoMode, dir: &Path) -> (Log, Vec<Owned>) {
    let mut truth = Vec::new();
    let log = options("killed", mode).open(dir).unwrap();
    fill(&log, &mut truth, 20);
    let end = log.flush().unwrap();
    log.consumer("display").unwrap().commit_offset(Offset::new(end.get() - 9)).unwrap();
    log.consumer_with("uplink", durable()).unwrap().commit_offset(end).unwrap();
    fill(&log, &mut Vec::new(), 3);
    let dir = killed(dir);
    // The first of three batches never reached the device.
    let (path, batches) = last_segment(&dir);
    let places = &batches.iter().find(|(offsets, _)| offsets.start == end.get()).unwrap().1;
    overwrite(&path, places.start + 61, &vec![0; places.len() - 61]);
    drop(log);
    let log = options("killed", mode).open(&dir).unwrap();
    let report = log.recovery();
    assert!(report.bytes_cut > 0 && report.records_cut > 1 && report.lost.is_none(), "{report:?}");

    fill(&log, &mut truth, 4);
    let end = log.flush().unwrap();
    let dir = killed(&dir);
    let (path, batches) = last_segment(&dir);
    let (offsets, places) = batches.last().unwrap();
    assert_eq!(offsets.end, end.get());
    // A device that lied: the last durable batch is gone.
    cut(&path, places.start);
    truth.retain(|record| record.offset < offsets.start);
    drop(log);
    let log = options("killed", mode).open(&dir).unwrap();
    assert_eq!(log.recovery().lost.as_ref().map(|lost| lost.end), Some(end));

    fill(&log, &mut truth, 26);
    log.flush().unwrap();
    // Inside a batch, and behind the first segment.
    let start = batches_of(&segments(&dir)[1])[1].0.start + 1;
    log.delete_records(Offset::new(start)).unwrap();
    truth.retain(|record| record.offset >= start);
    fill(&log, &mut truth, 2);
    let end = log.flush().unwrap();
    log.consumer_with("uplink", durable()).unwrap().commit_offset(end).unwrap();
    log.consumer("display").unwrap().commit_offset(Offset::new(start + 5)).unwrap();
    fill(&log, &mut truth, 4);
    let seen = log.log_end_offset();
    log.consumer("ahead").unwrap().commit_offset(Offset::new(seen.get() - 1)).unwrap();
    assert!(log.durable_offset() < seen);
    (log, truth)
}

pub(crate) fn write_closed(to: &Path) -> Vec<Owned> {
    let tmp = scratch();
    let (log, truth) = live(IoMode::Mapped, &tmp.path().join("log"));
    let dir = log.dir().to_owned();
    log.close().unwrap();
    copy_dir(&dir, to);
    truth
}

pub(crate) fn write_killed(to: &Path) -> Vec<Owned> {
    let tmp = scratch();
    let (log, truth) = live(IoMode::Positioned, &tmp.path().join("log"));
    copy_dir(log.dir(), to);
    truth
}

/// A mirror of two of three batches, on a medium that tore what was written again after the last
/// flush: the end of what is durable, and what came behind it.
pub(crate) fn write_torn(to: &Path) -> Vec<Owned> {
    let tmp = scratch();
    let source = options("killed", IoMode::Mapped).open(tmp.path().join("source")).unwrap();
    fill(&source, &mut Vec::new(), 36);
    let batches: Vec<_> =
        source.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect();
    let mirror = options("torn", IoMode::Mapped).mirror_of(source.id());
    let mirror = mirror.open(tmp.path().join("mirror")).unwrap();
    for (n, batch) in batches.iter().enumerate().filter(|(n, _)| n % 3 != 1) {
        mirror.append_mirrored(batch).unwrap();
        if n % 12 == 0 {
            mirror.flush().unwrap();
        }
    }
    mirror.consumer("display").unwrap().commit_offset(Offset::new(11)).unwrap();
    let end = mirror.durable_offset();
    mirror.consumer_with("uplink", durable()).unwrap().commit_offset(Offset::new(17)).unwrap();
    let mut truth = read_all(&mirror);
    truth.retain(|record| record.offset < end.get());
    copy_dir(mirror.dir(), to);
    let (path, batches) = last_segment(to);
    let durable = batches.iter().find(|(offsets, _)| offsets.end == end.get()).unwrap().1.end;
    assert!(durable % 512 > 0, "something durable is rewritten");
    let torn = durable / 512 * 512..(durable / 512 + 1) * 512;
    overwrite(&path, torn.start, &vec![0xee; torn.len()]);
    assert!(fs::metadata(&path).unwrap().len() >= torn.end as u64);
    truth
}
