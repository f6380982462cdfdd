//! Damage that needs more than one file: two at a time, files under two names, ranges that overlap,
//! versions to come. F24, F25, F27; V1, V2, V10, V13; I4, I5, I12, I13.

use forebay::ErrorKind;

use crate::support::image::{Image, Node, bytes, bytes_mut};
use crate::support::judge::Class;
use crate::support::sample::{Left, Sample};
use crate::support::{self, Table};
use crate::util::{self, MODES, scratch, step};

/// What is done to each of two files.
const CHANGES: [&str; 6] = ["gone", "empty", "stale", "of another log", "garbage", "torn"];

fn change(sample: &Sample, image: &mut Image, name: &str, how: &str) {
    let from = |image: &Image| bytes(image, name).cloned().unwrap_or_default();
    let new = match how {
        "gone" => return drop(image.remove(name)),
        "empty" => Vec::new(),
        "stale" => from(&sample.stale),
        "of another log" => from(&sample.other),
        "garbage" => vec![0x5a; 5000],
        _ => {
            let own = from(&sample.image);
            own[..own.len() * 2 / 3].to_vec()
        }
    };
    image.insert(name.to_owned(), Node::File(new));
}

/// I12: any two files at once: what is told is told, and nothing is wrong.
#[test]
fn any_two_files_at_once() {
    let dir = scratch();
    let mut table = Table::default();
    let mut case = 0;
    for mode in MODES {
        for sample in Sample::both(mode) {
            let names = sample.names();
            for (n, one) in names.iter().enumerate() {
                for two in &names[n + 1..] {
                    for (first, second) in
                        CHANGES.iter().flat_map(|a| CHANGES.iter().map(move |b| (*a, *b)))
                    {
                        case += 1;
                        let foreign = second == "of another log" || first == second;
                        let identities = one == "checkpoint" || two == "checkpoint";
                        let identities = identities && (foreign || first == "of another log");
                        if case % step(7) != 0 || identities {
                            continue;
                        }
                        let image = sample.with(|image| {
                            change(&sample, image, one, first);
                            change(&sample, image, two, second);
                        });
                        let what = || format!("{one} is {first}, {two} is {second}");
                        table.row(&what, &sample, &image, dir.path());
                    }
                }
            }
        }
    }
    table.finish();
}

/// F24: a backup of any part of the files was put back over the others.
#[test]
fn any_part_of_an_old_backup() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            let names: Vec<_> = sample.stale.keys().cloned().collect();
            for part in 1..1_u32 << names.len() {
                let image = sample.with(|image| {
                    for (n, name) in names.iter().enumerate().filter(|(n, _)| part >> n & 1 == 1) {
                        assert!(n < names.len());
                        image.insert(name.clone(), sample.stale[name].clone());
                    }
                });
                let what = || format!("part {part:b} of {names:?} is old");
                table.row(&what, &sample, &image, dir.path());
            }
        }
    }
    table.finish();
}

/// I4: a file that begins with any batch of a segment and goes on as that one does: the ranges of
/// the two overlap, and each record is there once.
#[test]
fn segments_whose_ranges_overlap() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            let last: i64 = sample.truth.names(".log")[2][..20].parse().unwrap();
            for (offsets, name, places) in &sample.truth.batches {
                let own = bytes(&sample.image, name).unwrap();
                let new = format!("{:020}.log", offsets.start);
                if new == *name {
                    continue;
                }
                let rests = [&own[places.start..], &own[places.clone()], &own[places.start + 1..]];
                for (n, rest) in rests.iter().enumerate() {
                    let scanned = sample.left == Left::Killed || offsets.start > last;
                    let fragment = n == 1 && scanned;
                    let image = sample.with(|image| {
                        image.insert(new.clone(), Node::File(rest.to_vec()));
                    });
                    let what = || format!("{new} repeats what {name} has, way {n}");
                    if !fragment {
                        table.row(&what, &sample, &image, dir.path());
                    }
                    // Instead of it: the segment was cut in two, and nothing is missing.
                    let halves = sample.with(|image| {
                        image.insert(new.clone(), Node::File(rest.to_vec()));
                        bytes_mut(image, name).truncate(places.start);
                    });
                    let what = || format!("{name} ends where {new} goes on, way {n}");
                    table.row(&what, &sample, &halves, dir.path());
                }
            }
        }
    }
    table.finish();
}

