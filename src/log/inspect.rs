//! Looking into a segment file without opening its log.
//!
//! Floor 4. Reads only, takes no lock, and goes on behind damage.

use std::path::Path;
use std::sync::Arc;

use crate::codec::seal::Seal;
use crate::disk::Env;
use crate::disk::meta::{Found, Meta};
use crate::disk::names::{self, Part};
use crate::disk::segment::{SegmentBytes, SegmentData};
use crate::disk::walk::{Gaps, Step, WalkedBatch, Walker};
use crate::log::batch::RecordBatch;
use crate::sys::{Access, OsStorage, Published, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// A segment file, forebay's or Kafka's, read batch by batch from its start.
///
/// Beside a `log.meta` the seals are checked as well. Iterating yields every whole batch with its
/// position in bytes, and an [`ErrorKind::Corrupt`] for each stretch that holds none; the zero tail
/// of a segment that was never closed is not damage.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?;
/// # let log = forebay::Log::open(tmp.path())?; log.append("21.5 C")?; log.close()?;
/// let mut segment = forebay::SegmentFile::open(tmp.path().join("00000000000000000000.log"))?;
/// let (position, batch) = segment.next().unwrap()?;
/// assert_eq!((position, batch.len()), (0, 1));
/// assert_eq!(segment.valid_bytes(), segment.file_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SegmentFile {
    data: SegmentData,
    seal: Seal,
    walker: Walker,
    file_bytes: u64,
    valid_bytes: u64,
    done: bool,
}

impl SegmentFile {
    /// Opens a segment file by its path, whatever its name.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`ReadOnly`](ErrorKind::ReadOnly) or
    /// [`Io`](ErrorKind::Io) as the system says; a path that leads to no regular file is refused.
    pub fn open(path: impl AsRef<Path>) -> Result<SegmentFile> {
        let path = path.as_ref();
        let storage: Arc<dyn Storage> = Arc::new(OsStorage);
        let failed = |error| Error::io("cannot open the segment file", path, error);
        let file = storage.open(path, Access::Read).map_err(failed)?;
        let file_bytes = file.len().map_err(failed)?;
        // No segment is longer, so a file that is, is looked at up to there (I11).
        let length = usize::try_from(file_bytes).unwrap_or(usize::MAX);
        let length = length.min(limits::SEGMENT_BYTES_MAX);
        let dir = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let own_base = names::parse_segment_file(name).filter(|(_, part)| *part == Part::Log);
        let seal = match (Meta::read(&*storage, &dir)?, own_base) {
            (Found::Whole(meta), Some(_)) if meta.seal => Seal::of(meta.log_id),
            _ => Seal::NONE,
        };
        // A broker's compacted segments have gaps; a sealed log's never do.
        let (base, gaps) = match own_base {
            Some((base, _)) if seal.is_on() => (base, Gaps::Refused),
            _ => (Offset::ZERO, Gaps::Expected),
        };
        let env = Env {
            storage,
            dir,
            names: None,
            seal,
            mapped: false,
            segment_bytes: limits::SEGMENT_BYTES_MAX,
            index_interval_bytes: limits::INDEX_INTERVAL_BYTES_DEFAULT,
            torn_bytes: None,
            memory_bounded: false,
            written: Default::default(),
        };
        let published = SegmentBytes::Positioned(Published::new(length));
        let mut data = SegmentData::new(&env, base, file, published, None);
        data.path = path.to_path_buf();
        let walker = Walker::new(0, base, gaps);
        Ok(SegmentFile { data, seal, walker, file_bytes, valid_bytes: 0, done: false })
    }

    /// Bytes of the whole batches at the file's start, as far as it was read.
    #[must_use]
    pub fn valid_bytes(&self) -> u64 {
        self.valid_bytes
    }

    /// Bytes of the file when it was opened.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn read(&mut self) -> Result<Option<(u64, RecordBatch)>> {
        if self.done {
            return Ok(None);
        }
        // Set back below: a read that fails is not repeated for ever.
        self.done = true;
        let mut step = self.walker.next(&self.data, &self.seal)?;
        for _ in 0..LOOKS_MAX {
            if !matches!(step, Step::Damage(_)) {
                break;
            }
            self.walker.forget_window();
            step = self.walker.next(&self.data, &self.seal)?;
        }
        match step {
            Step::Batch(WalkedBatch { header, bytes, position }) => {
                if self.valid_bytes == position as u64 {
                    self.valid_bytes = self.walker.position() as u64;
                }
                self.done = false;
                let start = Offset::new(header.base_offset);
                Ok(Some((position as u64, RecordBatch::new(bytes, start))))
            }
            Step::End if self.file_bytes > self.data.published() as u64 => {
                let what = "the file is longer than a segment can be; no more of it is read";
                Err(Error::new(ErrorKind::Corrupt, what)
                    .at(&self.data.path)
                    .position(self.data.published()))
            }
            Step::End => Ok(None),
            Step::Damage(error) => {
                let (at, first) = (self.walker.position(), self.walker.next_offset());
                let next = self.walker.resync(&self.data, &self.seal, Offset::MAX)?;
                self.done = next.is_none();
                let damage = Error::new(ErrorKind::Corrupt, error.what)
                    .at(&self.data.path)
                    .position(at + error.position)
                    .offset(first);
                Err(match next {
                    Some(next) => damage.range(first..next),
                    None => damage,
                })
            }
        }
    }
}

/// How often damage is looked at again: a live log may just have been writing there.
const LOOKS_MAX: u32 = 3;

impl Iterator for SegmentFile {
    type Item = Result<(u64, RecordBatch)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
