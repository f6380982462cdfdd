//! The text files `log.meta` and `store.meta`, and `store.checkpoint` beside the latter: what is
//! read was written, nothing damaged passes, and of two that disagree the right one counts.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use super::input::Input;
use super::oracle::crc32;
use super::{past, planted};
use crate::codec::seal::Seal;
use crate::disk::Env;
use crate::disk::meta::Meta;
use crate::disk::slot::Slot;
use crate::disk::store_meta::StoreMeta;
use crate::disk::store_state::{self, StoreState};
use crate::disk::text::{self, Text};
use crate::sys::sim::{Disk, Profile};
use crate::words::error::{Error, ErrorKind};
use crate::words::limits::META_BYTES_MAX;
use crate::words::log_id::LogId;
use crate::words::time::Timestamp;

const DIR: &str = "/log";

/// The first byte says what the rest is: a text as it is, one to be mended, values, or two files.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() & 15 {
        0 => judge::<Meta>(input.rest(), 0),
        1 => judge::<StoreMeta>(input.rest(), 0),
        2 | 7..10 => mended::<Meta>(input),
        3 | 10..12 => mended::<StoreMeta>(input),
        4 => values(input),
        6 => beside(input),
        _ => lines(input),
    }
}

fn sum_line(text: &mut Vec<u8>) {
    let sum = crc32(text);
    text.extend_from_slice(format!("crc32={sum:08x}\n").as_bytes());
}

/// A text of this that gets behind the checksum, and mostly behind the format.
fn mended<T: Text + PartialEq + Debug + Clone>(mut input: Input<'_>) {
    let (flip, format) = (input.u16(), input.byte());
    let mut text = match format {
        0..240 => b"format=1\n".to_vec(),
        240..248 => b"format=2\n".to_vec(),
        _ => Vec::new(),
    };
    // What is not UTF-8 would be read as other text than the sum is of.
    text.extend_from_slice(String::from_utf8_lossy(input.rest()).as_bytes());
    sum_line(&mut text);
    judge::<T>(&text, flip);
}

/// What is made of the bytes of a file, as `text::read` does.
fn read<T: Text>(bytes: &[u8]) -> Result<Option<T>, Error> {
    text::parse(&String::from_utf8_lossy(&bytes[..bytes.len().min(META_BYTES_MAX)]))
}

/// What the last line of this key says; if the oracle is to be wrong, the first.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let says = |line: &'a str| line.split_once('=').filter(|(found, _)| *found == key);
    let mut all = text.lines().filter_map(says).map(|(_, value)| value);
    if planted() { all.next() } else { all.next_back() }
}

/// The text before its last line, if that is the sum of it.
fn summed(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(&bytes[..bytes.len().min(META_BYTES_MAX)]).ok()?;
    let body = &text[..text.rfind("crc32=")?];
    let line = format!("crc32={:08x}\n", crc32(body.as_bytes()));
    (text[body.len()..] == line).then_some(body)
}

fn judge<T: Text + PartialEq + Debug + Clone>(bytes: &[u8], flip: u16) {
    let found = read::<T>(bytes);
    let body = summed(bytes);
    if body.is_some() {
        past();
    }
    let format = body.and_then(|body| value(body, "format")?.parse::<u32>().ok());
    match found {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{error}");
            assert!(body.is_none() || format > Some(1), "{error}");
        }
        Ok(None) => {}
        Ok(Some(what)) => {
            assert!(body.is_some() && format == Some(1), "whole: {what:?}");
            rewritten(&what, flip);
        }
    }
}

/// What was read is written, read again, and told from every damaged form of it.
fn rewritten<T: Text + PartialEq + Debug + Clone>(what: &T, flip: u16) {
    let mut bytes = text::to_text(what).into_bytes();
    assert_eq!(read::<T>(&bytes).unwrap().as_ref(), Some(what), "what was written is read");
    let cut = usize::from(flip) % bytes.len();
    let short = read::<T>(&bytes[..cut]);
    assert!(!matches!(short, Ok(Some(_))), "cut at {cut}");
    let bit = usize::from(flip) % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    let flipped = read::<T>(&bytes);
    assert!(!matches!(flipped, Ok(Some(_))), "bit {bit} was flipped: {flipped:?}");
}

fn id(input: &mut Input<'_>) -> LogId {
    let mut bytes = [0; 16];
    let taken = input.bytes(16);
    bytes[..taken.len()].copy_from_slice(taken);
    LogId::from_bytes(bytes)
}

