//! Records, as C has them.
//!
//! Floor 6.

use super::bytes::{array, forebay_bytes, invalid};
use crate::{NewRecord, Record, Result, Timestamp};

/// In the flags of a record: it has a key and no value, and deletes that key where a log is
/// compacted.
pub const FOREBAY_TOMBSTONE: u32 = 1;

/// A header of a record. `value.data` NULL: a header without value.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_header {
    /// UTF-8.
    pub name: forebay_bytes,
    /// Any bytes.
    pub value: forebay_bytes,
}

/// A record to be appended. forebay_record_of makes one; else set all of it to zero first, then
/// what the record has.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_new_record {
    /// Its key; `key.data` NULL: none.
    pub key: forebay_bytes,
    /// Its value.
    pub value: forebay_bytes,
    /// Its headers, `header_count` of them, in order.
    pub headers: *const forebay_header,
    /// How many.
    pub header_count: usize,
    /// Milliseconds since 1970 UTC; 0: the wall clock when it is appended.
    pub timestamp_ms: i64,
    /// FOREBAY_TOMBSTONE or 0.
    pub flags: u32,
    /// 0.
    pub reserved_flags: u32,
    /// 0.
    pub reserved: [u64; 2],
}

impl forebay_new_record {
    /// Whether it can be made a record; says which part cannot.
    pub(super) fn check(&self) -> Result<()> {
        let key = self.key.get("key")?;
        let value = self.value.or_empty("value")?;
        if self.flags & !FOREBAY_TOMBSTONE != 0
            || self.reserved_flags != 0
            || self.reserved != [0; 2]
        {
            return Err(invalid("the record has a flag or a reserved field that is not 0"));
        }
        if self.flags & FOREBAY_TOMBSTONE != 0 && (key.is_none() || !value.is_empty()) {
            return Err(invalid("a tombstone has a key, and no value"));
        }
        for header in array(self.headers, self.header_count, "headers")? {
            header.name.text("a header's name")?;
            header.value.get("a header's value")?;
        }
        Ok(())
    }

    pub(super) fn record<'a>(&self) -> Result<NewRecord<'a>> {
        let key = self.key.get("key")?;
        let mut record = if self.flags & FOREBAY_TOMBSTONE == 0 {
            let record = NewRecord::new(self.value.or_empty("value")?);
            match key {
                Some(key) => record.key(key),
                None => record,
            }
        } else {
            NewRecord::tombstone(key.unwrap_or_default())
        };
        for header in array(self.headers, self.header_count, "headers")? {
            let name = header.name.text("a header's name")?;
            record = match header.value.get("a header's value")? {
                Some(value) => record.header(name, value),
                None => record.header_without_value(name),
            };
        }
        if self.timestamp_ms != 0 {
            record = record.timestamp(Timestamp::from_millis(self.timestamp_ms));
        }
        Ok(record)
    }
}

/// A record that was read. Its bytes lie in the batch and stay valid until forebay_batch_free, and
/// no longer: copy what is to outlive it. They must not be written to.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_record {
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
    /// Its key; `key.data` NULL: none.
    pub key: forebay_bytes,
    /// Its value; empty for a tombstone.
    pub value: forebay_bytes,
    /// How many headers it has: forebay_batch_header.
    pub header_count: u32,
    /// FOREBAY_TOMBSTONE or 0.
    pub flags: u32,
    /// 0.
    pub reserved: [u64; 2],
}

impl forebay_record {
    #[inline]
    pub(super) fn of(record: &Record<'_>) -> forebay_record {
        forebay_record {
            offset: record.offset().get(),
            timestamp_ms: record.timestamp().millis(),
            key: record.key().map_or(forebay_bytes::NONE, forebay_bytes::of),
            value: forebay_bytes::of(record.value()),
            header_count: u32::try_from(record.headers().len()).unwrap_or(u32::MAX),
            flags: if record.is_tombstone() { FOREBAY_TOMBSTONE } else { 0 },
            reserved: [0; 2],
        }
    }
}
