//! The writer.

use std::path::Path;

use forebay::{ErrorKind, Hold, Log, Offset, Result, Store};

use crate::Random;
use crate::lines::Lines;
use crate::probe::hand::Hand;
use crate::probe::{
    CARRIER, DISPLAY, KEEPER, LOG, Options, PASSING, Plant, STORE_LOGS, Work, log_dir, store_dir,
};

/// How a run of the writer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was appended, and closed.
    Done,
    /// It was refused again and again; what the last refusal said.
    Refused(ErrorKind, String),
}

/// Times it opens anew after an error.
const TRIES: u32 = 4;
/// Times it repeats a call that was refused and may work later.
const REPEATS: u32 = 3;

/// Appends `options.records` records under `dir`, and says all it does.
///
/// A refused append is repeated; whatever else fails, everything is dropped and opened again: four
/// times, then the last error is what it ended with.
pub fn write(dir: &Path, options: &Options, lines: &Lines) -> Ended {
    let mut left = options.records;
    let mut reopen = options.reopen;
    let mut tries = 0;
    loop {
        let stop_at = if reopen { options.records / 2 } else { 0 };
        let ended = match options.work {
            Work::Store => write_store(dir, options, lines, &mut left, stop_at),
            _ => write_log(dir, options, lines, &mut left, stop_at),
        };
        match ended {
            Ok(()) if left == 0 => return Ended::Done,
            Ok(()) => reopen = false,
            Err(error) => {
                let kind = error.kind();
                lines.say(&format!("E run {kind:?} {error}\n"));
                tries += 1;
                if tries == TRIES {
                    return Ended::Refused(kind, error.to_string());
                }
            }
        }
    }
}

/// Repeats what was refused and left everything as it was.
fn patiently(mut call: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..REPEATS {
        match call() {
            Err(error) if matches!(error.kind(), ErrorKind::OutOfSpace | ErrorKind::Io) => {}
            ended => return ended,
        }
    }
    call()
}

/// Numbers that depend on where the log is, so that a run that goes on does not repeat itself.
fn numbers(options: &Options, end: Offset) -> Random {
    Random::new(options.seed ^ crate::mix(end.get() as u64 + 1))
}

fn write_log(
    dir: &Path,
    options: &Options,
    lines: &Lines,
    left: &mut u64,
    stop_at: u64,
) -> Result<()> {
    let mut log_options = options.full(options.log(), stop_at == 0 && options.reopen);
    if options.work == Work::Retention {
        log_options = log_options
            .retention_bytes(3 * options.segment_bytes as u64)
            .hold(Hold::Each(vec![KEEPER.to_owned()]));
    }
    let log = log_options.open(log_dir(dir))?;
    let mut hand = Hand::new(log.clone(), LOG, options, lines);
    let mut random = numbers(options, log.log_end_offset());
    let mut consumers = Vec::new();
    match options.work {
        Work::Retention => consumers.push(hand.consumer(KEEPER)?),
        Work::Consumer => {
            consumers.push(hand.consumer(DISPLAY)?);
            consumers.push(hand.consumer(CARRIER)?);
        }
        _ => {}
    }
    while *left > stop_at {
        let count = put(&mut hand, &mut random, *left - stop_at)?;
        *left -= count;
        if random.below(6) == 0 {
            hand.flush()?;
        }
        if random.below(8) == 0 {
            for consumer in &mut consumers {
                let sync = random.below(3) == 0;
                hand.consume(consumer, sync)?;
            }
        }
        if options.work == Work::Retention {
            retain(&mut hand, &mut random)?;
        }
        plant(options);
    }
    hand.read_all()?;
    if random.below(2) == 0 {
        hand.flush()?;
    }
    drop(consumers);
    let end = log.log_end_offset();
    log.close().inspect_err(|error| hand.failed("close", error))?;
    if options.plant != Some(Plant::NoFlush) {
        hand.say_acknowledged(end);
    }
    Ok(())
}

/// Appends some records of those that are left.
fn put(hand: &mut Hand<'_>, random: &mut Random, left: u64) -> Result<u64> {
    let count = match random.below(4) {
        0 => random.below(6) + 1,
        _ => 1,
    };
    let count = count.min(left);
    match patiently(|| hand.put(count as i64)) {
        // Small segments do not take the largest batches.
        Err(error) if error.kind() == ErrorKind::RecordTooLarge && count > 1 => {
            patiently(|| hand.put(1)).map(|()| 1)
        }
        ended => ended.map(|()| count),
    }
}

