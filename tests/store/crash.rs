//! A store on a simulated disk whose power is cut, and whose process is killed, at every call of
//! random work: appends, flushes, retention, deletion, eviction, closing for others, maintenance
//! (I1, I2, I12, I18). At every call the files also stay within the budget.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::simulation::{Call, CallKind, Disk, Keep, Names, Profile};
use forebay::{
    ErrorKind, FlushPolicy, Hold, IoMode, Log, LogOptions, Offset, OffsetSpec, OnFull, Store,
    StoreOptions,
};

const BUDGET: u64 = 320 << 10;

/// What is known of a log whatever happens next.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Offsets that were appended.
    written: i64,
    /// Offsets that were said to be durable.
    durable: i64,
    /// Up to where records may be gone.
    may_start: i64,
    /// Up to where they were asked to go.
    deleted: i64,
    /// It is being deleted: it may be there or not.
    going: bool,
    /// It was deleted so often, so that its records are told from those of its successor.
    life: u32,
}

#[derive(Debug, Default)]
struct Model {
    logs: BTreeMap<String, Known>,
    /// Deleted, and said to be.
    gone: Vec<String>,
    states: u64,
}

/// A small generator: the same work for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn logs(mode: IoMode) -> LogOptions {
    Log::options()
        .io_mode(mode)
        .segment_bytes(4 << 10)
        .max_batch_bytes(2 << 10)
        .flush(FlushPolicy::Manual)
}

fn options(mode: IoMode) -> StoreOptions {
    Store::options()
        .budget_bytes(BUDGET)
        .reserve_bytes(16 << 10)
        .max_open_logs(2)
        .logs(logs(mode).on_full(OnFull::DropOldest))
        .log("kept", logs(mode))
        .log("few", logs(mode).retention_records(20))
        .log("held", logs(mode).retention_records(5).hold(Hold::Everyone))
}

fn value(name: &str, life: u32, offset: i64) -> Vec<u8> {
    let mut value = format!("{name} {life} {offset} ").into_bytes();
    value.resize(300, b'.');
    value
}

/// Opens the store on a disk as it was left, and judges every log.
fn judge(disk: &Disk, mode: IoMode, model: &Model, killed: bool, what: &str) {
    let store =
        options(mode).open_on(disk, "/store").unwrap_or_else(|error| panic!("{what}: {error}"));
    let used = disk.used_bytes("/store");
    assert!(used <= BUDGET, "{what}: {used} taken after opening");
    let listed: Vec<String> = store.logs().into_iter().map(|log| log.name).collect();
    for name in &model.gone {
        let again = model.logs.contains_key(name);
        assert!(again || !listed.contains(name), "{what}: {name} is back");
    }
    for (name, known) in &model.logs {
        if !listed.contains(name) {
            let lost = if killed { known.written } else { known.durable };
            assert!(known.going || lost == 0, "{what}: {name} is gone, {known:?}");
            continue;
        }
        let log = match store.log(name) {
            Ok(log) => log,
            // One that was being made on a full disk is not there yet.
            Err(error) if error.kind() == ErrorKind::OutOfSpace && known.written == 0 => continue,
            Err(error) => panic!("{what}: {name}: {error}"),
        };
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        let least = if killed { known.written } else { known.durable };
        assert!(known.going || end >= least, "{what}: {name} ends at {end}, {known:?}");
        let may = known.may_start.max(0);
        assert!(known.going || start <= may, "{what}: {name} begins at {start}, {known:?}");
        let mut next = start;
        for batch in log.reader(OffsetSpec::Earliest).unwrap() {
            for record in batch.unwrap_or_else(|error| panic!("{what}: {name}: {error}")).records()
            {
                let record = record.unwrap();
                assert_eq!(record.offset().get(), next, "{what}: {name}");
                let expected = value(name, known.life, next);
                assert!(
                    record.value() == expected,
                    "{what}: {name} at {next}: {:?}",
                    String::from_utf8_lossy(record.value())
                );
                next += 1;
            }
        }
        assert_eq!(next, end, "{what}: {name} has all its records");
    }
    store.close().unwrap_or_else(|error| panic!("{what}: {error}"));
    let store = options(mode).open_on(disk, "/store").unwrap();
    assert!(store.recovery().clean, "{what}");
    let (counted, used) = (store.stats().disk_bytes, disk.used_bytes("/store"));
    assert!(counted >= used && used <= BUDGET, "{what}: {counted} counted, {used} taken");
}

struct Work {
    store: Option<Store>,
    disk: Disk,
    mode: IoMode,
    model: Arc<Mutex<Model>>,
    chance: Chance,
}

const NAMES: [&str; 6] = ["a", "b", "c", "kept", "few", "held"];

impl Work {
    fn note(&self, name: &str, change: impl FnOnce(&mut Known)) {
        change(self.model.lock().unwrap().logs.entry(name.to_owned()).or_default());
    }

    /// Nothing that is done now may take more than this from a log: what it may is noted first.
    fn before_dropping(&self) {
        // Eviction and retention take whole segments from the front, whichever append asks.
        for known in self.model.lock().unwrap().logs.values_mut() {
            known.may_start = known.written;
        }
        self.note("kept", |known| known.may_start = 0);
        self.note("few", |known| known.may_start = known.deleted.max(known.written - 20));
    }

    fn after(&self, name: &str, log: &Log) {
        let (end, durable) = (log.log_end_offset().get(), log.durable_offset().get());
        self.note(name, |known| {
            known.written = end;
            known.durable = known.durable.max(durable);
        });
    }

