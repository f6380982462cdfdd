//! Floor 3's tests: the checkpoint on the operating system's files.

#[cfg(feature = "simulation")]
mod power;

use std::fs;
use std::path::Path;

use super::*;
use crate::codec::seal::Seal;
use crate::disk::meta::Meta;
use crate::disk::names;
use crate::disk::state::{ConsumerState, TailCopy};
use crate::words::limits::CHECKPOINT_FILE_BYTES_MAX;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

fn env(dir: &Path, mapped: bool) -> Env {
    Env { seal: Seal::NONE, ..crate::disk::segment::tests::env(dir, mapped) }
}

fn state(recovery_point: i64) -> State {
    State {
        recovery_point: Offset::new(recovery_point),
        ..State::new(
            Meta { log_id: LogId::from_bytes([1; 16]), seal: true, source: None, store: None },
            Offset::ZERO,
        )
    }
}

fn loaded_point(env: &Env) -> Option<i64> {
    load::<State>(env).unwrap().state.map(|state| state.recovery_point.get())
}

/// Every change is found again by a process that opens the file, with and without a sync.
#[test]
fn the_newest_change_is_found_in_both_modes() {
    for mapped in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let env = env(tmp.path(), mapped);
        let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state(0)).unwrap();
        for point in 1..40 {
            checkpoint.write(&env, &state(point)).unwrap();
            assert_eq!(loaded_point(&env), Some(point));
            if point % 3 == 0 {
                let begun = checkpoint.begin_sync(&env).unwrap().unwrap();
                checkpoint.write(&env, &state(point * 100)).unwrap();
                assert_eq!(loaded_point(&env), Some(point * 100));
                checkpoint.end_sync(begun.sync()).unwrap();
            }
            if point % 7 == 0 {
                drop(checkpoint);
                checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state(0)).unwrap();
            }
        }
    }
}

/// A change never overwrites the synced area, nor the one under sync, so that a power cut during
/// any write leaves one of them: each slot written after the sync is damaged in turn.
#[test]
fn changes_during_and_after_a_sync_spare_what_is_synced() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let path = tmp.path().join(names::CHECKPOINT);
    let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state(0)).unwrap();
    for round in 1..12 {
        let synced = fs::read(&path).unwrap();
        let best = loaded_point(&env).unwrap();
        checkpoint.write(&env, &state(round * 1000)).unwrap();
        let begun = checkpoint.begin_sync(&env).unwrap().unwrap();
        let under_sync = fs::read(&path).unwrap();
        for change in 0..5 {
            checkpoint.write(&env, &state(round * 1000 + change)).unwrap();
        }
        // All that changed since the last finished sync is lost: the synced state is still there.
        let now = fs::read(&path).unwrap();
        let torn = |before: &[u8]| -> Vec<u8> {
            let pages = before.chunks(4096).zip(now.chunks(4096));
            pages.flat_map(|(b, n)| if b == n { n.to_vec() } else { vec![0xff; 4096] }).collect()
        };
        fs::write(&path, torn(&synced)).unwrap();
        assert_eq!(loaded_point(&env), Some(best), "round {round}");
        fs::write(&path, torn(&under_sync)).unwrap();
        assert_eq!(loaded_point(&env), Some(round * 1000), "round {round}");
        fs::write(&path, &now).unwrap();
        checkpoint.end_sync(begun.sync()).unwrap();
        checkpoint.write_synced(&env, &state(round * 1000 + 9)).unwrap();
    }
}

/// 64 consumers with the longest names do not fit the first size; the file grows and keeps all.
#[test]
fn a_checkpoint_that_is_too_small_grows() {
    for mapped in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let env = env(tmp.path(), mapped);
        let mut state = state(5);
        let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state).unwrap();
        for number in 0..64 {
            let name = format!("{number:0249}");
            let consumer = ConsumerState::new(name, number % 2 == 0, Offset::new(number));
            state.consumers.push(consumer);
            checkpoint.write(&env, &state).unwrap();
            let loaded = load(&env).unwrap();
            assert_eq!(loaded.state.as_ref(), Some(&state));
            assert_eq!(loaded.damaged_slots, 0);
            checkpoint = Checkpoint::open(&env, &loaded, &state).unwrap();
        }
        assert_eq!(fs::metadata(tmp.path().join(names::CHECKPOINT)).unwrap().len(), 6 * 32 * 1024);
    }
}

