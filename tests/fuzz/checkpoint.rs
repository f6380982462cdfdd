//! Checkpoints: a slot decodes to what encodes to the same; of a file the newest whole slot counts,
//! and what is said to be damaged is; a change that was written outlives the process, one that was
//! synced outlives the power.

use std::fmt::Debug;
use std::sync::Arc;

use super::input::Input;
use super::oracle::{crc32, number};
use super::{past, planted};
use crate::codec::seal::Seal;
use crate::disk::Env;
use crate::disk::checkpoint::{Checkpoint, glance, load};
use crate::disk::meta::Meta;
use crate::disk::slot::{NEWER, Slot};
use crate::disk::state::{ConsumerState, State, TailCopy};
use crate::disk::store_meta::StoreMeta;
use crate::disk::store_state::StoreState;
use crate::sys::sim::{Disk, Keep, Names, Profile, Torn};
use crate::words::error::ErrorKind;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;
use crate::words::time::Timestamp;

/// The first byte says what the rest is: a slot as it is, one to be mended, a file of slots, or
/// what is done to an open checkpoint.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() & 63 {
        0 => judge::<State>(input.rest(), 0),
        1 => judge::<StoreState>(input.rest(), 0),
        4..44 => mended::<State>(input),
        44..61 => mended::<StoreState>(input),
        2 | 61 => file(input),
        3 | 62 => life(input, |point| log_state(point, 0)),
        _ => life(input, store_state),
    }
}

