//! What is appended and what is read.
//!
//! Floor 0. How a record lies in bytes is `codec`'s business.

use std::borrow::Cow;

use crate::words::offset::Offset;
use crate::words::time::Timestamp;

/// A record to be appended: value, and if wanted key, headers and time.
///
/// Everything that is bytes converts into one, borrowed or owned; borrowed bytes are copied once,
/// into the encoded batch. Without a time of its own a record is stamped with the wall clock at
/// append.
///
/// # Examples
/// ```
/// use forebay::{NewRecord, Timestamp};
/// let plain: NewRecord = "21.5 C".into();
/// let full = NewRecord::new("21.5 C")
///     .key("sensor-7")
///     .header("unit", "celsius")
///     .timestamp(Timestamp::from_millis(1_795_000_000_000));
/// let tombstone = NewRecord::tombstone("sensor-7");
/// # let _ = (plain, full, tombstone);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord<'a> {
    pub(crate) key: Option<Cow<'a, [u8]>>,
    pub(crate) value: Option<Cow<'a, [u8]>>,
    pub(crate) headers: Vec<NewHeader<'a>>,
    pub(crate) timestamp: Option<Timestamp>,
}

/// A header of a record to be appended: a name, and a value that may be absent.
pub(crate) type NewHeader<'a> = (Cow<'a, str>, Option<Cow<'a, [u8]>>);

impl<'a> NewRecord<'a> {
    /// A record with this value and no key.
    #[must_use]
    pub fn new(value: impl IntoBytes<'a>) -> NewRecord<'a> {
        NewRecord { value: Some(value.into_bytes()), ..NewRecord::default() }
    }

    /// A record without value: under compaction it says that its key is gone.
    #[must_use]
    pub fn tombstone(key: impl IntoBytes<'a>) -> NewRecord<'a> {
        NewRecord { key: Some(key.into_bytes()), ..NewRecord::default() }
    }

    /// Gives the record a key. An empty key is a key; only a record never given one has none.
    #[must_use]
    pub fn key(mut self, key: impl IntoBytes<'a>) -> NewRecord<'a> {
        self.key = Some(key.into_bytes());
        self
    }

    /// Adds a header. The same name may come twice; the order is kept.
    #[must_use]
    pub fn header(
        mut self,
        name: impl Into<Cow<'a, str>>,
        value: impl IntoBytes<'a>,
    ) -> NewRecord<'a> {
        self.headers.push((name.into(), Some(value.into_bytes())));
        self
    }

    /// Adds a header without value.
    #[must_use]
    pub fn header_without_value(mut self, name: impl Into<Cow<'a, str>>) -> NewRecord<'a> {
        self.headers.push((name.into(), None));
        self
    }

    /// Sets the record's time instead of the wall clock at append.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> NewRecord<'a> {
        self.timestamp = Some(timestamp);
        self
    }

    /// The key it was given; an empty key is `Some`.
    ///
    /// # Examples
    /// ```
    /// use forebay::{NewRecord, Timestamp};
    /// let record = NewRecord::new("21.5 C").key("sensor-7").header("unit", "celsius");
    /// assert_eq!(record.get_key(), Some(&b"sensor-7"[..]));
    /// assert_eq!(record.get_value(), Some(&b"21.5 C"[..]));
    /// assert_eq!(record.get_headers().next(), Some(("unit", Some(&b"celsius"[..]))));
    /// assert_eq!(record.get_timestamp(), None, "the wall clock at append");
    /// ```
    #[must_use]
    pub fn get_key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The value, or `None` for a tombstone; an empty value is `Some`.
    #[must_use]
    pub fn get_value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The headers in the order they were added: name, and value where there is one.
    pub fn get_headers(&self) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref()))
    }

    /// The time it was given; `None` for the wall clock at append.
    #[must_use]
    pub fn get_timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }
}

/// What a key or a value can be made of: text and bytes, borrowed or owned.
///
/// Implemented for `&str`, `String`, `&[u8]`, `&[u8; N]`, `Vec<u8>` and `Cow<[u8]>`.
pub trait IntoBytes<'a> {
    /// The bytes, borrowed where they were borrowed.
    fn into_bytes(self) -> Cow<'a, [u8]>;
}

macro_rules! into_bytes {
    ($($from:ty => |$value:ident| $bytes:expr;)*) => {$(
        impl<'a> IntoBytes<'a> for $from {
            #[inline]
            fn into_bytes(self) -> Cow<'a, [u8]> {
                let $value = self;
                $bytes
            }
        }
        impl<'a> From<$from> for NewRecord<'a> {
            #[inline]
            fn from(value: $from) -> NewRecord<'a> {
                NewRecord::new(value)
            }
        }
    )*};
}

into_bytes! {
    &'a str => |text| Cow::Borrowed(text.as_bytes());
    &'a String => |text| Cow::Borrowed(text.as_bytes());
    String => |text| Cow::Owned(text.into_bytes());
    &'a [u8] => |bytes| Cow::Borrowed(bytes);
    &'a Vec<u8> => |bytes| Cow::Borrowed(bytes.as_slice());
    Vec<u8> => |bytes| Cow::Owned(bytes);
    Cow<'a, [u8]> => |bytes| bytes;
}

impl<'a, const N: usize> IntoBytes<'a> for &'a [u8; N] {
    #[inline]
    fn into_bytes(self) -> Cow<'a, [u8]> {
        Cow::Borrowed(self.as_slice())
    }
}
impl<'a, const N: usize> From<&'a [u8; N]> for NewRecord<'a> {
    #[inline]
    fn from(value: &'a [u8; N]) -> NewRecord<'a> {
        NewRecord::new(value)
    }
}

/// A record read from a log; it borrows its bytes from the batch it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// The record's offset.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The record's time; with a batch stamped at append (Kafka's `LogAppendTime`) the batch's.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The key, or `None` if the record has none; an empty key is `Some`.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; empty for a tombstone. [`Record::is_tombstone`] tells the two apart.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        self.value.unwrap_or_default()
    }

    /// Whether the record has no value at all.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// The headers in the order they were added.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }
}

/// The headers of a record: name and value, the value absent where the writer gave none.
///
/// The bytes were checked when the record was decoded, so iterating cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    pub(crate) remaining: usize,
    pub(crate) bytes: &'a [u8],
}

impl Headers<'_> {
    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remaining
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }
}
