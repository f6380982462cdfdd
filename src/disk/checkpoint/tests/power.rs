//! Floor 3's tests: checkpoints of each kind on the simulated disk, the power cut or the process
//! killed before every call.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::codec::seal::Seal;
use crate::disk::meta::Meta;
use crate::disk::state::ConsumerState;
use crate::disk::store_meta::StoreMeta;
use crate::disk::store_state::StoreState;
use crate::sys::Storage;
use crate::sys::sim::{Call, CallKind, Disk, Fault, Keep, Names, Profile, Torn};
use crate::words::log_id::LogId;
use crate::words::offset::Offset;
use crate::words::time::Timestamp;

/// A state that says which one it is, and may be made longer.
trait Numbered: Slot + PartialEq + Debug + Send + 'static {
    fn of(number: u64, names: usize) -> Self;
    fn number(&self) -> u64;
}

impl Numbered for State {
    fn of(number: u64, names: usize) -> State {
        let log_id = LogId::from_bytes([1; 16]);
        let meta = Meta { log_id, seal: true, source: None, store: None };
        let consumer = |n| ConsumerState::new(format!("{n:0200}"), false, Offset::ZERO);
        let consumers = (0..names).map(consumer).collect();
        State { open_number: number, consumers, ..State::new(meta, Offset::ZERO) }
    }

    fn number(&self) -> u64 {
        self.open_number
    }
}

impl Numbered for StoreState {
    fn of(number: u64, names: usize) -> StoreState {
        let store_id = LogId::from_bytes([2; 16]);
        let meta = StoreMeta { store_id, created: Timestamp::from_millis(7) };
        let mut state = StoreState { payload_bytes: number, ..StoreState::new(meta) };
        (0..names).for_each(|n| assert!(state.note_changing(&format!("{n:0200}"))));
        state
    }

    fn number(&self) -> u64 {
        self.payload_bytes
    }
}

fn env(disk: &Disk, mapped: bool, torn_bytes: Option<usize>) -> Env {
    Env {
        storage: Arc::new(disk.clone()),
        dir: "/d".into(),
        // Through the lock, or without one.
        names: disk.lock(Path::new("/d")).unwrap().filter(|_| mapped),
        seal: Seal::NONE,
        mapped,
        segment_bytes: 0,
        index_interval_bytes: 0,
        torn_bytes,
        memory_bounded: false,
        written: Default::default(),
    }
}

/// What must be found: the last synced state or a later one that was written.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    synced: Option<u64>,
    /// The one that is being written, or was.
    written: u64,
    /// Its write has ended.
    whole: bool,
}

type Shared = Arc<Mutex<Due>>;

fn found<S: Numbered>(disk: &Disk, way: (bool, Option<usize>)) -> Option<u64> {
    load::<S>(&env(disk, way.0, way.1)).unwrap().state.map(|state| state.number())
}

fn check<S: Numbered>(disk: &Disk, due: Due, way: (bool, Option<usize>), call: &Call) {
    if matches!(call.kind, CallKind::Look | CallKind::Open | CallKind::Read | CallKind::Lock) {
        // What comes before the next call that changes anything is the same.
        return;
    }
    let cut = |keep: Keep| {
        let found = found::<S>(&disk.power_cut(keep), way);
        assert!(found >= due.synced && found <= Some(due.written), "{found:?} {due:?} {call:?}");
    };
    cut(Keep::None);
    cut(Keep::All);
    (0..6).for_each(|seed| cut(Keep::Seed(seed)));
    let pieces = disk.loose().min(3);
    (0..1 << pieces).for_each(|mask| cut(Keep::Mask(mask)));
    let killed = found::<S>(&disk.kill(), way);
    let least = if due.whole { Some(due.written) } else { due.synced };
    assert!(killed >= least && killed <= Some(due.written), "{killed:?} {due:?} {call:?}");
}

fn write<S: Numbered>(file: &mut Checkpoint<S>, env: &Env, due: &Shared, names: usize) {
    let number = {
        let mut due = due.lock().unwrap();
        (due.written, due.whole) = (due.written + 1, false);
        due.written
    };
    file.write(env, &S::of(number, names)).unwrap();
    due.lock().unwrap().whole = true;
}

fn opened<S: Numbered>(env: &Env, due: &Shared) -> Checkpoint<S> {
    let number = due.lock().unwrap().written;
    let file = Checkpoint::open(env, &load(env).unwrap(), &S::of(number, 0)).unwrap();
    let mut due = due.lock().unwrap();
    due.synced = due.synced.max((number == 0).then_some(0));
    file
}

