//! One state of the store: recover it, hold every log to the laws, and go on from there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use forebay::simulation::Disk;
use forebay::{ErrorKind, Log, Offset, OffsetSpec, Store};

use super::before::Before;
use super::books::{Book, Books, There};
use super::compacted::{self, Left, Walk};
use super::laws::{self, Duty, Law, Seen, Violation, broken, or_broken};
use super::link;
use super::model::Content;
use super::rules::{NAMES, RESERVE_BYTES, STORE, UPLINK, options};
use super::script::Ground;
use super::words::{How, Kept};

/// How much is asked of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// What is there.
    Base,
    /// And life behind it, and another power cut.
    Life,
    /// And a recovery of what the recovery left, a full disk, the upstream.
    Deep,
}

/// What a log was found to be.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) commits: Vec<(String, i64)>,
}

pub(crate) type AllFound = Vec<Option<Found>>;

/// Where the log of this number is.
pub(crate) fn dir_of(at: usize) -> String {
    format!("{STORE}/{}-0", NAMES[at])
}

/// Recovers the store on `disk`, which is used up, and checks it; a panic is a broken law too.
pub(crate) fn check(
    disk: &Disk,
    how: How,
    books: &Books,
    ground: &Ground,
    level: Level,
    upstream: &Disk,
) -> Result<AllFound, Violation> {
    let kill = how == How::Kill;
    let got = catch_unwind(AssertUnwindSafe(|| {
        if level == Level::Deep {
            again(&disk.kill(), kill, books, ground)?;
            full(&disk.kill(), kill, books, ground)?;
            for (at, book) in books.logs.iter().enumerate().filter(|(_, book)| !book.blurred) {
                link::compare(upstream, at, book)?;
            }
        }
        let store = open(disk, books, ground)?;
        let found = all(&store, disk, kill, books)?;
        if level != Level::Base {
            goes_on(store, disk, adopted(books, &found, kill), ground)?;
        }
        Ok(found)
    }));
    laws::v13_no_harm("recovery", got)?
}

fn open(disk: &Disk, books: &Books, ground: &Ground) -> Result<Store, Violation> {
    let options = options(ground, &books.rules(), books.room);
    let store = or_broken(13, options.clone().open_on(disk, STORE))?;
    match options.open_on(disk, STORE) {
        Err(error) if error.kind() == ErrorKind::Locked => Ok(store),
        other => broken(16, format!("a second opener got {other:?}")),
    }
}

/// Opens the store and every log that is there, as a recovery does that is ended on its way.
pub(crate) fn recover(disk: &Disk, books: &Books, ground: &Ground) -> Option<Store> {
    let store = options(ground, &books.rules(), books.room).open_on(disk, STORE).ok()?;
    for log in store.logs() {
        drop(store.log(&log.name));
    }
    Some(store)
}

/// Every log that is there, one by one, and the others that must not be.
fn all(store: &Store, disk: &Disk, kill: bool, books: &Books) -> Result<AllFound, Violation> {
    let listed: Vec<String> = store.logs().into_iter().map(|log| log.name).collect();
    let used = disk.used_bytes(STORE);
    if used > books.budget_max && !books.faulty {
        return broken(14, format!("{used} bytes are taken, allowed were {}", books.budget_max));
    }
    let mut found = Vec::new();
    for (at, book) in books.logs.iter().enumerate() {
        let there = listed.iter().any(|name| name == NAMES[at]);
        let one = one(store, disk, at, book, (there, kill));
        let one = one.map_err(|broken| Violation {
            law: broken.law,
            what: format!("log {}: {}", NAMES[at], broken.what),
        })?;
        found.push(one);
    }
    let counted = store.stats().disk_bytes;
    let used = disk.used_bytes(STORE);
    if counted < used {
        let of = |at: usize| (NAMES[at], disk.used_bytes(dir_of(at)));
        let each: Vec<_> = (0..NAMES.len()).map(of).collect();
        return broken(14, format!("{counted} bytes are counted, {used} are taken: {each:?}"));
    }
    Ok(found)
}

