//! Every file of a log cut, grown, and overwritten piece by piece (F1, F5, F6, F16): sectors and
//! pages of zeros and ones, every length. V1, V2, V10, V11; I2, I12, I13.

use forebay::IoMode;

use crate::support::image::{Node, bytes, bytes_mut};
use crate::support::judge::Class;
use crate::support::sample::{Left, Sample};
use crate::support::{self, Table};
use crate::util::{MODES, every_case, scratch, step};

/// What the pieces become.
const FILLS: [u8; 4] = [0, 0xff, 0x55, 0x02];

/// Every piece of this size of every file becomes each of the fills. Nothing is refused.
fn overwrite(left: Left, piece: usize, thin: usize) {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        let sample = Sample::new(mode, left);
        for name in sample.names() {
            let length = bytes(&sample.image, &name).unwrap().len();
            let pieces = (0..length).step_by(piece).flat_map(|at| FILLS.map(|fill| (at, fill)));
            for (at, fill) in pieces.step_by(step(thin)) {
                let image = sample.with(|image| {
                    bytes_mut(image, &name)[at..length.min(at + piece)].fill(fill);
                });
                let what = || format!("{name}: {piece} bytes at {at} are {fill:#04x}");
                let verdict = table.row(&what, &sample, &image, dir.path());
                let refused = verdict.is_some_and(|verdict| verdict.class == Class::Refused);
                assert!(!refused, "{}", what());
            }
        }
    }
    table.finish();
}

/// F1: every device sector of every file of a closed log.
#[test]
fn every_sector_of_a_closed_log() {
    overwrite(Left::Closed, 512, 3);
}

/// F1: every device sector of every file of a log that was not closed.
#[test]
fn every_sector_of_a_killed_log() {
    overwrite(Left::Killed, 512, 3);
}

/// F5: every page, and the whole file where it is smaller.
#[test]
fn every_page_of_every_file() {
    overwrite(Left::Closed, 4096, 1);
    overwrite(Left::Killed, 4096, 1);
}

/// F2: pieces that no device has, so that they begin and end anywhere in a batch.
#[test]
fn every_odd_piece_of_every_file() {
    overwrite(Left::Closed, 97, 7);
    overwrite(Left::Killed, 89, 7);
}

/// Every file cut to every length, and the missing rest put back as zeros (F5) every second time.
fn cut(mode: IoMode, left: Left) {
    let dir = scratch();
    let mut table = Table::default();
    let sample = Sample::new(mode, left);
    for name in sample.names() {
        let length = bytes(&sample.image, &name).unwrap().len();
        // The checkpoint's zeros are alike.
        let thin = if name == "checkpoint" { 8 } else { 1 };
        for until in (0..length).step_by(step(31) * thin) {
            for zeros in [false, true] {
                let image = sample.with(|image| {
                    bytes_mut(image, &name).truncate(until);
                    bytes_mut(image, &name).resize(if zeros { length } else { until }, 0);
                });
                let what = || format!("{name}: cut to {until}, rest zeros {zeros}");
                table.row(&what, &sample, &image, dir.path());
            }
        }
    }
    table.finish();
}

/// F6: a closed log, mapped.
#[test]
fn every_length_of_every_file_of_a_closed_log_mapped() {
    cut(IoMode::Mapped, Left::Closed);
}

/// F6: a closed log, positioned.
#[test]
fn every_length_of_every_file_of_a_closed_log_positioned() {
    cut(IoMode::Positioned, Left::Closed);
}

/// F6: a log that was not closed, mapped.
#[test]
fn every_length_of_every_file_of_a_killed_log_mapped() {
    cut(IoMode::Mapped, Left::Killed);
}

/// F6: a log that was not closed, positioned.
#[test]
fn every_length_of_every_file_of_a_killed_log_positioned() {
    cut(IoMode::Positioned, Left::Killed);
}

