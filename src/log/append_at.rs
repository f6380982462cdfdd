//! Appending only where the caller expects the log to end.
//!
//! Floor 4. The end is compared under the writer's lock, so that of those who expect the same end
//! exactly one appends there (I2); the others change nothing, not even the clean mark.

use std::ops::Range;

use crate::log::write::Writer;
use crate::log::{Inner, Log};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::offset::Offset;
use crate::words::record::NewRecord;

impl Log {
    /// Appends one record if it gets the offset `expected`; else nothing is appended.
    ///
    /// For writers that must not append behind something they have not read: of several that
    /// expect the same log end offset one appends, and the others are told. Otherwise as
    /// [`Log::append`], and as cheap.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the log end offset is another one;
    /// [`Error::record_offset`] has it: read what came in, decide again, and expect that one.
    /// Otherwise as [`Log::append`]; a closed or poisoned log says so first.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::ErrorKind;
    /// let seen = log.log_end_offset();
    /// log.append("somebody was faster")?;
    /// let error = log.append_at(seen, "decided on what was seen").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Conflict);
    /// let end = error.record_offset().expect("a conflict names the end");
    /// log.append_at(end, "decided again")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn append_at<'a>(
        &self,
        expected: Offset,
        record: impl Into<NewRecord<'a>>,
    ) -> Result<Offset> {
        self.inner.append_record(&record.into(), Some(expected))
    }

    /// Appends records as one batch if its first one gets the offset `expected`; else nothing is
    /// appended. No record, no batch: then only the end is compared.
    ///
    /// # Errors
    /// As [`Log::append_at`]; the bound on size holds for the batch as a whole.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// let end = log.log_end_offset();
    /// assert_eq!(log.append_batch_at(end, ["debit 5", "credit 5"])?, end..end + 2);
    /// assert!(log.append_batch_at(end, ["debit 5", "credit 5"]).is_err(), "it is there already");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_batch_at<'a, R: Into<NewRecord<'a>>>(
        &self,
        expected: Offset,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Range<Offset>> {
        self.inner.append_records(records, Some(expected), None)
    }
}

impl Inner {
    /// Whether the next record gets the offset that is expected of it.
    pub(crate) fn check_expected(&self, writer: &mut Writer, expected: Offset) -> Result<()> {
        if writer.refusal.is_some() || self.failure.get().is_some() {
            self.refusal(writer)?;
        }
        if writer.next_offset == expected { Ok(()) } else { Err(self.moved(writer, expected)) }
    }

    #[cold]
    fn moved(&self, writer: &Writer, expected: Offset) -> Error {
        let text = format!("nothing was appended: offset {expected} was expected, the log ends");
        Error::new(ErrorKind::Conflict, text).at(&self.env.dir).offset(writer.next_offset)
    }
}
