//! Floor 1's tests of directories: renamed, removed, locked, weighed, and synced with everything.

use super::*;
use crate::sys::{FileSize, LockedDir, OsStorage};

const EINVAL: i32 = 22;

fn locked(disk: &Disk, dir: &str) -> Box<dyn LockedDir> {
    disk.lock(path(dir)).unwrap().expect("nobody holds it")
}

fn fault(on: CallKind, errno: i32) -> Fault {
    Fault { on, name: None, after: 0, times: 1, errno }
}

/// A directory with a synced file in it.
fn disk_with_dir(profile: Profile) -> Disk {
    let disk = Disk::new(profile);
    disk.create_dir(path("/d")).unwrap();
    disk.create_dir(path("/d/e")).unwrap();
    let file = created(&disk, "/d/e/f");
    file.write_all_at(0, b"kept").unwrap();
    file.sync_all().unwrap();
    for dir in ["/", "/d", "/d/e"] {
        disk.sync_dir(path(dir)).unwrap();
    }
    assert_eq!(disk.loose(), 0);
    disk
}

/// M5: a renamed directory is there under one name or the other, whole, until its parent is synced;
/// who has something open in it goes on by the new name.
#[test]
fn a_renamed_directory_takes_along_what_lies_below() {
    for names in [Names::Strict, Names::Journal] {
        let disk = disk_with_dir(Profile { names, ..Profile::default() });
        let file = disk.open(path("/d/e/f"), Access::ReadWrite).unwrap();
        let lock = locked(&disk, "/d/e");
        disk.rename(path("/d"), path("/g")).unwrap();
        assert_eq!(disk.loose(), 1);
        for mask in 0..2 {
            let cut = disk.power_cut(Keep::Mask(mask));
            let (there, gone) = if mask == 0 { ("d", "g") } else { ("g", "d") };
            assert_eq!(cut.file_names("/"), [there]);
            assert_eq!(cut.read_file(format!("/{there}/e/f")).unwrap(), b"kept");
            assert_eq!(cut.kind(path(&format!("/{gone}/e"))).unwrap(), None);
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        disk.watch(move |_, call| told.lock().push(call.path.clone()));
        file.write_all_at(0, b"more").unwrap();
        lock.sync().unwrap();
        disk.unwatch();
        assert_eq!(*seen.lock(), [path("/g/e/f"), path("/g/e")]);
        assert_eq!(disk.read_file("/g/e/f").unwrap(), b"more");
        assert!(disk.lock(path("/g/e")).unwrap().is_none(), "the lock is the directory's");
        disk.sync_dir(path("/")).unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.power_cut(Keep::None).read_file("/g/e/f").unwrap(), b"more");
        assert_eq!(disk.image(), disk.power_cut(Keep::None).image());
    }
}

