//! Who may not open a log: other processes, other users, read-only directories (V16, V13).
#![expect(unsafe_code, reason = "pre_exec, to stop a new process between fork and exec")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use forebay::{Error, ErrorKind, IoMode, Log, OffsetSpec};

use crate::util::fixture::Fixture;
use crate::util::{
    self, Ground, MODES, OpenIn, Place, all_texts, child, child_role, is_alone, manual, scratch,
    ways,
};

fn mode_of(role: &str) -> IoMode {
    if role.ends_with("Mapped") { IoMode::Mapped } else { IoMode::Positioned }
}

/// Starts a child and waits until it has said a line.
fn start_and_hear(mut command: Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    let (mut heard, mut byte) = (Vec::new(), [0]);
    while !heard.ends_with(b"ready") {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&heard));
        heard.push(byte[0]);
    }
    child
}

/// V16: another process holds the log: `Locked`, at once; when it is killed the lock is free.
#[test]
fn a_log_open_in_another_process_is_locked_until_that_one_dies() {
    if let Some((role, dir)) = child_role() {
        let log = manual(mode_of(&role)).open(dir).unwrap();
        log.append("by the child").unwrap();
        println!("ready");
        let mut rest = String::new();
        std::io::stdin().read_to_string(&mut rest).unwrap();
        return;
    }
    for mode in MODES {
        let dir = scratch();
        let test = "a_log_open_in_another_process_is_locked_until_that_one_dies";
        let mut other =
            start_and_hear(child(module_path!(), test, &format!("{mode:?}"), dir.path()));
        for _ in 0..5 {
            let error = manual(mode).open(dir.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked);
            assert!(error.path().is_some_and(|path| path.starts_with(dir.path())), "{error}");
        }
        other.kill().unwrap();
        other.wait().unwrap();
        let log = manual(mode).open(dir.path()).unwrap();
        assert_eq!(all_texts(&log), ["by the child"]);
        assert!(!log.recovery().clean);
    }
}

/// V16: a program started while the log is open does not inherit its files.
#[test]
fn a_program_started_by_the_process_inherits_no_file_of_the_log() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).open(dir.path()).unwrap();
        log.append("a").unwrap();
        let mut sleeper = Command::new("sleep").arg("100").spawn().unwrap();
        for fd in fs::read_dir(format!("/proc/{}/fd", sleeper.id())).unwrap() {
            let target = fs::read_link(fd.unwrap().path()).unwrap_or_default();
            assert!(!target.starts_with(dir.path()), "{} was inherited", target.display());
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}

/// V16: closing frees the lock at once, also while another thread of the process is just starting
/// a program: until its exec the new process has a copy of every descriptor.
#[test]
fn closing_frees_the_lock_while_a_program_is_being_started() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).open(dir.path()).unwrap();
        log.append("a").unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new("true");
        let hold = move || {
            (&theirs).write_all(&[1])?;
            (&theirs).read_exact(&mut [0])
        };
        // SAFETY: after the fork the closure makes two system calls on a socket it owns, and
        // neither allocates nor takes a lock.
        unsafe { command.pre_exec(hold) };
        let starter = std::thread::spawn(move || command.status().unwrap());
        ours.read_exact(&mut [0]).unwrap();
        log.close().unwrap();
        let again = manual(mode).open(dir.path());
        ours.write_all(&[1]).unwrap();
        assert!(starter.join().unwrap().success());
        assert_eq!(all_texts(&again.unwrap()), ["a"]);
    }
}

