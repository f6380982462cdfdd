//! Decodes a batch without copying: views that borrow from the bytes they are given.
//!
//! Floor 2. Total: any bytes give a value or an error with a position, never a panic, an overflow
//! or an allocation. Lengths are bounded before they are used (I11).

use crate::codec::DecodeError;
use crate::codec::crc::crc32c;
use crate::codec::layout::{
    BatchHeader, CRC_AT, CRC_FROM, DELETE_HORIZON, HEADER_BYTES, LOG_APPEND_TIME, MAGIC,
};
use crate::codec::pack;
use crate::codec::seal::Seal;
use crate::codec::varint::Cursor;
use crate::words::offset::Offset;
use crate::words::record::{Headers, Record};
use crate::words::time::Timestamp;

/// Reads and judges a header: magic, bounded length, seal, offsets. The batch's bytes may not be
/// there yet; `max_bytes` is what a batch can take at most where it stands.
#[inline]
pub(crate) fn check_header(
    bytes: &[u8],
    max_bytes: usize,
    seal: &Seal,
) -> Result<BatchHeader, DecodeError> {
    let header = BatchHeader::read(bytes)?;
    judge_header(&header, max_bytes, seal)?;
    Ok(header)
}

/// [`check_header`] of a header that was taken apart.
#[inline(always)]
pub(crate) fn judge_header(
    header: &BatchHeader,
    max_bytes: usize,
    seal: &Seal,
) -> Result<(), DecodeError> {
    if header.magic != MAGIC {
        return Err(DecodeError::new("the batch's magic is not 2", 16));
    }
    if !seal.fits(header) {
        return Err(DecodeError::new("the batch's seal does not fit this log and place", 12));
    }
    if header.size()? > max_bytes {
        return Err(DecodeError::new("the batch's length reaches beyond the file", 8));
    }
    if header.base_offset < 0 {
        return Err(DecodeError::new("the batch's base offset is negative", 0));
    }
    if !(0..i32::MAX).contains(&header.last_offset_delta) || header.count < 0 {
        return Err(DecodeError::new("the batch's record count is out of bounds", 23));
    }
    if header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
        return Err(DecodeError::new("the batch's offsets run over the highest one", 0));
    }
    if i64::from(header.count) > i64::from(header.last_offset_delta) + 1 {
        return Err(DecodeError::new("the batch counts more records than offsets", 57));
    }
    Ok(())
}

/// Reads a whole batch from the front of `bytes`: [`check_header`], then the checksum.
pub(crate) fn check_batch(bytes: &[u8], seal: &Seal) -> Result<BatchHeader, DecodeError> {
    let header = check_header(bytes, bytes.len(), seal)?;
    check_body(bytes, &header)?;
    Ok(header)
}

/// The checksum of the batch at the front of `bytes`, whose header was checked already.
#[inline(always)]
pub(crate) fn check_body(bytes: &[u8], header: &BatchHeader) -> Result<(), DecodeError> {
    let Some(checked) = bytes.get(CRC_FROM..header.size()?) else {
        return Err(DecodeError::new("the batch's length reaches beyond the file", 8));
    };
    if crc32c(checked) != header.crc {
        return Err(DecodeError::new("the batch's checksum does not match", CRC_AT));
    }
    Ok(())
}

/// A record with the fields only a re-encoder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawRecord<'a> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

/// Walks the records of one batch; ends behind the first error.
#[derive(Clone, Debug)]
pub(crate) struct RawRecords<'a> {
    cursor: Cursor<'a>,
    remaining: i32,
    /// The lowest offset delta the next record may have.
    next_delta: i32,
    last_delta: i32,
    failure: Option<DecodeError>,
}

impl<'a> RawRecords<'a> {
    /// `records` is what stands behind the header of a batch, decompressed, of which `header` was
    /// read and checked: see [`records`](crate::codec::pack::records).
    #[inline]
    pub(crate) fn new(header: &BatchHeader, records: &'a [u8]) -> RawRecords<'a> {
        RawRecords {
            cursor: Cursor::new(records, HEADER_BYTES),
            remaining: header.count,
            next_delta: 0,
            last_delta: header.last_offset_delta,
            failure: None,
        }
    }

    /// Of a whole batch, decompressed into `scratch` where that is needed.
    pub(crate) fn of_batch(
        header: &BatchHeader,
        batch: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> RawRecords<'a> {
        match pack::records(header, batch, scratch) {
            Ok(records) => RawRecords::new(header, records),
            Err(error) => RawRecords::failed(error),
        }
    }

    /// Of a batch that cannot be decompressed.
    #[cold]
    pub(crate) fn failed(error: DecodeError) -> RawRecords<'a> {
        let mut none = RawRecords::new(&BatchHeader::NONE, &[]);
        none.failure = Some(error);
        none
    }

