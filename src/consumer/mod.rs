//! Named consumers: readers whose progress is durable.
//!
//! Floor 5. A commit is one change of the checkpoint: no system call when mapped, one when not.
//! Keeps I7 (with `log::open`).

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::disk::state::{ConsumerState, State};
use crate::log::batch::RecordBatch;
use crate::log::memory::ReaderHandle;
use crate::log::read::Reader;
use crate::log::{Log, OffsetSpec, Visibility};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::name::check_name;
use crate::words::offset::Offset;

/// How a consumer is opened. The defaults: it sees written records, and begins at the log start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until they are passed on"]
pub struct ConsumerOptions {
    visibility: Visibility,
    start: OffsetSpec,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions { visibility: Visibility::Written, start: OffsetSpec::Earliest }
    }
}

impl ConsumerOptions {
    /// The defaults.
    pub fn new() -> ConsumerOptions {
        ConsumerOptions::default()
    }

    /// Which records the consumer sees; [`Visibility::Durable`] for one that carries records
    /// elsewhere. Stored with the consumer.
    pub fn visibility(mut self, visibility: Visibility) -> ConsumerOptions {
        self.visibility = visibility;
        self
    }

    /// Where a consumer of a name that is new begins; one that exists goes on where it committed.
    pub fn start(mut self, start: OffsetSpec) -> ConsumerOptions {
        self.start = start;
        self
    }
}

/// A named reader with durable progress.
///
/// Poll, process, commit: after a restart the consumer of the same name goes on at its committed
/// offset. Commits survive the death of the process at once, and a power cut once the checkpoint
/// was synced: by [`Consumer::sync`], by a clean close, and by the first flush after a roll.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
/// use std::time::Duration;
/// log.append_batch(["21.5 C", "21.6 C"])?;
/// let mut consumer = log.consumer("display")?;
/// while let Some(batch) = consumer.poll(Duration::ZERO)? {
///     for record in batch.records() {
///         println!("{}", String::from_utf8_lossy(record?.value()));
///     }
///     consumer.commit()?;
/// }
/// assert_eq!(consumer.lag(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Consumer {
    name: String,
    reader: Reader,
    committed: Offset,
    metadata: Vec<u8>,
    missed: u64,
}

/// A consumer as the log knows it, open or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// Which records it sees.
    pub visibility: Visibility,
    /// The next offset it reads after a restart.
    pub committed: Offset,
    /// Whether this process has it open.
    pub open: bool,
}

impl Log {
    /// Opens the consumer of this name, or creates it at the log start offset; it sees records as
    /// soon as they are written.
    ///
    /// Names are Kafka's: 1 to 249 of letters, digits, `.`, `_` and `-`. A log has room for 64
    /// consumers and replicators.
    ///
    /// # Errors
    /// [`ConsumerBusy`](ErrorKind::ConsumerBusy) if it is open already;
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for another name, a 65th consumer, or one
    /// that was created with another visibility; [`OutOfSpace`](ErrorKind::OutOfSpace) if
    /// [`LogOptions::memory_limit_bytes`](crate::LogOptions::memory_limit_bytes) leaves no room for
    /// one more reader; [`Closed`](ErrorKind::Closed).
    pub fn consumer(&self, name: &str) -> Result<Consumer> {
        self.consumer_with(name, ConsumerOptions::default())
    }