/// M5: a removed directory may come back until its parent is synced; then nothing of it is left,
/// nor counted as loose.
#[test]
fn a_removed_directory_is_gone_when_its_parent_was_synced() {
    let disk = disk_with_dir(Profile::default());
    let held = disk.open(path("/d/e/f"), Access::Read).unwrap();
    let lock = locked(&disk, "/d/e");
    disk.unlink(path("/d/e/f")).unwrap();
    disk.remove_dir(path("/d/e")).unwrap();
    assert_eq!(disk.kind(path("/d/e")).unwrap(), None);
    assert_eq!(disk.loose(), 2);
    let outcomes: BTreeSet<_> = (0..4)
        .map(|mask| disk.power_cut(Keep::Mask(mask)))
        .map(|cut| (cut.file_names("/d").len(), cut.read_file("/d/e/f").is_some()))
        .collect();
    assert_eq!(outcomes, [(1, true), (1, false), (0, false)].into());
    for mask in 0..4 {
        let cut = disk.power_cut(Keep::Mask(mask));
        let links = cut.links(path("/d/e/f"));
        assert!(links.is_err() || links.unwrap() == 1);
    }
    disk.sync_dir(path("/d")).unwrap();
    lock.sync().unwrap();
    drop((lock, held));
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(disk.loose(), 0, "no sync could reach what lay in it");
    assert_eq!(disk.power_cut(Keep::All).file_names("/d"), Vec::<String>::new());
    disk.create_dir(path("/d/e")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(disk.power_cut(Keep::All).file_names("/d/e"), Vec::<String>::new(), "a new one");
    assert_eq!(disk.state().inodes.len(), 3);
}

/// What the system refuses about directories is refused here with the same error.
#[cfg(target_os = "linux")]
#[test]
fn the_simulated_names_refuse_what_the_system_refuses() {
    let tmp = tempfile::tempdir().unwrap();
    let disk = disk();
    disk.create_dir(path("/top")).unwrap();
    let on = |storage: &dyn Storage, top: &Path| -> Vec<Option<i32>> {
        for dir in ["empty", "other", "full", "spare"] {
            storage.create_dir(&top.join(dir)).unwrap();
        }
        for file in ["file", "second", "full/file"] {
            storage.create_new(&top.join(file)).unwrap();
        }
        let mut codes = Vec::new();
        let mut note = |done: std::io::Result<()>| {
            codes.push(done.err().map(|error| error.raw_os_error().unwrap()));
        };
        for name in ["full", "file", "missing", "file/below", "missing/below"] {
            note(storage.remove_dir(&top.join(name)));
        }
        note(storage.unlink(&top.join("full")));
        note(storage.unlink(&top.join("empty")));
        for (from, to) in [
            ("empty", "full"),
            ("empty", "file"),
            ("file", "empty"),
            ("file", "full"),
            ("missing", "new"),
            ("empty", "empty"),
            ("empty", "other"),
            ("full", "spare"),
            ("file", "second"),
            ("spare", "moved"),
            ("spare", "moved"),
        ] {
            note(storage.rename(&top.join(from), &top.join(to)));
        }
        note(storage.remove_dir(&top.join("other")));
        note(storage.remove_dir(&top.join("moved")));
        note(storage.unlink(&top.join("moved/file")));
        note(storage.remove_dir(&top.join("moved")));
        let mut left: Vec<_> = storage.list(top).unwrap();
        left.sort_by(|a, b| a.name.cmp(&b.name));
        let left: Vec<_> = left.into_iter().map(|entry| entry.name.unwrap()).collect();
        assert_eq!(left, ["second"]);
        codes
    };
    assert_eq!(on(&disk, path("/top")), on(&OsStorage, tmp.path()));
    assert_eq!(code(disk.remove_dir(path("/"))), 16);
    assert_eq!(code(disk.rename(path("/"), path("/new"))), 16);
}

/// M13: many share a directory, or one has it.
#[test]
fn shared_locks_keep_the_exclusive_one_out_and_the_other_way_round() {
    let disk = disk_with_dir(Profile::default());
    disk.set_descriptors(Some(3));
    let dir = path("/d");
    let shared = || disk.lock_shared(dir).unwrap();
    let (first, second) = (shared().unwrap(), shared().unwrap());
    assert!(disk.lock(dir).unwrap().is_none());
    assert!(disk.lock(path("/d/e")).unwrap().is_some(), "another directory");
    drop(first);
    second.sync().unwrap();
    assert!(disk.lock(dir).unwrap().is_none());
    second.unlock();
    let alone = disk.lock(dir).unwrap().unwrap();
    drop(second);
    assert!(shared().is_none() && disk.lock(dir).unwrap().is_none(), "it was given back before");
    assert!(disk.kill().lock_shared(dir).unwrap().is_some());
    drop(alone);
    let all = [shared(), shared(), shared()];
    assert!(all.iter().all(Option::is_some));
    assert_eq!(code(disk.lock_shared(dir)), EMFILE);
}

/// M2, M5: one call settles the content and the names of everything, and nothing before it ends.
#[test]
fn a_sync_of_the_filesystem_keeps_all_files_and_names() {
    for names in [Names::Strict, Names::Journal] {
        let disk = disk_with_dir(Profile { names, ..Profile::default() });
        let lock = locked(&disk, "/d");
        let file = disk.open(path("/d/e/f"), Access::ReadWrite).unwrap();
        file.write_all_at(0, b"by position").unwrap();
        let mut map = file.map_write(11).unwrap();
        map.populate(0..11).unwrap();
        map.store(0, b"BY");
        created(&disk, "/d/new").allocate(0, 4096).unwrap();
        disk.rename(path("/d/e"), path("/d/g")).unwrap();
        let before = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&before);
        disk.watch(move |disk, call| {
            assert_eq!((call.kind, &*call.path), (CallKind::SyncFilesystem, path("/d")));
            *seen.lock() = disk.power_cut(Keep::None).read_file("/d/e/f");
        });
        lock.sync_filesystem().unwrap();
        disk.unwatch();
        assert_eq!(before.lock().as_deref(), Some(b"kept".as_slice()));
        assert_eq!(disk.loose(), 0);
        let first = created(&disk, "/d/first");
        created(&disk, "/d/gone").write_all_at(0, b"x").unwrap();
        first.write_all_at(0, b"x").unwrap();
        disk.unlink(path("/d/gone")).unwrap();
        disk.unlink(path("/d/first")).unwrap();
        lock.sync_filesystem().unwrap();
        let cut = disk.power_cut(Keep::None);
        assert_eq!(cut.read_file("/d/g/f").unwrap(), b"BY position");
        assert_eq!(cut.read_file("/d/new").unwrap(), [0; 4096]);
        assert_eq!(cut.image(), disk.image());
    }
}

