//! Runs a workload on a simulated machine and keeps the model in step.
//!
//! The model changes before a call (what is under way) and after it (what was promised), so that a
//! watcher finds in it the obligations of the very moment. Without faults every call has to
//! succeed; with them, errors are typed, and what they leave is checked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forebay::simulation::{Call, CallKind, Disk, Fault};
use forebay::{Consumer, ConsumerOptions, Error, ErrorKind, Log, LogOptions, Offset, Visibility};

use super::image::{DIR, segment_base};
use super::laws::{self, Duty, Law, Violation, broken};
use super::model::{Batch, Content, Follower, Model};
use super::words::{Kept, Op, Setup, UNBOUNDED, mix};

/// Looks at the disk before every storage call, with the number of the call in the run.
pub(crate) type Watcher = Arc<dyn Fn(&Disk, &Call, u64, &Model) + Send + Sync>;

/// A machine with a log, and what is known of it.
pub(crate) struct World {
    setup: Setup,
    pub(crate) disk: Disk,
    log: Option<Log>,
    consumers: Vec<Consumer>,
    pub(crate) model: Arc<Mutex<Model>>,
    calls: Arc<AtomicU64>,
    armed: Arc<Mutex<Option<Armed>>>,
    watcher: Option<Watcher>,
    /// Faults were asked for: errors are to be expected.
    faulty: bool,
    /// Set by a watcher that has seen enough.
    pub(crate) stop: Arc<AtomicBool>,
    lies: bool,
}

/// A fault that waits for its call, so that a failed sync is known.
#[derive(Clone, Copy, Debug)]
struct Armed {
    on: CallKind,
    after: u64,
    times: u64,
    errno: i32,
}

/// The calls that faults are put on, with what they say.
const FAULTS: [(CallKind, i32); 12] = [
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
];

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// The options of every log here: small segments, indexes with something in them.
pub(crate) fn options(setup: &Setup) -> LogOptions {
    Log::options()
        .segment_bytes(4096)
        .max_batch_bytes(4096)
        .index_interval_bytes(400)
        .io_mode(setup.mode())
        .media(setup.tear.media())
        .torn_bytes(setup.tear.bytes())
        .flush(setup.policy.flush())
}

impl World {
    pub(crate) fn new(setup: Setup, watcher: Option<Watcher>) -> World {
        let world = World {
            setup,
            disk: Disk::new(setup.profile()),
            log: None,
            consumers: Vec::new(),
            model: Arc::new(Mutex::new(Model::new(setup.seed))),
            calls: Arc::default(),
            armed: Arc::default(),
            watcher,
            faulty: false,
            stop: Arc::default(),
            lies: false,
        };
        world.watch();
        world
    }

    /// Expects what a lying disk leaves: broken laws are values, and so are errors.
    pub(crate) fn lying(mut self) -> World {
        self.lies = true;
        self
    }