    /// Opens the consumer of this name with options: see [`Log::consumer`].
    ///
    /// # Errors
    /// As [`Log::consumer`], and [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) if a new one is
    /// to begin at an offset the log does not have.
    pub fn consumer_with(&self, name: &str, options: ConsumerOptions) -> Result<Consumer> {
        check_name("consumer", name)?;
        let inner = &*self.inner;
        inner.check_open()?;
        let handle = ReaderHandle::new(self)?;
        // Looked up before the checkpoint is locked (I10), if it can be needed at all.
        let asks = match options.start {
            OffsetSpec::Timestamp(_) => true,
            OffsetSpec::At(_) => inner.has_archive(),
            _ => false,
        };
        let looked_up = match asks && !self.knows_consumer(name)? {
            true => Some(inner.resolve(options.start)?),
            false => None,
        };
        let start = |least: Offset| {
            let visible = inner.visible_end(options.visibility);
            let start = match options.start {
                OffsetSpec::Latest => Ok(visible),
                OffsetSpec::Timestamp(_) => {
                    Ok(looked_up.map_or(visible, |found| found.min(visible)))
                }
                start => {
                    let found = looked_up.map_or_else(|| inner.resolve_in_log(start), Ok)?;
                    if found > visible {
                        return Err(inner.out_of_range(found));
                    }
                    Ok(found)
                }
            };
            // Retention may just have decided by the consumers there were.
            let least = if !inner.has_archive() { least } else { Offset::ZERO };
            start.map(|start| start.max(least))
        };
        if !inner.open_consumers.lock().insert(name.to_owned()) {
            let text = format!("the consumer '{name}' is open already");
            return Err(Error::new(ErrorKind::ConsumerBusy, text).at(&inner.env.dir));
        }
        let mut added = false;
        let found = inner.change_state(|state| {
            let count = state.consumers.len();
            let found = find_or_add(state, name, start, &options)?;
            added = state.consumers.len() > count;
            Ok((found, added))
        });
        let (committed, metadata) = found.inspect_err(|_| {
            if added {
                // There was no room for it: it must not stand in the way of what comes next.
                let _ = inner.change_state(|state| {
                    state.consumers.retain(|consumer| consumer.name != name);
                    Ok(((), true))
                });
            }
            inner.open_consumers.lock().remove(name);
        })?;
        // What an archive may have is read before it is called missed.
        let begin = committed.max(inner.committable_start());
        let missed = (begin - committed).unsigned_abs();
        let reader = Reader::new(handle, begin, options.visibility);
        Ok(Consumer { name: name.to_owned(), reader, committed, metadata, missed })
    }

    fn knows_consumer(&self, name: &str) -> Result<bool> {
        let known = |state: &mut State| {
            Ok((state.consumers.iter().any(|consumer| consumer.name == name), false))
        };
        self.inner.change_state(known)
    }

    /// The consumers the log knows, in the order they were created; none once it is closed.
    #[must_use]
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        if !self.inner.is_own() {
            return Vec::new();
        }
        let open = self.inner.open_consumers.lock().clone();
        let list = |state: &mut State| {
            let known = state.consumers.iter().map(|consumer| ConsumerInfo {
                name: consumer.name.clone(),
                visibility: visibility_of(consumer),
                committed: consumer.committed,
                open: open.contains(&consumer.name),
            });
            Ok((known.collect(), false))
        };
        self.inner.change_state(list).unwrap_or_default()
    }

    /// Forgets a consumer and its committed offset; whether there was one.
    ///
    /// # Errors
    /// [`ConsumerBusy`](ErrorKind::ConsumerBusy) while it is open; [`Closed`](ErrorKind::Closed).
    pub fn delete_consumer(&self, name: &str) -> Result<bool> {
        let inner = &*self.inner;
        inner.check_open()?;
        let open = inner.open_consumers.lock();
        if open.contains(name) {
            let text = format!("the consumer '{name}' is open");
            return Err(Error::new(ErrorKind::ConsumerBusy, text).at(&inner.env.dir));
        }
        let mut taken = None;
        let gone = inner.change_state(|state| {
            let at = state.consumers.iter().position(|consumer| consumer.name == name);
            taken = at.map(|at| (at, state.consumers.remove(at)));
            Ok((taken.is_some(), taken.is_some()))
        });
        gone.inspect_err(|_| {
            // What was refused is not written with the next change either.
            let _ = inner.change_state(|state| {
                let put_back = taken.take();
                let changed = put_back.is_some();
                if let Some((at, consumer)) = put_back {
                    state.consumers.insert(at.min(state.consumers.len()), consumer);
                }
                Ok(((), changed))
            });
        })
    }
}