/// Whatever single page is destroyed, an older state is found, and the damage is counted.
#[test]
fn a_destroyed_page_costs_at_most_the_newest_changes() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let path = tmp.path().join(names::CHECKPOINT);
    let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state(0)).unwrap();
    for point in 1..10 {
        checkpoint.write_synced(&env, &state(point)).unwrap();
        let whole = fs::read(&path).unwrap();
        for page in 0..6 {
            let mut bytes = whole.clone();
            bytes[page * 4096..(page + 1) * 4096].fill(0xa5);
            fs::write(&path, &bytes).unwrap();
            let loaded = load::<State>(&env).unwrap();
            assert_eq!(loaded.damaged_slots, 1);
            assert!(loaded.state.unwrap().recovery_point.get() >= point - 1);
        }
        fs::write(&path, &whole).unwrap();
    }
}

/// A copy of a tail holds whatever was appended: a checkpoint's slot, say, of another log or an
/// older time, at every place of a page.
#[test]
fn what_looks_like_a_slot_inside_a_slot_is_none() {
    let tmp = tempfile::tempdir().unwrap();
    let env = Env { torn_bytes: Some(4096), ..env(tmp.path(), false) };
    let path = tmp.path().join(names::CHECKPOINT);
    let (mut decoy, mut encoded) = (Vec::new(), Vec::new());
    state(666).encode(u64::MAX, &mut decoy);
    state(5).encode(1, &mut encoded);
    // Behind what is encoded before the copy's bytes, decoys lie at every page of the file.
    let header = encoded.len() - 4 + 8 + 8 + 4;
    let mut bytes = vec![0; 28_000];
    for page in (4096..28_000 - decoy.len()).step_by(4096) {
        bytes[page - header..][..decoy.len()].copy_from_slice(&decoy);
    }
    let tail = TailCopy { base: Offset::ZERO, position: 0, bytes };
    let state = State { tails: vec![tail], ..state(7) };
    let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state).unwrap();
    for _ in 0..6 {
        checkpoint.write_synced(&env, &state).unwrap();
    }
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), 6 * 32 * 1024);
    assert!(State::decode(&whole[4096..]).is_ok_and(|(number, _)| number == u64::MAX));
    let newest = glance::<State>(&whole, &whole).unwrap().newest.unwrap();
    assert_eq!((loaded_point(&env), newest.1), (Some(7), state.clone()));
    // Nor in a file that lost its end, or grew, as long as one slot is whole.
    for length in [60_000, 96 * 1024, 190_000, 192 * 1024 + 4096, 400_000] {
        let mut other = whole.clone();
        other.resize(length, 0);
        fs::write(&path, &other).unwrap();
        assert_eq!(loaded_point(&env), Some(7), "{length}");
        assert_eq!(glance::<State>(&other, &[]).unwrap().newest.unwrap().1, state, "{length}");
    }
    // A slot that is damaged gives none of what is inside.
    for slot in 0..6 {
        let mut other = whole.clone();
        other[slot * 32 * 1024] ^= 1;
        fs::write(&path, &other).unwrap();
        assert_eq!(loaded_point(&env), Some(7));
        assert_eq!(glance::<State>(&other, &[]).unwrap().newest.unwrap().1, state);
        assert_eq!(load::<State>(&env).unwrap().damaged_slots, 1);
    }
}

