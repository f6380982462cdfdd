//! Damage that opening has to see through before it believes or changes anything. V1, V6, V10, V13,
//! V17; I2, I12, I13.

use std::fs;

use forebay::{ErrorKind, IoMode};

use crate::support::image::{self, Node, bytes, bytes_mut};
use crate::support::judge::Class;
use crate::support::sample::{Left, Sample, options};
use crate::support::{self, Table, judge::judge};
use crate::util::{MODES, scratch};

/// A directory cannot be replaced by a file: refused, and nothing was written before that.
#[test]
fn a_directory_in_place_of_the_checkpoint_or_of_log_meta_is_refused_before_a_write() {
    let dir = scratch();
    for mode in MODES {
        for sample in Sample::both(mode) {
            for name in ["checkpoint", "log.meta"] {
                let image = sample.with(|image| drop(image.insert(name.to_owned(), Node::Dir)));
                image::put(&image, dir.path());
                assert_eq!(judge(&sample, &image, dir.path()).class, Class::Refused, "{name}");
            }
        }
    }
}

/// V17: with the checkpoint gone, garbage under the highest name there is leaves no offset over.
#[test]
fn garbage_under_the_highest_name_without_a_checkpoint_does_not_end_the_log() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            for base in [1_000_000, i64::MAX - 1, i64::MAX] {
                let image = sample.with(|image| {
                    image.remove("checkpoint");
                    image.insert(format!("{base:020}.log"), Node::File(vec![7; 3000]));
                });
                table.row(&|| format!("garbage at {base}"), &sample, &image, dir.path());
            }
        }
    }
    table.finish();
}

/// V10: checkpoint and `log.meta` of another log, or one of them and the other damaged: the batches
/// say that neither is theirs, and are read without their seal.
#[test]
fn the_identity_of_another_log_costs_no_record() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        for sample in Sample::both(mode) {
            let other = |name: &str| sample.other[name].clone();
            let garbage = Node::File(vec![0x5a; 5000]);
            let pairs = [
                (other("checkpoint"), other("log.meta")),
                (other("checkpoint"), garbage.clone()),
                (garbage, other("log.meta")),
            ];
            for (n, (checkpoint, meta)) in pairs.into_iter().enumerate() {
                let image = sample.with(|image| {
                    image.insert("checkpoint".to_owned(), checkpoint);
                    image.insert("log.meta".to_owned(), meta);
                });
                table.row(&|| format!("pair {n}"), &sample, &image, dir.path());
            }
        }
    }
    table.finish();
}

/// I2, V3: one batch of a segment lies in a file of its own as well, as a copy that broke off
/// leaves it: recovery begins at the segment, not at the fragment.
#[test]
fn a_fragment_of_a_segment_beside_it_costs_no_record() {
    let dir = scratch();
    let mut table = Table::default();
    for mode in MODES {
        let sample = Sample::new(mode, Left::Killed);
        for (offsets, name, places) in &sample.truth.batches {
            let own = bytes(&sample.image, name).unwrap();
            let new = format!("{:020}.log", offsets.start);
            let image = sample.with(|image| {
                let bytes = own[places.clone()].to_vec();
                image.entry(new.clone()).or_insert(Node::File(bytes));
            });
            table.row(&|| format!("{new} beside {name}"), &sample, &image, dir.path());
        }
    }
    table.finish();
}

/// A log of a later version is refused before anything in its directory is tidied up.
#[test]
fn a_log_of_a_later_version_is_refused_before_anything_is_removed() {
    for mode in [IoMode::Auto, IoMode::Mapped, IoMode::Positioned] {
        let sample = Sample::new(IoMode::Positioned, Left::Killed);
        let dir = scratch();
        let image = sample.with(|image| {
            *bytes_mut(image, "log.meta") = b"format=2\nid=what it is then called\n".to_vec();
            for made in ["00000000000000000031.log.new", "checkpoint.new", "log.meta.new"] {
                image.insert(made.to_owned(), Node::File(b"being made".to_vec()));
            }
        });
        image::put(&image, dir.path());
        let before = image::Seen::of(dir.path());
        let error = options(mode).open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
        assert_eq!(before.difference(&image::Seen::of(dir.path())), None, "{mode:?}");
        assert!(fs::read(dir.path().join("checkpoint.new")).is_ok());
    }
}

/// V6: the newest slot of the checkpoint became zeros: an older one serves, and that is said.
#[test]
fn a_checkpoint_slot_that_became_zeros_is_no_slot_never_written() {
    for mode in MODES {
        let sample = Sample::new(mode, Left::Killed);
        let pages = bytes(&sample.image, "checkpoint").unwrap().len() / 4096;
        for page in 0..pages {
            let dir = scratch();
            let image = sample.with(|image| {
                bytes_mut(image, "checkpoint")[page * 4096..(page + 1) * 4096].fill(0);
            });
            image::put(&image, dir.path());
            let log = options(mode).open(dir.path()).unwrap();
            let committed =
                log.consumers().iter().find(|c| c.name == "c").map(|c| c.committed.get());
            let report = log.recovery();
            let told = report.checkpoint_slots_damaged > 0 || report.checkpoint_lost;
            assert!(told || committed == Some(support::sample::WRITTEN), "{page}: {committed:?}");
        }
    }
}