fn retain(hand: &mut Hand<'_>, random: &mut Random) -> Result<()> {
    match random.below(24) {
        0 => {
            hand.log
                .apply_retention()
                .inspect_err(|error| hand.failed("apply_retention", error))?;
            hand.say_start();
        }
        1 => {
            // Only what the keeper gave free: the judge holds the start against it.
            let consumers = hand.log.consumers();
            let kept = consumers.iter().find(|consumer| consumer.name == KEEPER);
            let Some(free) = kept.map(|keeper| keeper.committed) else { return Ok(()) };
            let start = hand.log.log_start_offset();
            let before = start + (free - start).max(0) / 4;
            hand.log
                .delete_records(before)
                .inspect_err(|error| hand.failed("delete_records", error))?;
            hand.say_start();
        }
        _ => {}
    }
    Ok(())
}

fn write_store(
    dir: &Path,
    options: &Options,
    lines: &Lines,
    left: &mut u64,
    stop_at: u64,
) -> Result<()> {
    let logs = options.full(options.log(), stop_at == 0 && options.reopen);
    let kept = logs.clone().retention_bytes(3 * options.segment_bytes as u64);
    let store = Store::options().logs(logs).log("b", kept).open(store_dir(dir))?;
    let mut hands = Vec::new();
    for name in STORE_LOGS {
        hands.push(Hand::new(store.log(name)?, name, options, lines));
    }
    let end: i64 = hands.iter().map(|hand| hand.log.log_end_offset().get()).sum();
    let mut random = numbers(options, Offset::new(end));
    let mut consumer = hands[0].consumer(CARRIER)?;
    while *left > stop_at {
        let chosen = random.below(3) as usize;
        *left -= put(&mut hands[chosen], &mut random, *left - stop_at)?;
        match random.below(24) {
            0..3 => flush_store(&store, &mut hands, lines)?,
            3 => hands[chosen].flush()?,
            4 => {
                let sync = random.below(2) == 0;
                hands[0].consume(&mut consumer, sync)?;
            }
            5 => {
                store.apply_retention().inspect_err(|error| hands[1].failed("retain", error))?;
                hands[1].say_start();
            }
            6 if options.passing => pass(&store, options, lines)?,
            _ => {}
        }
        plant(options);
    }
    for hand in &hands {
        hand.read_all()?;
    }
    let ends: Vec<Offset> = hands.iter().map(|hand| hand.log.log_end_offset()).collect();
    drop(consumer);
    store.close().inspect_err(|error| hands[0].failed("close", error))?;
    if options.plant != Some(Plant::NoFlush) {
        hands.iter_mut().zip(ends).for_each(|(hand, end)| hand.say_acknowledged(end));
    }
    Ok(())
}

fn flush_store(store: &Store, hands: &mut [Hand<'_>], lines: &Lines) -> Result<()> {
    let ends: Vec<Offset> = hands.iter().map(|hand| hand.log.log_end_offset()).collect();
    if let Err(error) = store.flush() {
        lines.say(&format!("E store-flush {:?} {error}\n", error.kind()));
        for hand in hands {
            // Each log says for itself whether it is poisoned.
            hand.flush()?;
        }
        return Err(error);
    }
    hands.iter_mut().zip(ends).for_each(|(hand, end)| hand.say_acknowledged(end));
    Ok(())
}

/// A log that comes, has a record, and goes.
fn pass(store: &Store, options: &Options, lines: &Lines) -> Result<()> {
    let log: Log = store.log(PASSING)?;
    let mut hand = Hand::new(log, PASSING, options, lines);
    hand.put(2)?;
    drop(hand);
    store.delete_log(PASSING).map(drop)
}

/// What breaks the writer from within, if that is asked for.
fn plant(options: &Options) {
    match options.plant {
        Some(Plant::Leak) => std::mem::forget(std::fs::File::open("/dev/null")),
        Some(Plant::Bus) => crate::probe::look::store_behind_the_end(),
        _ => {}
    }
}