/// Whatever length a damaged file has, the next one is no longer than what is read again.
#[test]
fn a_file_of_a_wrong_length_is_made_anew_in_the_right_one() {
    for length in [1, 4095, 24 * 1024 + 1, 100_000, 1_600_000, CHECKPOINT_FILE_BYTES_MAX] {
        let tmp = tempfile::tempdir().unwrap();
        let env = env(tmp.path(), false);
        let path = tmp.path().join(names::CHECKPOINT);
        drop(Checkpoint::open(&env, &load(&env).unwrap(), &state(3)).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes.resize(length, 0);
        fs::write(&path, &bytes).unwrap();
        let loaded = load(&env).unwrap();
        let newest = loaded.state.clone().unwrap_or(state(3));
        let mut checkpoint = Checkpoint::open(&env, &loaded, &newest).unwrap();
        checkpoint.write_synced(&env, &state(4)).unwrap();
        assert_eq!(loaded_point(&env), Some(4), "{length}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 6 * 4096, "{length}");
    }
}

/// What the log says of itself is right: the file's length, the buffers, and by how much a state is
/// too long for its slot when there is no room for a longer one.
#[test]
fn what_a_checkpoint_takes_is_counted() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let path = tmp.path().join(names::CHECKPOINT);
    let mut state = state(5);
    let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state).unwrap();
    assert_eq!(checkpoint.file_bytes(), fs::metadata(&path).unwrap().len());
    checkpoint.write(&env, &state).unwrap();
    let mut encoded = Vec::new();
    state.encode(1, &mut encoded);
    assert_eq!(checkpoint.excess_bytes(), 0);
    assert!(checkpoint.memory_bytes() >= encoded.len(), "the buffer");
    assert!(checkpoint.memory_bytes() <= CHECKPOINT_SLOT_BYTES, "no more than a slot");
    drop(checkpoint);
    let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state).unwrap();
    assert!(checkpoint.memory_bytes() >= encoded.len(), "the slot found at open");
    checkpoint.write(&env, &state).unwrap();
    assert!(checkpoint.memory_bytes() >= encoded.len());

    // No file can be made any more: the state does not fit, and the old slots stay.
    fs::create_dir(path.with_extension("new")).unwrap();
    for number in 0..20 {
        let committed = Offset::new(number);
        let name = format!("{number:0249}");
        state.consumers.push(ConsumerState::new(name, true, committed));
    }
    encoded.clear();
    state.encode(9, &mut encoded);
    assert!(encoded.len() > CHECKPOINT_SLOT_BYTES);
    assert!(checkpoint.write(&env, &state).is_err());
    assert_eq!(checkpoint.excess_bytes(), encoded.len() - CHECKPOINT_SLOT_BYTES);
    assert_eq!(loaded_point(&env), Some(5));
    fs::remove_dir(path.with_extension("new")).unwrap();
    checkpoint.write(&env, &state).unwrap();
    assert_eq!(checkpoint.excess_bytes(), 0);
    assert_eq!(checkpoint.file_bytes(), fs::metadata(&path).unwrap().len());
}

/// A state that fills its slot to the byte needs no longer one; the next byte does.
#[test]
fn a_slot_is_filled_to_the_byte() {
    let with_last_name_of = |length: usize| {
        let mut state = state(5);
        for number in 0..15 {
            let name = format!("{number:0249}");
            state.consumers.push(ConsumerState::new(name, true, Offset::ZERO));
        }
        let name = "n".repeat(length);
        state.consumers.push(ConsumerState::new(name, true, Offset::ZERO));
        let mut encoded = Vec::new();
        state.encode(1, &mut encoded);
        (state, encoded.len())
    };
    let (_, least) = with_last_name_of(0);
    let room = CHECKPOINT_SLOT_BYTES - least;
    assert!(room < 249, "{room}");
    for (length, slots) in [(room, 1), (room + 1, 2)] {
        let (long, _) = with_last_name_of(length);
        for written in [false, true] {
            let tmp = tempfile::tempdir().unwrap();
            let env = env(tmp.path(), false);
            let first = if written { &state(1) } else { &long };
            let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), first).unwrap();
            let before = env.written.sums();
            checkpoint.write(&env, &long).unwrap();
            let grown = written && slots > 1;
            assert_eq!(env.written.sums() != before, grown, "only a longer file is synced");
            let length = fs::metadata(tmp.path().join(names::CHECKPOINT)).unwrap().len();
            assert_eq!(length, 6 * slots * 4096, "written {written}");
            assert_eq!(load(&env).unwrap().state, Some(long.clone()));
        }
    }
}

