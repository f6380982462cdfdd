//! The writer: what it does with its log, and how its lives end.

use std::sync::{Arc, Mutex};

use forebay::simulation::{Call, CallKind, Disk, Fault, Keep};
use forebay::{Consumer, ConsumerOptions, IoMode, Log, LogOptions, Offset, Result, Visibility};

use super::DIR;

use crate::util::manual;

/// Chance that comes again with the same seed.
#[derive(Clone, Copy)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

pub(crate) fn options(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(4096).index_interval_bytes(300)
}

/// Who writes: the how manieth, and from which offset on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) number: i64,
    pub(crate) from: i64,
}

/// What a life appends at an offset.
pub(crate) fn value(life: Life, offset: i64) -> String {
    let rest = "abcdefg".repeat(1 + usize::try_from(offset % 9).unwrap());
    format!("{}/{}/{offset}/{rest}", life.number, life.from)
}

/// What a writer may do besides appending, flushing, closing and opening again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) mode: IoMode,
    pub(crate) deletes: bool,
    /// Has consumers, of which some see durable records only, and so many that the checkpoint
    /// grows.
    pub(crate) consumes: bool,
}

/// Opens, does so much, and leaves the log open.
pub(crate) fn live(
    disk: &Disk,
    habits: Habits,
    (number, rounds, seed): (i64, u64, u64),
    opened: impl FnOnce(),
) -> Result<Log> {
    let mut log = options(habits.mode).open_on(disk, DIR)?;
    opened();
    let dice = &mut Dice(seed);
    let life = Life { number, from: log.log_end_offset().get() };
    for _ in 0..rounds {
        match dice.throw(12) {
            0..7 => append(&log, life, dice)?,
            7 | 8 => drop(log.flush()?),
            9 if habits.deletes => {
                let before = log.log_end_offset().get() - i64::try_from(dice.throw(60)).unwrap();
                log.delete_records(Offset::new(before.max(log.log_start_offset().get())))?;
            }
            10 if habits.consumes => consume(&log, dice)?,
            11 => {
                log.close()?;
                log = options(habits.mode).open_on(disk, DIR)?;
            }
            _ => append(&log, life, dice)?,
        }
    }
    Ok(log)
}

/// One batch, or some; now and then one that fills half a segment.
fn append(log: &Log, life: Life, dice: &mut Dice) -> Result<()> {
    for _ in 0..1 + dice.throw(5) {
        let next = log.log_end_offset().get();
        let count = if dice.throw(12) == 0 { 40 } else { 1 + dice.throw(4) };
        let until = next + i64::try_from(count).unwrap();
        log.append_batch((next..until).map(|offset| value(life, offset)))?;
    }
    Ok(())
}

fn consume(log: &Log, dice: &mut Dice) -> Result<()> {
    let number = dice.throw(30);
    let (name, durable) = (format!("{number:0>240}"), number.is_multiple_of(2));
    let visibility = if durable { Visibility::Durable } else { Visibility::Written };
    let mut consumer: Consumer =
        log.consumer_with(&name, ConsumerOptions::new().visibility(visibility))?;
    let end = if durable { log.durable_offset() } else { log.log_end_offset() };
    consumer.commit_offset(end.max(log.log_start_offset()))?;
    if dice.throw(4) == 0 { consumer.sync() } else { Ok(()) }
}

/// How a life ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Killed,
    PowerCut(Keep),
}

impl End {
    pub(crate) fn any(dice: &mut Dice) -> End {
        let part = usize::try_from(dice.throw(40)).unwrap();
        End::PowerCut(match dice.throw(12) {
            0..3 => return End::Killed,
            3 => Keep::None,
            4 => Keep::All,
            5 => Keep::Prefix(part),
            6 => Keep::Only(part),
            7 => Keep::AllBut(part),
            8 => Keep::Mask(dice.throw(u64::MAX)),
            _ => Keep::Seed(dice.throw(u64::MAX)),
        })
    }
}

/// One life on `disk`, of which every call is told before it is made, until it ends at the call
/// number `until`: the disk that the next one begins on. `None` if it ended before by itself.
pub(crate) fn end_at(
    disk: &Disk,
    until: u64,
    end: End,
    mut told: impl FnMut(&Disk, &Call) + Send + 'static,
    live: impl FnOnce(&Disk) -> Result<Log>,
) -> Option<Disk> {
    let next: Arc<Mutex<Option<Disk>>> = Arc::default();
    let ended = Arc::clone(&next);
    let mut calls = 0;
    disk.watch(move |disk: &Disk, call: &Call| {
        let over = || ended.lock().unwrap().is_some();
        if call.kind == CallKind::Clock || std::thread::panicking() || over() {
            return;
        }
        told(disk, call);
        calls += 1;
        if calls == until {
            *ended.lock().unwrap() = Some(match end {
                End::Killed => disk.kill(),
                End::PowerCut(keep) => disk.power_cut(keep),
            });
            let all = [CallKind::Open, CallKind::CreateNew, CallKind::Write, CallKind::SyncFile];
            let more = [CallKind::SetLen, CallKind::Allocate, CallKind::List, CallKind::Read];
            for on in all.into_iter().chain(more) {
                // What the dead would still do does not matter; so it soon meets its end.
                disk.fail(Fault { on, name: None, after: 0, times: u64::MAX, errno: 5 });
            }
        }
    });
    let lived = live(disk);
    let over = next.lock().unwrap().is_some();
    assert!(lived.is_ok() || over, "{:?}", lived.err());
    drop(lived);
    disk.unwatch();
    next.lock().unwrap().take()
}
