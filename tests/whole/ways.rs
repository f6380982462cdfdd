//! The ways of a batch into a log: as one, by a codec of its own, record by record.

use std::ops::Range;
use std::time::Duration;

use forebay::{Compression, Error, Linger, LingerOptions, Log, Offset, Result, Ticket, Visibility};

use super::drive::World;
use super::laws::{self, Law, broken};
use super::model::{Batch, Content};

/// What a batch may be compressed by, whatever the rules of its log say.
const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Longer than anything waits here.
const LONG: Duration = Duration::from_secs(1 << 30);

impl World {
    pub(crate) fn append(&mut self, at: usize, shape: (usize, usize)) -> Law {
        self.append_by(at, shape, false, |log, batch| {
            log.append_batch(batch.records.iter().map(Content::to_new))
        })
    }

    pub(crate) fn pack(&mut self, at: usize, shape: (usize, usize), codec: u16) -> Law {
        let asked = CODECS[usize::from(codec) % CODECS.len()];
        let codec = if asked.is_built_in() { asked } else { Compression::None };
        self.append_by(at, shape, false, |log, batch| {
            log.append_batch_compressed(codec, batch.records.iter().map(Content::to_new))
        })
    }

    /// By a linger that its last record fills, or that is flushed, dropped or closed behind it;
    /// with tickets that wait for the device if the number is odd.
    pub(crate) fn linger(&mut self, at: usize, shape: (usize, usize), how: u16) -> Law {
        let durable = how % 2 == 1;
        match how / 2 % 4 {
            3 => self.linger_until_closed(at, shape),
            end => self.append_by(at, shape, durable, |log, batch| {
                let (linger, tickets) = lingering(log, batch, end > 0, durable)?;
                match end {
                    0 => {}
                    1 => linger.flush()?,
                    _ => drop(linger),
                }
                answer(tickets.iter().map(Ticket::wait))
            }),
        }
    }

    /// What waits is appended by the close of the store.
    fn linger_until_closed(&mut self, at: usize, shape: (usize, usize)) -> Law {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let mut closed = false;
        let done = self.append_by(at, shape, false, |log, batch| {
            let (_linger, tickets) = lingering(log, batch, true, false)?;
            let ended = store.close();
            closed = ended.is_ok();
            match tickets.iter().map(Ticket::try_wait).collect::<Option<Vec<_>>>() {
                Some(answers) => answer(answers),
                None => ended.and_then(|()| Err(Error::upstream("closed, and no word of it"))),
            }
        });
        self.held.fill(None);
        self.store = None;
        done?;
        if closed {
            self.settle();
        } else {
            self.unsettle();
        }
        self.open().map(drop)
    }

    /// Appends a batch in this way, which may say that it is durable then.
    fn append_by(
        &mut self,
        at: usize,
        (records, bytes): (usize, usize),
        durable: bool,
        act: impl FnOnce(&Log, &Batch) -> Result<Range<Offset>>,
    ) -> Law {
        let Some(log) = self.log(at)? else { return Ok(()) };
        let (batch, failed_before) = {
            let mut books = self.books();
            let (now_ms, faulty) = (books.now_ms, books.faulty);
            let book = &mut books.logs[at];
            let batch = book.next_batch(book.model.seed, records, bytes);
            book.pend(batch.clone(), now_ms);
            let failed = faulty && book.model.sync_failed;
            books.before();
            (batch, failed)
        };
        let got = act(&log, &batch);
        let (before, end) = (batch.base, log.log_end_offset().get());
        let every = {
            let mut books = self.books();
            let book = &mut books.logs[at];
            if end == batch.end() {
                book.model.pending = None;
                book.model.batches.push(batch);
            } else {
                book.unpend();
            }
            // It may have begun before the failure, and another handle be poisoned.
            if failed_before && self.held[at].is_some() {
                laws::v12_a_failed_sync_poisons("append", &got)?;
            }
            durable || matches!(book.rules, [1, 1] | [8, 8])
        };
        if let Ok(range) = &got {
            if (range.start.get(), range.end.get()) != (before, end) {
                return broken(5, format!("appended at {range:?}, expected {before}..{end}"));
            }
            if every {
                self.book(at, |book| book.model.durable = end);
            }
        }
        if let Err(error) = &got {
            laws::v14_full_is_an_error(error, before, &log)?;
            self.refused("append", error)?;
        }
        self.observe(at, &log)
    }
}

/// Hands the records of a batch in one by one; whether it waits for more.
fn lingering(
    log: &Log,
    batch: &Batch,
    waits: bool,
    durable: bool,
) -> Result<(Linger, Vec<Ticket>)> {
    let count = batch.records.len() + usize::from(waits);
    let wait_for = if durable { Visibility::Durable } else { Visibility::Written };
    let options = LingerOptions::new().linger(LONG).batch_records(count).acknowledge(wait_for);
    let linger = log.linger(options)?;
    let records = batch.records.iter().map(Content::to_new);
    let tickets = records.map(|one| linger.append(one)).collect::<Result<_>>()?;
    Ok((linger, tickets))
}

/// What the tickets of a batch say together.
fn answer(tickets: impl IntoIterator<Item = Result<Offset>>) -> Result<Range<Offset>> {
    let offsets: Vec<Offset> = tickets.into_iter().collect::<Result<_>>()?;
    let first = offsets[0];
    assert!(offsets.iter().zip(0..).all(|(at, nth)| *at == first + nth), "tickets: {offsets:?}");
    Ok(first..first + offsets.len() as i64)
}