/// Changes, syncs with changes in between, growth, reopening: at every call what was synced last is
/// found after a cut, and what was written last after a kill.
fn at_every_call<S: Numbered>(profile: Profile, way: (bool, Option<usize>)) {
    let disk = Disk::new(profile);
    disk.write_file("/d/other", b"");
    let due = Shared::default();
    let (watched, kills) = (Arc::clone(&due), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&kills);
    disk.watch(move |disk, call| {
        let due = *watched.lock().unwrap();
        check::<S>(disk, due, way, call);
        if due.synced.is_some() && call.number % 7 == 0 {
            kept.lock().unwrap().push((disk.kill(), due));
        }
    });
    let env_of = |disk: &Disk| env(disk, way.0, way.1);
    let env = env_of(&disk);
    for round in 0..3 {
        let mut file = opened::<S>(&env, &due);
        for names in [[0, 1], [1, 22], [22, 45]][round] {
            write(&mut file, &env, &due, names);
            write(&mut file, &env, &due, names);
            let synced = due.lock().unwrap().written;
            let begun = file.begin_sync(&env).unwrap().map(|begun| begun.sync());
            write(&mut file, &env, &due, names);
            write(&mut file, &env, &due, names);
            write(&mut file, &env, &due, names);
            if let Some(done) = begun {
                file.end_sync(done).unwrap();
                due.lock().unwrap().synced = Some(synced);
            }
        }
    }
    disk.unwatch();
    let kills = std::mem::take(&mut *kills.lock().unwrap());
    assert!(kills.len() > 4, "{}", kills.len());
    // The next process settles what the killed one had not synced, and is cut in its turn.
    for (disk, before) in kills {
        let found = found::<S>(&disk, way).unwrap();
        let due = Shared::new(Mutex::new(Due { written: found, whole: true, ..before }));
        let watched = Arc::clone(&due);
        disk.watch(move |disk, call| check::<S>(disk, *watched.lock().unwrap(), way, call));
        let env = env_of(&disk);
        let mut file = opened::<S>(&env, &due);
        file.sync(&env).unwrap();
        due.lock().unwrap().synced = Some(found);
        write(&mut file, &env, &due, 2);
        file.sync(&env).unwrap();
        disk.unwatch();
        let last = due.lock().unwrap().written;
        assert_eq!(self::found::<S>(&disk.power_cut(Keep::None), way), Some(last));
    }
}

fn everywhere<S: Numbered>() {
    for names in [Names::Strict, Names::Journal] {
        for mapped in [true, false] {
            at_every_call::<S>(Profile { names, ..Profile::default() }, (mapped, None));
        }
    }
    let torn = Torn::Overwrite { bytes: 16 << 10 };
    at_every_call::<S>(Profile { torn, ..Profile::default() }, (false, Some(16 << 10)));
}

/// M1 to M7, I12.
#[test]
fn a_cut_at_any_call_keeps_the_state_of_a_log_that_was_synced_last() {
    everywhere::<State>();
}

/// M1 to M7, I12.
#[test]
fn a_cut_at_any_call_keeps_the_state_of_a_store_that_was_synced_last() {
    everywhere::<StoreState>();
}

/// I8: a sync that fails, through a map or by position, is the last one; what was synced before is
/// found after a cut, and whoever opens the file writes the newest again before it counts.
#[test]
fn a_failed_sync_of_a_checkpoint_is_never_tried_again() {
    for way in [(true, None), (false, None)] {
        let disk = Disk::new(Profile::default());
        disk.write_file("/d/other", b"");
        let env = env(&disk, way.0, None);
        let due = Shared::default();
        let mut file = opened::<StoreState>(&env, &due);
        write(&mut file, &env, &due, 0);
        file.sync(&env).unwrap();
        write(&mut file, &env, &due, 0);
        let name = Some(file.path.file_name().unwrap().to_str().unwrap().to_owned());
        disk.fail(Fault { on: CallKind::SyncFile, name, after: 0, times: 1, errno: 5 });
        assert!(file.sync(&env).is_err() && file.has_failed());
        let calls = disk.calls();
        assert_eq!(file.sync(&env).unwrap_err().kind(), ErrorKind::Poisoned);
        assert!(file.write(&env, &StoreState::of(9, 0)).is_err());
        assert_eq!(disk.calls(), calls, "nothing was tried");
        assert_eq!(found::<StoreState>(&disk.power_cut(Keep::All), way), Some(1));
        drop(file);
        let killed = disk.kill();
        assert_eq!(found::<StoreState>(&killed, way), Some(2), "the cache has it");
        let env = self::env(&killed, way.0, None);
        let mut file = opened::<StoreState>(&env, &due);
        file.sync(&env).unwrap();
        assert_eq!(found::<StoreState>(&killed.power_cut(Keep::None), way), Some(2));
        assert!(killed.file_names(Path::new("/d")).contains(&"store.checkpoint".to_owned()));
    }
}
