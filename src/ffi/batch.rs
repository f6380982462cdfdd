//! Batches and the records in them, without a copy.
//!
//! Floor 6.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::bytes::{forebay_bytes, invalid, out};
use super::fail::{guard, guard_offset};
use super::handle::{Inside, free, give, handle, shared};
use super::record::{forebay_header, forebay_record};
use super::status::forebay_status;
use crate::{Error, ErrorKind, ProducerStamp, Record, RecordBatch, Records, Result};

/// A batch of records, exactly as it is stored and as Kafka has it (record batch format 2), owned
/// by the caller. It keeps its bytes valid whatever happens to reader, log and files; a segment's
/// file stays on the disk, though deleted, while a batch of it is held.
/// Any number of threads may read it at once.
pub struct forebay_batch(Inside<Read>);
handle!(forebay_batch, Read, Batch, "batch");

/// A batch, and how far its records were decoded.
pub(super) struct Read {
    cursor: ManuallyDrop<Mutex<Cursor>>,
    /// From `Box::into_raw`: what borrows from it does not move with the handle.
    batch: NonNull<RecordBatch>,
    count: OnceLock<usize>,
}

/// Records are found one after the other; whoever asks for them in order pays for each once.
struct Cursor {
    next: usize,
    records: Records<'static>,
    last: Option<Record<'static>>,
}

// SAFETY: a batch may go to, and be read by, any thread; the cursor is behind its lock.
unsafe impl Send for Read {}
// SAFETY: as above.
unsafe impl Sync for Read {}

impl Read {
    fn new(batch: RecordBatch) -> Read {
        let batch = NonNull::from(Box::leak(Box::new(batch)));
        // SAFETY: it is valid until `drop` frees it, and only that changes it; what borrows it for
        // ever is the cursor, which is dropped before it.
        let whole: &'static RecordBatch = unsafe { batch.as_ref() };
        let cursor = Cursor { next: 0, records: whole.records(), last: None };
        Read { cursor: ManuallyDrop::new(Mutex::new(cursor)), batch, count: OnceLock::new() }
    }

    fn batch(&self) -> &RecordBatch {
        // SAFETY: valid until `drop`, and never changed.
        unsafe { self.batch.as_ref() }
    }

    /// The record of this index, to be used while the batch is there.
    fn record(&self, index: usize) -> Result<Record<'static>> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        match cursor.last {
            Some(last) if cursor.next == index + 1 => Ok(last),
            _ => {
                self.go_to(&mut cursor, index)?;
                let record = self.step(&mut cursor, index)?;
                cursor.last = Some(record);
                Ok(record)
            }
        }
    }

    /// Fills in the records from this index on, and says how many there were.
    fn fill(&self, index: usize, places: &mut [MaybeUninit<forebay_record>]) -> Result<usize> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        if index >= self.count() {
            return Ok(0);
        }
        self.go_to(&mut cursor, index)?;
        let mut filled = 0;
        for place in places {
            match cursor.records.next() {
                Some(Ok(record)) => place.write(forebay_record::of(&record)),
                Some(Err(error)) => {
                    // Whoever asks for this one later gets the error again.
                    *cursor = self.beginning();
                    return if filled == 0 { Err(error) } else { Ok(filled) };
                }
                None => break,
            };
            filled += 1;
            cursor.next += 1;
        }
        Ok(filled)
    }

    /// Lets the cursor give the record of this index next.
    fn go_to(&self, cursor: &mut Cursor, index: usize) -> Result<()> {
        if cursor.next > index {
            *cursor = self.beginning();
        }
        cursor.last = None;
        while cursor.next < index {
            self.step(cursor, index)?;
        }
        Ok(())
    }

    fn step(&self, cursor: &mut Cursor, index: usize) -> Result<Record<'static>> {
        let next = cursor.records.next().ok_or_else(|| self.beyond(index)).flatten();
        match next {
            Ok(_) => cursor.next += 1,
            // Nothing follows an error: who asks again begins again, and gets it again.
            Err(_) => *cursor = self.beginning(),
        }
        next
    }

    fn beginning(&self) -> Cursor {
        // SAFETY: as in `new`.
        let whole: &'static RecordBatch = unsafe { self.batch.as_ref() };
        Cursor { next: 0, records: whole.records(), last: None }
    }

    /// A reader that began in the middle of a batch has fewer than the batch, so they are counted.
    fn count(&self) -> usize {
        *self.count.get_or_init(|| {
            let whole = self.batch();
            match whole.records().next() {
                Some(Ok(first)) if first.offset() == whole.base_offset() => whole.len(),
                _ => whole.records().count(),
            }
        })
    }

    #[cold]
    fn beyond(&self, index: usize) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("the batch has no record {index}; it has {}", self.count()),
        )
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        // SAFETY: dropped here alone, and not used below.
        unsafe { ManuallyDrop::drop(&mut self.cursor) };
        // SAFETY: it came from a box, which nobody else frees; what borrowed it is gone.
        drop(unsafe { Box::from_raw(self.batch.as_ptr()) });
    }
}

