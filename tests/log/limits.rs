//! Descriptors and space that run out: a typed error, nothing lost, and on it goes (I19, V14).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use forebay::{Error, ErrorKind, FlushPolicy, IoMode, Log, OffsetSpec};

use crate::util::{self, MODES, all_texts, child, child_role, manual, scratch};

fn mode_of(role: &str) -> IoMode {
    if role.ends_with("Mapped") { IoMode::Mapped } else { IoMode::Positioned }
}

/// The command as a child of a shell that runs `before` first.
fn through_a_shell(before: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell
}

fn text(n: usize) -> String {
    format!("{n} {}", "x".repeat(900))
}

/// Appends `count` records; where there is no room, makes some by `relief` and goes on.
fn append_with_relief(log: &Log, count: usize, relief: impl Fn(&Log)) -> usize {
    let mut refused = 0;
    for n in 0..count {
        let offset = loop {
            match log.append(text(n)) {
                Ok(offset) => break offset,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
                    assert_eq!(log.log_end_offset().get(), i64::try_from(n).unwrap());
                    refused += 1;
                    assert!(refused < 1000, "{error}");
                    relief(log);
                }
            }
        };
        assert_eq!(offset.get(), i64::try_from(n).unwrap());
    }
    refused
}

/// I19: hundreds of segments, flushed and not, by a process that may open few files.
#[test]
fn a_log_of_hundreds_of_segments_lives_with_few_descriptors() {
    let test = "a_log_of_hundreds_of_segments_lives_with_few_descriptors";
    if let Some((role, dir)) = child_role() {
        let log = manual(mode_of(&role)).segment_bytes(4096).open(dir).unwrap();
        append_with_relief(&log, 1000, |log| {
            log.flush().unwrap();
        });
        log.flush().unwrap();
        let mut readers: Vec<_> = (0..40).map(|n| log.reader(util::at(n * 25)).unwrap()).collect();
        for reader in &mut readers {
            let result: Result<Vec<_>, Error> = reader.take(25).collect();
            match result {
                Ok(batches) => assert_eq!(batches.len(), 25),
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}"),
            }
        }
        drop(readers);
        assert_eq!(all_texts(&log).len(), 1000);
        return log.close().unwrap();
    }
    for mode in MODES {
        for descriptors in [32, 48, 128] {
            let dir = scratch();
            let command = child(module_path!(), test, &format!("{mode:?}"), dir.path());
            let output = through_a_shell(&format!("ulimit -n {descriptors}"), &command);
            let output = { output }.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{mode:?}, {descriptors} descriptors: {said}");
            let log = manual(mode).open(dir.path()).unwrap();
            assert!(log.recovery().clean);
            assert!(all_texts(&log).iter().enumerate().all(|(n, have)| *have == text(n)));
        }
    }
}

/// What an open log costs in descriptors: its lock, its active segment, and where the checkpoint is
/// not mapped, that; whatever was written, synced and reopened.
#[cfg(target_os = "linux")]
#[test]
fn an_open_log_keeps_two_descriptors_mapped_and_three_positioned() {
    for mode in MODES {
        let dir = scratch();
        let root = dir.path().canonicalize().unwrap();
        let open = || -> Vec<String> {
            let all = fs::read_dir("/proc/self/fd").unwrap();
            let all = all.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            let mut ours: Vec<_> =
                all.filter(|to| to.parent() == Some(&root)).map(|to| name(&to)).collect();
            ours.sort();
            ours
        };
        let segment = format!("{:020}.log", 0);
        let expected = match mode {
            IoMode::Positioned => vec![segment, "checkpoint".to_owned()],
            _ => vec![segment],
        };
        for _ in 0..3 {
            let log = manual(mode).open(&root).unwrap();
            assert_eq!(open(), expected);
            log.append("x").unwrap();
            log.flush().unwrap();
            let mut consumer = log.consumer("c").unwrap();
            consumer.commit_offset(log.log_end_offset()).unwrap();
            consumer.sync().unwrap();
            assert_eq!(open(), expected);
            // Enough names to make the checkpoint's slots too small: it is made anew.
            for n in 0..20 {
                let mut consumer = log.consumer(&format!("{n:0249}")).unwrap();
                consumer.commit_offset(log.log_end_offset()).unwrap();
            }
            assert_eq!(open(), expected);
            drop(consumer);
            log.close().unwrap();
            assert_eq!(open(), Vec::<String>::new());
        }
    }
}

