//! Floor 3's tests: a store's state in bytes, in its file, and beside `store.meta`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::codec::seal::Seal;
use crate::disk::checkpoint::{Checkpoint, glance, load as load_checkpoint};
use crate::disk::state::ClockAnchor;
use crate::sys::OsStorage;
use crate::words::error::ErrorKind;

fn env(dir: &Path, mapped: bool) -> Env {
    Env {
        storage: Arc::new(OsStorage),
        dir: dir.to_path_buf(),
        names: None,
        seal: Seal::NONE,
        mapped,
        segment_bytes: 0,
        index_interval_bytes: 0,
        torn_bytes: None,
        memory_bounded: false,
        written: Default::default(),
    }
}

fn meta(id: u8) -> StoreMeta {
    StoreMeta { store_id: LogId::from_bytes([id; 16]), created: Timestamp::from_millis(-5) }
}

fn sample() -> StoreState {
    StoreState {
        open_number: 3,
        residence: Some(Residence { boot: [8; 16], mount: 9, directory: 10 }),
        clean: true,
        clock: ClockState {
            log_clock: 5,
            boot: 6,
            anchor: Some(ClockAnchor { log_clock: 4, wall: -3 }),
            anchor_of_boot: true,
        },
        closed_bytes: u64::MAX,
        changing: ["a-0", "b-0", &"z".repeat(255)].map(str::to_owned).to_vec(),
        everything_changed: true,
        records_dropped: 11,
        bytes_dropped: 12,
        device_bytes: 13,
        payload_bytes: 14,
        ..StoreState::new(meta(7))
    }
}

#[test]
fn a_slot_of_a_store_decodes_to_what_was_encoded() {
    let mut bytes = Vec::new();
    for bits in 0..32 {
        let mut state = sample();
        state.clean = bits & 1 > 0;
        state.everything_changed = bits & 2 > 0;
        state.residence = state.residence.filter(|_| bits & 4 > 0);
        state.clock.anchor = state.clock.anchor.filter(|_| bits & 8 > 0);
        state.clock.anchor_of_boot = bits & 16 > 0;
        state.encode(77, &mut bytes);
        assert_eq!(StoreState::decode(&bytes).unwrap(), (77, state.clone()));
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(StoreState::decode(&bytes).unwrap(), (77, state));
    }
}

