//! A batch that was read: owned, cheap to clone, and pinning the bytes it lies in.
//!
//! Floor 4.

use std::sync::{Arc, OnceLock};

use crate::codec::DecodeError;
use crate::codec::decode::{RawRecords, Times, delete_horizon};
use crate::codec::layout::{
    BatchHeader, CODEC_MASK, CONTROL, HEADER_BYTES, LOG_APPEND_TIME, TRANSACTIONAL,
};
use crate::codec::pack;
use crate::disk::walk::Walker;
use crate::sys::Pinned;
use crate::words::compression::Compression;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::offset::Offset;
use crate::words::record::Record;
use crate::words::time::Timestamp;

/// A whole batch as it is stored, its checksum verified.
///
/// It keeps the bytes it lies in alive, whatever happens to reader, log or retention: hold few, or
/// copy what must stay long. Records borrow from it.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// A whole batch, its header judged. What is asked of the header is read there each time: it
    /// is a load, and a batch is cheaper to hand over without a copy of it.
    bytes: Pinned,
    /// Where [`RecordBatch::records`] begins.
    start: Offset,
    unpacked: Unpacked,
}

/// What the times of a batch's records mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimestampType {
    /// Each record has the time its writer gave it.
    CreateTime,
    /// All records have the time at which a broker appended the batch.
    LogAppendTime,
}

impl RecordBatch {
    #[inline]
    pub(crate) fn new(bytes: Pinned, start: Offset) -> RecordBatch {
        debug_assert!(bytes.len() >= HEADER_BYTES);
        RecordBatch { bytes, start, unpacked: Unpacked::default() }
    }

    /// The batch that a walker has stepped over last, its records due from `start` on.
    #[inline]
    pub(crate) fn of_last(walker: &Walker, start: Offset) -> Option<RecordBatch> {
        walker.last_batch().map(|bytes| RecordBatch::new(bytes, start))
    }

    /// The same batch with all its records, wherever a reader began.
    pub(crate) fn whole(&self) -> RecordBatch {
        RecordBatch { start: self.base_offset(), ..self.clone() }
    }

    #[inline]
    pub(crate) fn header(&self) -> BatchHeader {
        BatchHeader::read(&self.bytes).unwrap_or(BatchHeader::NONE)
    }

    /// The first offset of the batch, also when a reader began in the middle of it.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.header().base_offset)
    }

    /// The last offset of the batch.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset::new(self.header().next_offset() - 1)
    }

    /// One past the last offset: where the next batch begins.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset::new(self.header().next_offset())
    }

    /// How many records the batch holds, those before a reader's position included.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.header().count).unwrap_or(0)
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header().count == 0
    }

    /// The whole batch as stored, in Kafka's format, magic 2.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records from the reader's position on. Those of a compressed batch are decompressed by
    /// the first call, and kept as long as the batch: at most 64 MiB.
    #[must_use]
    #[inline]
    pub fn records(&self) -> Records<'_> {
        let header = self.header();
        let raw = match header.attributes & CODEC_MASK {
            0 => RawRecords::new(&header, self.bytes.get(HEADER_BYTES..).unwrap_or_default()),
            _ => self.unpacked.records(&header, &self.bytes),
        };
        Records { batch: self, times: Times::of(&header), raw }
    }

    /// What the batch takes uncompressed; as stored, where it cannot be decompressed.
    pub(crate) fn plain_bytes(&self) -> usize {
        let header = self.header();
        match self.compression() {
            Compression::None => self.bytes.len(),
            _ => match self.unpacked.get(&header, &self.bytes) {
                Ok(records) => HEADER_BYTES + records.len(),
                Err(_) => self.bytes.len(),
            },
        }
    }

    /// The highest time of its records.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.header().max_timestamp)
    }

    /// What the records' times mean.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.header().attributes & LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// How the records are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        pack::compression(&self.header())
    }

    /// Whether it is part of a transaction of an upstream's producer.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.header().attributes & TRANSACTIONAL != 0
    }

    /// Whether it holds an upstream's control record instead of data.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.header().attributes & CONTROL != 0
    }

    /// When compaction may drop the tombstones in it, if that was decided.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        delete_horizon(&self.header()).map(Timestamp::from_millis)
    }

    /// The four bytes Kafka calls leader epoch: this log's seal, or what an upstream wrote.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.header().leader_epoch
    }

    /// The stored CRC-32C.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.header().crc
    }

    /// The producer id, -1 for none.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        self.header().producer_id
    }

    /// The producer epoch, -1 for none.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        self.header().producer_epoch
    }

    /// The producer's sequence number of the first record, -1 for none.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        self.header().base_sequence
    }
}

/// The records of a compressed batch, once somebody has asked for them; clones share them.
#[derive(Clone, Debug, Default)]
struct Unpacked(OnceLock<Arc<Result<Vec<u8>, DecodeError>>>);

impl Unpacked {
    #[cold]
    fn get(&self, header: &BatchHeader, batch: &[u8]) -> &Result<Vec<u8>, DecodeError> {
        self.0.get_or_init(|| {
            let mut out = Vec::new();
            let done = pack::records(header, batch, &mut out).map(drop);
            if out.capacity() / 2 > out.len() {
                out.shrink_to_fit();
            }
            Arc::new(done.map(|()| out))
        })
    }

    #[inline(never)]
    fn records(&self, header: &BatchHeader, batch: &[u8]) -> RawRecords<'_> {
        match self.get(header, batch) {
            Ok(records) => RawRecords::new(header, records),
            Err(error) => RawRecords::failed(*error),
        }
    }
}

/// The records of a batch, in order.
///
/// The batch's checksum was right, so an error means that its writer encoded it wrongly, or that
/// its codec is not built in; nothing follows an error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    batch: &'a RecordBatch,
    times: Times,
    raw: RawRecords<'a>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Result<Record<'a>>> {
        loop {
            match self.raw.next()? {
                Ok(raw) => {
                    let record = self.times.resolve(&raw);
                    if record.offset >= self.batch.start {
                        return Some(Ok(record));
                    }
                }
                Err(error) => return Some(Err(self.undecodable(error))),
            }
        }
    }

    /// At most: what is left of the batch's count.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.batch.len()))
    }
}

impl Records<'_> {
    #[cold]
    fn undecodable(&self, error: crate::codec::DecodeError) -> Error {
        let range = self.batch.base_offset()..self.batch.next_offset();
        let by = self.batch.compression();
        let readable = by.is_built_in() || by == Compression::Unknown;
        let kind = if readable { ErrorKind::Corrupt } else { ErrorKind::Unsupported };
        Error::new(kind, format!("{error} (byte {} of the batch)", error.position))
            .offset(range.start)
            .range(range)
    }
}