fn visibility_of(consumer: &ConsumerState) -> Visibility {
    if consumer.durable { Visibility::Durable } else { Visibility::Written }
}

/// What the consumer has that is there, or one that is added.
fn find_or_add(
    state: &mut State,
    name: &str,
    start: impl FnOnce(Offset) -> Result<Offset>,
    options: &ConsumerOptions,
) -> Result<(Offset, Vec<u8>)> {
    if let Some(found) = state.consumers.iter().find(|consumer| consumer.name == name) {
        let stored = visibility_of(found);
        if stored != options.visibility {
            let sees = match stored {
                Visibility::Written => "written",
                Visibility::Durable => "durable",
            };
            return Err(Error::invalid(format!(
                "the consumer '{name}' was created with visibility {sees}, and keeps it"
            )));
        }
        return Ok((found.committed, found.metadata.clone()));
    }
    if state.consumers.len() >= limits::CONSUMERS_MAX {
        return Err(Error::invalid(format!(
            "the consumer '{name}' would be one more than {}; delete_consumer makes room",
            limits::CONSUMERS_MAX
        )));
    }
    let start = start(state.log_start)?;
    let durable = options.visibility == Visibility::Durable;
    state.consumers.push(ConsumerState::new(name.to_owned(), durable, start));
    Ok((start, Vec::new()))
}

impl Consumer {
    /// The next batch, waiting for it at most `max_wait`; `None` if none came.
    ///
    /// Its records begin at the consumer's position; the position moves behind it. A consumer that
    /// retention or [`Log::delete_records`] overtook goes on at the log start, and what it missed
    /// is counted; with [`LogOptions::archive`](crate::LogOptions::archive) it reads first what the
    /// archive has of that. What
    /// [`LogOptions::thin_keep_one_in`](crate::LogOptions::thin_keep_one_in) took before it is
    /// counted as well.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) with the range that cannot be read: it is counted as missed,
    /// and the next call goes on behind it. Those of [`Log::wait_for`].
    pub fn poll(&mut self, max_wait: Duration) -> Result<Option<RecordBatch>> {
        self.reader.log().inner.keep_interval();
        if let Some(batch) = self.next()? {
            return Ok(Some(batch));
        }
        let log = self.reader.log();
        if max_wait.is_zero() {
            return Ok(None);
        }
        if !log.wait_for(self.reader.next_offset(), self.reader.visibility(), max_wait)? {
            return Ok(None);
        }
        self.next()
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let from = self.reader.next_offset();
            let read = self.reader.read();
            self.missed += self.reader.take_passed();
            let Err(error) = &read else { return read };
            if error.kind() == ErrorKind::OffsetOutOfRange {
                // Deletion overtook it: it goes on at the log start, where the reader is now.
                self.missed += (self.reader.next_offset() - from).max(0).unsigned_abs();
                continue;
            }
            let lost = error.lost_offsets();
            let lost = lost.map_or(0, |lost| (lost.end - lost.start).max(0).unsigned_abs());
            self.missed += lost;
            return read;
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The offset of the next record to read.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.reader.next_offset()
    }

    /// The next offset this consumer reads after a restart.
    #[must_use]
    pub fn committed(&self) -> Offset {
        self.committed
    }

    /// Commits everything that was polled so far.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) if deletion overtook the position since
    /// the last poll, and the log has no archive: the next one brings it to the log start.
    /// [`Io`](ErrorKind::Io) if the checkpoint cannot be written; [`Closed`](ErrorKind::Closed).
    pub fn commit(&mut self) -> Result<()> {
        self.commit_offset(self.position())
    }

    /// Commits an offset: the next one to read after a restart. It may lie below the last one, and
    /// with [`LogOptions::archive`](crate::LogOptions::archive) below the log start, whether the
    /// archive has it or not: a consumer that reads there goes on there. A
    /// [`Hold`](crate::Hold) on one then keeps the whole log until it has caught up.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) below the log start offset (with an
    /// archive: below zero) or above what this consumer can see; those of [`Consumer::commit`].
    pub fn commit_offset(&mut self, offset: Offset) -> Result<()> {
        self.change_commit(offset, None)
    }

