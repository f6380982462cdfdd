//! The table of (file, operation) for every file of a log: whatever stands under its name instead,
//! wherever its content has gone. F22, F24, F25, F27, F28; V1, V2, V6, V10, V13; I2, I12, I13.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::image::{self, Image, Node, bytes};
use crate::support::sample::{Left, Sample};
use crate::support::{self, Table, judge};
use crate::util::{self, MODES, every_case, scratch};

/// One thing done to the file of a name.
type Operation = (String, Image);

/// All that is done to the file of one name.
fn operations(sample: &Sample, name: &str, outside: &Path) -> Vec<Operation> {
    let mut all = replacements(sample, name, outside);
    all.extend(moves(sample, name));
    all
}

/// Something else stands under the name.
fn replacements(sample: &Sample, name: &str, outside: &Path) -> Vec<Operation> {
    let own = image::bytes(&sample.image, name).cloned().unwrap_or_default();
    let link = |target: &str| Node::Link(PathBuf::from(target));
    let file = |bytes: &[u8]| Node::File(bytes.to_vec());
    let of = |image: &Image| Node::File(bytes(image, name).cloned().unwrap_or_default());
    let large = if every_case() { 1 << 20 } else { 64 << 10 };
    let garbage: Vec<u8> =
        (0..9000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let nodes = [
        ("is empty", file(&[])),
        ("is one zero", file(&[0])),
        ("is zeros of its length", file(&vec![0; own.len()])),
        ("is ones of its length", file(&vec![0xff; own.len()])),
        ("is large and zero", file(&vec![0; 1 << 20])),
        ("is large and claims a batch at every byte", file(&vec![2; large])),
        ("is garbage", file(&garbage)),
        ("is text", file(b"format=1\nlog_id=00000000000000000000000000000000\nseal=off\n")),
        ("is of another log", of(&sample.other)),
        ("is of an earlier day", of(&sample.stale)),
        ("is a directory", Node::Dir),
        ("is a FIFO", Node::Fifo),
        ("is a socket", Node::Socket),
        ("is a device of zeros", Node::Device("c 1 5")),
        ("is a device that is full", Node::Device("c 1 7")),
        ("is a disk", Node::Device("b 7 0")),
        ("links to itself", link(name)),
        ("links to /dev/zero", link("/dev/zero")),
        ("links to nowhere", link("nowhere")),
        ("links to the directory", link(".")),
        ("links to a file outside", Node::Link(outside.join("soft"))),
        ("is a file outside too", Node::Hard(outside.join("hard"))),
        ("is a copy outside too", Node::Hard(outside.join("copy"))),
    ];
    let nodes =
        nodes.into_iter().filter(|(_, node)| *node != Node::Dir || !stands_in_the_way(name));
    let put = |(what, node): (&str, Node)| {
        let image = sample.with(|image| drop(image.insert(name.to_owned(), node)));
        (format!("{name} {what}"), image)
    };
    nodes.map(put).collect()
}

/// Names under which a directory stands in the way: see the tests of those.
fn stands_in_the_way(name: &str) -> bool {
    name == "checkpoint" || name == "log.meta" || name.ends_with(".log")
}

/// The file goes, or takes another one's place, or another name.
fn moves(sample: &Sample, name: &str) -> Vec<Operation> {
    let mut all = vec![(format!("{name} is gone"), sample.with(|i| drop(i.remove(name))))];
    let Some(own) = sample.image.get(name) else { return all };
    for other in sample.names().iter().filter(|other| *other != name) {
        let theirs = &sample.image[other];
        all.push((
            format!("{name} and {other} have changed places"),
            sample.with(|image| {
                image.insert(name.to_owned(), theirs.clone());
                image.insert(other.clone(), own.clone());
            }),
        ));
        all.push((
            format!("{name} is there as {other} too"),
            sample.with(|image| {
                image.insert(other.clone(), own.clone());
            }),
        ));
        all.push((
            format!("{name} was moved to {other}"),
            sample.with(|image| {
                let own = image.remove(name).unwrap();
                image.insert(other.clone(), own);
            }),
        ));
    }
    // The highest offset there is: where also the checkpoint is gone, no other is left.
    let highest = |other: &str| name == "checkpoint" && other == format!("{:020}.log", i64::MAX);
    for other in new_names(sample).into_iter().filter(|other| !highest(other)) {
        all.push((
            format!("{name} is there as {other} too"),
            sample.with(|image| {
                image.insert(other.clone(), own.clone());
            }),
        ));
        all.push((
            format!("{name} was renamed {other}"),
            sample.with(|image| {
                let own = image.remove(name).unwrap();
                image.insert(other.clone(), own);
            }),
        ));
    }
    all
}

/// Names that no file of the log has: those it would make next, those in between and beyond, and
/// some that look like ours.
fn new_names(sample: &Sample) -> Vec<String> {
    let second = sample.names().into_iter().filter(|name| name.ends_with(".log")).nth(1).unwrap();
    let second: i64 = second[..20].parse().unwrap();
    let bases = [1, second - 1, second + 1, sample.end() - 1, sample.end(), sample.end() + 1000];
    let mut names: Vec<String> = bases.iter().map(|base| format!("{base:020}.log")).collect();
    names.push(format!("{:020}.log", i64::MAX));
    names.push(format!("{:020}.index", sample.end()));
    names.push(format!("{:020}.timeindex", sample.end()));
    names.push(format!("{:019}.log", 7));
    names.push(format!("{:021}.log", 7));
    names.push(format!("{:020}.log", u64::MAX));
    names.push("99999999999999999999.log".to_owned());
    names.push("-0000000000000000007.log".to_owned());
    names.push(format!("{:020}.log.new", sample.end()));
    names.extend(["checkpoint.new", "log.meta.new", "probe.new", "lock"].map(str::to_owned));
    names
}

/// The files outside that links lead to: they must never be changed.
fn outside(sample: &Sample, dir: &Path, name: &str) -> [Vec<u8>; 3] {
    let copy = bytes(&sample.image, name).cloned().unwrap_or_default();
    let files = [b"a file that is not the log's".repeat(200), vec![3; 10_000], copy];
    for (name, bytes) in ["soft", "hard", "copy"].iter().zip(&files) {
        let _ = fs::remove_file(dir.join(name));
        fs::write(dir.join(name), bytes).unwrap();
    }
    files
}

/// Every operation on every name, in this directory.
fn run(sample: &Sample, names: &[String], home: &Path) {
    let (dir, beyond) = (home.join("log"), home.join("outside"));
    fs::create_dir_all(&dir).unwrap();
    fs::create_dir_all(&beyond).unwrap();
    let mut table = Table::default();
    for name in names {
        for (what, image) in operations(sample, name, &beyond) {
            let files = outside(sample, &beyond, name);
            let row = || format!("{:?}, {:?}: {what}", sample.mode(), sample.left);
            table.judged(&row, || {
                if !image::put(&image, &dir) {
                    return None;
                }
                let verdict = judge::judge(sample, &image, &dir);
                let now = |name| fs::read(beyond.join(name)).unwrap();
                assert!(now("soft") == files[0], "a link was followed and written through");
                // Above the recovery point a segment's file is the log's to cut and to append to,
                // whatever other name it has.
                let base = name.strip_suffix(".log").and_then(|digits| digits.parse::<i64>().ok());
                let own = base.is_some_and(|base| base >= sample.truth.durable);
                assert!(own || now("hard") == files[1], "a foreign file was written");
                Some(verdict)
            });
        }
    }
    table.finish();
}

/// F27: every file of a closed log.
#[test]
fn every_file_of_a_closed_log_and_every_operation() {
    for mode in MODES {
        let sample = Sample::new(mode, Left::Closed);
        run(&sample, &sample.names(), scratch().path());
    }
}

/// F27: every file of a log that was not closed.
#[test]
fn every_file_of_a_killed_log_and_every_operation() {
    for mode in MODES {
        let sample = Sample::new(mode, Left::Killed);
        run(&sample, &sample.names(), scratch().path());
    }
}

/// F27: names that the log does not have yet, or never has.
#[test]
fn every_new_name_and_every_operation() {
    for mode in MODES {
        for sample in Sample::both(mode) {
            run(&sample, &new_names(&sample), scratch().path());
        }
    }
}

/// F27: the same where devices can be opened, which a filesystem in memory may forbid.
#[test]
fn every_file_and_every_operation_on_a_disk() {
    let home = tempfile::tempdir().unwrap();
    for mode in MODES {
        let sample = Sample::new(mode, Left::Killed);
        let mut names = sample.names();
        names.retain(|name| name.ends_with(".log") || !name.starts_with("0000"));
        run(&sample, &names, home.path());
    }
}

/// I19: a directory under the name of the next segment: appends are refused until it is gone.
#[test]
fn a_directory_under_the_next_segments_name_is_in_the_way_until_it_is_gone() {
    for mode in MODES {
        let sample = Sample::new(mode, Left::Killed);
        let last = sample.truth.names(".log").pop().unwrap();
        let dir = scratch();
        image::put(&sample.with(|image| drop(image.insert(last.clone(), Node::Dir))), dir.path());
        let log = support::sample::options(mode).open(dir.path()).unwrap();
        assert_eq!(log.recovery().foreign_files, [last.as_str()]);
        let end = log.log_end_offset();
        for _ in 0..3 {
            let error = log.append(vec![1; 3000]).unwrap_err();
            assert!(error.path().is_some_and(|path| path.ends_with(&last)), "{error}");
            assert_eq!(log.log_end_offset(), end);
        }
        assert!(util::read_all(&log).len() > 20);
        fs::remove_dir_all(dir.path().join(&last)).unwrap();
        assert_eq!(log.append(vec![1; 3000]).unwrap(), end);
        log.close().unwrap();
        let log = support::sample::options(mode).open(dir.path()).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(util::read_all(&log).last().unwrap().offset, end.get());
    }
}
