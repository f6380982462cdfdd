//! Following a log, for tests.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use forebay::{ErrorKind, FollowReader, IoMode, OffsetSpec, ReadOnlyLog};

use super::{Owned, records};

pub(crate) fn follow(mode: IoMode, dir: &Path) -> ReadOnlyLog {
    ReadOnlyLog::options().io_mode(mode).open(dir).unwrap()
}

/// What a follower gives until it has nothing more: records, and ranges it says are lost.
pub(crate) fn drain(reader: &mut FollowReader) -> (Vec<Owned>, Vec<Range<i64>>) {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    for step in 0.. {
        assert!(step < 100_000, "the reader does not end");
        match reader.next() {
            None => break,
            Some(Ok(batch)) => found.extend(records(&batch)),
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                let range = error.lost_offsets().unwrap();
                lost.push(range.start.get()..range.end.get());
            }
        }
    }
    (found, lost)
}

pub(crate) fn all(log: &ReadOnlyLog) -> (Vec<Owned>, Vec<Range<i64>>) {
    drain(&mut log.reader(OffsetSpec::Earliest).unwrap())
}

/// Names, kinds, lengths, times and bytes of everything in a directory.
pub(crate) fn picture(dir: &Path) -> Vec<(PathBuf, u64, SystemTime, Vec<u8>)> {
    let names = [vec![dir.to_path_buf()], super::files(dir)].concat();
    let look = |path: PathBuf| {
        let data = fs::symlink_metadata(&path).unwrap();
        let bytes = if data.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        (path, data.len(), data.modified().unwrap(), bytes)
    };
    names.into_iter().map(look).collect()
}