/// The next batch of whatever reads, for who asked for it.
pub(super) fn next(
    place: Option<&mut MaybeUninit<*mut forebay_batch>>,
    read: impl FnOnce() -> Result<Option<RecordBatch>>,
) -> Result<()> {
    let place = out(place, "batch_out")?;
    place.write(ptr::null_mut());
    if let Some(batch) = read()? {
        place.write(give(Read::new(batch)));
    }
    Ok(())
}

/// The bytes of a batch, for functions that take one.
pub(super) fn of(batch: Option<&forebay_batch>) -> Result<&RecordBatch> {
    Ok(shared(batch)?.value().batch())
}

/// How many records forebay_batch_get has: 0 for a batch of which none is left (a gap), or for NULL
/// and what is no batch. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_count(batch: Option<&forebay_batch>) -> usize {
    let mut count = 0;
    let _ = guard(|| {
        count = shared(batch)?.count();
        Ok(())
    });
    count
}

/// The batch's first offset, or a negative status: a consumer or reader that began in the middle
/// gets the whole batch and the records from there on. Does not block. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_base_offset(batch: Option<&forebay_batch>) -> i64 {
    guard_offset(|| Ok(of(batch)?.base_offset()))
}

/// One past the batch's last offset: what is committed once it is processed; or a negative status.
/// Does not block. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_next_offset(batch: Option<&forebay_batch>) -> i64 {
    guard_offset(|| Ok(of(batch)?.next_offset()))
}

/// Fills in the record of this index, 0 to forebay_batch_count - 1. Costs a record's decoding when
/// asked for in order; else all before it are passed again. Nothing is copied.
/// Does not block. FOREBAY_NOT_FOUND beyond the last; FOREBAY_CORRUPT for a record whose writer
/// encoded it wrongly; FOREBAY_UNSUPPORTED if the batch is compressed by what is not built in;
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_get(
    batch: Option<&forebay_batch>,
    index: usize,
    record_out: Option<&mut MaybeUninit<forebay_record>>,
) -> forebay_status {
    guard(|| {
        let place = out(record_out, "record_out")?;
        place.write(forebay_record::of(&shared(batch)?.record(index)?));
        Ok(())
    })
}

/// Fills in the records from this index on, up to `capacity` of them, and says in `count_out` how
/// many there were: 0 beyond the last. Cheaper than one at a time by half.
/// Does not block. Where a record is encoded wrongly those before it are given, and it is
/// FOREBAY_CORRUPT when it is the first; FOREBAY_UNSUPPORTED if the batch is compressed by what is
/// not built in; FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_get_many(
    batch: Option<&forebay_batch>,
    index: usize,
    records_out: *mut forebay_record,
    capacity: usize,
    count_out: Option<&mut MaybeUninit<usize>>,
) -> forebay_status {
    guard(|| {
        let count = out(count_out, "count_out")?;
        let places = super::bytes::places(records_out, capacity, "records_out")?;
        count.write(shared(batch)?.fill(index, places)?);
        Ok(())
    })
}

/// Fills in a header of a record: `header` from 0 to the record's header_count - 1, in the order
/// they were appended in. As forebay_batch_get, whose record of the same index may be asked for
/// before at no cost. FOREBAY_NOT_FOUND beyond the last record or header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_header(
    batch: Option<&forebay_batch>,
    index: usize,
    header: usize,
    header_out: Option<&mut MaybeUninit<forebay_header>>,
) -> forebay_status {
    guard(|| {
        let place = out(header_out, "header_out")?;
        let record = shared(batch)?.record(index)?;
        let (name, value) = record.headers().nth(header).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("record {index} has no header {header}"))
        })?;
        place.write(forebay_header {
            name: forebay_bytes::of(name.as_bytes()),
            value: value.map_or(forebay_bytes::NONE, forebay_bytes::of),
        });
        Ok(())
    })
}

/// The batch as it is stored: what Kafka calls a record batch, its checksum included; always whole,
/// also where a reader or consumer began in the middle of it and forebay_batch_count is less. A
/// batch is what one append call made, and none are put together: where bytes cost, take
/// forebay_log_append_batch, and compression. To
/// carry batches over a link of one's own: read them by a consumer with FOREBAY_DURABLE, send these
/// bytes (and once forebay_log_id, that they are told from another device's), and when the other
/// side has them durably, forebay_consumer_commit_offset with forebay_batch_next_offset. To send
/// again what was not acknowledged, seek to forebay_consumer_committed. The other side takes them
/// by forebay_batch_read, and passes over records whose offsets it has. Empty for NULL and what is
/// no batch. Valid until forebay_batch_free. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_bytes(batch: Option<&forebay_batch>) -> forebay_bytes {
    let mut bytes = forebay_bytes::NONE;
    let _ = guard(|| {
        bytes = forebay_bytes::of(of(batch)?.as_bytes());
        Ok(())
    });
    bytes
}

