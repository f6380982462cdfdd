//! The example `decrypt.py` opens what this crate has encrypted, by the files alone. Passed over,
//! with a line that says so, without Python and its package `cryptography`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use forebay::{Encryption, Log, NewRecord};

use crate::util;

fn python() -> Command {
    Command::new("python3")
}

fn is_there() -> bool {
    let has = python().args(["-c", "import cryptography"]).stderr(Stdio::null()).status();
    let there = has.is_ok_and(|status| status.success());
    if !there {
        eprintln!("passed over: it needs python3 with the package cryptography");
    }
    there
}

/// Status and both outputs of the example, over the files of a log.
fn decrypt(dir: &Path, keys: &Path) -> (bool, String, String) {
    let mut logs: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    let dumped = Command::new(util::example("dump")).args(&logs).output().unwrap();
    assert!(dumped.status.success());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/decrypt.py");
    let mut child = python()
        .arg(script)
        .arg(keys)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&dumped.stdout).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_consumer_in_python_opens_what_was_encrypted_here() {
    if !is_there() {
        return;
    }
    let tmp = util::scratch();
    let dir = tmp.path().join("log");
    let key = |number: u32| [number.to_le_bytes()[0].wrapping_mul(37); 32];
    let encryption = Encryption::new(1, move |number| Some(key(number))).unwrap();
    let log = Log::options().encryption(&encryption).segment_bytes(4096).max_batch_bytes(4096);
    let log = log.open(&dir).unwrap();
    let mut due = String::new();
    for n in 0..60 {
        encryption.use_key(1 + n % 3).unwrap();
        let text = format!("reading {n} {}", "x".repeat(usize::try_from(n).unwrap() * 3));
        let mut record = NewRecord::new(text.as_bytes());
        let name = format!("engine-{n}");
        if n % 2 == 0 {
            record = record.key(name.as_bytes()).header("unit", "celsius");
        }
        log.append(record).unwrap();
        due.push_str(&format!("{n} {} {text}\n", if n % 2 == 0 { &name } else { "-" }));
    }
    log.close().unwrap();
    let keys = tmp.path().join("keys");
    let hex = |number| key(number).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let line = |number| format!("{number} {}\n", hex(number));
    fs::write(&keys, [line(1), line(2), line(3)].concat()).unwrap();
    let (opened, out, said) = decrypt(&dir, &keys);
    assert!(opened, "{said}");
    assert_eq!(out, due);
    // Without one key a third of the values stays closed.
    fs::write(&keys, [line(1), line(2), format!("4 {}\n", hex(3))].concat()).unwrap();
    let (opened, out, said) = decrypt(&dir, &keys);
    assert!(!opened);
    assert_eq!((out.lines().count(), said.lines().count()), (40, 20));
    assert!(said.lines().all(|line| line.contains("KeyError 3")), "{said}");
}