fn one(
    store: &Store,
    disk: &Disk,
    at: usize,
    book: &Book,
    (listed, kill): (bool, bool),
) -> Result<Option<Found>, Violation> {
    let model = &book.model;
    if book.there == There::No && !book.blurred {
        return match listed {
            true => broken(4, format!("it was deleted, life {}, and is back", book.life)),
            false => Ok(None),
        };
    }
    if !listed {
        let settled =
            |one: &super::model::Follower| one.synced > 0 || (kill && !one.commits.is_empty());
        let kept = if kill { model.end() > 0 } else { model.durable > 0 };
        let kept = kept || model.followers.iter().any(settled);
        let may = book.there == There::Going || book.blurred || !kept;
        return if may { Ok(None) } else { broken(1, format!("it is gone: {book:?}")) };
    }
    let dir = dir_of(at);
    let before = Before::read(disk, &dir);
    let log = match store.log(NAMES[at]) {
        Ok(log) => log,
        // One that was being made where there is no room is not there yet.
        Err(error) if error.kind() == ErrorKind::OutOfSpace && before.slot.is_none() => {
            return Ok(None);
        }
        Err(error) => return broken(13, format!("{:?}: {error}", error.kind())),
    };
    if book.blurred {
        return Ok(None);
    }
    let (seen, _) = look(&log, book)?;
    let end_from = if kill { model.end() } else { model.durable };
    let model = &if kill { model.clone() } else { book.after_power_cut() };
    let duty = Duty { model, end_from, kill };
    laws::content(&seen, &duty)?;
    told(store, &before, &seen, &duty, (disk, &dir))?;
    linked(&seen, book)?;
    let commits = seen.consumers.iter().map(|one| (one.name.clone(), one.committed.get()));
    Ok(Some(Found { start: seen.start, end: seen.end, commits: commits.collect() }))
}

/// V11, V18: what was cut is kept, and told. Where the budget has no room for it, it may go, and
/// that is told; so is what is written again in place for want of room for a copy.
fn told(store: &Store, before: &Before, seen: &Seen, duty: &Duty<'_>, at: (&Disk, &str)) -> Law {
    let stats = store.stats();
    let cut = before.chain.as_ref().map_or(0, |chain| chain.bytes_behind + 8192);
    let room = stats.budget_bytes.unwrap_or(u64::MAX).saturating_sub(RESERVE_BYTES);
    let cramped = seen.report.set_aside_failed || seen.report.rewriting_in_place;
    if cramped && stats.disk_bytes + cut > room {
        return laws::v5_no_offset_is_used_again(seen, before.slot.as_ref());
    }
    before.laws(seen, duty, at.0, at.1)
}

/// The uplink's commit is one that it was acknowledged, or a moved one.
fn linked(seen: &Seen, book: &Book) -> Law {
    let Some(uplink) = seen.consumers.iter().find(|one| one.name == UPLINK) else { return Ok(()) };
    let value = uplink.committed.get();
    let known = book.linked.iter().any(|one| *one == value || (*one).max(seen.start) == value);
    match known {
        true => Ok(()),
        false => broken(6, format!("the uplink has committed {value}, known {:?}", book.linked)),
    }
}

/// Reads a log from its start, comparing every record. Batches that thinning or a compaction may
/// have taken count as seen; what is left is told too.
pub(crate) fn look(log: &Log, book: &Book) -> Result<(Seen, Left), Violation> {
    let start = log.log_start_offset().get();
    let mut walk = Walk::new(book, start);
    for next in or_broken(2, log.reader(OffsetSpec::Earliest))? {
        walk.batch(&or_broken(2, next)?)?;
    }
    let end = log.log_end_offset().get();
    walk.pass(end);
    let Walk { expected: read, left, .. } = walk;
    compacted::v19_only_what_is_superseded_goes(book, &left, end)?;
    // As far as it could be read.
    let all = book.model.from(start).take_while(|batch| batch.end() <= read);
    let batches = all.map(|batch| (batch.base, batch.end())).collect();
    let seen = Seen {
        start,
        end,
        durable: log.durable_offset().get(),
        batches,
        consumers: log.consumers(),
        report: log.recovery().clone(),
    };
    Ok((seen, left))
}

/// The books of who goes on from here.
pub(crate) fn adopted(books: &Books, found: &AllFound, kill: bool) -> Books {
    let mut books = books.clone();
    for (book, found) in books.logs.iter_mut().zip(found) {
        match found {
            Some(found) => book.adopt(found.start, found.end, kill, &found.commits),
            // What is there and cannot be told from an earlier one is left alone.
            None if book.blurred => book.there = There::Going,
            // Nothing was promised of it yet: it may be half made.
            None if book.there != There::No => {
                book.next_life();
                book.there = There::Coming;
            }
            None => {}
        }
    }
    books
}

/// Each log takes more, and has it behind a power cut that keeps nothing loose (V17).
fn goes_on(store: Store, disk: &Disk, mut books: Books, ground: &Ground) -> Law {
    for at in 0..books.logs.len() {
        let book = &books.logs[at];
        // The first one also where it has to be made.
        if book.there == There::Yes || (at == 0 && !book.blurred) {
            books.before();
            alive(&store, at, &mut books)?;
        }
    }
    books.before();
    let later = disk.power_cut(Kept::Nothing.keep());
    or_broken(17, store.close())?;
    let store = open(&later, &books, ground)?;
    all(&store, &later, false, &books)?;
    or_broken(17, store.close())?;
    let store = open(&later, &books, ground)?;
    match store.recovery().clean {
        true => Ok(()),
        false => broken(18, "the store was closed, and is not clean".to_owned()),
    }
}

