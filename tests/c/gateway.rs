//! The gateway example ships to a log what it takes, and stops when it is told to.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::build::{Link, compile, done, has, link, program, root};
use super::face::values;

/// The program, where there is a compiler for it.
fn gateway(compiler: &str, dir: &TempDir) -> Option<PathBuf> {
    let source = root().join("examples/c/gateway.c");
    has(compiler, "the gateway")
        .then(|| link(compiler, &[], &compile(compiler, &["-std=c99"], &source, dir), Link::Static))
}

fn run_by(gateway: &Path, dir: &TempDir, settings: &str, more: &[&str]) -> Command {
    let settings_file = dir.path().join("settings");
    std::fs::write(&settings_file, settings).unwrap();
    let mut command = program(gateway);
    command.arg(dir.path().join("edge")).arg("--log").arg(dir.path().join("upstream"));
    command.arg("--settings").arg(settings_file).args(more).stdin(Stdio::null());
    command
}

fn reading(number: usize) -> String {
    let tenths = 200 + number * 7 % 40;
    format!("{{\"reading\":{number},\"celsius\":{}.{}}}", tenths / 10, tenths % 10)
}

#[test]
fn all_readings_of_all_runs_arrive_in_order() {
    for compiler in ["gcc", "clang"] {
        let dir = tempfile::tempdir().unwrap();
        let Some(gateway) = gateway(compiler, &dir) else { continue };
        let settings = "# none\nlog.segment_bytes=65536\r\n\nlog.flush=interval_ms=500\n\
                        upstream.client.id=not for a log";
        for count in [1000, 1] {
            let count = count.to_string();
            let more = ["--rate", "100000", "--count", &count];
            let said = done(&mut run_by(&gateway, &dir, settings, &more));
            let said = String::from_utf8(said.stdout).unwrap();
            assert!(said.contains("uplink: connected"), "{said}");
            assert!(said.contains(", lag 0 records; connected"), "{said}");
        }
        let mut expected: Vec<_> = (0..1000).map(reading).collect();
        expected.push(reading(0));
        assert_eq!(values(&dir.path().join("upstream")), expected);
        assert!(forebay::Log::open(dir.path().join("edge")).unwrap().stats().segments > 1);
    }
}

#[test]
#[cfg(unix)]
fn a_signal_stops_it_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let Some(gateway) = gateway("cc", &dir) else { return };
    let mut child =
        run_by(&gateway, &dir, "", &["--rate", "1000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("is upstream")));
    done(Command::new("kill").args(["-TERM", &child.id().to_string()]));
    said.for_each(drop);
    assert!(child.wait().unwrap().success());
    let edge = forebay::Log::open(dir.path().join("edge")).unwrap();
    assert!(edge.recovery().clean, "it was closed");
    drop(edge);
    let (here, there) = (values(&dir.path().join("edge")), values(&dir.path().join("upstream")));
    assert!(!there.is_empty() && here.starts_with(&there), "{} of {}", there.len(), here.len());
}

/// Whatever the link does, a service manager has it ended in time, and what it took is there.
#[test]
#[cfg(all(unix, feature = "kafka"))]
fn a_signal_ends_it_in_seconds_where_the_broker_is_silent_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let Some(gateway) = gateway("cc", &dir) else { return };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let answering = silent.local_addr().unwrap().port();
    let refusing = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().port()
    };
    for (at, port, bound) in [("silent", answering, 5), ("refusing", refusing, 1)] {
        let edge = dir.path().join(at);
        let mut command = program(&gateway);
        command.arg(&edge).args(["--kafka", &format!("127.0.0.1:{port}"), "--topic", "t"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let link = (port == answering).then(|| silent.accept().unwrap());
        assert!(said.any(|line| line.unwrap().contains("readings taken")));
        let began = std::time::Instant::now();
        done(Command::new("kill").args(["-TERM", &child.id().to_string()]));
        said.for_each(drop);
        assert!(child.wait().unwrap().success(), "{at}");
        let took = began.elapsed();
        // Twice, for a machine that does much else.
        assert!(took.as_secs() < 2 * bound, "{at}: {took:?}");
        println!("{at}: ended {took:?} after SIGTERM");
        let edge = forebay::Log::open(&edge).unwrap();
        assert!(edge.recovery().clean && edge.log_end_offset().get() > 0, "{at}: it was closed");
        drop(link);
    }
}

#[test]
fn a_setting_that_cannot_be_is_told_and_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(gateway) = gateway("cc", &dir) else { return };
    for (settings, says) in [
        ("log.segment_bytes=many", "segment_bytes is `many`"),
        ("log.no_such=1", "there is no option `no_such`"),
    ] {
        let output = run_by(&gateway, &dir, settings, &["--count", "1"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}");
    }
    let output = program(&gateway).arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "it needs an upstream");
    let bad = dir.path().join("not there");
    let output = program(&gateway).args(["a", "--log", "b", "--settings"]).arg(bad).output();
    assert_eq!(output.unwrap().status.code(), Some(1));
}

/// The file that comes with it has settings that exist.
#[test]
#[cfg(feature = "kafka")]
fn its_settings_file_is_taken_with_what_it_leaves_out() {
    let dir = tempfile::tempdir().unwrap();
    let Some(gateway) = gateway("cc", &dir) else { return };
    let file = std::fs::read_to_string(root().join("examples/c/gateway.conf")).unwrap();
    let settings = file.replace("# upstream.", "upstream.") + "\nupstream.no.such=1";
    let path = dir.path().join("settings");
    std::fs::write(&path, settings).unwrap();
    let mut command = program(&gateway);
    command.arg(dir.path().join("edge")).args(["--kafka", "127.0.0.1:9", "--topic", "t"]);
    let output = command.arg("--settings").arg(path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("a Kafka upstream has no setting `no.such`"), "{said}");
}