/// I11: nothing but what was written is taken for a state, and a log's slot is none of a store.
#[test]
fn no_flipped_bit_and_no_cut_of_a_slot_is_taken_for_a_store() {
    let mut bytes = Vec::new();
    sample().encode(77, &mut bytes);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(StoreState::decode(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for cut in 0..bytes.len() {
        assert!(StoreState::decode(&bytes[..cut]).is_err(), "cut {cut}");
    }
    assert!(crate::disk::state::State::decode(&bytes).is_err());
}

/// I11: a name in a slot becomes a path; none leads out of the store, and none comes twice.
#[test]
fn names_that_lead_out_of_the_store_are_refused() {
    let decoded = |names: &[&str]| {
        let changing = names.iter().map(|name| name.to_string()).collect();
        let mut bytes = Vec::new();
        StoreState { changing, ..sample() }.encode(1, &mut bytes);
        StoreState::decode(&bytes).is_ok()
    };
    assert!(decoded(&[]) && decoded(&["..a", "a..", "b c"]));
    for bad in ["", ".", "..", "/etc", "../other", "a/b", "a\\b", "a\0"] {
        assert!(!decoded(&[bad]), "{bad:?}");
    }
    assert!(!decoded(&["a", "a"]) && !decoded(&["b", "a"]));
    let mut counts_more = Vec::new();
    StoreState { changing: Vec::new(), ..sample() }.encode(1, &mut counts_more);
    for count in [1_u32, 65_537, u32::MAX] {
        let mut bytes = counts_more.clone();
        let end = bytes.len() - 4;
        bytes[end - 4..end].copy_from_slice(&count.to_be_bytes());
        let checksum = crate::codec::crc::crc32(&bytes[..end]).to_be_bytes();
        bytes[end..].copy_from_slice(&checksum);
        assert!(StoreState::decode(&bytes).is_err(), "{count}");
    }
}

#[test]
fn a_log_is_noted_once_until_there_is_no_room_for_more() {
    let mut state = StoreState::new(meta(1));
    assert!(state.note_changing("b-0") && state.note_changing("a-0"));
    assert!(!state.note_changing("b-0"));
    assert_eq!(state.changing, ["a-0", "b-0"]);
    assert!(state.is_changing("a-0") && !state.is_changing("c-0"));
    state.changing = (2..limits::STORE_CHANGING_MAX).map(|n| format!("log {n:05}")).collect();
    assert!(state.note_changing("b-0") && state.note_changing("a-0"));
    assert_eq!(state.changing.len(), limits::STORE_CHANGING_MAX);
    assert!(!state.everything_changed && state.is_changing("log 00002"));
    assert!(state.note_changing("one more"));
    assert!(state.everything_changed && state.changing.is_empty());
    assert!(state.is_changing("whatever") && !state.note_changing("another"));
}

/// The longest state that can come to be fits a file that is read again whole, in both modes.
#[test]
fn the_longest_list_of_changing_logs_is_found_again() {
    for mapped in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let env = env(tmp.path(), mapped);
        let mut state = StoreState::new(meta(1));
        let mut file = Checkpoint::open(&env, &load_checkpoint(&env).unwrap(), &state).unwrap();
        let mut largest = state.clone();
        for n in 0_usize.. {
            largest = if n > 16_360 { state.clone() } else { largest };
            state.note_changing(&format!("{n:0255}"));
            if state.everything_changed {
                break;
            }
            if [1, 600, 5000].contains(&n) {
                file.write(&env, &state).unwrap();
                assert_eq!(load(&env).unwrap().checkpoint.state.as_ref(), Some(&state));
            }
        }
        assert!(largest.changing.len() > 16_300, "{}", largest.changing.len());
        file.write_synced(&env, &largest).unwrap();
        let found = load(&env).unwrap().checkpoint;
        assert_eq!((found.state.as_ref(), found.damaged_slots), (Some(&largest), 0));
        let length = fs::metadata(tmp.path().join(names::STORE_CHECKPOINT)).unwrap().len();
        assert_eq!(length, limits::STORE_CHECKPOINT_FILE_BYTES_MAX as u64);
        assert!(file.memory_bytes() <= 5 << 20, "{}", file.memory_bytes());
        file.write_synced(&env, &state).unwrap();
        drop(file);
        let mut file = Checkpoint::open(&env, &load_checkpoint(&env).unwrap(), &state).unwrap();
        file.sync(&env).unwrap();
        assert_eq!(load(&env).unwrap().checkpoint.state, Some(state));
    }
}

/// Whatever byte of the checkpoint is damaged, the newest whole state serves.
#[test]
fn no_damaged_byte_of_the_file_costs_more_than_its_slot() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let state = |number| StoreState { payload_bytes: number, ..sample() };
    let mut file = Checkpoint::open(&env, &load_checkpoint(&env).unwrap(), &state(0)).unwrap();
    for number in 1..8 {
        file.write_synced(&env, &state(number)).unwrap();
    }
    let whole = fs::read(tmp.path().join(names::STORE_CHECKPOINT)).unwrap();
    let newest = |bytes: &[u8]| {
        let (_, found) = glance::<StoreState>(bytes, bytes).unwrap().newest.unwrap();
        assert_eq!(found, state(found.payload_bytes), "never anything else");
        found.payload_bytes
    };
    assert_eq!(newest(&whole), 7);
    let mut other = whole.clone();
    for at in 0..whole.len() {
        other[at] ^= 0x55;
        assert!(newest(&other) >= 6, "{at}");
        other[at] = whole[at];
    }
    for length in (4096..whole.len()).step_by(509) {
        assert!(newest(&whole[..length]) <= 7);
    }
}