/// The log as one byte stream, as a copy that broke off leaves it: all files behind are missing or
/// empty.
#[test]
fn a_copy_of_the_log_that_broke_off() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            let names = sample.names();
            for (n, name) in names.iter().enumerate() {
                let length = bytes(&sample.image, name).unwrap().len();
                for until in (0..=length).step_by(length.div_ceil(4).max(1)) {
                    for empty in [false, true] {
                        let image = sample.with(|image| {
                            bytes_mut(image, name).truncate(until);
                            for behind in &names[n + 1..] {
                                match empty {
                                    true => bytes_mut(image, behind).clear(),
                                    false => drop(image.remove(behind)),
                                }
                            }
                        });
                        let what = || format!("copied up to {until} of {name}, rest {empty}");
                        table.row(&what, &sample, &image, dir.path());
                    }
                }
            }
        }
    }
    table.finish();
}

/// Every file grown, by zeros, by junk, by its own bytes again, by a hole of a terabyte.
#[test]
fn every_file_grown() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            for name in sample.names() {
                let own = bytes(&sample.image, &name).unwrap().clone();
                for more in [1, 61, 512, 4096, 65_537, 1 << 20] {
                    if more > 1 << 16 && !every_case() {
                        continue;
                    }
                    for (sort, byte) in [("zeros", 0), ("ones", 0xff), ("twos", 2)] {
                        let image = sample.with(|image| {
                            let bytes = bytes_mut(image, &name);
                            bytes.resize(bytes.len() + more, byte);
                        });
                        let what = || format!("{name}: grown by {more} {sort}");
                        table.row(&what, &sample, &image, dir.path());
                    }
                }
                let twice = sample.with(|image| bytes_mut(image, &name).extend(&own));
                table.row(&|| format!("{name}: twice"), &sample, &twice, dir.path());
                let before = sample.with(|image| {
                    bytes_mut(image, &name).splice(0..0, [0; 512]);
                });
                let what = || format!("{name}: behind a sector of zeros");
                table.row(&what, &sample, &before, dir.path());
            }
        }
    }
    table.finish();
}

/// F5, I11: every file with a hole behind it, or nothing but a hole: up to a terabyte.
#[test]
fn every_file_as_a_hole() {
    // Not in memory: there a hole that is read through a map takes room.
    let dir = tempfile::tempdir().unwrap();
    let mut table = Table::default();
    let lengths = [1_u64 << 22, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 40];
    for mode in MODES {
        for sample in Sample::both(mode) {
            for name in sample.names() {
                for (length, only) in lengths.iter().flat_map(|n| [(*n, false), (*n, true)]) {
                    // Two gigabytes of a segment are looked at byte by byte.
                    let slow = name.ends_with(".log") && length > 1 << 22;
                    if every_case() || !slow {
                        let own = bytes(&sample.image, &name).unwrap().clone();
                        let own = if only { Vec::new() } else { own };
                        let image = sample.with(|image| {
                            image.insert(name.clone(), Node::Sparse(own, length));
                        });
                        let what = || format!("{name}: {length} bytes, only a hole {only}");
                        table.row(&what, &sample, &image, dir.path());
                    }
                }
            }
        }
    }
    table.finish();
}

/// I11: a segment file cannot have a terabyte; it is looked at up to where a segment ends.
#[test]
fn a_segment_file_of_a_terabyte_is_read_as_far_as_a_segment_goes() {
    if !every_case() {
        return;
    }
    let tmp = tempfile::tempdir().unwrap();
    let log = support::sample::options(IoMode::Positioned).open(tmp.path()).unwrap();
    for _ in 0..3 {
        log.append("a").unwrap();
    }
    log.close().unwrap();
    let path = tmp.path().join("00000000000000000000.log");
    let used = path.metadata().unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let mut segment = forebay::SegmentFile::open(&path).unwrap();
    assert_eq!(segment.by_ref().take(3).filter(Result::is_ok).count(), 3);
    assert_eq!((segment.valid_bytes(), segment.file_bytes()), (used, 1 << 40));
    let error = segment.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), forebay::ErrorKind::Corrupt);
    assert_eq!(error.file_position(), Some((1 << 31) - 1));
    assert!(segment.next().is_none());
}