fn alive(store: &Store, at: usize, books: &mut Books) -> Law {
    let new = books.logs[at].there != There::Yes;
    if new {
        books.logs[at].there = There::Coming;
    }
    let log = match store.log(NAMES[at]) {
        Err(error) if error.kind() == ErrorKind::OutOfSpace && new => return Ok(()),
        opened => or_broken(17, opened)?,
    };
    books.logs[at].there = There::Yes;
    let now_ms = books.now_ms;
    let book = &books.logs[at];
    let made = book.next_batch(!book.model.seed, 2, 120);
    books.logs[at].pend(made.clone(), now_ms);
    books.before();
    match log.append_batch(made.records.iter().map(Content::to_new)) {
        Ok(range) if range.start.get() == made.base => {}
        // The budget may be used up; whoever drops may find that others' records fill it.
        Err(error) if error.kind() == ErrorKind::OutOfSpace => {
            books.logs[at].unpend();
            return Ok(());
        }
        other => return broken(17, format!("append to {}: {other:?}", NAMES[at])),
    }
    let durable = or_broken(17, log.flush())?;
    let book = &mut books.logs[at];
    book.model.pending = None;
    book.model.batches.push(made.clone());
    book.model.durable = durable.get();
    if durable.get() != made.end() {
        return broken(17, format!("durable {durable} after a flush to {}", made.end()));
    }
    let mut reader = or_broken(17, log.reader(OffsetSpec::At(Offset::new(made.base))))?;
    match reader.next() {
        Some(Ok(batch)) => laws::v2_only_what_was_appended(&batch, made.base, &book.model),
        other => broken(17, format!("reading the new record: {other:?}")),
    }
}

/// V8: what a recovery left is recovered to the same, and nothing is cut again.
fn again(disk: &Disk, kill: bool, books: &Books, ground: &Ground) -> Law {
    let store = open(disk, books, ground)?;
    let first = all(&store, disk, kill, books)?;
    let killed = disk.kill();
    drop(store);
    let books = adopted(books, &first, true);
    let store = open(&killed, &books, ground)?;
    for (at, one) in first.iter().enumerate() {
        let Some(one) = one else { continue };
        let log = or_broken(8, store.log(NAMES[at]))?;
        let (seen, _) = look(&log, &books.logs[at])?;
        let cut = (seen.report.bytes_cut, seen.report.records_cut, seen.report.segments_set_aside);
        // Where the others need room, what drops its oldest may have done so since.
        let start =
            if matches!(books.logs[at].rules[0], 5 | 6 | 8) { seen.start } else { one.start };
        if cut != (0, 0, 0) || (seen.start, seen.end) != (start, one.end) {
            return broken(8, format!("log {}: {one:?} became {seen:?}", NAMES[at]));
        }
    }
    Ok(())
}

/// V14: with no block left the store and its logs open, show what they have, commit and delete.
fn full(disk: &Disk, kill: bool, books: &Books, ground: &Ground) -> Law {
    let made =
        |at: usize| Before::read(disk, &dir_of(at)).chain.is_some_and(|c| !c.segments.is_empty());
    let whole: Vec<bool> = (0..books.logs.len()).map(made).collect();
    if !disk.file_names(STORE).iter().any(|name| name == "store.checkpoint") {
        return Ok(());
    }
    disk.set_space(Some(0));
    let options = options(ground, &books.rules(), books.room);
    let store = or_broken(14, options.open_on(disk, STORE))?;
    for (at, book) in books.logs.iter().enumerate() {
        let there = whole[at] && matches!(book.there, There::Yes) && !book.blurred;
        if !there || (!kill && book.model.durable == 0) {
            continue;
        }
        let log = or_broken(14, store.log(NAMES[at]))?;
        let (seen, _) = look(&log, book)?;
        for known in seen.consumers.iter().filter(|one| one.name != UPLINK) {
            let options = forebay::ConsumerOptions::new().visibility(known.visibility);
            let mut consumer = or_broken(14, log.consumer_with(&known.name, options))?;
            while or_broken(14, consumer.poll(Duration::ZERO))?.is_some() {}
            or_broken(14, consumer.commit())?;
        }
        let durable = log.durable_offset();
        let start = or_broken(14, log.delete_records(durable))?;
        if start < durable {
            return broken(14, format!("deleted below {durable}, the start is {start}"));
        }
    }
    Ok(())
}