/// M8: a failed sync of everything drops the data of every file, names and lengths stay loose; the
/// retry succeeds all the same.
#[test]
fn a_failed_sync_of_the_filesystem_loses_the_data_of_all() {
    let disk = disk_with_dir(Profile::default());
    let lock = locked(&disk, "/");
    let (old, new) = (disk.open(path("/d/e/f"), Access::ReadWrite).unwrap(), created(&disk, "/g"));
    old.write_all_at(0, b"lost").unwrap();
    new.write_all_at(0, b"lost").unwrap();
    disk.fail(fault(CallKind::SyncFilesystem, EIO));
    assert_eq!(code(lock.sync_filesystem()), EIO);
    assert_eq!(disk.read_file("/d/e/f").unwrap(), b"lost", "it can still be read");
    assert_eq!(disk.power_cut(Keep::None).read_file("/g"), None);
    assert_eq!(disk.power_cut(Keep::All).read_file("/g").unwrap(), [0; 4]);
    lock.sync_filesystem().unwrap();
    let cut = disk.power_cut(Keep::All);
    assert_eq!(cut.read_file("/d/e/f").unwrap(), b"kept");
    assert_eq!(cut.read_file("/g").unwrap(), [0; 4]);
    old.write_all_at(0, b"anew").unwrap();
    new.write_all_at(4096, b"anew").unwrap();
    lock.sync_filesystem().unwrap();
    let cut = disk.power_cut(Keep::None);
    assert_eq!(cut.read_file("/d/e/f").unwrap(), b"anew");
    assert_eq!(cut.read_file("/g").unwrap()[4096..], *b"anew");
}

/// M8: whoever syncs everything hears once of each failure since it locked its directory, whoever
/// met it first, and of those before that nobody heard of in this way; what could be written is
/// written.
#[test]
fn a_sync_of_the_filesystem_tells_what_others_could_not_write() {
    let disk = disk_with_dir(Profile::default());
    let (first, second) = (locked(&disk, "/d"), locked(&disk, "/d/e"));
    let (bad, good) = (created(&disk, "/bad"), created(&disk, "/good"));
    for file in [&bad, &good] {
        file.write_all_at(0, b"x").unwrap();
    }
    disk.fail(fault(CallKind::SyncFile, ENOSPC));
    assert_eq!(code(bad.sync_data()), ENOSPC);
    assert_eq!(code(locked(&disk.kill(), "/").sync_filesystem()), ENOSPC);
    assert_eq!(code(first.sync_filesystem()), ENOSPC);
    assert_eq!(disk.power_cut(Keep::None).read_file("/good").unwrap(), b"x");
    first.sync_filesystem().unwrap();
    let third = locked(&disk, "/");
    third.sync_filesystem().unwrap();
    disk.fail(fault(CallKind::SyncFilesystem, EIO));
    assert_eq!(code(third.sync_filesystem()), EIO);
    third.sync_filesystem().unwrap();
    assert_eq!([code(second.sync_filesystem()), code(first.sync_filesystem())], [EIO, EIO]);
    second.sync_filesystem().unwrap();
    let after = locked(&disk.kill(), "/");
    after.sync_filesystem().unwrap();
}

/// M9: a device that lies about some syncs lies about their part of the whole.
#[test]
fn a_sync_of_the_filesystem_is_ignored_where_syncs_are() {
    let kept = |of: Ignored| {
        let disk = disk_with_dir(Profile::default());
        let lock = locked(&disk, "/d");
        disk.ignore_syncs(of, true);
        let (log, point) = (created(&disk, "/d/0.log"), created(&disk, "/d/checkpoint"));
        for file in [&log, &point] {
            file.write_all_at(0, b"x").unwrap();
        }
        lock.sync_filesystem().unwrap();
        // The names are kept whatever of them was synced.
        let state = disk.state();
        let device = |name: &str| {
            let number = state.lookup(path(name)).unwrap();
            state.inodes[&number].device.len()
        };
        let names = state.changes.iter().all(|change| change.inode().is_some());
        (device("/d/0.log"), device("/d/checkpoint"), names)
    };
    assert_eq!(kept(Ignored::All), (0, 0, false));
    assert_eq!(kept(Ignored::Directories), (1, 1, false));
    assert_eq!(kept(Ignored::Segments), (0, 1, true));
    assert_eq!(kept(Ignored::Checkpoint), (1, 0, true));
    assert_eq!(kept(Ignored::Maps), (1, 1, true));
}

