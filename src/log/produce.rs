//! Batches on their way to and from a Kafka broker.
//!
//! Floor 4. A stored batch becomes what a broker takes from a producer: 26 bytes of the header
//! change and its checksum, the records stay as they are.

use std::ops::Range;

use crate::codec::decode::{check_body, check_header};
use crate::codec::encode::{BatchEncoder, Parts, put_header};
use crate::codec::layout::{
    BatchHeader, CONTROL, DELETE_HORIZON, HEADER_BYTES, LENGTH_PREFIX_BYTES, NO_TIMESTAMP,
    TRANSACTIONAL,
};
use crate::codec::pack::{Packing, pack};
use crate::codec::seal::Seal;
use crate::log::batch::RecordBatch;
use crate::sys::Pinned;
use crate::words::compression::Compression;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::offset::Offset;
use crate::words::record::NewRecord;
use crate::words::time::Timestamp;

/// Who sends a batch, and as which of its batches: by this a Kafka broker knows a batch again that
/// was sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerStamp {
    /// The producer id that the cluster gave out.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of the batch's first record; it goes on at 0 behind 2^31 - 1.
    pub sequence: i32,
}

impl ProducerStamp {
    /// The stamp of the batch that begins with this sequence.
    #[must_use]
    pub fn new(id: i64, epoch: i16, sequence: i32) -> ProducerStamp {
        ProducerStamp { id, epoch, sequence }
    }

    /// The header of a batch as this producer sends it.
    fn on(self, header: BatchHeader) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            leader_epoch: -1,
            producer_id: self.id,
            producer_epoch: self.epoch,
            base_sequence: self.sequence,
            ..header
        }
    }
}

impl RecordBatch {
    /// Whether a broker takes the batch from a producer as it is stored, but for its header: it has
    /// all its records, and is no control batch, part of a transaction, or left by compaction.
    #[must_use]
    pub fn is_producible(&self) -> bool {
        let header = self.header();
        header.attributes & (CONTROL | TRANSACTIONAL | DELETE_HORIZON) == 0
            && header.count > 0
            && i64::from(header.count) == i64::from(header.last_offset_delta) + 1
            && self.compression() != Compression::Unknown
    }

