//! The one that is killed: four threads append to one log, two read it, one flushes, one deletes,
//! a consumer commits, and a replicator ships it to a second log.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forebay::{
    Consumer, ErrorKind, Hold, Log, LogUpstream, Offset, OffsetSpec, Replicator, ReplicatorOptions,
    Result, Visibility,
};

use crate::kill::{SHIP, upstream_dir};
use crate::lines::Lines;
use crate::probe::{KEEPER, LOG, Options, Plant, log_dir};
use crate::record::{Content, content};

const WRITERS: u64 = 4;
const READERS: u64 = 2;
/// Small, so that opening and judging stay fast.
const RETENTION_BYTES: u64 = 64 << 10;

/// Lives until it is killed; returns what failed.
///
/// # Errors
/// Whatever the log says: nothing here should fail.
pub fn live(dir: &Path, options: &Options, lines: &Lines) -> Result<()> {
    let log = options
        .log()
        .retention_bytes(RETENTION_BYTES)
        .hold(Hold::Each(vec![KEEPER.to_owned(), SHIP.to_owned()]))
        .open(log_dir(dir))?;
    let upstream_options = options.log().retention_bytes(RETENTION_BYTES);
    let upstream = LogUpstream::new(upstream_dir(dir)).options(upstream_options);
    let patience =
        ReplicatorOptions::new().backoff(Duration::from_millis(1), Duration::from_millis(5));
    let replicator = Replicator::start(&log, SHIP, upstream, patience)?;
    let durable = forebay::ConsumerOptions::new().visibility(Visibility::Durable);
    let keeper = log.consumer_with(KEEPER, durable)?;
    let life = Life { log, options, lines, over: AtomicBool::new(false) };
    thread::scope(|scope| {
        let life = &life;
        for number in 0..WRITERS {
            scope.spawn(move || life.keep("append", |turn| life.append(number, turn)));
        }
        for number in 0..READERS {
            scope.spawn(move || life.keep("read", |turn| life.read(number + turn)));
        }
        scope.spawn(move || life.keep("flush", |_| life.flush()));
        scope.spawn(move || life.keep("retain", |turn| life.retain(turn)));
        let mut keeper = keeper;
        scope.spawn(move || life.keep("consume", |turn| life.consume(&mut keeper, turn)));
    });
    drop(replicator);
    Ok(())
}

struct Life<'a> {
    log: Log,
    options: &'a Options,
    lines: &'a Lines,
    over: AtomicBool,
}

impl Life<'_> {
    /// Does the same again and again, until something fails; that ends all.
    fn keep(&self, what: &str, mut once: impl FnMut(u64) -> Result<()>) {
        for turn in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = once(turn) {
                self.lines.say(&format!("BAD {what}: {error}\n"));
                self.over.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Whoever is not the first at an offset tries the next one.
    fn append(&self, number: u64, turn: u64) -> Result<()> {
        let base = self.log.log_end_offset();
        let count = if (turn + number).is_multiple_of(5) { 3 } else { 1 };
        let offsets = base.get()..base.get() + count;
        self.lines.each('W', LOG, offsets.end - 1..offsets.end);
        if self.options.plant == Some(Plant::Early) {
            self.lines.each('P', LOG, offsets.end - 1..offsets.end);
        }
        let records = offsets.clone().map(|at| content(self.options.seed, LOG, at).to_append());
        match self.log.append_batch_at(base, records) {
            Ok(_) => self.lines.each('P', LOG, offsets.end - 1..offsets.end),
            Err(error) if error.kind() == ErrorKind::Conflict => thread::yield_now(),
            Err(error) => return Err(error),
        }
        if turn % 16 == number {
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn read(&self, turn: u64) -> Result<()> {
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        let from = match turn % 3 {
            0 => OffsetSpec::Earliest,
            1 => OffsetSpec::At(start + (end - start) / 2),
            _ => OffsetSpec::Latest,
        };
        let reader = match self.log.reader(from) {
            // Retention was faster.
            Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => return Ok(()),
            reader => reader?,
        };
        for batch in reader.take(200) {
            let batch = match batch {
                Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => continue,
                batch => batch?,
            };
            for record in batch.records() {
                let record = record?;
                let at = record.offset().get();
                if Content::of(&record) != content(self.options.seed, LOG, at) {
                    self.lines.say(&format!("BAD a reader was given another record at {at}\n"));
                }
            }
        }
        thread::sleep(Duration::from_micros(500));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let durable: Offset = self.log.flush()?;
        if durable > Offset::ZERO {
            self.lines.each('A', LOG, durable.get() - 1..durable.get());
        }
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn retain(&self, turn: u64) -> Result<()> {
        if turn % 4 == 3 {
            let consumers = self.log.consumers();
            let free = consumers.iter().map(|consumer| consumer.committed).min();
            let start = self.log.log_start_offset();
            self.log.delete_records(start + (free.unwrap_or(start) - start).max(0) / 3)?;
        } else {
            self.log.apply_retention()?;
        }
        self.lines.say(&format!("S {LOG} {}\n", self.log.log_start_offset()));
        thread::sleep(Duration::from_millis(2));
        Ok(())
    }

    fn consume(&self, keeper: &mut Consumer, turn: u64) -> Result<()> {
        while keeper.poll(Duration::ZERO)?.is_some() {}
        let at = keeper.position();
        self.lines.say(&format!("T {LOG}:{KEEPER} {at}\n"));
        keeper.commit()?;
        self.lines.say(&format!("M {LOG}:{KEEPER} {at}\n"));
        if turn % 4 == 3 {
            keeper.sync()?;
            self.lines.say(&format!("C {LOG}:{KEEPER} {at}\n"));
        }
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }
}
