//! Floor 1's tests of the operating system's storage: locks, between processes too, whole
//! filesystems, and maps that outlive their descriptor.

mod crc32c;

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

/// The filesystem that a campaign has made for a test, and how it asks for trouble.
#[cfg(target_os = "linux")]
struct Thin {
    dir: std::path::PathBuf,
    ask: std::path::PathBuf,
}

#[cfg(target_os = "linux")]
impl Thin {
    fn here() -> Option<Thin> {
        let dir = std::env::var_os("FOREBAY_TEST_THIN")?.into();
        Some(Thin { dir, ask: std::env::var_os("FOREBAY_TEST_ASK")?.into() })
    }

    /// Has the blocks of a file made such that they cannot be written.
    fn spoil(&self, path: &str) {
        std::fs::write(self.ask.join("asking"), format!("spoil {path}\n")).unwrap();
        std::fs::rename(self.ask.join("asking"), self.ask.join("asked")).unwrap();
        for _ in 0..600 {
            if std::fs::remove_file(self.ask.join("done")).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("nobody answers");
    }
}

/// I8, by `tests/campaign/run write-errors`: a map without a descriptor, a descriptor, and the sync
/// of the whole filesystem each tell once of what could not be written, and then never again.
#[cfg(target_os = "linux")]
#[test]
fn what_a_device_refuses_is_told() {
    let Some(thin) = Thin::here() else { return };
    let early = OsStorage.lock_shared(&thin.dir).unwrap().unwrap();
    let path = thin.dir.join("file");
    let file = OsStorage.create_new(&path).unwrap();
    file.write_all_at(0, &vec![0; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    let mut map = file.map_write(1 << 20).unwrap();
    map.populate(0..1 << 20).unwrap();
    drop(file);
    let other = OsStorage.open(&path, Access::ReadWrite).unwrap();
    early.sync_filesystem().unwrap();
    thin.spoil("/file");

    map.store(8192, b"lost");
    assert!(map.map().sync().is_err());
    assert!(map.map().sync().is_ok(), "that is why nobody may try again");
    let between = OsStorage.lock_shared(&thin.dir).unwrap().unwrap();
    assert!(other.sync_data().is_err(), "each descriptor is told");
    assert!(early.sync_filesystem().is_err(), "whoever was told before");
    assert!(early.sync_filesystem().is_ok());
    let late = OsStorage.lock_shared(&thin.dir).unwrap().unwrap();
    assert!(late.sync_filesystem().is_ok(), "it was locked behind that");
    assert!(between.sync_filesystem().is_err(), "nobody had been told by this call");

    map.store(65_536, b"lost");
    assert!(late.sync_filesystem().is_err(), "now it meets the error itself");
    assert!(map.map().sync().is_err() && other.sync_all().is_err());
    assert!(early.sync_filesystem().is_err() && early.sync_filesystem().is_ok());
    println!("\nwhat could not be written was told by every way of syncing");
}

/// I8, by the same campaign: when the journal could not be written, and who waited for it was told,
/// the sync of the whole filesystem says so as well, with nothing of its own to be journalled.
#[cfg(target_os = "linux")]
#[test]
fn an_aborted_journal_is_told() {
    let Some(thin) = Thin::here() else { return };
    let early = OsStorage.lock(&thin.dir).unwrap().unwrap();
    early.sync_filesystem().unwrap();
    thin.spoil("<8>");
    let file = OsStorage.create_new(&thin.dir.join("new")).unwrap();
    assert!(file.sync_all().is_err(), "its name is in the journal only");
    for _ in 0..3 {
        assert!(early.sync_filesystem().is_err());
    }
    println!("\nan aborted journal was told");
}