/// Any values are kept.
fn values(mut input: Input<'_>) {
    let (flags, flip) = (input.byte(), input.u16());
    let log_id = id(&mut input);
    let source = (flags & 1 != 0).then(|| id(&mut input));
    let store = (flags & 2 != 0).then(|| id(&mut input));
    past();
    rewritten(&Meta { log_id, seal: flags & 4 != 0, source, store }, flip);
    let created = Timestamp::from_millis(input.i64());
    rewritten(&StoreMeta { store_id: id(&mut input), created }, flip);
}

/// Lines of the known keys in any order and number: the last of each counts.
fn lines(mut input: Input<'_>) {
    let mut body = String::from("format=1\n");
    while !input.is_empty() {
        let kind = input.byte();
        let id = format!("{:032x}", u128::from(input.byte()) * 0x0101_0101);
        body.push_str(&match kind % 8 {
            0..2 => format!("log_id={id}\n"),
            2 => "seal=on\n".to_owned(),
            3 => "seal=off\n".to_owned(),
            4 => format!("source={id}\n"),
            5 => format!("store={id}\n"),
            6 => format!("{}\n", String::from_utf8_lossy(input.bytes(4))),
            _ => format!("format={}\n", kind >> 5),
        });
    }
    let mut bytes = body.clone().into_bytes();
    sum_line(&mut bytes);
    if bytes.len() > 4096 || body.contains("crc32=") {
        return;
    }
    past();
    let format = value(&body, "format").and_then(|value| value.parse::<u32>().ok());
    let of = |key| value(&body, key).and_then(|value| value.parse().ok());
    let due = of("log_id").zip(value(&body, "seal"));
    let due = due.filter(|_| format == Some(1)).map(|(log_id, seal)| Meta {
        log_id,
        seal: seal == "on",
        source: of("source"),
        store: of("store"),
    });
    match read::<Meta>(&bytes) {
        Err(error) => assert!(format > Some(1), "{error}"),
        Ok(found) => assert_eq!(found, due, "{body}"),
    }
}

/// `store.meta` and `store.checkpoint` of the same store, of two, damaged or missing.
fn beside(mut input: Input<'_>) {
    thread_local! {
        static DISK: Disk = {
            let disk = Disk::new(Profile::default());
            disk.write_file("/log/x", b"");
            disk
        };
    }
    let disk = DISK.with(Disk::clone);
    let of = |id: u8| {
        let created = Timestamp::from_millis(i64::from(id));
        StoreMeta { store_id: LogId::from_bytes([id & 3; 16]), created }
    };
    let (meta_kind, meta) = (input.byte() & 3, of(input.byte()));
    let (state_kind, mut state) = (input.byte() & 3, StoreState::new(of(input.byte())));
    state.open_number = u64::from(input.byte());
    let dir = Path::new(DIR);
    match meta_kind {
        0 => drop(disk.remove_file(dir.join("store.meta"))),
        1 => disk.write_file(dir.join("store.meta"), input.bytes(40)),
        _ => text::write(&meta, &disk, dir).unwrap(),
    }
    let mut bytes = Vec::new();
    match state_kind {
        0 => drop(disk.remove_file(dir.join("store.checkpoint"))),
        1 => disk
            .write_file(dir.join("store.checkpoint"), &input.rest()[..input.rest().len().min(64)]),
        _ => {
            state.encode(5, &mut bytes);
            bytes.resize(6 * 4096, 0);
            disk.write_file(dir.join("store.checkpoint"), &bytes);
        }
    }
    let env = Env {
        storage: Arc::new(disk.clone()),
        dir: DIR.into(),
        names: None,
        seal: Seal::NONE,
        mapped: false,
        segment_bytes: 0,
        index_interval_bytes: 0,
        torn_bytes: None,
        memory_bounded: false,
        written: Default::default(),
    };
    let found = match store_state::load(&env) {
        Ok(found) => found,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{error}"),
    };
    past();
    let meta_whole = (meta_kind > 1).then_some(meta);
    let kept = (state_kind > 1).then(|| state.clone());
    let due = meta_whole.or(kept.as_ref().map(StoreState::meta));
    // Few bytes by chance are no whole file.
    assert_eq!(found.meta, due);
    let lost = meta_kind == 1 || meta_kind == 0 && kept.is_some();
    assert_eq!(found.meta_lost, lost);
    let ours = kept.filter(|kept| due.is_some_and(|due| due.store_id == kept.store_id));
    assert_eq!(found.checkpoint.state, ours);
    let something = meta_kind > 0 || state_kind > 0;
    assert_eq!(found.checkpoint_lost, something && ours_is_gone(&found));
}

fn ours_is_gone(found: &store_state::LoadedStore) -> bool {
    found.checkpoint.state.is_none()
}