    fn step(&mut self) {
        let name = NAMES[usize::try_from(self.chance.below(6)).unwrap()];
        let store = self.store.clone().unwrap();
        self.before_dropping();
        match self.chance.below(20) {
            0..=12 => self.append(&store, name),
            13 => {
                store.flush().unwrap();
                for name in NAMES {
                    self.note(name, |_| {});
                }
                // What was open was flushed; what was closed was so by its close.
                let mut model = self.model.lock().unwrap();
                model.logs.values_mut().for_each(|known| known.durable = known.written);
            }
            14 => {
                let Ok(log) = store.log(name) else { return };
                self.after(name, &log);
                log.flush().unwrap();
                self.after(name, &log);
            }
            15 => {
                store.maintain().unwrap();
            }
            16 => {
                let Ok(log) = store.log("held") else { return };
                let mut consumer = log.consumer("uplink").unwrap();
                while consumer.poll(Duration::ZERO).unwrap().is_some() {}
                consumer.commit().unwrap();
            }
            17 if name != "kept" => self.delete(&store, name),
            18 => {
                drop(store);
                // A clean close makes everything durable.
                self.store.take().unwrap().close().unwrap();
                let mut model = self.model.lock().unwrap();
                model.logs.values_mut().for_each(|known| known.durable = known.written);
                drop(model);
                self.store = Some(options(self.mode).open_on(&self.disk, "/store").unwrap());
            }
            _ => {
                if let Ok(log) = store.log(name)
                    && name != "kept"
                {
                    let start = Offset::new((log.log_end_offset().get() - 3).max(0));
                    let start = start.max(log.log_start_offset());
                    self.note(name, |known| {
                        known.deleted = start.get();
                        known.may_start = known.may_start.max(start.get());
                    });
                    log.delete_records(start).unwrap();
                    self.after(name, &log);
                }
            }
        }
    }

    fn append(&mut self, store: &Store, name: &str) {
        let life = self.model.lock().unwrap().logs.get(name).map_or(0, |known| known.life);
        for _ in 0..=self.chance.below(8) {
            self.before_dropping();
            // The model knows of it before it is there, as it may be there before it returns.
            let Ok(log) = store.log(name) else { return };
            let next = log.log_end_offset().get();
            let Ok(offset) = log.append(value(name, life, next)) else { continue };
            assert_eq!(offset.get(), next);
            self.after(name, &log);
        }
    }

    fn delete(&mut self, store: &Store, name: &str) {
        if !self.model.lock().unwrap().logs.contains_key(name) {
            return;
        }
        self.note(name, |known| known.going = true);
        store.delete_log(name).unwrap();
        let mut model = self.model.lock().unwrap();
        let old = model.logs.remove(name).unwrap();
        model.gone.push(name.to_owned());
        drop(model);
        // Its successor's records are told from its own.
        self.note(name, |known| known.life = old.life + 1);
        self.model.lock().unwrap().logs.get_mut(name).unwrap().going = false;
    }
}

fn run(mode: IoMode, names: Names, seed: u64, steps: u64, every: u64) -> u64 {
    let disk = Disk::new(Profile { names, seed, ..Profile::default() });
    let model = Arc::new(Mutex::new(Model::default()));
    let store = options(mode).open_on(&disk, "/store").unwrap();
    let shared = Arc::clone(&model);
    let mut cuts = seed;
    disk.watch(move |disk: &Disk, call: &Call| {
        if std::thread::panicking() {
            return;
        }
        let used = disk.used_bytes("/store");
        assert!(used <= BUDGET, "seed {seed}, {call:?}: {used} taken");
        if call.kind == CallKind::Clock
            || call.kind == CallKind::Look
            || !call.number.is_multiple_of(every)
        {
            return;
        }
        cuts += 1;
        let keep = match cuts % 4 {
            0 => Keep::None,
            1 => Keep::All,
            _ => Keep::Seed(cuts),
        };
        let what = format!("{mode:?} {names:?} seed {seed} at {call:?}");
        let mut model = shared.lock().unwrap();
        judge(&disk.power_cut(keep), mode, &model, false, &format!("{what}, cut {keep:?}"));
        model.states += 1;
        if cuts.is_multiple_of(3) {
            judge(&disk.kill(), mode, &model, true, &format!("{what}, killed"));
            model.states += 1;
        }
    });
    let chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut work = Work { store: Some(store), disk: disk.clone(), mode, model, chance };
    for _ in 0..steps {
        work.step();
    }
    disk.unwatch();
    let model = work.model.lock().unwrap();
    model.states
}

#[test]
fn a_store_survives_a_cut_and_a_kill_at_every_call_and_stays_within_its_budget() {
    let mut states = 0;
    for seed in 1..=3 {
        for mode in [IoMode::Mapped, IoMode::Positioned] {
            for names in [Names::Strict, Names::Journal] {
                states += run(mode, names, seed, 60, 7);
            }
        }
    }
    assert!(states > 500, "only {states} states");
}

/// One seed at length, from the environment: `FOREBAY_STORE_CRASH="SEED STEPS"`.
#[test]
fn a_longer_run_is_asked_for_by_the_environment() {
    let Ok(asked) = std::env::var("FOREBAY_STORE_CRASH") else { return };
    let numbers: Vec<u64> = asked.split(' ').map(|number| number.parse().unwrap()).collect();
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        for names in [Names::Strict, Names::Journal] {
            let states = run(mode, names, numbers[0], numbers[1], 1);
            println!("{mode:?} {names:?}: {states} states");
        }
    }
}
