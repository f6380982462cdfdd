//! The example `follow`, run as a program on a log that this process writes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use forebay::{IoMode, Log, NewRecord, Offset};

use crate::util::{self, MODES, manual, scratch};

/// The program, and its output a line at a time.
struct Follow {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Follow {
    fn start(dir: &Path, options: &[&str]) -> Follow {
        let mut command = Command::new(util::example("follow"));
        command.arg(dir).args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Follow { child, lines }
    }

    /// The next line without its time.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let parts: Vec<&str> = line.trim_end().split('\t').collect();
        let [offset, time, key, value] = parts[..] else { panic!("{line:?}") };
        assert!(time.parse::<i64>().unwrap() > 0);
        format!("{offset} {key} {value}")
    }

    /// Waits for its end; what it said beside the records.
    fn end(mut self) -> String {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }
}

#[test]
fn records_are_printed_as_they_come_in() {
    for mode in MODES {
        let dir = scratch();
        let path = dir.path().join("log");
        let mut follow = Follow::start(&path, &["--records", "5"]);
        let log = manual(mode).open(&path).unwrap();
        log.append("first").unwrap();
        assert_eq!(follow.line(), "0 - first");
        log.append(NewRecord::new("second").key("k")).unwrap();
        assert_eq!(follow.line(), "1 k second");
        log.append(NewRecord::tombstone("k")).unwrap();
        assert_eq!(follow.line(), "2 k -");
        // Closed and opened again it is the same log.
        log.close().unwrap();
        let log = manual(mode).open(&path).unwrap();
        log.append_batch(["a", "b", "c"]).unwrap();
        assert_eq!([follow.line(), follow.line()], ["3 - a", "4 - b"]);
        let said = follow.end();
        assert!(said.is_empty() || said.contains("waiting"), "{said}");
    }
}

#[test]
fn only_durable_records_are_printed_if_asked_for() {
    let dir = scratch();
    let log = util::ten(IoMode::Positioned, dir.path());
    let mut written = Follow::start(dir.path(), &["--from", "8", "--records", "2"]);
    let mut durable = Follow::start(dir.path(), &["--durable", "--records", "11"]);
    assert_eq!([written.line(), written.line()], ["8 - 8", "9 - 9"]);
    assert_eq!(written.end(), "");
    log.flush().unwrap();
    for n in 0..10 {
        assert_eq!(durable.line(), format!("{n} - {n}"));
    }
    log.append("later").unwrap();
    log.flush().unwrap();
    assert_eq!(durable.line(), "10 - later");
    assert_eq!(durable.end(), "");
}

/// As a power cut and the recovery after it do: the files fall back, and the log goes on otherwise.
#[test]
fn what_was_retracted_or_deleted_is_said() {
    let (dir, kept) = (scratch(), scratch());
    let log = util::ten(IoMode::Positioned, dir.path());
    log.flush().unwrap();
    util::copy_dir(dir.path(), kept.path());
    let mut follow = Follow::start(dir.path(), &["--records", "14"]);
    log.append("taken").unwrap();
    log.append("as well").unwrap();
    for n in 0..10 {
        assert_eq!(follow.line(), format!("{n} - {n}"));
    }
    assert_eq!([follow.line(), follow.line()], ["10 - taken", "11 - as well"]);
    drop(log);
    // In an order in which nobody sees a log without a checkpoint or batches without a file.
    let replacement = dir.path().with_extension("new");
    util::copy_dir(kept.path(), &replacement);
    let log = Log::open(&replacement).unwrap();
    log.append("another").unwrap();
    log.flush().unwrap();
    for path in [segment(&replacement), replacement.join("checkpoint")] {
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(follow.line(), "10 - another");
    drop(log);
    fs::remove_dir_all(&replacement).unwrap();
    let log = manual(IoMode::Positioned).segment_bytes(4096).open(dir.path()).unwrap();
    log.delete_records(Offset::new(11)).unwrap();
    log.append("last").unwrap();
    assert_eq!(follow.line(), "11 - last");
    let said = follow.end();
    assert!(said.starts_with("follow: 2 offsets were retracted by a recovery: on to 1"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

fn segment(dir: &Path) -> PathBuf {
    util::segments(dir).pop().unwrap()
}

#[test]
fn wrong_arguments_are_status_2_and_a_damaged_log_is_told() {
    for wrong in [&["--from"][..], &["--from", "x"], &["--colour"], &["one", "two"], &[]] {
        let output = Command::new(util::example("follow")).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("usage: follow DIR"));
    }
    let dir = scratch();
    util::ten(IoMode::Positioned, dir.path()).close().unwrap();
    let path = segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut follow = Follow::start(dir.path(), &["--records", "9"]);
    for n in (0..10).filter(|n| *n != 5) {
        assert_eq!(follow.line(), format!("{n} - {n}"));
    }
    let said = follow.end();
    assert!(said.contains("offset 5") || said.contains("5..6") || said.contains("5 to"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let missing = dir.path().join("no log here");
    fs::write(&missing, "x").unwrap();
    let output = Command::new(util::example("follow")).arg(&missing).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