/// Reads the batch at the front of bytes that came from elsewhere, checksum and all, and says in
/// `used_out` how many bytes it took. The bytes are copied. FOREBAY_OK and NULL, with 0 used, if
/// the front is a batch that is cut short: get more bytes, but no more than the sender's
/// max_batch_bytes, for the length itself is only known to be right with the whole
/// (forebay_batch_read_within takes care of that). Nothing finds
/// the next batch behind bytes that are none: have the link begin anew. Free it with
/// forebay_batch_free. Does not block.
/// FOREBAY_CORRUPT if the bytes are no batch or its checksum is wrong; FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_read(
    bytes: forebay_bytes,
    batch_out: Option<&mut MaybeUninit<*mut forebay_batch>>,
    used_out: Option<&mut MaybeUninit<usize>>,
) -> forebay_status {
    guard(|| read(bytes, usize::MAX, batch_out, used_out))
}

/// As forebay_batch_read, from somebody who is not trusted with memory: a batch that says it has
/// more than `max_bytes` bytes is refused as soon as its first 61 are there, so that no more are
/// gathered for it. What the sender's max_batch_bytes is, is such a bound.
/// FOREBAY_RECORD_TOO_LARGE for such a batch; FOREBAY_CORRUPT if the bytes are no batch or its
/// checksum is wrong; FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_read_within(
    bytes: forebay_bytes,
    max_bytes: usize,
    batch_out: Option<&mut MaybeUninit<*mut forebay_batch>>,
    used_out: Option<&mut MaybeUninit<usize>>,
) -> forebay_status {
    guard(|| read(bytes, max_bytes, batch_out, used_out))
}

fn read(
    bytes: forebay_bytes,
    max_bytes: usize,
    batch_out: Option<&mut MaybeUninit<*mut forebay_batch>>,
    used_out: Option<&mut MaybeUninit<usize>>,
) -> Result<()> {
    let place = out(batch_out, "batch_out")?;
    place.write(ptr::null_mut());
    let used = out(used_out, "used_out")?;
    let bytes = bytes.or_empty("bytes")?;
    let split = RecordBatch::split_first_within(bytes, max_bytes)?;
    used.write(split.as_ref().map_or(0, |(_, rest)| bytes.len() - rest.len()));
    if let Some((batch, _)) = split {
        place.write(give(Read::new(batch)));
    }
    Ok(())
}

/// Writes the batch as a Kafka producer sends it: base offset 0 and the id, epoch and sequence of
/// an idempotent producer, or -1 for each. For an application that speaks Kafka's protocol itself;
/// what ships by forebay_replicator_start needs none of it. `size_out` says how many bytes it
/// takes; if `capacity` is less nothing is written and it is FOREBAY_OUT_OF_SPACE, so a call with 0
/// asks for the size. Does not block. FOREBAY_UNSUPPORTED for a batch that a producer cannot send
/// (a gap, a marker of a transaction); FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_produce(
    batch: Option<&forebay_batch>,
    producer_id: i64,
    producer_epoch: i16,
    sequence: i32,
    buffer: *mut u8,
    capacity: usize,
    size_out: Option<&mut MaybeUninit<usize>>,
) -> forebay_status {
    guard(|| {
        let size = out(size_out, "size_out")?;
        let batch = of(batch)?;
        if !batch.is_producible() {
            let what = "the batch is a gap or of a transaction, which no producer sends";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let needed = batch.as_bytes().len();
        size.write(needed);
        if capacity < needed {
            let what = format!("the buffer has {capacity} bytes, the batch needs {needed}");
            return Err(Error::new(ErrorKind::OutOfSpace, what));
        }
        if buffer.is_null() {
            return Err(invalid("buffer is NULL"));
        }
        let stamp = ProducerStamp::new(producer_id, producer_epoch, sequence);
        let offsets = batch.base_offset()..batch.next_offset();
        let mut bytes = Vec::new();
        RecordBatch::produce(std::slice::from_ref(batch), offsets, stamp, &mut bytes)?;
        // SAFETY: the header asks for `capacity` writable bytes, which are at least as many.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len().min(capacity)) };
        Ok(())
    })
}

/// Frees the batch, and with it what its records point to. NULL is nothing to do. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_batch_free(batch: Option<NonNull<forebay_batch>>) {
    free(batch);
}
