//! One crash state: recover it, hold it to every law, and go on from there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay::simulation::Disk;
use forebay::{Log, RecoveryReport};

use super::before::Before;
use super::drive::options;
use super::image::{DIR, Image};
use super::laws::{self, Duty, Law, or_broken};
use super::model::Model;
use super::words::{How, Kept, Setup};

/// How much is asked of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The laws about what is there, and life after it.
    Base,
    /// Everything: recovery twice, indexes deleted, damage, a second opener.
    Deep,
}

/// Recovers `cut`, which is used up, and checks it; a panic is a broken law like any other.
pub(crate) fn check(cut: &Disk, how: How, model: &Model, setup: &Setup, level: Level) -> Law {
    let duty = match how {
        How::Kill => Duty::after_kill(model),
        How::Power(_) => Duty::after_power_cut(model),
    };
    let got = catch_unwind(AssertUnwindSafe(|| match level {
        Level::Base => one(cut, &duty, setup),
        Level::Deep => {
            // Each of them works on a copy that has the same cache and the same boot.
            again(&cut.kill(), &duty, setup)?;
            caches(&cut.kill(), &duty, setup)?;
            rot(&cut.kill(), &duty, setup)?;
            full(&cut.kill(), &duty, setup)?;
            one(cut, &duty, setup)
        }
    }));
    laws::v13_no_harm("recovery", got)?
}

fn open(disk: &Disk, setup: &Setup) -> Result<Log, laws::Violation> {
    or_broken(13, options(setup).open_on(disk, DIR))
}

/// Recovers, checks, goes on, cuts the power so that nothing loose stays, and recovers again.
fn one(cut: &Disk, duty: &Duty<'_>, setup: &Setup) -> Law {
    let before = Before::read(cut, DIR);
    let log = open(cut, setup)?;
    let seen = laws::look(&log, duty.model)?;
    laws::content(&seen, duty)?;
    before.laws(&seen, duty, cut, DIR)?;
    laws::v16_one_writer(options(setup).open_on(cut, DIR))?;
    let mut model = duty.model.clone();
    model.adopt(seen.start, seen.end, seen.durable);
    goes_on(cut, log, model, setup)
}

/// The log takes more, and has it behind a power cut that keeps nothing loose.
fn goes_on(disk: &Disk, log: Log, mut model: Model, setup: &Setup) -> Law {
    model.followers.clear();
    laws::v17_alive(&log, &mut model)?;
    let later = disk.power_cut(Kept::Nothing.keep());
    drop(log);
    let log = open(&later, setup)?;
    let seen = laws::look(&log, &model)?;
    laws::content(&seen, &Duty::after_power_cut(&model))
}

/// V8 and V9: the same recovery on a copy, counted; a power cut right behind it; and again.
fn again(cut: &Disk, duty: &Duty<'_>, setup: &Setup) -> Law {
    let before = Before::read(cut, DIR);
    let copy = cut.kill();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    copy.watch(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let log = open(cut, setup)?;
    // The process dies right behind the recovery; or the power goes, and nothing loose stays.
    let (killed, dark) = (cut.kill(), cut.power_cut(Kept::Nothing.keep()));
    let first = (Image::take(cut), laws::look(&log, duty.model)?);
    let other = open(&copy, setup)?;
    laws::v9_recovery_is_bounded(calls.load(Ordering::Relaxed), before.segments)?;
    copy.unwatch();
    let second = (Image::take(&copy), laws::look(&other, duty.model)?);
    laws::v8_recovery_is_deterministic(&first, &second)?;
    let log = open(&killed, setup)?;
    let third = (Image::take(&killed), laws::look(&log, duty.model)?);
    laws::v8_recovery_is_idempotent(&first, &third)?;
    let mut model = duty.model.clone();
    model.adopt(first.1.start, first.1.end, first.1.durable);
    if !duty.kill {
        model.durable = model.durable.max(first.1.end);
    }
    laws::v11_asides_survive(&first.0.asides(), &Image::take(&dark).asides())?;
    let log = open(&dark, setup)?;
    let fourth = laws::look(&log, &model)?;
    laws::content(&fourth, &Duty::after_power_cut(&model))
}

/// V7: every offset is found, with the indexes that are there and without any.
fn caches(cut: &Disk, duty: &Duty<'_>, setup: &Setup) -> Law {
    let bare = cut.kill();
    let log = open(cut, setup)?;
    let seen = laws::look(&log, duty.model)?;
    laws::v7_an_index_is_a_cache(&log, &seen, duty.model)?;
    for name in bare.file_names(DIR) {
        if name.ends_with("index") {
            bare.remove_file(format!("{DIR}/{name}"));
        }
    }
    let log = open(&bare, setup)?;
    let without = laws::look(&log, duty.model)?;
    laws::v7_an_index_is_a_cache(&log, &without, duty.model)?;
    let rebuilt = |report: &RecoveryReport| report.indexes_rebuilt;
    if (seen.start, seen.end, &seen.batches) != (without.start, without.end, &without.batches) {
        return laws::broken(
            7,
            format!("without indexes ({} rebuilt) {without:?}", rebuilt(&without.report)),
        );
    }
    Ok(())
}

/// V10: one flipped bit below the recovery point, after a recovery and a clean close.
fn rot(cut: &Disk, duty: &Duty<'_>, setup: &Setup) -> Law {
    let log = open(cut, setup)?;
    let seen = laws::look(&log, duty.model)?;
    or_broken(17, log.close())?;
    let image = Image::take(cut);
    let Some(slot) = image.slot() else { return Ok(()) };
    let chain = image.chain(&slot);
    let batches = chain.segments.iter().flat_map(|segment| {
        segment.batches.iter().map(move |batch| (segment.name.as_str(), batch))
    });
    let batches: Vec<_> = batches.filter(|(_, (offsets, _))| offsets.end > seen.start).collect();
    let which = cut.image() as usize;
    let Some((name, (offsets, place))) = batches.get(which % batches.len().max(1)) else {
        return Ok(());
    };
    let mut bytes = image.files[*name].clone();
    bytes[place.start + 61 + which % (place.len() - 61)] ^= 1 << (which % 8);
    cut.write_file(format!("{DIR}/{name}"), &bytes);
    let mut model = duty.model.clone();
    model.adopt(seen.start, seen.end, seen.durable);
    let log = open(cut, setup)?;
    laws::v10_damage_is_isolated(&log, (offsets.start, offsets.end), &seen, &model)
}

/// V14: with no block left the log opens, shows what it has, takes commits and deletes; appends say
/// that there is no room; once there is, they go on behind the last one.
fn full(cut: &Disk, duty: &Duty<'_>, setup: &Setup) -> Law {
    if Before::read(cut, DIR).chain.is_none_or(|chain| chain.segments.is_empty()) {
        // It is being made: there is no file yet that records could be in.
        return Ok(());
    }
    cut.set_space(Some(0));
    let opened = options(setup).open_on(cut, DIR);
    let log = laws::v14_a_full_log_opens(opened)?;
    let seen = laws::look(&log, duty.model)?;
    laws::content(&seen, duty)?;
    let mut model = duty.model.clone();
    model.adopt(seen.start, seen.end, seen.durable);
    laws::v14_the_full_log_is_used(&log, &seen, &mut model)?;
    cut.set_space(None);
    goes_on(cut, log, model, setup)
}
