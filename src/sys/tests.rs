//! Floor 2's tests of the operating system's storage: locks, between processes too, whole
//! filesystems, and maps that outlive their descriptor.

use std::path::Path;
use std::process::Command;

use super::{Access, OsStorage, Storage};

/// Set for the process that a test starts: what it is to lock.
const DIR: &str = "FOREBAY_TEST_LOCKED_DIR";

/// What another process says of a directory: whether it gets it alone, and shared.
fn elsewhere(dir: &Path) -> (bool, bool) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sys::tests::the_other_process", "--nocapture"])
        .env(DIR, dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.matches("alone=").count(), 1, "{said}");
    (said.contains("alone=true"), said.contains("shared=true"))
}

/// Is the other process of the tests here, if it was started as one.
#[test]
fn the_other_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let alone = OsStorage.lock(dir).unwrap().is_some();
    let shared = OsStorage.lock_shared(dir).unwrap().is_some();
    println!("\nalone={alone} shared={shared}");
}

/// M13: one writer alone or many together, in this process and in others.
#[test]
fn a_directory_is_locked_alone_or_shared_between_processes_as_well() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let here = || {
        let alone = OsStorage.lock(dir).unwrap().is_some();
        (alone, OsStorage.lock_shared(dir).unwrap().is_some())
    };
    assert_eq!((here(), elsewhere(dir)), ((true, true), (true, true)));
    let alone = OsStorage.lock(dir).unwrap().unwrap();
    assert_eq!((here(), elsewhere(dir)), ((false, false), (false, false)));
    alone.unlock();
    assert_eq!((here(), elsewhere(dir)), ((true, true), (true, true)), "before it is dropped");
    drop(alone);
    let first = OsStorage.lock_shared(dir).unwrap().unwrap();
    let second = OsStorage.lock_shared(dir).unwrap().unwrap();
    assert_eq!((here(), elsewhere(dir)), ((false, true), (false, true)));
    drop(first);
    assert_eq!((here(), elsewhere(dir)), ((false, true), (false, true)), "one is left");
    drop(second);
    assert_eq!((here(), elsewhere(dir)), ((true, true), (true, true)));
    let missing = OsStorage.lock_shared(&dir.join("missing")).unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
}

/// I8: what a map stored is synced by the map, after its descriptor and its name are gone.
#[cfg(target_os = "linux")]
#[test]
fn a_map_keeps_its_file_open_without_a_descriptor() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("file");
    let file = OsStorage.create_new(&path).unwrap();
    file.write_all_at(0, &[0; 8192]).unwrap();
    let mut map = file.map_write(8192).unwrap();
    map.populate(0..8192).unwrap();
    drop(file);
    let open = || {
        let all = std::fs::read_dir("/proc/self/fd").unwrap();
        all.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).any(|to| to == path)
    };
    assert!(!open());
    map.store(4096, b"stored");
    map.map().sync().unwrap();
    let mut read = [0; 6];
    OsStorage.open(&path, Access::Read).unwrap().read_at(4096, &mut read).unwrap();
    assert_eq!(&read, b"stored");
    OsStorage.unlink(&path).unwrap();
    map.store(0, b"x");
    map.map().sync().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_filesystem_is_synced_weighed_and_known_by_its_directory() {
    let exe = std::env::current_exe().unwrap();
    let tmp = tempfile::tempdir_in(exe.parent().unwrap()).unwrap();
    let dir = tmp.path();
    let medium = OsStorage.medium(dir);
    let known = ["ext4", "xfs", "tmpfs", "btrfs", "f2fs"].contains(&medium.filesystem);
    assert_eq!(medium.syncs_whole, known, "{medium:?}");
    assert!(medium.block_bytes >= 4096 && medium.block_bytes.is_power_of_two());
    let proc = OsStorage.medium(Path::new("/proc"));
    assert!(!proc.syncs_whole);
    let lock = OsStorage.lock_shared(dir).unwrap().unwrap();
    let file = OsStorage.create_new(&dir.join("file")).unwrap();
    let free = OsStorage.free_bytes(dir).unwrap();
    assert_eq!(free % 512, 0);
    file.write_all_at(0, &[1; 4096]).unwrap();
    lock.sync_filesystem().unwrap();
    lock.sync().unwrap();
    assert_eq!(OsStorage.free_bytes(&dir.join("missing")), None);
    OsStorage.unlink(&dir.join("file")).unwrap();
    OsStorage.remove_dir(dir).unwrap();
    lock.sync().unwrap();
    assert!(!dir.exists());
}
