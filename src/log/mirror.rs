//! Appending batches of another log at the same offsets.
//!
//! Floor 4. The bytes stay the source's, checksum included; only the seal is this log's own.

use std::ops::Range;

use crate::log::batch::RecordBatch;
use crate::log::write::{Waiting, Writer};
use crate::log::{Inner, Log};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::offset::Offset;

impl Log {
    /// Appends a batch of the log this one is a mirror of, at the offsets it has there.
    ///
    /// Offsets the source no longer has between this log's end and the batch are recorded as a gap.
    /// The flush policy is kept as by [`Log::append`].
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the batch begins below the log end offset: it, or
    /// another one, is there already. [`InvalidArgument`](ErrorKind::InvalidArgument) if the log
    /// was not opened as a mirror, or the gap exceeds 2^37 offsets.
    /// [`RecordTooLarge`](ErrorKind::RecordTooLarge) above this log's `segment_bytes`, which has to
    /// be the source's or more; its `max_batch_bytes` does not bind batches of the source.
    /// Otherwise as [`Log::append`].
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// use forebay::{Log, OffsetSpec};
    /// let log = Log::open(dir.join("log"))?;
    /// log.append("21.5 C")?;
    /// let mirror = Log::options().mirror_of(log.id()).open(dir.join("second-disk"))?;
    /// for batch in log.reader(OffsetSpec::At(mirror.log_end_offset()))? {
    ///     mirror.append_mirrored(&batch?)?;
    /// }
    /// assert_eq!(mirror.log_end_offset(), log.log_end_offset());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_mirrored(&self, batch: &RecordBatch) -> Result<Range<Offset>> {
        let inner = &*self.inner;
        if inner.meta.source.is_none() {
            return Err(Error::invalid("the log is no mirror: the option mirror_of makes it one")
                .at(&inner.env.dir));
        }
        let bytes = batch.as_bytes();
        if bytes.len() > inner.options.segment_bytes {
            let most = inner.options.segment_bytes;
            let text = format!("the batch has {} bytes, segment_bytes is {most}", bytes.len());
            let error = Error::new(ErrorKind::RecordTooLarge, text).at(&inner.env.dir);
            return Err(inner.tally.refused(error.offset(batch.base_offset())));
        }
        let mut bytes = bytes.to_vec();
        let (offsets, waiting) = {
            let mut writer = inner.lock_writer()?;
            let placed = inner.append_at_same_offsets(&mut writer, batch, &mut bytes);
            let offsets = placed.map_err(|error| inner.tally.refused(error))?;
            (offsets, Waiting::of(&writer, bytes.len()))
        };
        inner.after_append(&waiting, offsets.end)?;
        Ok(offsets)
    }
}

impl Inner {
    fn append_at_same_offsets(
        &self,
        writer: &mut Writer,
        batch: &RecordBatch,
        bytes: &mut [u8],
    ) -> Result<Range<Offset>> {
        let header = batch.header();
        let end = writer.next_offset;
        if batch.base_offset() < end {
            return Err(Error::new(ErrorKind::Conflict, "the mirror holds this offset already")
                .at(&self.env.dir)
                .offset(batch.base_offset()));
        }
        self.write_gap(writer, batch.base_offset())?;
        // The delta is at most i32::MAX - 1: `check_header` bounds the count by it.
        let count = header.last_offset_delta.saturating_add(1);
        let offsets = self.write_batch(writer, bytes, count, header.max_timestamp)?;
        // A batch may have fewer records than offsets.
        writer.appended.records -= u64::from((count - header.count).unsigned_abs());
        Ok(offsets)
    }
}
