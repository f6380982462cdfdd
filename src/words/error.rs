//! The one error type of the crate.
//!
//! Floor 0. An error says what failed, where, and what to do next, in one lower-case line.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::words::offset::Offset;

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for a program to act on. The numbers are the C status codes; they never change
/// and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorKind {
    /// The operating system or the device refused an operation.
    ///
    /// [`std::error::Error::source`] has its own words. If a sync failed, the log is poisoned.
    Io = -1,
    /// No space, quota or descriptors were left; nothing was changed.
    ///
    /// Free some and call again: appends go on without reopening.
    OutOfSpace = -2,
    /// Bytes on the device are not what was written there, or are not there at all.
    ///
    /// The damage is isolated: the next call goes on behind it. [`Error::lost_offsets`] has the
    /// range.
    Corrupt = -3,
    /// The offset is below the log start offset or above the log end offset.
    ///
    /// [`Error::valid_offsets`] tells what can be read now. The same offset fails again: seek
    /// first.
    OffsetOutOfRange = -4,
    /// The record or batch is larger than the log takes. It was not appended.
    ///
    /// Split it, or open the log with a larger `max_batch_bytes`.
    RecordTooLarge = -5,
    /// An argument or option cannot work; the text names it and its bounds.
    InvalidArgument = -6,
    /// Another process, or another handle of this one, has the directory open for writing.
    Locked = -7,
    /// A newer version of the crate wrote these files. They were not touched.
    UnsupportedFormat = -8,
    /// A sync failed earlier, so what the device holds is unknown; appends and flushes are refused.
    ///
    /// Reading goes on. Close the log, open it again, and read `durable_offset` anew.
    Poisoned = -9,
    /// The log was closed.
    Closed = -10,
    /// The consumer of this name is open already. Drop the other one first.
    ConsumerBusy = -11,
    /// The upstream could not be reached or broke off. The replicator tries again by itself.
    Upstream = -12,
    /// The upstream refused what was sent.
    UpstreamRejected = -13,
    /// The call would have to wait and was asked not to.
    WouldBlock = -14,
    /// Two histories do not fit together; going on would overwrite one of them.
    Conflict = -15,
    /// The platform, the filesystem or the compiled features do not offer this.
    Unsupported = -16,
    /// The directory, file or handle does not allow writing.
    ReadOnly = -17,
    /// What was named does not exist.
    NotFound = -18,
}

impl ErrorKind {
    /// The C status code.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    fn remedy(self) -> &'static str {
        match self {
            ErrorKind::Io => "check the device, then close and reopen the log",
            ErrorKind::OutOfSpace => "free space or descriptors and call again",
            ErrorKind::Corrupt => {
                "what is whole can still be read: the next call goes on behind it"
            }
            ErrorKind::OffsetOutOfRange => "seek to a valid offset first",
            ErrorKind::RecordTooLarge => "split it or raise max_batch_bytes and segment_bytes",
            ErrorKind::InvalidArgument => "correct the argument and call again",
            ErrorKind::Locked => "close the other writer first; a killed one holds no lock",
            ErrorKind::UnsupportedFormat => "open it with the newer version; nothing was changed",
            ErrorKind::Poisoned => "close the log, reopen it and read durable_offset again",
            ErrorKind::Closed => "open the log again",
            ErrorKind::ConsumerBusy => "close the other handle or use another name",
            ErrorKind::Upstream => "it is tried again after a backoff",
            ErrorKind::UpstreamRejected => "correct the upstream's settings",
            ErrorKind::WouldBlock => "call again later",
            ErrorKind::Conflict => "compare the two before going on; nothing was overwritten",
            ErrorKind::Unsupported => "use another mode, filesystem or feature set",
            ErrorKind::ReadOnly => "check mount options, owner and mode",
            ErrorKind::NotFound => "check the name",
        }
    }
}

/// What failed, where, and what to do next.
///
/// Programs use [`Error::kind`]; people read the text.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Repr>);