/// What opening as a user without rights may say: a typed error with the path, never a panic.
fn as_nobody(test: &str, mode: IoMode, dir: &Path) -> String {
    let mut command = child(module_path!(), test, &format!("{mode:?}"), dir);
    command.gid(65534).uid(65534).env("RUST_BACKTRACE", "0");
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// In the child: opens, and prints what came of it.
fn try_open(mode: IoMode, dir: &Path) {
    let records = |log: Log| -> Result<usize, Error> {
        let reader = log.reader(OffsetSpec::Earliest)?;
        reader.map(|batch| Ok(batch?.records().count())).sum()
    };
    match util::fixture::options(mode).open(dir).and_then(records) {
        Ok(count) => println!("<opened {count}>"),
        Err(error) => {
            assert!(error.path().is_some(), "{error}");
            println!("<{:?}> {error}", error.kind());
        }
    }
}

/// A directory that the test's copy of this binary and user 65534 can both reach.
fn reachable() -> tempfile::TempDir {
    let dir = scratch();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn root() -> bool {
    let probe = scratch();
    let file = probe.path().join("x");
    fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).is_ok()
}

/// A directory, or any one file, that may not be written: a typed error, and no file changes.
#[test]
fn a_log_that_may_not_be_written_is_refused_as_read_only_and_left_as_it_was() {
    let test = "a_log_that_may_not_be_written_is_refused_as_read_only_and_left_as_it_was";
    if let Some((role, dir)) = child_role() {
        return try_open(mode_of(&role), &dir);
    }
    if !root() || !world_can_run_us() {
        return;
    }
    let chmod = |path: &Path, bits| fs::set_permissions(path, fs::Permissions::from_mode(bits));
    for mode in MODES {
        let outer = reachable();
        let dir = outer.path().join("log");
        let fixture = Fixture::closed(mode, Ground::System);
        fixture.put(&Place::at(&dir));
        for path in util::files(&dir) {
            chmod(&path, 0o644).unwrap();
        }
        chmod(&dir, 0o755).unwrap();
        let said = as_nobody(test, mode, &dir);
        assert!(said.contains("<ReadOnly>"), "owned by another user: {said}");
        for path in util::files(&dir) {
            chmod(&path, 0).unwrap();
        }
        let said = as_nobody(test, mode, &dir);
        assert!(said.contains("<ReadOnly>"), "files of mode 000: {said}");
        chmod(&dir, 0).unwrap();
        let said = as_nobody(test, mode, &dir);
        assert!(said.contains("<ReadOnly>"), "a directory of mode 000: {said}");
        chmod(&dir, 0o755).unwrap();
        let said = as_nobody(test, mode, &outer.path().join("new"));
        assert!(said.contains("<ReadOnly>"), "a new log in another's directory: {said}");
        assert!(!outer.path().join("new").exists());

        for (name, bytes) in &fixture.files {
            assert_eq!(&fs::read(dir.join(name)).unwrap(), bytes, "{name} was changed");
        }
        assert_eq!(util::files(&dir).len(), fixture.files.len(), "a file was made");
        fixture.check_whole(&Place::at(&dir), "afterwards");
    }
}

/// One file of another user among ours: refused with its path, or read; never half a log.
#[test]
fn one_file_that_may_not_be_read_is_no_silent_loss() {
    let test = "one_file_that_may_not_be_read_is_no_silent_loss";
    if let Some((role, dir)) = child_role() {
        return try_open(mode_of(&role), &dir);
    }
    if !root() || !world_can_run_us() {
        return;
    }
    for mode in MODES {
        let outer = reachable();
        let dir = outer.path().join("log");
        let fixture = Fixture::closed(mode, Ground::System);
        for (name, _) in &fixture.files {
            fixture.put(&Place::at(&dir));
            for path in util::files(&dir).iter().chain([&dir]) {
                std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
            }
            let path = dir.join(name);
            std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let said = as_nobody(test, mode, &dir);
            let whole = said.contains(&format!("<opened {}>", fixture.end()));
            assert!(whole || said.contains("<ReadOnly>"), "{name}: {said}");
            for (name, bytes) in fixture.files.iter().filter(|(name, _)| name.ends_with(".log")) {
                assert_eq!(&fs::read(dir.join(name)).unwrap(), bytes, "{name} was changed");
            }
        }
    }
}

/// Whether user 65534 can run this test binary; in a home directory it may not.
fn world_can_run_us() -> bool {
    let exe = std::env::current_exe().unwrap();
    let status = Command::new(exe)
        .arg("--list")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .gid(65534)
        .uid(65534)
        .status();
    status.is_ok_and(|status| status.success())
}

/// A newer format is refused and not touched.
#[test]
fn a_log_of_a_newer_format_is_refused_and_not_touched() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        let meta = String::from_utf8(fixture.bytes("log.meta").clone()).unwrap();
        let numbers = ["2", "10", "1000000"];
        let texts = numbers.map(|newer| {
            let text = meta.replace("format=1", &format!("format={newer}"));
            let (body, _) = text.rsplit_once("crc32=").unwrap();
            format!("{body}crc32={:08x}\n", crc32fast::hash(body.as_bytes()))
        });
        let strange = "format=2\nid=what a later version calls it\nchecksum=0\n".to_owned();
        for text in texts.into_iter().chain([strange]) {
            fixture.put(&dir);
            assert_ne!(text, meta);
            dir.write("log.meta", &text);
            let error = manual(mode).open_in(&dir).expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{text}: {error}");
            for (name, bytes) in fixture.files.iter().filter(|(name, _)| name != "log.meta") {
                assert_eq!(&dir.read(name), bytes, "{name}");
            }
            assert_eq!(dir.read("log.meta"), text.into_bytes());
        }
    }
}

/// V13: refused opens leak neither descriptors nor locks.
#[test]
fn thousands_of_refused_opens_leak_nothing() {
    if !is_alone(module_path!(), "thousands_of_refused_opens_leak_nothing") {
        return;
    }
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let path = dir.path().join("log");
    let log = Log::open(&path).unwrap();
    let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open_files();
    for _ in 0..2000 {
        assert!(Log::open(&path).is_err() && Log::open(&file).is_err());
    }
    assert!(open_files() < before + 100, "{} open files, {before} before", open_files());
    log.append("a").unwrap();
}
