//! A look at each record before it is appended: schema checks at the edge.
//!
//! Floor 4. The hook is the caller's code: it runs on the caller's thread, with no lock held (I10)
//! and before anything of its record is encoded.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use crate::log::options::LogOptions;
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::record::NewRecord;

/// Why a hook of [`LogOptions::validate`] refuses a record: what of it, and why.
///
/// # Examples
/// ```
/// let refusal = forebay::Refusal::new("celsius", "below absolute zero");
/// assert_eq!(refusal.field(), "celsius");
/// assert_eq!(refusal.to_string(), "celsius: below absolute zero");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Refusal {
    field: String,
    reason: String,
}

impl Refusal {
    /// Refuses a record for this field: one of the value's own, or what the application calls key,
    /// header or size. Both are shown to people; a program gets the field from
    /// [`Error::refused_field`].
    #[must_use]
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Refusal {
        Refusal { field: field.into(), reason: reason.into() }
    }

    /// What of the record is not as it should be.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// A hook; two are the same if they are one.
#[derive(Clone)]
pub(crate) struct Validate(Arc<Hook>);

type Hook = dyn Fn(&NewRecord<'_>) -> Result<(), Refusal> + Send + Sync;

impl LogOptions {
    /// Looks at each record before it is appended, and refuses it where `hook` does; off unless
    /// set.
    ///
    /// A refused append is an [`InvalidArgument`](crate::ErrorKind::InvalidArgument) that names the
    /// record's number in its batch, the field and the reason; [`Error::refused_field`] and
    /// [`Error::refused_record`] have the first two for a program. Nothing of the batch is in the
    /// log then, and `appends_refused` of [`Log::stats`](crate::Log::stats) counts it.
    ///
    /// The hook runs on the thread that appends, once for each record, and may be run by several at
    /// once. It may use the log: an append by it is looked at as any other, to eight of them inside
    /// each other; one more is refused. What it panics with goes to whoever appended, and the log
    /// is as before. A handle of the log inside its own hook keeps the log open until it is closed
    /// or gets another hook.
    ///
    /// Batches of a mirror's source are not looked at, nor what is in the log already. Not part of
    /// a configuration file. Options are equal if they have the same hook, not one like it. An open
    /// log loses its hook by [`Log::set_options`](crate::Log::set_options) with options that have
    /// none.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// use forebay::{Log, NewRecord, Refusal};
    /// let log = Log::options()
    ///     .validate(|record: &NewRecord| match record.get_value() {
    ///         Some(value) if value.len() == 8 => Ok(()),
    ///         _ => Err(Refusal::new("value", "not the 8 bytes of a reading")),
    ///     })
    ///     .open(dir)?;
    /// log.append(&21.5_f64.to_le_bytes())?;
    /// let error = log.append("21.5 C").unwrap_err();
    /// assert_eq!(error.refused_field(), Some("value"));
    /// assert_eq!(log.log_end_offset().get(), 1, "nothing of it was written");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn validate(
        mut self,
        hook: impl Fn(&NewRecord<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> LogOptions {
        self.validate = Some(Validate(Arc::new(hook)));
        self
    }
}

impl Validate {
    /// Asks the hook about the record of this number in its batch.
    #[inline(never)]
    pub(crate) fn check(&self, record: &NewRecord<'_>, number: u32) -> Result<()> {
        let _inside = Inside::enter()?;
        (self.0)(record).map_err(|Refusal { field, reason }| Error::refused(number, field, &reason))
    }
}

/// What is asked of each record before it is appended.
pub(crate) struct Looks {
    pub(crate) hook: Option<Validate>,
    /// The log is compacted: every record needs a key.
    pub(crate) keyed: bool,
}

impl Looks {
    /// Looks at the record of this number in its batch.
    pub(crate) fn check(&self, record: &NewRecord<'_>, number: u32) -> Result<()> {
        if self.keyed && record.key.is_none() {
            let why = "it has none, and the log is compacted; nothing was appended";
            return Err(Error::refused(number, "key".to_owned(), why));
        }
        self.hook.as_ref().map_or(Ok(()), |hook| hook.check(record, number))
    }
}

impl PartialEq for Validate {
    fn eq(&self, other: &Validate) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Validate {}

impl fmt::Debug for Validate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validate(..)")
    }
}

thread_local! {
    /// Hooks this thread is in, of whatever log.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// While a hook runs; a panic ends it too.
struct Inside;

impl Inside {
    /// A hook whose appends lead to it again has to end before the stack does.
    fn enter() -> Result<Inside> {
        let depth = DEPTH.get();
        if depth >= limits::HOOKS_INSIDE_MAX {
            let text = format!("a validate hook appends from inside {depth} others");
            return Err(Error::invalid(text));
        }
        DEPTH.set(depth + 1);
        Ok(Inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}
