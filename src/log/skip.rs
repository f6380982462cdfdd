//! Leaving offsets out.
//!
//! Floor 4. Empty batches stand over them (I4), so that every reader passes them the same way.

use crate::codec::encode::encode_gap;
use crate::log::write::{Waiting, Writer};
use crate::log::{Inner, Log};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

impl Log {
    /// Leaves out all offsets from the log end on: the next record gets `offset`. For a log that
    /// has lost its end, after something else has seen records at these offsets: they never get
    /// another content (I17). Costs a batch of 61 bytes; flushed as records are.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the log end lies above;
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for more than 2^37 offsets; those of
    /// [`Log::append`].
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::Offset;
    /// log.append("21.5 C")?;
    /// log.skip_to(Offset::new(100))?;
    /// assert_eq!(log.append("21.6 C")?, Offset::new(100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn skip_to(&self, offset: Offset) -> Result<()> {
        let inner = &*self.inner;
        let (end, waiting) = {
            let mut writer = inner.lock_writer()?;
            if offset < writer.next_offset {
                let text = "the log has this offset already";
                return Err(Error::new(ErrorKind::Conflict, text)
                    .at(&inner.env.dir)
                    .offset(writer.next_offset));
            }
            inner.write_gap(&mut writer, offset)?;
            (writer.next_offset, Waiting::of(&writer, 0))
        };
        inner.after_append(&waiting, end)
    }
}

impl Inner {
    /// Stands empty batches over the offsets from the end to `to`.
    pub(super) fn write_gap(&self, writer: &mut Writer, to: Offset) -> Result<()> {
        let gap = to - writer.next_offset;
        if gap / i64::from(i32::MAX) >= limits::MIRROR_GAP_BATCHES_MAX {
            let text = format!("the offset lies {gap} above the log's end");
            return Err(Error::invalid(text).at(&self.env.dir).offset(to));
        }
        while writer.next_offset < to {
            let missing = to - writer.next_offset;
            let step = i32::try_from(missing).unwrap_or(i32::MAX);
            let mut gap = Vec::new();
            encode_gap(&mut gap, step);
            self.write_batch(writer, &mut gap, step, -1)?;
            writer.appended.records -= u64::from(step.unsigned_abs());
        }
        Ok(())
    }
}