/// The store as a test makes it, with both files.
fn made(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let env = env(dir, true);
    let found = load(&env).unwrap();
    assert!(found.meta.is_none() && !found.meta_lost && !found.checkpoint_lost);
    text::write(&meta(7), &OsStorage, dir).unwrap();
    let found = load(&env).unwrap();
    assert_eq!((found.meta, found.meta_lost, found.checkpoint_lost), (Some(meta(7)), false, true));
    let mut file = Checkpoint::open(&env, &found.checkpoint, &sample()).unwrap();
    file.write_synced(&env, &sample()).unwrap();
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    (read(names::STORE_META), read(names::STORE_CHECKPOINT))
}

/// Each file stands in for the other; where both are gone, nobody is made up.
#[test]
fn a_store_is_known_as_long_as_one_of_its_files_is_whole() {
    let tmp = tempfile::tempdir().unwrap();
    let (text, slots) = made(tmp.path());
    let mut foreign = Vec::new();
    StoreState { store_id: LogId::from_bytes([8; 16]), ..sample() }.encode(5, &mut foreign);
    foreign.resize(slots.len(), 0);
    let damaged = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 0xa5).collect::<Vec<u8>>();
    let put = |name: &str, bytes: Option<&[u8]>| match bytes {
        Some(bytes) => fs::write(tmp.path().join(name), bytes).unwrap(),
        None => fs::remove_file(tmp.path().join(name)).unwrap(),
    };
    let (bad_text, bad_slots) = (damaged(&text), damaged(&slots));
    let texts = [Some(&text[..]), Some(&bad_text), Some(b""), None];
    let files = [Some(&slots[..]), Some(&foreign), Some(&bad_slots), Some(b""), None];
    for (t, text) in texts.into_iter().enumerate() {
        for (f, slots) in files.into_iter().enumerate() {
            put(names::STORE_META, text.or(Some(b"")));
            put(names::STORE_CHECKPOINT, slots.or(Some(b"")));
            text.is_none().then(|| put(names::STORE_META, None));
            slots.is_none().then(|| put(names::STORE_CHECKPOINT, None));
            let found = load(&env(tmp.path(), false)).unwrap();
            let id = found.meta.map(|meta| meta.store_id.as_bytes()[0]);
            let whole = found.checkpoint.state.as_ref().map(|state| state.store_id.as_bytes()[0]);
            // The id, whether it was lost in meta, the state, and whether that is lost.
            let expected = match (t, f) {
                (0, 0) => (Some(7), false, Some(7), false),
                (0, _) => (Some(7), false, None, true),
                (_, 0) => (Some(7), true, Some(7), false),
                (_, 1) => (Some(8), true, Some(8), false),
                (3, 4) => (None, false, None, false),
                (3, _) => (None, false, None, true),
                _ => (None, true, None, true),
            };
            let have = (id, found.meta_lost, whole, found.checkpoint_lost);
            assert_eq!(have, expected, "{t} {f}");
        }
    }
}

/// What a later version wrote is refused, not taken for damage: nothing of it is written over.
#[test]
fn a_store_of_a_later_version_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let (text, slots) = made(tmp.path());
    let refused = || load(&env(tmp.path(), false)).unwrap_err();
    fs::write(tmp.path().join(names::STORE_META), "format=2\n").unwrap();
    assert_eq!(refused().kind(), ErrorKind::UnsupportedFormat);
    fs::write(tmp.path().join(names::STORE_META), text).unwrap();
    let mut newer = Vec::new();
    sample().encode(99, &mut newer);
    newer[5] = 2;
    let end = newer.len() - 4;
    let checksum = crate::codec::crc::crc32(&newer[..end]).to_be_bytes();
    newer[end..].copy_from_slice(&checksum);
    newer.resize(4096, 0);
    newer.extend_from_slice(&slots[4096..]);
    fs::write(tmp.path().join(names::STORE_CHECKPOINT), newer).unwrap();
    let error = refused();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
    assert!(error.path().unwrap().ends_with(names::STORE_CHECKPOINT));
}