/// I5: nothing but indexes, nothing but one file, or all but one kind.
#[test]
fn only_one_kind_of_file() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            for kind in [".index", ".timeindex", ".log", "checkpoint", "log.meta"] {
                for only in [true, false] {
                    let image = sample.with(|i| i.retain(|name, _| name.ends_with(kind) == only));
                    let what = || format!("{kind}: only these {only}");
                    table.row(&what, &sample, &image, dir.path());
                }
            }
            for name in sample.names() {
                let image = sample.with(|image| image.retain(|have, _| *have == name));
                table.row(&|| format!("only {name}"), &sample, &image, dir.path());
            }
        }
    }
    table.finish();
}

/// The checkpoint with each of these slots said to be of another version, its checksum right.
fn of_version(checkpoint: &[u8], version: u16, slots: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut bytes = checkpoint.to_vec();
    for (n, page) in bytes.chunks_mut(4096).enumerate().filter(|(n, _)| slots(*n)) {
        let length = u32::from_be_bytes(page[8..12].try_into().unwrap());
        let length = usize::try_from(length).unwrap();
        if page[..4] == *b"FBCK" && (16..=page.len()).contains(&length) {
            page[4..6].copy_from_slice(&version.to_be_bytes());
            let checksum = crc32fast::hash(&page[..length - 4]).to_be_bytes();
            page[length - 4..length].copy_from_slice(&checksum);
            assert!(n < 6 * 16);
        }
    }
    bytes
}

/// A checkpoint of a later version, whole or in one slot, is refused and not touched.
#[test]
fn a_checkpoint_of_a_later_version_is_refused_and_not_touched() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            let before = bytes(&sample.image, "checkpoint").unwrap().clone();
            let pages = before.len() / 4096;
            for version in [2, 3, 0x7fff, 0xffff] {
                for slot in 0..=pages {
                    let now = of_version(&before, version, |n| n == slot || slot == pages);
                    let changed = now != before;
                    let image = sample.with(|image| *bytes_mut(image, "checkpoint") = now);
                    let what = || format!("slot {slot} of {pages} has version {version}");
                    let verdict = table.row(&what, &sample, &image, dir.path()).unwrap();
                    let kind = verdict.kind.filter(|_| verdict.class == Class::Refused);
                    let due = changed.then_some(ErrorKind::UnsupportedFormat);
                    assert_eq!(kind, due, "{}", what());
                }
            }
        }
    }
    table.finish();
}

/// Someone else appends to the files while the log is opened and read: no byte of it is believed.
#[test]
fn files_that_grow_while_the_log_is_opened() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            for name in sample.names() {
                support::image::put(&sample.image, dir.path());
                let path = dir.path().join(&name);
                // Opened before the log is: the log renames or removes some of its files.
                let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
                let done = std::sync::atomic::AtomicBool::new(false);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        use std::io::Write;
                        while !done.load(std::sync::atomic::Ordering::Relaxed) {
                            file.write_all(&[0x5a; 100]).unwrap();
                            std::thread::yield_now();
                            // Bounded, should the judge take long.
                            if file.metadata().unwrap().len() > 1 << 20 {
                                break;
                            }
                        }
                    });
                    let what = || format!("{:?}: {name} grows meanwhile", sample.mode());
                    table.judged(&what, || {
                        let log = support::sample::options(mode).open(dir.path()).unwrap();
                        let found = util::read_through(&log, forebay::OffsetSpec::Earliest);
                        for record in &found.records {
                            let truth = usize::try_from(record.offset).unwrap();
                            assert_eq!(sample.truth.records.get(truth), Some(record));
                        }
                        None
                    });
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                });
            }
        }
    }
    table.finish();
}
