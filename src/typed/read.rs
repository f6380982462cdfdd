//! Reading records of a type, one after the other.
//!
//! Floor 6. A batch is decoded when it is read; what does not decode is an item of its own.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::{
    Bincode, Codec, Consumer, ConsumerOptions, Offset, OffsetSpec, Reader, RecordBatch, Result,
    Timestamp, TypedLog,
};

/// A record whose value was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedRecord<T> {
    offset: Offset,
    timestamp: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<T>,
}

impl<T> TypedRecord<T> {
    /// The record's offset.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The record's time.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The key, or `None` if the record has none.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The value, or `None` for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value itself, or `None` for a tombstone.
    #[must_use]
    pub fn into_value(self) -> Option<T> {
        self.value
    }
}

impl<T, C: Codec<T>> TypedLog<T, C> {
    /// Reads values in order from anywhere in the log: see [`Log::reader`](crate::Log::reader).
    ///
    /// # Errors
    /// As [`Log::reader`](crate::Log::reader).
    pub fn reader(&self, from: OffsetSpec) -> Result<TypedReader<T, C>>
    where
        C: Clone,
    {
        let reader = self.log().reader(from)?;
        Ok(TypedReader { log: self.clone(), reader, decoded: VecDeque::new() })
    }

    /// Opens the consumer of this name, or creates it: see [`Log::consumer`](crate::Log::consumer).
    ///
    /// # Errors
    /// As [`Log::consumer`](crate::Log::consumer).
    pub fn consumer(&self, name: &str) -> Result<TypedConsumer<T, C>>
    where
        C: Clone,
    {
        self.consumer_with(name, ConsumerOptions::new())
    }

    /// [`TypedLog::consumer`] with options.
    ///
    /// # Errors
    /// As [`Log::consumer_with`](crate::Log::consumer_with).
    pub fn consumer_with(&self, name: &str, options: ConsumerOptions) -> Result<TypedConsumer<T, C>>
    where
        C: Clone,
    {
        let consumer = self.log().consumer_with(name, options)?;
        Ok(TypedConsumer { log: self.clone(), consumer })
    }

    /// Decodes what a batch has from the reader's position on, record by record.
    ///
    /// # Errors
    /// Each item for itself: as [`TypedLog::decode`], and those of
    /// [`RecordBatch::records`](crate::RecordBatch::records).
    pub fn decode_batch<'a>(
        &'a self,
        batch: &'a RecordBatch,
    ) -> impl Iterator<Item = Result<TypedRecord<T>>> + 'a {
        batch.records().map(|record| {
            let record = record?;
            Ok(TypedRecord {
                offset: record.offset(),
                timestamp: record.timestamp(),
                key: record.key().map(<[u8]>::to_vec),
                value: self.decode(&record)?,
            })
        })
    }
}

/// Values of a log in order. `None` is nothing more now: more may come, and the next call has it.
///
/// Of each batch all records are decoded at once, and held until they are handed out. A value that
/// does not decode is an error with its offset; the next call goes on behind it.
pub struct TypedReader<T, C = Bincode> {
    log: TypedLog<T, C>,
    reader: Reader,
    decoded: VecDeque<Result<TypedRecord<T>>>,
}

impl<T, C: Codec<T>> Iterator for TypedReader<T, C> {
    type Item = Result<TypedRecord<T>>;

    fn next(&mut self) -> Option<Result<TypedRecord<T>>> {
        loop {
            if let Some(record) = self.decoded.pop_front() {
                return Some(record);
            }
            match self.reader.next()? {
                Ok(batch) => self.decoded.extend(self.log.decode_batch(&batch)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<T, C> fmt::Debug for TypedReader<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedReader").field("log", &self.log).finish_non_exhaustive()
    }
}

/// A named reader of values with durable progress: see [`Consumer`].
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
/// use std::time::Duration;
/// let readings = log.typed::<(String, f64)>();
/// readings.append(&("sensor-7".to_owned(), 21.5))?;
/// let mut consumer = readings.consumer("display")?;
/// while let Some(records) = consumer.poll(Duration::ZERO)? {
///     for record in records {
///         match record {
///             Ok(record) => println!("{:?}", record.value()),
///             Err(error) => eprintln!("passed over: {error}"),
///         }
///     }
///     consumer.commit()?;
/// }
/// assert_eq!(consumer.consumer().lag(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedConsumer<T, C = Bincode> {
    log: TypedLog<T, C>,
    consumer: Consumer,
}

impl<T, C: Codec<T>> TypedConsumer<T, C> {
    /// The records of the next batch, each of them decoded or an error with its offset; `None` if
    /// nothing came for `max_wait`. See [`Consumer::poll`].
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub fn poll(&mut self, max_wait: Duration) -> Result<Option<Vec<Result<TypedRecord<T>>>>> {
        let batch = self.consumer.poll(max_wait)?;
        Ok(batch.map(|batch| self.log.decode_batch(&batch).collect()))
    }

    /// Commits everything that was polled: see [`Consumer::commit`].
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub fn commit(&mut self) -> Result<()> {
        self.consumer.commit()
    }

    /// The consumer below, for its position, lag and the rest.
    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// The consumer below, to seek, to sync, or to commit an offset.
    #[must_use]
    pub fn consumer_mut(&mut self) -> &mut Consumer {
        &mut self.consumer
    }
}

impl<T, C> fmt::Debug for TypedConsumer<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedConsumer").field("log", &self.log).finish_non_exhaustive()
    }
}
