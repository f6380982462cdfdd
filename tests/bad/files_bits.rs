//! Every bit of what a log keeps about its records, one at a time (F16): batch headers, index
//! entries, `log.meta`, checkpoint. V1, V2, V6, V10; I5, I12, I13.

use forebay::IoMode;

use crate::support::Table;
use crate::support::image::{bytes, bytes_mut};
use crate::support::judge::Class;
use crate::support::sample::{Left, Sample};
use crate::util::{scratch, step};

/// Bytes of a batch's header.
const HEADER_BYTES: usize = 61;
/// Bytes of a page of the checkpoint.
const PAGE_BYTES: usize = 4096;

/// The bytes that mean something: of each, every bit is flipped; of the others one in `sparse`.
fn bits(sample: &Sample, name: &str, sparse: usize) -> Vec<usize> {
    let all = bytes(&sample.image, name).unwrap();
    let mut dense = vec![true; all.len()];
    if name.ends_with(".log") {
        dense.fill(false);
        let batches = sample.truth.batches.iter().filter(|(_, file, _)| file == name);
        for (.., places) in batches {
            dense[places.start..places.start + HEADER_BYTES].fill(true);
        }
    } else if name == "checkpoint" {
        for (page, dense) in all.chunks(PAGE_BYTES).zip(dense.chunks_mut(PAGE_BYTES)) {
            let used = page.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 9);
            dense[used.min(page.len())..].fill(false);
        }
    }
    let dense_bits = (0..all.len() * 8).filter(|bit| dense[bit / 8]).step_by(step(23));
    let other_bits = (0..all.len() * 8).filter(|bit| !dense[bit / 8]);
    dense_bits.chain(other_bits.step_by(sparse * step(11))).collect()
}

/// Flips each of these bits of a file and judges; no bit of another file costs a record.
fn flip_all(mode: IoMode, left: Left, names: impl Fn(&str) -> bool, sparse: usize) {
    let sample = Sample::new(mode, left);
    let dir = scratch();
    let mut table = Table::default();
    for name in sample.names().into_iter().filter(|name| names(name)) {
        let mut image = sample.image.clone();
        for bit in bits(&sample, &name, sparse) {
            bytes_mut(&mut image, &name)[bit / 8] ^= 1 << (bit % 8);
            let what = || format!("{name}: byte {}, bit {} flipped", bit / 8, bit % 8);
            let verdict = table.row(&what, &sample, &image, dir.path());
            if let Some(verdict) = verdict.filter(|v| v.class == Class::Refused) {
                // Only a version can be refused: the one flip that says a later one wrote it.
                assert!(name == "log.meta", "{}: {:?}", what(), verdict.kind);
            }
            bytes_mut(&mut image, &name)[bit / 8] ^= 1 << (bit % 8);
        }
    }
    table.finish();
}

fn segments(name: &str) -> bool {
    name.ends_with(".log")
}

fn small(name: &str) -> bool {
    !name.ends_with(".log")
}

/// I13, V10: headers and payload of a closed log, mapped.
#[test]
fn every_bit_of_a_closed_segments_headers_mapped() {
    flip_all(IoMode::Mapped, Left::Closed, segments, 61);
}

/// I13, V10: the same without a map.
#[test]
fn every_bit_of_a_closed_segments_headers_positioned() {
    flip_all(IoMode::Positioned, Left::Closed, segments, 67);
}

/// I13, V11: headers and payload of a log that was not closed, mapped.
#[test]
fn every_bit_of_a_killed_logs_headers_mapped() {
    flip_all(IoMode::Mapped, Left::Killed, segments, 71);
}

/// I13, V11: the same without a map.
#[test]
fn every_bit_of_a_killed_logs_headers_positioned() {
    flip_all(IoMode::Positioned, Left::Killed, segments, 73);
}

/// I5, V6: indexes, `log.meta` and checkpoint of a closed log, mapped.
#[test]
fn every_bit_of_a_closed_logs_small_files_mapped() {
    flip_all(IoMode::Mapped, Left::Closed, small, 401);
}

/// I5, V6: the same without a map.
#[test]
fn every_bit_of_a_closed_logs_small_files_positioned() {
    flip_all(IoMode::Positioned, Left::Closed, small, 409);
}

/// I5, V6: the small files of a log that was not closed, mapped.
#[test]
fn every_bit_of_a_killed_logs_small_files_mapped() {
    flip_all(IoMode::Mapped, Left::Killed, small, 419);
}

/// I5, V6: the same without a map.
#[test]
fn every_bit_of_a_killed_logs_small_files_positioned() {
    flip_all(IoMode::Positioned, Left::Killed, small, 421);
}