/// A slot of these bytes that gets behind the checksum.
fn mended<S: Slot + PartialEq>(mut input: Input<'_>) {
    let (flip, version) = (input.u16(), input.byte());
    let version = if version > 250 { 2 } else { S::VERSION };
    let body = input.rest();
    let mut bytes = S::MAGIC.to_vec();
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&body[..body.len().min(2)]);
    bytes.resize(8, 0);
    let behind = &body[body.len().min(2)..];
    bytes.extend_from_slice(&u32::try_from(16 + behind.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(behind);
    let sum = crc32(&bytes);
    bytes.extend_from_slice(&sum.to_be_bytes());
    judge::<S>(&bytes, flip);
}

/// Whether a slot's frame is right: magic, length, checksum, version.
fn framed<S: Slot>(bytes: &[u8]) -> bool {
    if bytes.len() < 16 || bytes[..4] != S::MAGIC {
        return false;
    }
    let length = u32::from_be_bytes(number(bytes, 8)) as usize;
    (4..=bytes.len()).contains(&length)
        && crc32(&bytes[..length - 4]).to_be_bytes() == bytes[length - 4..length]
        && u16::from_be_bytes(number(bytes, 4)) <= S::VERSION
}

fn judge<S: Slot + PartialEq + Debug>(bytes: &[u8], flip: u16) {
    let found = S::decode(bytes);
    if framed::<S>(bytes) {
        past();
    }
    let Ok((slot_number, state)) = found else { return };
    assert!(framed::<S>(bytes), "its frame is right");
    let mut again = Vec::new();
    state.encode(slot_number, &mut again);
    assert!(again.len() <= bytes.len(), "nothing is in it that was not read");
    let second = S::decode(&again).expect("what was encoded decodes");
    assert!(second == (slot_number, state.clone()), "decode(encode(x)) == x");
    let mut third = Vec::new();
    second.1.encode(slot_number, &mut third);
    assert_eq!(third, again);
    let bit = usize::from(flip) % (again.len() * 8);
    again[bit / 8] ^= 1 << (bit % 8);
    assert!(S::decode(&again).is_err(), "bit {bit} was flipped");
}

fn log_state(point: i64, tail: usize) -> State {
    let meta = Meta { log_id: LogId::from_bytes([3; 16]), seal: true, source: None, store: None };
    let mut state = State::new(meta, Offset::new(point / 2));
    state.recovery_point = Offset::new(point);
    state.open_number = point.cast_unsigned();
    let name = format!("reader {point}");
    state.consumers.push(ConsumerState::new(name, false, Offset::ZERO));
    if tail > 0 {
        let bytes = vec![b't'; tail];
        state.tails.push(TailCopy { base: Offset::ZERO, position: 5, bytes });
    }
    state
}

fn store_state(point: i64) -> StoreState {
    let (store_id, created) = (LogId::from_bytes([4; 16]), Timestamp::from_millis(5));
    let mut state = StoreState::new(StoreMeta { store_id, created });
    state.open_number = point.cast_unsigned();
    state.note_changing(&format!("log-{point}"));
    state
}

fn env(disk: &Disk, mapped: bool, torn_bytes: Option<usize>) -> Env {
    Env {
        storage: Arc::new(disk.clone()),
        dir: "/log".into(),
        names: None,
        seal: Seal::NONE,
        mapped,
        segment_bytes: 1 << 20,
        index_interval_bytes: 4096,
        torn_bytes,
        memory_bounded: false,
        written: Default::default(),
    }
}

const PAGE: usize = 4096;

/// One page of a file: never written, zeros, a slot, a damaged one, one of a later version.
fn page(input: &mut Input<'_>, newer: &mut bool) -> Vec<u8> {
    let (kind, number) = (input.byte(), u64::from(input.byte() % 8));
    let mut bytes = Vec::new();
    match kind % 8 {
        0 => State::encode_unused(&mut bytes),
        1 => {}
        2 => bytes.extend_from_slice(input.bytes(64)),
        3 => {
            log_state(7, 0).encode(number, &mut bytes);
            bytes[5] = 2;
            let end = bytes.len() - 4;
            let sum = crc32(&bytes[..end]);
            bytes[end..].copy_from_slice(&sum.to_be_bytes());
            *newer = true;
        }
        4 => {
            // In a copy of a tail may lie what looks like a slot.
            let (mut inner, mut outer) = (Vec::new(), log_state(50 + i64::from(kind), 0));
            log_state(60, 0).encode(99, &mut inner);
            outer.tails.push(TailCopy { base: Offset::ZERO, position: 0, bytes: inner });
            outer.encode(number, &mut bytes);
        }
        _ => log_state(i64::from(kind), usize::from(input.byte()) * 8).encode(number, &mut bytes),
    }
    if kind & 0x80 != 0 && !bytes.is_empty() {
        let bit = input.below(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes.resize(PAGE, 0);
    bytes
}

/// A file of six slots, or of a length that none has.
fn file(mut input: Input<'_>) {
    let (shape, mut newer) = (input.byte(), false);
    let mut bytes: Vec<u8> = (0..6).flat_map(|_| page(&mut input, &mut newer)).collect();
    if shape & 7 == 1 {
        bytes.truncate(input.below(bytes.len()));
    }
    thread_local! {
        static DISK: Disk = Disk::new(Profile::default());
    }
    let disk = DISK.with(Disk::clone);
    disk.write_file("/log/checkpoint", &bytes);
    past();
    let found = load::<State>(&env(&disk, false, None));
    let looked = glance::<State>(&bytes, &bytes);
    let changed = glance::<State>(&bytes, &[]);
    let (mut newest, mut damaged, mut wrong): (Option<(u64, State)>, _, _) = (None, 0, 0);
    for page in bytes.chunks(PAGE) {
        match State::decode(page) {
            Ok((number, state)) => {
                let higher = newest.as_ref().is_none_or(|(highest, _)| match planted() {
                    true => number >= *highest,
                    false => number > *highest,
                });
                if higher {
                    newest = Some((number, state));
                }
            }
            Err(error) if error.what == NEWER => {
                assert!(newer, "a version is not made up");
                assert_eq!(found.unwrap_err().kind(), ErrorKind::UnsupportedFormat);
                assert!(looked.is_err() && changed.is_err());
                return;
            }
            Err(_) => {
                wrong += 1;
                damaged += usize::from(!State::is_unused(page));
            }
        }
    }
    let found = found.expect("it is read");
    assert!(found.is_there);
    assert_eq!(found.damaged_slots, damaged, "damaged slots");
    assert_eq!(found.state.as_ref(), newest.as_ref().map(|(_, state)| state), "the newest");
    let looked = looked.unwrap();
    assert_eq!((looked.newest, looked.torn), (newest, false));
    assert_eq!(changed.unwrap().torn, wrong > 0);
}

/// What is done to an open checkpoint, with the process killed and the power cut in between.
fn life<S: Slot + PartialEq>(mut input: Input<'_>, state: impl Fn(i64) -> S) {
    let flags = input.byte();
    let torn = flags & 3 == 1;
    let profile = Profile {
        names: if flags & 4 != 0 { Names::Strict } else { Names::Journal },
        torn: if torn { Torn::Overwrite { bytes: 64 << 10 } } else { Torn::PowerSafe },
        stale: flags & 8 != 0,
        seed: u64::from(input.byte()),
        ..Profile::default()
    };
    let mapped = !torn && flags & 16 != 0;
    let mut disk = Disk::new(profile);
    disk.write_file("/log/x", b"");
    disk.remove_file("/log/x");
    let torn_bytes = torn.then_some(4096);
    let (mut point, mut least) = (0, 0);
    let mut open = None;
    for _ in 0..24 {
        if input.is_empty() {
            break;
        }
        let env = env(&disk, mapped, torn_bytes);
        let checkpoint = match &mut open {
            Some(open) => open,
            none => {
                let loaded = load::<S>(&env).unwrap();
                let made = Checkpoint::<S>::open(&env, &loaded, &state(point)).unwrap();
                if loaded.state.is_none() {
                    (least, point) = (point, point);
                }
                none.insert(made)
            }
        };
        past();
        match input.byte() & 7 {
            0..3 => {
                point += 1;
                checkpoint.write(&env, &state(point)).unwrap();
            }
            3 => {
                checkpoint.sync(&env).unwrap();
                least = point;
            }
            4 => {
                // A change while a sync is under way is not covered by it.
                if let Some(begun) = checkpoint.begin_sync(&env).unwrap() {
                    let covered = point;
                    point += 1;
                    checkpoint.write(&env, &state(point)).unwrap();
                    checkpoint.end_sync(begun.sync()).unwrap();
                    least = covered;
                }
            }
            kind => {
                let next = if kind == 5 { disk.kill() } else { cut(&disk, &mut input) };
                open = None;
                disk = next;
                let found = load::<S>(&self::env(&disk, mapped, torn_bytes)).unwrap();
                let found = found.state.expect("what was made and synced is there");
                let due = if kind == 5 { point..=point } else { least..=point };
                let known = due.clone().find(|point| state(*point) == found);
                point = known.unwrap_or_else(|| panic!("none of {due:?} is there: {found:?}"));
                // It may be in the cache alone.
                least = least.min(point);
            }
        }
    }
}

fn cut(disk: &Disk, input: &mut Input<'_>) -> Disk {
    let number = u64::from(input.u16());
    disk.power_cut(match number % 4 {
        0 => Keep::None,
        1 => Keep::All,
        2 => Keep::Mask(number >> 2),
        _ => Keep::Seed(number),
    })
}