    fn watch(&self) {
        let (model, calls, armed) = (self.model.clone(), self.calls.clone(), self.armed.clone());
        let watcher = self.watcher.clone();
        self.disk.watch(move |disk, call| {
            let number = calls.fetch_add(1, Ordering::Relaxed) + 1;
            let mut model = model.lock().unwrap();
            if let Some(watcher) = &watcher {
                watcher(disk, call, number, &model);
            }
            let mut armed = armed.lock().unwrap();
            if let Some(waiting) = armed.as_mut().filter(|armed| armed.on == call.kind) {
                if waiting.after > 0 {
                    waiting.after -= 1;
                } else {
                    waiting.times -= 1;
                    // What is set aside is kept where that is possible, and told where not. So is
                    // the copy of a segment that an open makes: without room the old file serves.
                    let name = call.path.to_str().unwrap_or_default();
                    let spare = name.ends_with(".aside") || name.ends_with(".log.new");
                    model.sync_failed |= is_sync(call.kind) && !spare;
                    model.unsaid |= call.kind == CallKind::SyncFile && name.ends_with(".log");
                    if waiting.times == 0 {
                        *armed = None;
                    }
                }
            }
        });
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Runs operations until one breaks a law or a watcher has seen enough.
    pub(crate) fn run(&mut self, ops: &[Op]) -> Law {
        for op in ops {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.step(*op).map_err(|found| Violation {
                law: found.law,
                what: format!("in operation {op}: {}", found.what),
            })?;
        }
        Ok(())
    }

    fn step(&mut self, op: Op) -> Law {
        self.model().unsaid = false;
        match op {
            Op::Kill => return self.restart(self.disk.kill(), true),
            Op::Power(n) => {
                let seed = mix(self.setup.seed ^ u64::from(n));
                return self.restart(self.disk.power_cut(Kept::Seed(seed).keep()), false);
            }
            Op::Clock => {
                self.disk.advance(Duration::from_secs(11));
                return Ok(());
            }
            Op::Fault(n) => {
                self.arm(n);
                return Ok(());
            }
            Op::Space(n) => {
                self.faulty = true;
                let bytes = u64::from(n) * 256;
                self.disk.set_space((n < UNBOUNDED).then_some(bytes));
                return Ok(());
            }
            Op::Descriptors(n) => {
                self.faulty = true;
                self.disk.set_descriptors((n < UNBOUNDED).then_some(usize::from(n)));
                return Ok(());
            }
            _ => {}
        }
        if self.log.is_none() && !self.open()? {
            return Ok(());
        }
        let done = match op {
            Op::Small => self.append(1, 40),
            Op::CrossSector => self.append(3, 900),
            Op::CrossSegment => (0..3).try_for_each(|_| self.append(2, 1700)),
            Op::Flush => self.flush(),
            Op::Roll => self.roll(),
            Op::Delete => self.delete(2),
            Op::Truncate => self.delete(1),
            Op::Commit => self.commit(),
            Op::SyncConsumer => self.sync_consumers(),
            Op::Reopen => self.close().and_then(|()| self.open().map(|_| ())),
            Op::Close => self.close(),
            Op::Jump(n) => self.jump(n),
            Op::Read => self.read(),
            _ => Ok(()),
        };
        self.claims();
        done
    }

    fn arm(&mut self, n: u16) {
        self.faulty = true;
        let (on, errno) = FAULTS[usize::from(n) % FAULTS.len()];
        let after = u64::from(n) / FAULTS.len() as u64 % 4;
        self.disk.clear_faults();
        self.set_fault(Armed { on, after, times: 1, errno });
    }

    fn set_fault(&self, armed: Armed) {
        let Armed { on, after, times, errno } = armed;
        *self.armed.lock().unwrap() = Some(armed);
        self.disk.fail(Fault { on, name: None, after, times, errno });
    }

    /// What the log says is durable, it has to keep from now on.
    fn claims(&self) {
        if let Some(log) = &self.log {
            let durable = log.durable_offset().get();
            let mut model = self.model();
            model.durable = model.durable.max(durable);
        }
    }

    /// Opens the log; false if a fault kept it from that.
    fn open(&mut self) -> Result<bool, Violation> {
        let mut model = self.model();
        model.sync_failed = false;
        model.closed = false;
        drop(model);
        let log = match options(&self.setup).open_on(&self.disk, DIR) {
            Ok(log) => log,
            Err(error) => return self.failed("open", error).map(|()| false),
        };
        if !self.lies {
            self.after_open(&log)?;
        }
        let mut model = self.model();
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        model.adopt(start, end, log.durable_offset().get());
        for known in log.consumers() {
            if let Some(follower) = model.follower(&known.name) {
                follower.commits.push(known.committed.get());
                follower.pending = None;
            }
        }
        let there: Vec<String> = log.consumers().into_iter().map(|known| known.name).collect();
        model.followers.retain(|follower| there.iter().any(|name| name == follower.name));
        drop(model);
        self.log = Some(log);
        Ok(true)
    }

    /// What the process left is there; the faults have had their chance.
    fn after_open(&self, log: &Log) -> Law {
        let model = self.model().clone();
        self.disk.clear_faults();
        *self.armed.lock().unwrap() = None;
        self.disk.set_descriptors(None);
        let seen = laws::look(log, &model)?;
        laws::content(&seen, &Duty::after_kill(&model))?;
        laws::v5_no_offset_is_used_again(&seen, None)
    }

    /// Leaves the old machine or process behind and opens the log on what is left.
    fn restart(&mut self, disk: Disk, kill: bool) -> Law {
        self.disk.unwatch();
        self.consumers.clear();
        self.log = None;
        self.disk = disk;
        self.watch();
        if !kill && !self.lies {
            self.adopt_after_power_cut()?;
        }
        // What has not failed yet may fail while it recovers.
        let armed = *self.armed.lock().unwrap();
        if let Some(armed) = armed {
            self.set_fault(armed);
        }
        self.open().map(|_| ())
    }

    /// What a power cut took is found by a recovery of a copy, checked, and taken over.
    fn adopt_after_power_cut(&mut self) -> Law {
        let copy = self.disk.power_cut(Kept::Everything.keep());
        let log = laws::or_broken(13, options(&self.setup).open_on(&copy, DIR))?;
        let mut model = self.model();
        let seen = laws::look(&log, &model)?;
        laws::content(&seen, &Duty::after_power_cut(&model))?;
        // What the copy calls durable, the log itself has told nobody yet.
        let durable = model.durable;
        model.adopt(seen.start, seen.end, durable);
        for follower in &mut model.followers {
            let found = seen.consumers.iter().find(|one| one.name == follower.name);
            follower.commits.extend(found.map(|one| one.committed.get()));
            follower.pending = None;
        }
        model.followers.retain(|f| seen.consumers.iter().any(|one| one.name == f.name));
        Ok(())
    }

    /// An error without a fault breaks a law; with one, it has to be typed.
    fn failed(&self, what: &str, error: Error) -> Law {
        let typed = matches!(
            error.kind(),
            ErrorKind::Io | ErrorKind::OutOfSpace | ErrorKind::Poisoned | ErrorKind::Closed
        );
        if (self.faulty || self.lies) && typed {
            return Ok(());
        }
        broken(13, format!("{what}: {:?}: {error}", error.kind()))
    }

    fn append(&mut self, records: usize, bytes: usize) -> Law {
        let Some(log) = self.log.as_ref() else { return Ok(()) };
        let mut model = self.model();
        let batch = Batch::new(model.seed, model.number, model.end(), records, bytes);
        model.number += 1;
        model.pending = Some(batch.clone());
        let failed_before = model.sync_failed;
        drop(model);
        let got = log.append_batch(batch.records.iter().map(Content::to_new));
        let mut model = self.model();
        model.pending = None;
        let (before, end) = (batch.base, log.log_end_offset().get());
        if end == batch.end() {
            model.batches.push(batch);
        }
        if failed_before {
            laws::v12_a_failed_sync_poisons("append", &got)?;
        }
        let each = self.setup.policy == super::words::Policy::EveryAppend;
        if each && model.sync_failed {
            laws::v12_a_failed_sync_poisons("append under EveryAppend", &got)?;
        }
        match got {
            Ok(range) => {
                if (range.start.get(), range.end.get()) != (before, end) {
                    return broken(5, format!("appended at {range:?}, expected {before}..{end}"));
                }
                if each {
                    model.durable = end;
                }
                Ok(())
            }
            Err(error) => {
                laws::v14_full_is_an_error(&error, before, log)?;
                drop(model);
                self.failed("append", error)
            }
        }
    }

    fn flush(&mut self) -> Law {
        let Some(log) = self.log.as_ref() else { return Ok(()) };
        let got = log.flush();
        let mut model = self.model();
        if model.sync_failed {
            laws::v12_a_failed_sync_poisons("flush", &got)?;
        }
        match got {
            Ok(durable) if durable.get() == model.end() => {
                model.durable = model.end();
                Ok(())
            }
            Ok(durable) => broken(1, format!("flushed to {durable} of {}", model.end())),
            Err(error) => {
                drop(model);
                self.failed("flush", error)
            }
        }
    }

    fn segments(&self) -> usize {
        self.disk.file_names(DIR).iter().filter(|name| segment_base(name).is_some()).count()
    }

    fn roll(&mut self) -> Law {
        let before = self.segments();
        for _ in 0..6 {
            self.append(1, 1000)?;
            if self.segments() > before {
                break;
            }
        }
        Ok(())
    }

    /// Deletes the records below the middle of the log, or all but the last one.
    fn delete(&mut self, share: usize) -> Law {
        let Some(log) = self.log.as_ref() else { return Ok(()) };
        let mut model = self.model();
        let (start, end) = (model.start, model.end());
        let before = if share == 1 {
            (end - 1).max(start)
        } else {
            let there: Vec<i64> = model.from(start).map(|batch| batch.base.max(start)).collect();
            there.get(there.len() / share).copied().unwrap_or(start)
        };
        model.start_asked = before;
        drop(model);
        let got = log.delete_records(Offset::new(before));
        let mut model = self.model();
        match got {
            Ok(start) if start.get() == before => {
                model.start = before;
                Ok(())
            }
            Ok(start) => broken(4, format!("deleted below {before}, the start is {start}")),
            Err(error) => {
                // A file that cannot be unlinked is left for later; the start has moved by then.
                model.start = log.log_start_offset().get().clamp(start, before);
                drop(model);
                self.failed("delete_records", error)
            }
        }
    }

    fn commit(&mut self) -> Law {
        for (name, durable) in [("written", false), ("durable", true)] {
            if let Some(mut consumer) = self.consumer(name, durable)? {
                let done = self.follow(&mut consumer, name, durable);
                self.consumers.push(consumer);
                done?;
            }
        }
        Ok(())
    }

    /// The consumer of this name, taken from those that are open.
    fn consumer(
        &mut self,
        name: &'static str,
        durable: bool,
    ) -> Result<Option<Consumer>, Violation> {
        let Some(log) = self.log.as_ref() else { return Ok(None) };
        if let Some(at) = self.consumers.iter().position(|one| one.name() == name) {
            return Ok(Some(self.consumers.remove(at)));
        }
        let mut model = self.model();
        if model.follower(name).is_none() {
            let pending = Some(model.start);
            let fresh = Follower { name, durable, commits: Vec::new(), synced: 0, pending };
            model.followers.push(fresh);
        }
        drop(model);
        let visibility = if durable { Visibility::Durable } else { Visibility::Written };
        let got = log.consumer_with(name, ConsumerOptions::new().visibility(visibility));
        let mut model = self.model();
        let follower = model.follower(name).unwrap();
        match got {
            Ok(consumer) => {
                follower.commits.extend(follower.pending.take());
                Ok(Some(consumer))
            }
            Err(error) => {
                drop(model);
                self.failed("consumer", error).map(|()| None)
            }
        }
    }

    /// Polls to the end, compares, and commits.
    fn follow(&self, consumer: &mut Consumer, name: &str, durable: bool) -> Law {
        loop {
            let at = consumer.position().get();
            match consumer.poll(Duration::ZERO) {
                Ok(Some(batch)) => {
                    let mut model = self.model();
                    let from = at.max(model.start);
                    laws::v2_only_what_was_appended(&batch, from, &model)?;
                    if durable {
                        model.durable = model.durable.max(batch.next_offset().get());
                    }
                }
                Ok(None) => break,
                Err(error) => return self.failed("poll", error),
            }
        }
        let position = consumer.position().get();
        self.model().follower(name).unwrap().pending = Some(position);
        let got = consumer.commit();
        let mut model = self.model();
        let follower = model.follower(name).unwrap();
        match got {
            Ok(()) => {
                follower.commits.extend(follower.pending.take());
                Ok(())
            }
            Err(error) => {
                drop(model);
                self.failed("commit", error)
            }
        }
    }

    fn sync_consumers(&mut self) -> Law {
        for (name, durable) in [("written", false), ("durable", true)] {
            let Some(consumer) = self.consumer(name, durable)? else { continue };
            let got = consumer.sync();
            self.consumers.push(consumer);
            let mut model = self.model();
            if model.sync_failed {
                laws::v12_a_failed_sync_poisons("sync of a consumer", &got)?;
            }
            match got {
                Ok(()) => {
                    let follower = model.follower(name).unwrap();
                    follower.synced = follower.commits.len();
                }
                Err(error) => {
                    drop(model);
                    self.failed("sync of a consumer", error)?;
                }
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Law {
        self.consumers.clear();
        let Some(log) = self.log.take() else { return Ok(()) };
        let got = log.close();
        let mut model = self.model();
        if model.sync_failed {
            laws::v12_a_failed_sync_poisons("close", &got)?;
        }
        match got {
            Ok(()) => {
                model.durable = model.end();
                model.closed = true;
                for follower in &mut model.followers {
                    follower.synced = follower.commits.len();
                }
                Ok(())
            }
            Err(error) => {
                drop(model);
                self.failed("close", error)
            }
        }
    }

    fn jump(&self, n: u16) -> Law {
        let Some(log) = self.log.as_ref() else { return Ok(()) };
        let offsets = || {
            [log.log_start_offset().get(), log.durable_offset().get(), log.log_end_offset().get()]
        };
        let before = offsets();
        let years = [-60_i64, -20, 30, 2000, 0][usize::from(n) % 5];
        self.disk.set_wall(1_790_000_000_000 + years * 31_557_600_000);
        self.disk.set_clock_synchronised(n.is_multiple_of(2));
        laws::v15_the_wall_clock_orders_nothing(&before, &offsets())
    }

    fn read(&self) -> Law {
        let Some(log) = self.log.as_ref().filter(|_| !self.faulty) else { return Ok(()) };
        let model = self.model().clone();
        let seen = laws::look(log, &model)?;
        laws::v7_an_index_is_a_cache(log, &seen, &model)
    }
}

fn is_sync(kind: CallKind) -> bool {
    matches!(kind, CallKind::SyncFile | CallKind::SyncDir)
}