    #[inline(always)]
    fn record(&mut self) -> Result<RawRecord<'a>, DecodeError> {
        let start = self.cursor.position();
        let Some(length) = self.cursor.nullable_length()? else {
            return Err(DecodeError::new("a record's length is negative", start));
        };
        let body_start = self.cursor.position();
        let mut body = Cursor::new(self.cursor.take(length)?, body_start);
        body.byte()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        if offset_delta < self.next_delta || offset_delta > self.last_delta {
            return Err(DecodeError::new("a record's offset is out of its batch's order", start));
        }
        let key = body.nullable_bytes()?;
        let value = body.nullable_bytes()?;
        let headers = match body.rest() {
            [0] => {
                body.byte()?;
                Headers { remaining: 0, bytes: &[] }
            }
            _ => read_headers(&mut body)?,
        };
        if !body.rest().is_empty() {
            return Err(DecodeError::new("a record is longer than its fields", body.position()));
        }
        // The last delta is at most i32::MAX; a record behind it is refused above, so this is safe.
        self.next_delta = offset_delta.saturating_add(1);
        Ok(RawRecord { timestamp_delta, offset_delta, key, value, headers })
    }
}

impl RawRecords<'_> {
    /// What is wrong with the batch as a whole, said once.
    fn finish(&mut self) -> Option<DecodeError> {
        let position = self.cursor.position();
        let failure = self.failure.take().or_else(|| {
            let rest = !self.cursor.rest().is_empty();
            rest.then(|| DecodeError::new("bytes follow the batch's last record", position))
        });
        self.remaining = 0;
        self.cursor = Cursor::new(&[], position);
        failure
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, DecodeError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 || self.failure.is_some() {
            return self.finish().map(Err);
        }
        self.remaining -= 1;
        let record = self.record();
        if record.is_err() {
            self.remaining = 0;
            self.cursor = Cursor::new(&[], self.cursor.position());
        }
        Some(record)
    }
}

/// What a batch's records count their offsets and times from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    base_offset: i64,
    base_timestamp: i64,
    /// All records have the base timestamp: the log stamped the batch.
    fixed: bool,
}

impl Times {
    #[inline]
    pub(crate) fn of(header: &BatchHeader) -> Times {
        let fixed = header.attributes & LOG_APPEND_TIME != 0;
        let base_timestamp = if fixed { header.max_timestamp } else { header.base_timestamp };
        Times { base_offset: header.base_offset, base_timestamp, fixed }
    }

    /// Gives a raw record its offset and time.
    #[inline(always)]
    pub(crate) fn resolve<'a>(&self, raw: &RawRecord<'a>) -> Record<'a> {
        let delta = if self.fixed { 0 } else { raw.timestamp_delta };
        Record {
            offset: Offset::new(self.base_offset + i64::from(raw.offset_delta)),
            timestamp: Timestamp::from_millis(self.base_timestamp.wrapping_add(delta)),
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        }
    }
}

/// [`Times::resolve`] for a single record.
pub(crate) fn resolve<'a>(header: &BatchHeader, raw: &RawRecord<'a>) -> Record<'a> {
    Times::of(header).resolve(raw)
}

/// The delete horizon, which stands in the base timestamp's place when its bit is set.
pub(crate) fn delete_horizon(header: &BatchHeader) -> Option<i64> {
    (header.attributes & DELETE_HORIZON != 0).then_some(header.base_timestamp)
}

/// Checks the headers once, so that iterating over them cannot fail.
#[inline(never)]
fn read_headers<'a>(body: &mut Cursor<'a>) -> Result<Headers<'a>, DecodeError> {
    let start = body.position();
    let count = usize::try_from(body.varint()?)
        .map_err(|_| DecodeError::new("a header count is negative", start))?;
    let bytes = body.rest();
    for _ in 0..count {
        let at = body.position();
        let Some(name) = body.nullable_bytes()? else {
            return Err(DecodeError::new("a header has no name", at));
        };
        if std::str::from_utf8(name).is_err() {
            return Err(DecodeError::new("a header's name is not UTF-8", at));
        }
        body.nullable_bytes()?;
    }
    // A record with anything behind them is refused.
    Ok(Headers { remaining: count, bytes })
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let mut cursor = Cursor::new(self.bytes, 0);
        let name = cursor.nullable_bytes().ok()??;
        let value = cursor.nullable_bytes().ok()?;
        self.bytes = cursor.rest();
        Some((std::str::from_utf8(name).ok()?, value))
    }
}