    /// Commits an offset together with up to 255 bytes that say what it means elsewhere: an offset
    /// upstream, a file's name, a producer id. Both change at once. The bytes stay until they are
    /// replaced; [`Log::snapshot`] leaves them out, for what they name belongs to this log alone.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for more bytes; else those of
    /// [`Consumer::commit_offset`].
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// let mut consumer = log.consumer("carrier")?;
    /// consumer.commit_with(log.log_end_offset(), b"shipment 17")?;
    /// drop(consumer);
    /// assert_eq!(log.consumer("carrier")?.metadata(), b"shipment 17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit_with(&mut self, offset: Offset, metadata: &[u8]) -> Result<()> {
        if metadata.len() > limits::METADATA_BYTES_MAX {
            let (length, most) = (metadata.len(), limits::METADATA_BYTES_MAX);
            let text = format!("metadata of {length} bytes, of at most {most}");
            return Err(Error::invalid(text).at(&self.reader.log().inner.env.dir));
        }
        self.change_commit(offset, Some(metadata))
    }

    /// What was committed together with the offset last; empty if nothing was.
    #[must_use]
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    fn change_commit(&mut self, offset: Offset, metadata: Option<&[u8]>) -> Result<()> {
        let inner = &*self.reader.log().inner;
        inner.check_open()?;
        let valid = inner.committable_start()..inner.visible_end(self.reader.visibility());
        let out_of_range = || {
            Error::new(ErrorKind::OffsetOutOfRange, "the offset cannot be committed")
                .at(&inner.env.dir)
                .offset(offset)
                .range(valid.clone())
        };
        if offset < valid.start || offset > valid.end {
            return Err(out_of_range());
        }
        let name = &self.name;
        let set = |to, metadata: Option<&[u8]>| {
            inner.change_state(|state| {
                let archived = inner.has_archive();
                if to == offset && to < state.log_start && !archived {
                    // Retention has just decided by the commit that was there before.
                    return Err(out_of_range());
                }
                let found = state.consumers.iter_mut().find(|consumer| consumer.name == *name);
                let Some(consumer) = found else { return Ok(((), false)) };
                let other = metadata.filter(|metadata| consumer.metadata != *metadata);
                let changed = consumer.committed != to || other.is_some();
                consumer.committed = to;
                if let Some(other) = other {
                    consumer.metadata = other.to_vec();
                }
                Ok(((), changed))
            })
        };
        set(offset, metadata).inspect_err(|_| {
            // What was refused is not written with the next change either.
            let _ = set(self.committed, Some(&self.metadata));
        })?;
        self.committed = offset;
        if let Some(metadata) = metadata {
            self.metadata = metadata.to_vec();
        }
        inner.commit_may_release(offset);
        Ok(())
    }

    /// Makes the commits so far survive a power cut. Blocks for one device flush.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io); the log is poisoned then (I8). [`Poisoned`](ErrorKind::Poisoned)
    /// after any failed sync, of records too: the device is not to be relied on.
    pub fn sync(&self) -> Result<()> {
        let inner = &*self.reader.log().inner;
        inner.check_open()?;
        inner.check_refusal()?;
        inner.sync_checkpoint()
    }

    /// Goes on reading at another offset; the committed offset stays until the next commit.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange); the position is unchanged then.
    pub fn seek(&mut self, to: OffsetSpec) -> Result<()> {
        self.reader.seek(to)
    }

    /// Records between the committed offset and the log end offset.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let end = self.reader.log().log_end_offset();
        (end - self.committed).max(0).unsigned_abs()
    }

    /// Records that were there once and could not be read: damaged, or taken before this consumer
    /// came to them. Offsets the log itself passed over at recovery are in its report instead.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let inner = &*self.reader.log().inner;
        if inner.is_own() {
            inner.open_consumers.lock().remove(&self.name);
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.name)
            .field("position", &self.position())
            .field("committed", &self.committed)
            .finish_non_exhaustive()
    }
}