/// In a store, whose lock covers it, a mapped log costs one descriptor.
#[cfg(target_os = "linux")]
#[test]
fn an_open_log_of_a_store_keeps_one_descriptor_mapped_and_two_positioned() {
    for mode in MODES {
        let dir = scratch();
        let root = dir.path().canonicalize().unwrap();
        let store = forebay::Store::options().logs(manual(mode)).open(&root).unwrap();
        let logs: Vec<Log> = (0..9).map(|n| store.log(&format!("log{n}")).unwrap()).collect();
        for log in &logs {
            log.append("x").unwrap();
            log.flush().unwrap();
        }
        let all = fs::read_dir("/proc/self/fd").unwrap();
        let all = all.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        let below = |to: &std::path::PathBuf| {
            to.parent().is_some_and(|parent| parent != root && parent.starts_with(&root))
        };
        let each = if mode == IoMode::Positioned { 2 } else { 1 };
        assert_eq!(all.filter(below).count(), logs.len() * each, "{mode:?}");
    }
}

/// In the child, on a filesystem of its own that is nearly full.
fn live_on_a_full_disk(mode: IoMode, dir: &Path) {
    let path = dir.join("log");
    let filler = dir.join("filler");
    for policy in [FlushPolicy::Manual, FlushPolicy::EveryAppend] {
        fs::write(&filler, vec![1; 200 << 10]).unwrap();
        let options = manual(mode).segment_bytes(16 << 10).flush(policy);
        let log = options.clone().open(&path).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(log.log_end_offset()).unwrap();
        let start = log.log_end_offset();
        while let Ok(offset) = log.append(text(0)) {
            assert!(offset - start < 1000, "the disk does not fill");
        }
        let end = log.log_end_offset();
        for _ in 0..20 {
            assert_eq!(log.append(text(0)).unwrap_err().kind(), ErrorKind::OutOfSpace);
        }
        assert_eq!(log.log_end_offset(), end, "a refused append took an offset");
        // Reading, consuming, committing and flushing work on a full disk.
        let expected = usize::try_from(end.get()).unwrap();
        assert_eq!(all_texts(&log).len(), expected);
        while consumer.poll(Duration::ZERO).unwrap().is_some() {
            consumer.commit().unwrap();
        }
        consumer.sync().unwrap();
        assert_eq!((consumer.lag(), log.flush().unwrap()), (0, end));
        drop(consumer);
        log.clone().close().unwrap();
        // So do closing, and opening again.
        let log = options.open(&path).unwrap();
        // (Whether that has to read the last segment depends on its index: there was no room.)
        assert_eq!((log.recovery().bytes_cut, log.recovery().lost.clone()), (0, None));
        assert_eq!(all_texts(&log).len(), expected);
        let mut consumer = log.consumer("c").unwrap();
        assert_eq!(consumer.committed(), end);
        consumer.seek(OffsetSpec::Earliest).unwrap();
        consumer.commit().unwrap();
        drop(consumer);
        while log.append(text(0)).is_ok() {}
        let end = log.log_end_offset();
        // With space again it goes on by itself, without a gap.
        fs::remove_file(&filler).unwrap();
        for n in 0..20 {
            assert_eq!(log.append(text(n)).unwrap(), end + i64::try_from(n).unwrap());
        }
        log.flush().unwrap();
        log.close().unwrap();
        fs::remove_dir_all(&path).unwrap();
    }
    println!("<lived>");
}

/// V14: a full disk refuses appends and nothing else; with space again appends go on.
#[test]
fn a_full_disk_refuses_appends_and_nothing_else() {
    let test = "a_full_disk_refuses_appends_and_nothing_else";
    if let Some((role, dir)) = child_role() {
        return live_on_a_full_disk(mode_of(&role), &dir);
    }
    for mode in MODES {
        let dir = scratch();
        let mount = format!("mount -t tmpfs -o size=600k none {}", dir.path().display());
        let may = Command::new("unshare").args(["-m", "sh", "-c", &mount]).output();
        if !may.is_ok_and(|output| output.status.success()) {
            return; // Mounting is not allowed here.
        }
        let inner =
            through_a_shell(&mount, &child(module_path!(), test, &format!("{mode:?}"), dir.path()));
        let mut command = Command::new("unshare");
        command.arg("-m").arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap());
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{mode:?}: {} {said}", output.status);
        assert!(String::from_utf8_lossy(&output.stdout).contains("<lived>"));
    }
}
