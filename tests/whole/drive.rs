//! Runs a workload on a simulated machine with a store, and keeps the books in step.
//!
//! Books change before a call (what is under way) and after it (what was promised), so that whoever
//! watches the storage finds in them the obligations of the very moment.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forebay::simulation::{Call, CallKind, Disk, Fault, Ignored, Profile};
use forebay::{Error, ErrorKind, Log, Store};

use super::books::{Book, Books, There};
use super::image::Image;
use super::judge::{self, Level};
use super::laws::{self, Law, Violation, broken};
use super::link::Machine;
use super::rules::{NAMES, STORE, options};
use super::script::{Ground, Op, UNBOUNDED, Verb};
use super::words::{How, Kept, mix};

/// Where in a run a call to the storage is: the operation, and the changing calls of it so far.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) op: AtomicUsize,
    pub(crate) call: AtomicU64,
}

/// A fault that has to be found, or the oracle would not see one of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    Nothing,
    /// The disk does nothing for syncs of this kind, and says it did.
    Lie(Ignored),
    /// The oracle is told of flushes that never were.
    Oracle,
    /// The oracle is told of no compaction.
    Compaction,
}

/// Looks at the disk before every changing call, with the operation and the call's number in it.
pub(crate) type Watcher = Arc<dyn Fn(&Disk, (usize, u64), &Books, &Machine) + Send + Sync>;

/// A fault that waits for its call, so that a failed sync is known.
#[derive(Clone, Copy, Debug)]
struct Armed {
    on: CallKind,
    after: u64,
    times: u64,
    errno: i32,
}

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// The calls that faults are put on, with what they say.
const FAULTS: [(CallKind, i32); 14] = [
    (CallKind::SyncFile, EIO),
    (CallKind::SyncDir, EIO),
    (CallKind::SyncFile, ENOSPC),
    (CallKind::Populate, ENOSPC),
    (CallKind::Allocate, ENOSPC),
    (CallKind::Write, EIO),
    (CallKind::CreateNew, EMFILE),
    (CallKind::CreateNew, ENOSPC),
    (CallKind::SetLen, EIO),
    (CallKind::Rename, EIO),
    (CallKind::Unlink, EIO),
    (CallKind::Read, EIO),
    (CallKind::CreateDir, ENOSPC),
    (CallKind::RemoveDir, EIO),
];

/// 2026-01-01 00:00 UTC, as the simulated disk begins.
const WALL_MS: i64 = 1_767_225_600_000;

pub(crate) struct World {
    pub(crate) ground: Ground,
    pub(crate) disk: Disk,
    pub(crate) store: Option<Store>,
    /// Logs that somebody holds open.
    pub(crate) held: Vec<Option<Log>>,
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) upstream: Machine,
    pace: Arc<Pace>,
    armed: Arc<Mutex<Option<Armed>>>,
    watcher: Option<Watcher>,
    plant: Plant,
    /// Set by a watcher that has seen enough.
    pub(crate) stop: Arc<AtomicBool>,
}

impl World {
    pub(crate) fn new(ground: &Ground, plant: Plant, watcher: Option<Watcher>) -> World {
        let profile = Profile { seed: !ground.disk.seed, ..Profile::default() };
        let world = World {
            ground: ground.clone(),
            disk: Disk::new(ground.disk.profile()),
            store: None,
            held: vec![None; NAMES.len()],
            books: Arc::new(Mutex::new(Books::new(ground))),
            upstream: Arc::new(Mutex::new(Disk::new(profile))),
            pace: Arc::default(),
            armed: Arc::default(),
            watcher,
            plant,
            stop: Arc::default(),
        };
        world.books().planted = plant == Plant::Oracle;
        world.books().forgetful = plant == Plant::Compaction;
        world.watch();
        world
    }

