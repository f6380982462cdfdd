//! One log in the writer's hand: whatever it does is said.

use std::time::Duration;

use forebay::{
    Consumer, ConsumerOptions, ErrorKind, Log, NewRecord, Offset, OffsetSpec, Result, Visibility,
};

use crate::lines::Lines;
use crate::probe::{Options, Plant, is_durable};
use crate::record::{Content, content};

/// A log that is open, and what was acknowledged of it.
pub(crate) struct Hand<'a> {
    pub(crate) log: Log,
    pub(crate) name: String,
    pub(crate) options: &'a Options,
    pub(crate) lines: &'a Lines,
    acknowledged: i64,
}

impl<'a> Hand<'a> {
    pub(crate) fn new(log: Log, name: &str, options: &'a Options, lines: &'a Lines) -> Hand<'a> {
        lines.say(&format!("O {name}\n"));
        let acknowledged = log.durable_offset().get();
        Hand { log, name: name.to_owned(), options, lines, acknowledged }
    }

    /// Appends so many records as one batch, or one record alone.
    pub(crate) fn put(&mut self, count: i64) -> Result<()> {
        let base = self.log.log_end_offset();
        let offsets = base.get()..base.get() + count;
        let records: Vec<NewRecord<'_>> = offsets
            .clone()
            .map(|at| content(self.options.seed, &self.name, at).to_append())
            .collect();
        self.lines.each('W', &self.name, offsets.clone());
        if self.options.plant == Some(Plant::Early) {
            self.lines.each('P', &self.name, offsets.clone());
            self.lines.each('A', &self.name, offsets.clone());
        }
        let put = match <[NewRecord<'_>; 1]>::try_from(records) {
            Ok([record]) => self.log.append_at(base, record).map(|at| at..at + 1),
            Err(records) => self.log.append_batch_at(base, records),
        };
        let put = put.inspect_err(|error| self.refused("append", error, base))?;
        if put != (base..base + count) {
            self.bad(&format!("appended at {base}, and given {put:?}"));
        }
        self.lines.each('P', &self.name, offsets);
        if self.options.every_append && self.options.plant.is_none() {
            // The append returned: all of it is durable.
            if self.log.durable_offset() < put.end {
                self.bad(&format!("durable is {} behind {put:?}", self.log.durable_offset()));
            }
            self.say_acknowledged(put.end);
        }
        Ok(())
    }

    /// Flushes, and says what is durable.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let end = self.log.log_end_offset();
        if self.options.plant == Some(Plant::NoFlush) {
            self.say_acknowledged(end);
            return Ok(());
        }
        match self.log.flush() {
            Ok(durable) if durable < end => {
                self.bad(&format!("flushed until {durable}, and the end was {end}"));
            }
            Ok(durable) => self.say_acknowledged(durable),
            Err(error) => {
                self.failed("flush", &error);
                if self.options.plant == Some(Plant::Deaf) {
                    self.say_acknowledged(end);
                    return Ok(());
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Says that everything below `durable` is.
    pub(crate) fn say_acknowledged(&mut self, durable: Offset) {
        self.lines.each('A', &self.name, self.acknowledged..durable.get());
        self.acknowledged = self.acknowledged.max(durable.get());
    }

    /// Opens one of the consumers that are known by name.
    pub(crate) fn consumer(&self, name: &str) -> Result<Consumer> {
        let visibility = match is_durable(name) {
            true => Visibility::Durable,
            false => Visibility::Written,
        };
        let options = ConsumerOptions::new().visibility(visibility);
        self.log.consumer_with(name, options).inspect_err(|error| self.failed("consumer", error))
    }

    /// Reads all a consumer is to see, commits it, and perhaps syncs that.
    pub(crate) fn consume(&mut self, consumer: &mut Consumer, sync: bool) -> Result<()> {
        while let Some(batch) =
            consumer.poll(Duration::ZERO).inspect_err(|error| self.failed("poll", error))?
        {
            for record in batch.records() {
                let record = record.inspect_err(|error| self.failed("decode", error))?;
                let at = record.offset().get();
                if Content::of(&record) != content(self.options.seed, &self.name, at) {
                    self.bad(&format!("{} was given another record at {at}", consumer.name()));
                }
            }
        }
        if is_durable(consumer.name()) && consumer.position() > self.log.durable_offset() {
            self.bad(&format!("{} saw what is not durable", consumer.name()));
        }
        let name = format!("{}:{}", self.name, consumer.name());
        let at = consumer.position();
        self.lines.say(&format!("T {name} {at}\n"));
        consumer.commit().inspect_err(|error| self.failed("commit", error))?;
        self.lines.say(&format!("M {name} {at}\n"));
        if sync {
            consumer.sync().inspect_err(|error| self.failed("sync", error))?;
            self.lines.say(&format!("C {name} {at}\n"));
        }
        Ok(())
    }

    /// Reads everything there is.
    pub(crate) fn read_all(&self) -> Result<()> {
        let reader = self.log.reader(OffsetSpec::Earliest);
        for batch in reader.inspect_err(|error| self.failed("reader", error))? {
            let batch = batch.inspect_err(|error| self.failed("read", error))?;
            for record in batch.records() {
                let record = record.inspect_err(|error| self.failed("decode", error))?;
                let at = record.offset().get();
                if Content::of(&record) != content(self.options.seed, &self.name, at) {
                    self.bad(&format!("another record at {at}"));
                }
            }
        }
        Ok(())
    }

    /// Says where the log starts after something was deleted.
    pub(crate) fn say_start(&self) {
        self.lines.say(&format!("S {} {}\n", self.name, self.log.log_start_offset()));
    }

    /// After a refused append the log is as before, unless only the flush of it failed (V14).
    fn refused(&self, what: &str, error: &forebay::Error, base: Offset) {
        let end = self.log.log_end_offset();
        if error.kind() == ErrorKind::RecordTooLarge {
            // The writer's own choice: nothing failed.
            return;
        }
        self.failed(what, error);
        if error.kind() == ErrorKind::OutOfSpace && end != base {
            self.bad(&format!("refused at {base}, and the end is {end}"));
        }
    }

    pub(crate) fn failed(&self, what: &str, error: &forebay::Error) {
        self.lines.say(&format!("E {what} {:?} {}: {error}\n", error.kind(), self.name));
        if error.kind() == ErrorKind::Poisoned {
            self.poisoned();
        }
    }

    /// V12: who is poisoned calls nothing durable, takes nothing, and goes on reading.
    fn poisoned(&self) {
        let (end, durable) = (self.log.log_end_offset(), self.log.durable_offset());
        if end > durable
            && let Ok(until) = self.log.flush()
        {
            self.bad(&format!("poisoned, and flushed until {until}"));
        }
        if self.log.append("after the poison").is_ok() {
            self.bad("poisoned, and it took a record");
        }
        if self.log.durable_offset() != durable {
            self.bad("poisoned, and the durable offset moved");
        }
        let Ok(reader) = self.log.reader(OffsetSpec::Earliest) else { return };
        let last = reader.filter_map(Result::ok).map(|batch| batch.next_offset()).last();
        if last.is_some_and(|last| last != end) {
            self.bad(&format!("poisoned at {end}, and read until {last:?}"));
        }
    }

    pub(crate) fn bad(&self, text: &str) {
        self.lines.say(&format!("BAD {}: {text}\n", self.name));
    }
}
