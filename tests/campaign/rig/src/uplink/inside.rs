//! Where a partition ends, in batches of the device's log: looked up in the files of both.

use std::fs;
use std::path::Path;

use forebay::{Log, Offset, OffsetSpec, SegmentFile};

/// Whether the partition ends inside a batch of the log, so that shipping has to go on there. As
/// long as each record stands upstream once and in order, both count alike. `None` where one of
/// them cannot be read now.
pub fn ends_inside(log: &Path, partition: &Path) -> Option<bool> {
    let end = partition_end(partition)?;
    let log = Log::open_read_only(log).ok()?;
    if end >= log.log_end_offset() {
        return Some(false);
    }
    let batch = log.reader(OffsetSpec::At(end)).ok()?.next()?.ok()?;
    Some(batch.base_offset() < end)
}

/// Behind the last whole batch of the last segment that has one.
fn partition_end(partition: &Path) -> Option<Offset> {
    let files = fs::read_dir(partition).ok()?.filter_map(|file| Some(file.ok()?.path()));
    let mut segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|name| name == "log")).collect();
    segments.sort();
    segments.iter().rev().find_map(|path| {
        let whole = SegmentFile::open(path).ok()?.filter_map(Result::ok);
        whole.last().map(|(_, batch)| batch.next_offset())
    })
}
