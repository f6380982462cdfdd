//! The logs that are damaged: three segments, two consumers, closed or killed.

use std::path::Path;

use forebay::{ConsumerOptions, IoMode, Log, LogOptions, Offset, Visibility};

use super::image::{Image, Node};

use crate::util::fixture::Fixture;
use crate::util::{Owned, Place, files, manual, scratch};

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Closed,
    /// Half of its segments were never flushed.
    Killed,
}

/// A log to be damaged, and what is true of it.
pub(crate) struct Sample {
    pub(crate) left: Left,
    pub(crate) image: Image,
    /// The same log some time before.
    pub(crate) stale: Image,
    /// The durable offset then.
    pub(crate) stale_durable: i64,
    /// Another log of the same offsets and sizes.
    pub(crate) other: Image,
    pub(crate) truth: Fixture,
}

/// What consumer `c`, which sees written records, has committed.
pub(crate) const WRITTEN: i64 = 9;
/// What consumer `d`, which sees durable ones, has committed.
pub(crate) const DURABLE: i64 = 7;
/// What `c` had committed when the stale image was taken.
pub(crate) const STALE: i64 = 2;

/// Batches of the stale image, those that were flushed, and all.
const BATCHES: [usize; 3] = [4, 8, 16];

pub(crate) fn options(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(4096).index_interval_bytes(400)
}

/// Appends batches up to this number of them: one to three records each, of known content.
fn fill(log: &Log, records: &mut Vec<Owned>, from: usize, until: usize) {
    for batch in from..until {
        let first = records.len();
        for n in first..=first + batch % 3 {
            records.push(Owned {
                offset: i64::try_from(n).unwrap(),
                timestamp: 1_790_000_000_000 + i64::try_from((n * 7919) % 1000).unwrap(),
                key: (n % 2 == 0).then(|| format!("key {n}").into_bytes()),
                value: (n % 7 != 6).then(|| format!("value {n} {}", "v".repeat(300)).into_bytes()),
                headers: vec![("h".to_owned(), (n % 3 != 0).then(|| vec![0xff, 0]))],
            });
        }
        log.append_batch(records[first..].iter().map(Owned::to_new)).unwrap();
    }
}

/// The directory as it is now.
pub(crate) fn image_of(dir: &Path) -> Image {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files = files(dir);
    files.iter().map(|path| (name(path), Node::File(std::fs::read(path).unwrap()))).collect()
}

impl Sample {
    pub(crate) fn new(mode: IoMode, left: Left) -> Sample {
        let (image, stale, stale_durable, truth) = write(mode, left);
        let (other, ..) = write(mode, left);
        Sample { left, image, stale, stale_durable, other, truth }
    }

    pub(crate) fn both(mode: IoMode) -> [Sample; 2] {
        [Left::Closed, Left::Killed].map(|left| Sample::new(mode, left))
    }

    pub(crate) fn mode(&self) -> IoMode {
        self.truth.mode
    }

    pub(crate) fn end(&self) -> i64 {
        self.truth.end()
    }

    /// The names of all its files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.image.keys().cloned().collect()
    }

    /// A copy of the image with a change.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Image)) -> Image {
        let mut image = self.image.clone();
        change(&mut image);
        image
    }
}

fn write(mode: IoMode, left: Left) -> (Image, Image, i64, Fixture) {
    let dir = scratch();
    let log = options(mode).open(dir.path()).unwrap();
    let mut records = Vec::new();
    fill(&log, &mut records, 0, BATCHES[0]);
    let mut written = log.consumer("c").unwrap();
    written.commit_offset(Offset::new(STALE)).unwrap();
    let stale_durable = log.flush().unwrap().get();
    let stale = image_of(dir.path());
    fill(&log, &mut records, BATCHES[0], BATCHES[1]);
    let mut durable = log.flush().unwrap().get();
    let see_durable = ConsumerOptions::new().visibility(Visibility::Durable);
    let mut consumer = log.consumer_with("d", see_durable).unwrap();
    consumer.commit_offset(Offset::new(DURABLE)).unwrap();
    written.commit_offset(Offset::new(WRITTEN)).unwrap();
    fill(&log, &mut records, BATCHES[1], BATCHES[2]);
    drop((written, consumer));
    let id = log.id();
    if left == Left::Closed {
        log.close().unwrap();
        durable = i64::try_from(records.len()).unwrap();
    }
    let truth = Fixture::take(mode, &Place::at(dir.path()), records, Some(durable), id);
    assert_eq!(truth.names(".log").len(), 3, "three segments");
    (image_of(dir.path()), stale, stale_durable, truth)
}