/// What a directory takes, counted as a second process would, inside and outside of the hook.
#[test]
fn used_bytes_are_the_real_blocks_of_all_files_below() {
    let disk = disk_with_dir(Profile::default());
    assert_eq!(
        (disk.used_bytes("/"), disk.used_bytes("/d"), disk.used_bytes("/x")),
        (4096, 4096, 0)
    );
    let file = created(&disk, "/d/big");
    file.allocate(0, 3 * 4096).unwrap();
    file.set_len(100_000).unwrap();
    assert_eq!(disk.used_bytes("/d"), 4 * 4096, "a hole takes nothing");
    let size = FileSize { length: 100_000, allocated: 3 * 4096 };
    assert_eq!(disk.file_size(path("/d/big")).unwrap(), size);
    disk.link(path("/d/big"), path("/second")).unwrap();
    assert_eq!((disk.used_bytes("/d"), disk.used_bytes("/")), (4 * 4096, 4 * 4096));
    disk.link(path("/d/big"), path("/d/third")).unwrap();
    assert_eq!(disk.used_bytes("/d"), 4 * 4096, "a file with two names lies there once");
    for name in ["/second", "/d/third", "/d/big"] {
        disk.unlink(path(name)).unwrap();
    }
    assert_eq!(disk.used_bytes("/d"), 4 * 4096, "it is open");
    disk.rename(path("/d"), path("/g")).unwrap();
    assert_eq!((disk.used_bytes("/d"), disk.used_bytes("/g")), (0, 4 * 4096));
    let map = file.map_read(4096).unwrap();
    drop(file);
    assert_eq!(disk.used_bytes("/g"), 4 * 4096, "it is mapped");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let used = Arc::clone(&seen);
    disk.watch(move |disk, _| used.lock().push(disk.used_bytes("/g")));
    drop(map);
    disk.open(path("/g/e/f"), Access::ReadWrite).unwrap().write_all_at(4096, b"x").unwrap();
    disk.unwatch();
    assert_eq!(*seen.lock(), [4096, 4096]);
    assert_eq!(disk.used_bytes("/g"), 2 * 4096);
    assert_eq!(disk.used_bytes("/g/e/../e"), 2 * 4096);
}

/// M11, and the wear that a device counts.
#[test]
fn free_and_written_bytes_are_told() {
    let disk = disk();
    let root = path("/");
    assert_eq!(disk.free_bytes(root), None);
    disk.set_space(Some(10 * 4096 + 1));
    let file = created(&disk, "/f");
    file.write_all_at(0, &[1; 5000]).unwrap();
    assert_eq!(disk.free_bytes(root), Some(8 * 4096));
    assert_eq!(disk.device_bytes_written(root), Some(0));
    file.sync_data().unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.device_bytes_written(root), Some(2 * 4096));
    file.write_all_at(0, &[2; 700]).unwrap();
    locked(&disk, "/").sync_filesystem().unwrap();
    assert_eq!(disk.kill().device_bytes_written(root), Some(3 * 4096), "by pages");
    assert_eq!(disk.power_cut(Keep::None).device_bytes_written(root), Some(0), "since the boot");
    let medium = disk.medium(root);
    assert_eq!((medium.syncs_whole, medium.block_bytes), (true, 4096));
}

/// A map syncs its file when every descriptor of it is closed, and meets the same faults.
#[test]
fn a_map_syncs_its_file_without_a_descriptor() {
    let disk = disk();
    let file = synced(&disk, "/f", b"old");
    let mut map = file.map_write(3).unwrap();
    map.populate(0..3).unwrap();
    drop(file);
    disk.set_descriptors(Some(0));
    map.store(0, b"new");
    map.map().sync().unwrap();
    assert_eq!(disk.power_cut(Keep::None).read_file("/f").unwrap(), b"new");
    map.store(0, b"two");
    disk.fail(fault(CallKind::SyncFile, EINVAL));
    assert_eq!(code(map.map().sync()), EINVAL);
    map.map().sync().unwrap();
    assert_eq!(disk.power_cut(Keep::All).read_file("/f").unwrap(), b"new");
    disk.ignore_syncs(Ignored::Maps, true);
    map.store(0, b"lie");
    map.map().sync().unwrap();
    assert_eq!(disk.power_cut(Keep::None).read_file("/f").unwrap(), b"new");
}