/// Pages and syncs as they go to the device: the file when it is made, then the slots of each sync,
/// each once; what a sync of the whole filesystem covers goes without one of its own.
#[test]
fn what_goes_to_the_device_is_counted_once() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let counted = |env: &Env, before: (u64, u64)| {
        let (bytes, syncs) = env.written.sums();
        (((bytes - before.0) / 4096, syncs - before.1), (bytes, syncs))
    };
    let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state(0)).unwrap();
    let (first, mut before) = counted(&env, (0, 0));
    assert_eq!(first, (6, 2), "the file, and its name");
    for (writes, pages) in [(1, 1), (2, 2), (5, 2)] {
        (0..writes).for_each(|_| checkpoint.write(&env, &state(1)).unwrap());
        checkpoint.sync(&env).unwrap();
        let (sync, now) = counted(&env, before);
        assert_eq!(sync, (pages, 1), "{writes} writes");
        before = now;
        checkpoint.sync(&env).unwrap();
        assert_eq!(counted(&env, before).0, (0, 0), "nothing was changed");
    }
    checkpoint.write(&env, &state(2)).unwrap();
    checkpoint.note_written();
    let (noted, before) = counted(&env, before);
    assert_eq!(noted, (1, 0));
    checkpoint.sync(&env).unwrap();
    assert_eq!(counted(&env, before).0, (0, 1), "its pages went already");
}

/// On a medium that tears: what an open puts in a safe place, and the changes behind it, touch
/// nothing of the area that was synced last, and that state is in both places.
#[test]
fn what_an_open_makes_sure_of_goes_beside_what_was_synced() {
    let tmp = tempfile::tempdir().unwrap();
    let env = Env { torn_bytes: Some(4096), ..env(tmp.path(), false) };
    let path = tmp.path().join(names::CHECKPOINT);
    let area = TORN_BYTES_MAX;
    let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state(0)).unwrap();
    for round in 1..12 {
        for step in 0..round % 4 {
            checkpoint.write_synced(&env, &state(100 * round + step)).unwrap();
        }
        drop(checkpoint);
        let loaded = load::<State>(&env).unwrap();
        let (place, newest) = (loaded.area, loaded.state.clone().unwrap());
        let before = fs::read(&path).unwrap();
        checkpoint = Checkpoint::open(&env, &loaded, &newest).unwrap();
        let changed = |now: &[u8]| -> Vec<usize> {
            let same = |n: usize| before[n * area..][..area] == now[n * area..][..area];
            (0..AREAS).filter(|&n| !same(n)).collect()
        };
        // Nothing was changed yet, but the newest may never have been synced.
        checkpoint.sync(&env).unwrap();
        let now = fs::read(&path).unwrap();
        let [safe] = changed(&now)[..] else { panic!("one area: {:?}", changed(&now)) };
        assert_ne!(safe, place, "round {round}");
        let slot = State::decode(&now[safe * area..]).unwrap();
        assert_eq!(slot, (loaded.number + 1, newest.clone()), "round {round}");
        let again = load::<State>(&env).unwrap();
        assert_eq!((again.number, again.state), (loaded.number + 1, Some(newest)));
        for step in 0..3 {
            checkpoint.write(&env, &state(100 * round + 50 + step)).unwrap();
            let now = fs::read(&path).unwrap();
            assert!(State::decode(&now[safe * area..]).is_ok_and(|(n, _)| n == loaded.number + 1));
        }
        assert_eq!(loaded_point(&env), Some(100 * round + 52));
    }
}

/// The error of a slot that is cut short or changed names the byte that does not fit.
#[test]
fn a_damaged_slot_is_told_with_its_place() {
    let mut slot = Vec::new();
    state(7).encode(3, &mut slot);
    let place = |bytes: &[u8]| State::decode(bytes).unwrap_err().position;
    let length = slot.len();
    assert_eq!(place(&slot[..length - 1]), 8, "its length");
    slot[length - 1] ^= 1;
    assert_eq!(place(&slot), length - 4, "its checksum");
    slot[0] ^= 1;
    assert_eq!(place(&slot), 0, "what it is");
}

/// Each slot has the next number, that of a new file and that of one that had to grow included: the
/// highest counts.
#[test]
fn slots_are_numbered_without_a_gap() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let mut checkpoint = Checkpoint::open(&env, &load(&env).unwrap(), &state(0)).unwrap();
    let number = || load::<State>(&env).unwrap().number;
    assert_eq!(number(), 1);
    let mut state = state(1);
    for expected in 2..60 {
        let name = format!("{expected:0249}");
        state.consumers.push(ConsumerState::new(name, true, Offset::ZERO));
        checkpoint.write(&env, &state).unwrap();
        assert_eq!(number(), expected);
    }
}