    /// Puts the records of `offsets` into `out` as one batch that a Kafka broker takes from a
    /// producer: base offset 0, no leader epoch, stamped, its own checksum.
    ///
    /// `batches` follow one another and hold every offset of the range. One batch that is wanted
    /// whole, and [is producible](RecordBatch::is_producible), is copied as it is, compressed or
    /// not; else the records are encoded anew, and compressed as the first of the batches is.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) with the first offset that no batch has;
    /// [`Corrupt`](ErrorKind::Corrupt) for a record that cannot be read.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::{OffsetSpec, ProducerStamp, RecordBatch};
    /// log.append_batch(["21.5 C", "21.6 C"])?;
    /// let batch = log.reader(OffsetSpec::Earliest)?.next().expect("one was appended")?;
    /// let offsets = batch.base_offset()..batch.next_offset();
    /// let mut out = Vec::new();
    /// RecordBatch::produce(&[batch], offsets, ProducerStamp::new(4000, 0, 17), &mut out)?;
    /// let (sent, _) = RecordBatch::split_first(&out)?.expect("it is whole");
    /// assert_eq!((sent.producer_id(), sent.base_sequence(), sent.len()), (4000, 17, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn produce(
        batches: &[RecordBatch],
        offsets: Range<Offset>,
        stamp: ProducerStamp,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        RecordBatch::produce_packed(batches, offsets, stamp, Compression::None, out).map(drop)
    }

    /// [`RecordBatch::produce`], and what is plain then is compressed, if asked for. Whether it is
    /// one batch as it is stored, no record decoded.
    pub(crate) fn produce_packed(
        batches: &[RecordBatch],
        offsets: Range<Offset>,
        stamp: ProducerStamp,
        asked: Compression,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let mut compression = asked;
        let as_stored = match batches {
            [batch]
                if batch.is_producible()
                    && offsets == (batch.base_offset()..batch.next_offset()) =>
            {
                out.clear();
                out.extend_from_slice(batch.as_bytes());
                put_header(out, stamp.on(batch.header()));
                if batch.compression() != Compression::None {
                    return Ok(true);
                }
                true
            }
            _ => {
                let first = batches.first().map_or(Compression::None, RecordBatch::compression);
                encode(batches, offsets, stamp, out)?;
                if asked == Compression::None {
                    compression = first;
                }
                false
            }
        };
        if compression != Compression::None {
            let mut packed = Vec::new();
            if let Some(header) = pack(out, Packing { compression, level: 0 }, &mut packed) {
                put_header(&mut packed, header);
                *out = packed;
            }
        }
        Ok(as_stored)
    }

    /// Puts one record, which need be in no log, into `out` as a batch that a Kafka broker takes
    /// from a producer. A record without a time of its own gets none.
    ///
    /// # Errors
    /// [`RecordTooLarge`](ErrorKind::RecordTooLarge) beyond 2 GiB.
    ///
    /// # Examples
    /// ```
    /// use forebay::{NewRecord, ProducerStamp, RecordBatch};
    /// let mut out = Vec::new();
    /// let record = NewRecord::new("nothing was measured");
    /// RecordBatch::produce_record(&record, ProducerStamp::new(4000, 1, 0), &mut out)?;
    /// let (sent, _) = RecordBatch::split_first(&out)?.expect("it is whole");
    /// assert_eq!((sent.producer_epoch(), sent.len()), (1, 1));
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn produce_record(
        record: &NewRecord<'_>,
        stamp: ProducerStamp,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut encoder = BatchEncoder::begin(out, i32::MAX as usize - LENGTH_PREFIX_BYTES);
        encoder
            .push(record, Timestamp::from_millis(NO_TIMESTAMP))
            .map_err(|_| Error::new(ErrorKind::RecordTooLarge, "the record has more than 2 GiB"))?;
        let timestamp = record.timestamp.map_or(NO_TIMESTAMP, Timestamp::millis);
        encoder.finish_with(stamp.on(BatchHeader {
            last_offset_delta: 0,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            count: 1,
            ..BatchHeader::UNSTAMPED
        }));
        Ok(())
    }

    /// The batch at the front of what a broker sent, and the bytes behind it; `None` if it is cut
    /// short, as the last one of an answer may be. The batch has a copy of its bytes.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for what is no whole batch of magic 2.
    pub fn split_first(bytes: &[u8]) -> Result<Option<(RecordBatch, &[u8])>> {
        RecordBatch::split_first_within(bytes, usize::MAX)
    }

    /// As [`RecordBatch::split_first`], for bytes of somebody who is not trusted with memory: a
    /// batch that says it has more than `max_bytes` is refused as soon as its header is there, so
    /// that nobody gathers bytes for it. The sender's `max_batch_bytes` is such a bound.
    ///
    /// # Errors
    /// [`RecordTooLarge`](ErrorKind::RecordTooLarge) for such a batch; else those of
    /// [`RecordBatch::split_first`].
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::{ErrorKind, OffsetSpec, RecordBatch};
    /// log.append("21.5 C")?;
    /// let batch = log.reader(OffsetSpec::Earliest)?.next().expect("it is there")?;
    /// let front = &batch.as_bytes()[..61];
    /// assert!(RecordBatch::split_first_within(front, 1 << 20)?.is_none(), "more is to come");
    /// let error = RecordBatch::split_first_within(front, 70).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::RecordTooLarge);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split_first_within(
        bytes: &[u8],
        max_bytes: usize,
    ) -> Result<Option<(RecordBatch, &[u8])>> {
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let corrupt = |error: crate::codec::DecodeError| {
            Error::new(ErrorKind::Corrupt, format!("a batch that was received: {error}"))
        };
        let header = check_header(bytes, usize::MAX, &Seal::NONE).map_err(corrupt)?;
        let size = header.size().map_err(corrupt)?;
        if size > max_bytes {
            let text = format!("the batch says it has {size} bytes, taken are up to {max_bytes}");
            return Err(Error::new(ErrorKind::RecordTooLarge, text));
        }
        let Some((batch, rest)) = bytes.split_at_checked(size) else { return Ok(None) };
        check_body(batch, &header).map_err(corrupt)?;
        let start = Offset::new(header.base_offset);
        Ok(Some((RecordBatch::new(Pinned::of_vec(batch.to_vec()), start), rest)))
    }

    /// How many bytes a batch of these takes at most when its records are encoded anew.
    #[must_use]
    pub fn produced_bytes_max(batches: &[RecordBatch]) -> usize {
        // A record's offset and time may take a few bytes more behind a lower base.
        const MORE_PER_RECORD: usize = 13;
        let of = |batch: &RecordBatch| batch.plain_bytes() + batch.len() * MORE_PER_RECORD;
        batches.iter().map(of).sum()
    }
}

fn encode(
    batches: &[RecordBatch],
    offsets: Range<Offset>,
    stamp: ProducerStamp,
    out: &mut Vec<u8>,
) -> Result<()> {
    let missing = |offset: Offset| {
        Error::new(ErrorKind::NotFound, "no batch has a record to be sent").offset(offset)
    };
    let max_bytes = i32::MAX as usize - LENGTH_PREFIX_BYTES;
    let mut encoder = BatchEncoder::begin(out, max_bytes);
    let (mut base_timestamp, mut max_timestamp) = (NO_TIMESTAMP, NO_TIMESTAMP);
    let mut next = offsets.start;
    for batch in batches {
        let batch = batch.whole();
        for record in batch.records() {
            let record = record?;
            if record.offset < next || record.offset >= offsets.end {
                continue;
            }
            if record.offset > next {
                return Err(missing(next));
            }
            let timestamp = record.timestamp.millis();
            if encoder.count() == 0 {
                (base_timestamp, max_timestamp) = (timestamp, timestamp);
            }
            max_timestamp = max_timestamp.max(timestamp);
            let parts = Parts::of_read(record.key, record.value, record.headers);
            let delta = timestamp.wrapping_sub(base_timestamp);
            let count = encoder.count();
            encoder.push_parts(delta, count, parts).map_err(|_| {
                Error::new(ErrorKind::RecordTooLarge, "the batch has more than 2 GiB").offset(next)
            })?;
            next = Offset::new(next.get() + 1);
        }
    }
    if next < offsets.end {
        return Err(missing(next));
    }
    let count = encoder.count();
    encoder.finish_with(stamp.on(BatchHeader {
        last_offset_delta: count - 1,
        base_timestamp,
        max_timestamp,
        count,
        ..BatchHeader::UNSTAMPED
    }));
    Ok(())
}