#[derive(Debug, thiserror::Error)]
struct Repr {
    kind: ErrorKind,
    what: String,
    path: Option<PathBuf>,
    position: Option<u64>,
    offset: Option<Offset>,
    range: Option<Range<Offset>>,
    refused: Option<(u32, String)>,
    source: Option<io::Error>,
}

impl Error {
    /// An error of this kind, for implementations of the crate's traits outside it. `what` is one
    /// lower-case line that says what failed and where; what to do is added by the kind.
    #[cold]
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Error {
        Error(Box::new(Repr {
            kind,
            what: what.into(),
            path: None,
            position: None,
            offset: None,
            range: None,
            refused: None,
            source: None,
        }))
    }

    /// An error of the operating system; its own kind decides ours.
    #[cold]
    pub(crate) fn io(what: impl Into<String>, path: &Path, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::OutOfSpace,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                ErrorKind::ReadOnly
            }
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            io::ErrorKind::InvalidInput => ErrorKind::InvalidArgument,
            _ if out_of_descriptors(&source) => ErrorKind::OutOfSpace,
            _ => ErrorKind::Io,
        };
        let mut error = Error::new(kind, what).at(path);
        error.0.source = Some(source);
        error
    }

    /// A failed sync: whatever errno it came with, what the device holds is unknown now (I8).
    #[cold]
    pub(crate) fn sync(what: impl Into<String>, path: &Path, source: io::Error) -> Error {
        let mut error = Error::new(ErrorKind::Io, what).at(path);
        error.0.source = Some(source);
        error
    }

    /// What failed behind an append that had taken place. No want of room: who is refused for that
    /// appends again.
    #[cold]
    #[must_use]
    pub(crate) fn behind_append(mut self) -> Error {
        if self.0.kind == ErrorKind::OutOfSpace {
            self.0.kind = ErrorKind::Io;
            self.0.what = format!("appended, but not known to be durable: {}", self.0.what);
        }
        self
    }

    /// Names the consumer whose commit would make room.
    #[cold]
    #[must_use]
    pub(crate) fn held_by(mut self, consumer: &str, from: Offset) -> Error {
        let held = format!("held for the consumer {consumer:?} from offset {from} on");
        self.0.what = format!("{} (what could be deleted is {held})", self.0.what);
        self
    }

    /// The same for one more of those whom it concerns.
    #[cold]
    #[must_use]
    pub(crate) fn again(&self) -> Error {
        let Repr { kind, what, path, position, offset, range, refused, source } = &*self.0;
        let source = source.as_ref().map(|source| match source.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(source.kind(), source.to_string()),
        });
        Error(Box::new(Repr {
            kind: *kind,
            what: what.clone(),
            path: path.clone(),
            position: *position,
            offset: *offset,
            range: range.clone(),
            refused: refused.clone(),
            source,
        }))
    }

    #[cold]
    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, what)
    }

    /// The record of this number in its batch is refused for a field, for this reason.
    #[cold]
    pub(crate) fn refused(number: u32, field: String, reason: &str) -> Error {
        let what = one_line(&format!("{field}: {reason}"));
        let text = format!("record {number} of the batch, counted from 0, is refused: {what}");
        let mut error = Error::invalid(text);
        error.0.refused = Some((number, field));
        error
    }

    #[must_use]
    pub(crate) fn at(mut self, path: &Path) -> Error {
        self.0.path = Some(path.to_path_buf());
        self
    }

    #[must_use]
    pub(crate) fn position(mut self, position: usize) -> Error {
        self.0.position = Some(position as u64);
        self
    }

    #[must_use]
    pub(crate) fn offset(mut self, offset: Offset) -> Error {
        self.0.offset = Some(offset);
        self
    }

    #[must_use]
    pub(crate) fn range(mut self, range: Range<Offset>) -> Error {
        self.0.range = Some(range);
        self
    }

    /// An error of a link, for implementations of `Upstream` outside this crate.
    ///
    /// # Examples
    /// ```
    /// let error = forebay::Error::upstream("the modem reports no carrier");
    /// assert_eq!(error.kind(), forebay::ErrorKind::Upstream);
    /// ```
    #[must_use]
    pub fn upstream(what: impl Into<String>) -> Error {
        Error::new(ErrorKind::Upstream, what)
    }

    /// What failed, without where and what to do.
    #[must_use]
    pub fn what_failed(&self) -> &str {
        &self.0.what
    }

    /// What to act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or directory concerned, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The place in that file in bytes, if it is known.
    #[must_use]
    pub fn file_position(&self) -> Option<u64> {
        self.0.position
    }

    /// The offset concerned, if there is one.
    #[must_use]
    pub fn record_offset(&self) -> Option<Offset> {
        self.0.offset
    }

    /// With [`ErrorKind::OffsetOutOfRange`]: the offsets that can be read, the end exclusive.
    #[must_use]
    pub fn valid_offsets(&self) -> Option<Range<Offset>> {
        self.0.range.clone().filter(|_| self.0.kind == ErrorKind::OffsetOutOfRange)
    }

    /// If a hook of [`LogOptions::validate`](crate::LogOptions::validate) refused the append: the
    /// field it named.
    #[must_use]
    pub fn refused_field(&self) -> Option<&str> {
        self.0.refused.as_ref().map(|(_, field)| field.as_str())
    }

    /// If a hook refused the append: the number of the record in its batch, counted from 0.
    #[must_use]
    pub fn refused_record(&self) -> Option<usize> {
        self.0.refused.as_ref().and_then(|(number, _)| usize::try_from(*number).ok())
    }

    /// With [`ErrorKind::Corrupt`]: the offsets that cannot be read, the end exclusive.
    #[must_use]
    pub fn lost_offsets(&self) -> Option<Range<Offset>> {
        self.0.range.clone().filter(|_| self.0.kind == ErrorKind::Corrupt)
    }
}

