//! Records of a type of the application's: encoded on the way in, decoded on the way out.
//!
//! Floor 6. Knows the log by what `lib.rs` exports. A record that does not decode is an error with
//! its offset, and never in the way of the ones behind it.

mod codec;
mod read;

use std::any::type_name;
use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, Log, NewRecord, Offset, Record, Result};

pub use codec::{Bincode, Codec, CodecError};
pub use read::{TypedConsumer, TypedReader, TypedRecord};

/// A log whose values are of type `T`.
///
/// A handle beside the [`Log`], cheap to clone: it writes and reads records like any others, and
/// says nothing about those that come another way. What `T` may become later without losing what is
/// stored: [`docs::typed`](crate::docs::typed).
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
/// use forebay::OffsetSpec;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Reading {
///     sensor: String,
///     celsius: f64,
/// }
///
/// let readings = log.typed::<Reading>().key(|reading| reading.sensor.clone());
/// let warm = Reading { sensor: "sensor-7".into(), celsius: 21.5 };
/// let offset = readings.append(&warm)?;
/// for record in readings.reader(OffsetSpec::At(offset))? {
///     let record = record?;
///     assert_eq!(record.key(), Some(&b"sensor-7"[..]));
///     assert_eq!(record.value(), Some(&warm));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedLog<T, C = Bincode> {
    log: Log,
    codec: C,
    key: Option<Arc<KeyOf<T>>>,
    #[cfg(feature = "encryption")]
    encryption: Option<crate::Encryption>,
    values: PhantomData<fn(T) -> T>,
}

/// What takes a key out of a value.
type KeyOf<T> = dyn Fn(&T) -> Vec<u8> + Send + Sync;

impl Log {
    /// This log with values of type `T`, encoded by [`Bincode`].
    #[must_use]
    pub fn typed<T: Serialize + DeserializeOwned>(&self) -> TypedLog<T> {
        self.typed_with(Bincode)
    }

    /// This log with values of type `T`, encoded by a codec of the caller's.
    #[must_use]
    pub fn typed_with<T, C: Codec<T>>(&self, codec: C) -> TypedLog<T, C> {
        TypedLog {
            log: self.clone(),
            codec,
            key: None,
            #[cfg(feature = "encryption")]
            encryption: None,
            values: PhantomData,
        }
    }
}

impl<T, C: Codec<T>> TypedLog<T, C> {
    /// Gives each record a key that is taken out of its value; without it records have none.
    #[must_use]
    pub fn key<K: Into<Vec<u8>>>(
        mut self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> TypedLog<T, C> {
        self.key = Some(Arc::new(move |value| key(value).into()));
        self
    }

    /// Opens values that were sealed by [`LogOptions::encryption`](crate::LogOptions::encryption)
    /// before they are decoded; those that were not sealed are decoded as they are. What is
    /// appended is the log's business.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn encryption(mut self, encryption: &crate::Encryption) -> TypedLog<T, C> {
        self.encryption = Some(encryption.clone());
        self
    }

    /// Appends one value and returns its offset: see [`Log::append`].
    ///
    /// # Errors
    /// As [`Log::append`]; [`InvalidArgument`](ErrorKind::InvalidArgument) for a value that the
    /// codec cannot encode: nothing was appended.
    pub fn append(&self, value: &T) -> Result<Offset> {
        self.log.append(self.record(value)?)
    }

    /// Appends values as one batch and returns their offsets: see [`Log::append_batch`]. All are
    /// encoded before the first byte is written.
    ///
    /// # Errors
    /// As [`TypedLog::append`].
    pub fn append_batch(
        &self,
        values: impl IntoIterator<Item = impl Borrow<T>>,
    ) -> Result<Range<Offset>> {
        let records = values.into_iter().map(|value| self.record(value.borrow()));
        self.log.append_batch(records.collect::<Result<Vec<_>>>()?)
    }

    /// Appends a record without value: it says that what its key stood for is gone.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_tombstone(&self, key: impl Into<Vec<u8>>) -> Result<Offset> {
        self.log.append(NewRecord::tombstone(key.into()))
    }

    /// The record that a value becomes, to be given headers or a time, and appended by any other
    /// way: a batch, a [`Linger`](crate::Linger), [`Log::append_at`].
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a value that the codec cannot encode.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// let readings = log.typed::<(String, f64)>();
    /// let record = readings.record(&("sensor-7".to_owned(), 21.5))?.header("schema", "1");
    /// let linger = log.linger(forebay::LingerOptions::new())?;
    /// assert_eq!(linger.append(record)?.wait()?.get(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(&self, value: &T) -> Result<NewRecord<'static>> {
        let mut bytes = Vec::new();
        self.codec.encode(value, &mut bytes).map_err(|error| {
            let text = format!("a {} cannot be encoded: {error}", type_name::<T>());
            Error::new(ErrorKind::InvalidArgument, one_line(&text)).at(self.log.dir())
        })?;
        let record = NewRecord::new(bytes);
        Ok(match &self.key {
            Some(key) => record.key(key(value)),
            None => record,
        })
    }

    /// The value of a record that was read from this log; `None` for a tombstone.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) with the record's offset and the name of `T` for bytes that
    /// are no such value. The batch is as it was written, or reading it had failed: another type,
    /// or another version of it, was appended there. With an encryption, what keeps a value closed.
    pub fn decode(&self, record: &Record<'_>) -> Result<Option<T>> {
        if record.is_tombstone() {
            return Ok(None);
        }
        let offset = record.offset();
        #[cfg(feature = "encryption")]
        let opened = match &self.encryption {
            Some(keys) if crate::Encryption::is_encrypted(record) => Some(keys.open(record)?),
            _ => None,
        };
        #[cfg(feature = "encryption")]
        let value = opened.as_deref().unwrap_or(record.value());
        #[cfg(not(feature = "encryption"))]
        let value = record.value();
        self.codec.decode(value).map(Some).map_err(|error| {
            let text = format!("the value is no {}: {error}", type_name::<T>());
            Error::new(ErrorKind::Corrupt, one_line(&text))
                .at(self.log.dir())
                .offset(offset)
                .range(offset..offset + 1)
        })
    }

    /// The log itself.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// What a codec says may hold line ends; an error is one line.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

impl<T, C: Clone> Clone for TypedLog<T, C> {
    fn clone(&self) -> TypedLog<T, C> {
        TypedLog {
            log: self.log.clone(),
            codec: self.codec.clone(),
            key: self.key.clone(),
            #[cfg(feature = "encryption")]
            encryption: self.encryption.clone(),
            values: self.values,
        }
    }
}

impl<T, C> fmt::Debug for TypedLog<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedLog")
            .field("log", &self.log)
            .field("values", &type_name::<T>())
            .field("has_key", &self.key.is_some())
            .finish_non_exhaustive()
    }
}