    fn watch(&self) {
        if let Plant::Lie(kind) = self.plant {
            self.disk.ignore_syncs(kind, true);
        }
        let (books, pace, armed) = (self.books.clone(), self.pace.clone(), self.armed.clone());
        let (watcher, upstream) = (self.watcher.clone(), self.upstream.clone());
        self.disk.watch(move |disk, call| {
            if changes(call.kind) {
                let number = pace.call.fetch_add(1, Ordering::Relaxed) + 1;
                if let Some(watcher) = &watcher {
                    let books = books.lock().unwrap().clone();
                    watcher(disk, (pace.op.load(Ordering::Relaxed), number), &books, &upstream);
                }
            }
            let mut armed = armed.lock().unwrap();
            let Some(waiting) = armed.as_mut().filter(|armed| armed.on == call.kind) else {
                return;
            };
            if waiting.after > 0 {
                waiting.after -= 1;
                return;
            }
            waiting.times -= 1;
            if let Some(at) = poisoned_by(call) {
                let model = &mut books.lock().unwrap().logs[at].model;
                model.sync_failed = true;
                let segment = call.path.extension().is_some_and(|kind| kind == "log");
                model.unsaid |= segment && call.kind == CallKind::SyncFile;
            }
            if waiting.times == 0 {
                *armed = None;
            }
        });
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub(crate) fn book<T>(&self, at: usize, change: impl FnOnce(&mut Book) -> T) -> T {
        change(&mut self.books().logs[at])
    }

    /// Runs operations until one breaks a law or a watcher has seen enough.
    pub(crate) fn run(&mut self, ops: &[Op]) -> Law {
        for (nth, op) in ops.iter().enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.pace.op.store(nth, Ordering::Relaxed);
            self.pace.call.store(0, Ordering::Relaxed);
            self.step(op).map_err(|found| Violation {
                law: found.law,
                what: format!("in operation {nth}, {op}: {}", found.what),
            })?;
        }
        self.pace.op.store(ops.len(), Ordering::Relaxed);
        self.pace.call.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Law {
        self.books().before();
        for book in &mut self.books().logs {
            book.model.unsaid = false;
        }
        let [one, two, three] = op.numbers;
        match op.verb {
            Verb::Kill => return self.restart(How::Kill),
            Verb::Power => return self.restart(self.cut(one)),
            Verb::Off => {
                let how = self.cut(one);
                self.off(two);
                return self.restart(how);
            }
            Verb::Time => self.pass(one),
            Verb::Jump => {
                let years = [-60_i64, -20, 30, 2000, 0][usize::from(one) % 5];
                self.disk.set_clock_synchronised(false);
                self.disk.set_wall(WALL_MS + years * 31_557_600_000);
            }
            Verb::Right => {
                let now = self.books().now_ms;
                self.disk.set_wall(WALL_MS + now as i64);
                self.disk.set_clock_synchronised(true);
            }
            Verb::Fault => {
                let (on, errno) = FAULTS[usize::from(one) % FAULTS.len()];
                self.disk.clear_faults();
                let (after, times) = (u64::from(two), u64::from(three.max(1)));
                self.set_fault(Armed { on, after, times, errno });
            }
            Verb::Space => {
                self.books().faulty = true;
                let bytes = u64::from(one) * 4096;
                self.disk.set_space((one < UNBOUNDED).then_some(bytes));
            }
            Verb::Descriptors => {
                self.books().faulty = true;
                self.disk.set_descriptors((one < UNBOUNDED).then_some(usize::from(one)));
            }
            Verb::EndUpstream => self.end_upstream(one),
            _ if self.store.is_some() || self.open()? => return self.work(op),
            _ => {}
        }
        Ok(())
    }

    fn set_fault(&self, armed: Armed) {
        let Armed { on, after, times, errno } = armed;
        self.books().faulty = true;
        *self.armed.lock().unwrap() = Some(armed);
        self.disk.fail(Fault { on, name: None, after, times, errno });
    }

    fn cut(&self, one: u16) -> How {
        let nth = self.books().logs.iter().map(|book| book.model.number).sum::<u64>();
        How::Power(Kept::Seed(mix(self.ground.disk.seed ^ u64::from(one) ^ nth << 20)))
    }

    /// Time without power; a wall clock without a battery begins again.
    fn off(&self, two: u16) {
        let passed = [0, 30_000, 86_400_000][usize::from(two) % 3];
        let mut books = self.books();
        books.now_ms += passed;
        self.disk.set_clock_synchronised(false);
        if two < 3 {
            self.disk.advance(Duration::from_millis(passed));
        } else {
            self.disk.set_wall(0);
        }
    }

    fn pass(&self, one: u16) {
        let seconds = [1, 11, 61, 3600, 3 * 86_400][usize::from(one) % 5];
        self.disk.advance(Duration::from_secs(seconds));
        self.books().now_ms += seconds * 1000;
    }

    fn end_upstream(&self, one: u16) {
        let mut machine = self.upstream.lock().unwrap();
        let next = match one % 3 {
            0 => machine.kill(),
            _ => machine.power_cut(Kept::Seed(mix(u64::from(one))).keep()),
        };
        *machine = next;
    }

    /// Opens the store; false if a fault kept it from that.
    pub(crate) fn open(&mut self) -> Result<bool, Violation> {
        let (rules, room) = {
            let books = self.books();
            (books.rules(), books.room)
        };
        match options(&self.ground, &rules, room).open_on(&self.disk, STORE) {
            Ok(store) => {
                for book in &mut self.books().logs {
                    book.model.sync_failed = false;
                }
                self.store = Some(store);
                Ok(true)
            }
            Err(error) => self.failed("opening the store", &error).map(|()| false),
        }
    }

    /// Leaves the old machine or process behind, and opens the store on what is left.
    fn restart(&mut self, how: How) -> Law {
        self.disk.unwatch();
        let next = end(&self.disk, how);
        let old = std::mem::replace(&mut self.disk, next);
        let held = std::mem::replace(&mut self.held, vec![None; NAMES.len()]);
        // Dropped on a disk that nobody looks at any more.
        drop((held, self.store.take(), old));
        let books = self.books().clone();
        let copy = end(&self.disk, How::Kill);
        let upstream = self.upstream.lock().unwrap().clone();
        let found = judge::check(&copy, how, &books, &self.ground, Level::Base, &upstream)?;
        *self.books() = judge::adopted(&books, &found, how == How::Kill);
        self.watch();
        // What has not failed yet may fail while it recovers.
        let armed = *self.armed.lock().unwrap();
        if let Some(armed) = armed {
            self.set_fault(armed);
        }
        self.open().map(drop)
    }

    /// An error without a fault breaks a law; with one, it has to be typed.
    pub(crate) fn failed(&self, what: &str, error: &Error) -> Law {
        let typed = matches!(
            error.kind(),
            ErrorKind::Io | ErrorKind::OutOfSpace | ErrorKind::Poisoned | ErrorKind::Closed
        );
        let books = self.books();
        if books.faulty && typed {
            return Ok(());
        }
        broken(13, format!("{what}: {:?}: {error}", error.kind()))
    }

    /// As [`World::failed`], where want of room is to be expected: budgets are small here.
    pub(crate) fn refused(&self, what: &str, error: &Error) -> Law {
        if error.kind() == ErrorKind::OutOfSpace { Ok(()) } else { self.failed(what, error) }
    }

    /// A log of the store, which has to be as the books have it.
    pub(crate) fn log(&mut self, at: usize) -> Result<Option<Log>, Violation> {
        if let Some(log) = &self.held[at] {
            return Ok(Some(log.clone()));
        }
        if self.book(at, |book| book.blurred) {
            return Ok(None);
        }
        let Some(store) = self.store.clone() else { return Ok(None) };
        let new = self.book(at, |book| {
            let new = book.there == There::No;
            if new {
                book.there = There::Coming;
            }
            book.model.sync_failed = false;
            new || book.there == There::Coming
        });
        match store.log(NAMES[at]) {
            Ok(log) => {
                self.book(at, |book| (book.there, book.unopened) = (There::Yes, false));
                self.observe(at, &log)?;
                Ok(Some(log))
            }
            Err(error) => {
                let open = self.held.iter().flatten().count();
                // One that has no checkpoint yet is made, as a new one is.
                let made = || Image::of(&self.disk, &judge::dir_of(at)).slot().is_none();
                let full = new || open >= self.ground.open || made();
                let judged = if full {
                    self.refused("opening", &error)
                } else {
                    self.failed("opening", &error)
                };
                judged.map(|()| None)
            }
        }
    }

    /// What a log shows of itself after an operation on it: nothing was lost or moved, and what it
    /// says is durable it has to keep.
    pub(crate) fn observe(&self, at: usize, log: &Log) -> Law {
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        let durable = log.durable_offset().get();
        let mut books = self.books();
        books.before();
        let (planted, faulty) = (books.planted, books.faulty);
        let model = &mut books.logs[at].model;
        if end != model.end() && model.pending.is_none() {
            return broken(1, format!("log {} ends at {end}, not {}", NAMES[at], model.end()));
        }
        if start < model.start || start > model.start_asked {
            let (from, to) = (model.start, model.start_asked);
            return broken(4, format!("log {} starts at {start}, not in {from}..={to}", NAMES[at]));
        }
        model.start = start;
        if !faulty {
            // What could not be synced has not moved it yet, but may.
            model.start_asked = start;
        }
        // A planted fault: the oracle is told of a flush that never was.
        model.durable = model.durable.max(if planted { end } else { durable });
        laws::v5_order(start, durable, end)
    }
}

/// The log that the failure of this sync poisons. What is set aside, and what is being made under
/// another name, can be made again.
fn poisoned_by(call: &Call) -> Option<usize> {
    let sync = matches!(call.kind, CallKind::SyncFile | CallKind::SyncDir);
    let other = call.path.extension().is_some_and(|kind| kind == "aside" || kind == "new");
    let below = call.path.strip_prefix(STORE).ok().filter(|_| sync && !other)?;
    let first = below.components().next()?.as_os_str().to_str()?.strip_suffix("-0")?;
    NAMES.iter().position(|name| *name == first)
}

/// Whether a call of this kind changes what a cut can leave.
pub(crate) fn changes(kind: CallKind) -> bool {
    !matches!(
        kind,
        CallKind::Open
            | CallKind::Look
            | CallKind::List
            | CallKind::Lock
            | CallKind::Read
            | CallKind::MapRead
            | CallKind::Clock
            | CallKind::Random
    )
}

/// The end of a machine or process, as a disk of its own, with room again.
pub(crate) fn end(disk: &Disk, how: How) -> Disk {
    let end = match how {
        How::Kill => disk.kill(),
        How::Power(kept) => disk.power_cut(kept.keep()),
    };
    end.set_space(None);
    end
}