/// EMFILE and ENFILE have no `io::ErrorKind`; both say that descriptors ran out (I19).
fn out_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// Names, and what a caller says, may hold a line end; an error is one line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    line
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " in {}", one_line(&path.to_string_lossy()))?;
        }
        if let Some(position) = self.position {
            write!(f, " at position {position}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        if let Some(range) = &self.range {
            let word = match self.kind {
                ErrorKind::OffsetOutOfRange => "valid offsets",
                _ => "offsets",
            };
            write!(f, ", {word} {} to {} (exclusive)", range.start, range.end)?;
        }
        write!(f, "; {}", self.kind.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_of_an_offset_stays_16_bytes() {
        assert_eq!(size_of::<Result<Offset>>(), 16);
    }

    #[test]
    fn an_error_says_what_where_and_what_to_do_in_one_line() {
        let error = Error::new(ErrorKind::Corrupt, "batch checksum does not match")
            .at(Path::new("/data/00000000000000000000.log"))
            .position(61)
            .offset(Offset::new(7))
            .range(Offset::new(7)..Offset::new(9));
        assert_eq!(
            error.to_string(),
            "batch checksum does not match in /data/00000000000000000000.log at position 61 at \
             offset 7, offsets 7 to 9 (exclusive); what is whole can still be read: the next call \
             goes on behind it"
        );
        assert_eq!(error.lost_offsets(), Some(Offset::new(7)..Offset::new(9)));
        assert_eq!(error.valid_offsets(), None);
    }

    #[test]
    fn an_error_told_again_says_the_same() {
        let path = Path::new("/data");
        for source in [io::Error::from_raw_os_error(28), io::Error::other("said by somebody")] {
            let error = Error::io("cannot append", path, source).offset(Offset::new(7));
            let error = error.range(Offset::new(7)..Offset::new(9)).position(61);
            assert_eq!(format!("{error:?}"), format!("{:?}", error.again()));
        }
        let refused = Error::refused(3, "celsius".to_owned(), "too cold").again();
        assert_eq!((refused.refused_field(), refused.refused_record()), (Some("celsius"), Some(3)));
    }

    #[test]
    fn no_descriptors_and_no_space_are_out_of_space() {
        for errno in [24, 23, 28] {
            let source = io::Error::from_raw_os_error(errno);
            assert_eq!(Error::io("x", Path::new("/"), source).kind(), ErrorKind::OutOfSpace);
        }
    }
}
