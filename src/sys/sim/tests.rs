//! Floor 1's tests of the simulated disk: each part of its fault model happens, and nothing that
//! the model excludes does.

mod dirs;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::state::{ENOSPC, ROOT};
use super::*;
use crate::sys::{Access, FileKind, Storage, StorageFile};

const EIO: i32 = 5;
const EMFILE: i32 = 24;

fn disk() -> Disk {
    Disk::new(Profile::default())
}

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn created(disk: &Disk, name: &str) -> Arc<dyn StorageFile> {
    disk.create_new(path(name)).unwrap()
}

/// A file whose name and content the device has.
fn synced(disk: &Disk, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    let file = created(disk, name);
    file.write_all_at(0, bytes).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.loose(), 0);
    file
}

fn code<T>(result: std::io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).expect("an error of the system is due")
}

/// Everything any subset of the loose pieces leaves of a file.
fn outcomes(disk: &Disk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    assert!(disk.loose() <= 12, "{}", disk.loose());
    (0..1 << disk.loose()).map(|mask| disk.power_cut(Keep::Mask(mask)).read_file(name)).collect()
}

/// The same by seeds, which may do more.
fn by_seeds(disk: &Disk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..2000).map(|seed| disk.power_cut(Keep::Seed(seed)).read_file(name)).collect()
}

/// M1, M2, M3: a write comes apart at its sectors, and its length is a piece of its own.
#[test]
fn a_write_that_was_not_synced_is_there_in_any_of_its_sectors() {
    let disk = disk();
    let file = synced(&disk, "/f", &[b'a'; 1024]);
    file.write_all_at(510, &[b'b'; 4]).unwrap();
    let two: BTreeSet<_> = outcomes(&disk, "/f")
        .into_iter()
        .map(|bytes| bytes.map(|bytes| bytes[509..515].to_vec()).unwrap())
        .collect();
    let all = [b"aaaaaa", b"abbaaa", b"aaabba", b"abbbba"];
    assert_eq!(two, all.map(|bytes| bytes.to_vec()).into());
    file.sync_data().unwrap();
    assert_eq!(disk.loose(), 0);
    file.write_all_at(1024, &[b'c'; 512]).unwrap();
    assert_eq!(disk.loose(), 2, "a sector and the length");
    let grown = outcomes(&disk, "/f").into_iter().map(Option::unwrap);
    let ends: BTreeSet<_> = grown.map(|bytes| (bytes.len(), bytes.last().copied())).collect();
    assert_eq!(ends, [(1024, Some(b'a')), (1536, Some(0)), (1536, Some(b'c'))].into());
    file.set_len(100).unwrap();
    let lengths: BTreeSet<_> =
        outcomes(&disk, "/f").into_iter().map(|bytes| bytes.unwrap().len()).collect();
    assert_eq!(lengths, [100, 1024, 1536].into());
}

/// M2: a later write to a sector brings along what was written to it before.
#[test]
fn a_sector_reaches_the_device_as_the_cache_had_it() {
    let disk = disk();
    let file = synced(&disk, "/f", b"....");
    file.write_all_at(0, b"1").unwrap();
    file.write_all_at(1, b"2").unwrap();
    let all = [b"....", b"1...", b"12.."].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(outcomes(&disk, "/f"), all.into());
}

/// M1: a store through a map reaches the device a page at a time, also half done; with a seed a
/// page is torn at its sectors.
#[test]
fn a_store_through_a_map_is_there_by_pages_and_by_halves() {
    let disk = disk();
    let file = synced(&disk, "/f", &[b'.'; 8192]);
    let mut map = file.map_write(8192).unwrap();
    map.populate(0..8192).unwrap();
    map.store(4094, b"1234");
    assert_eq!(disk.loose(), 4);
    let middle = |bytes: Option<Vec<u8>>| bytes.unwrap()[4094..4098].to_vec();
    let found: BTreeSet<_> = outcomes(&disk, "/f").into_iter().map(middle).collect();
    let all = ["....", "1...", "12..", "..3.", "..34", "1.3.", "1.34", "123.", "1234"];
    assert_eq!(found, all.map(|bytes| bytes.as_bytes().to_vec()).into());
    file.sync_data().unwrap();
    map.store(0, &[b'x'; 4096]);
    let torn = by_seeds(&disk, "/f").into_iter().any(|bytes| {
        let sectors: Vec<u8> = bytes.unwrap()[..4096].iter().step_by(512).copied().collect();
        sectors.windows(3).any(|three| three == b".x.")
    });
    assert!(torn, "a page in which the middle reached the device alone");
}

/// M2: what was synced is there whatever the seed, beside a write under way next to it.
#[test]
fn a_completed_sync_is_kept_and_one_under_way_is_not() {
    let disk = disk();
    let file = synced(&disk, "/f", &[b'a'; 1024]);
    file.write_all_at(512, &[b'b'; 512]).unwrap();
    let all: BTreeSet<_> = by_seeds(&disk, "/f").into_iter().map(Option::unwrap).collect();
    assert!(all.iter().all(|bytes| bytes[..512] == [b'a'; 512]));
    assert_eq!(all.len(), 2);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let before = Arc::clone(&seen);
    disk.watch(move |disk, call| {
        assert_eq!(call.kind, CallKind::SyncFile);
        before.lock().push(disk.power_cut(Keep::None).read_file("/f").unwrap());
    });
    file.sync_data().unwrap();
    disk.unwatch();
    assert_eq!(seen.lock().as_slice(), [[b'a'; 1024]]);
    assert_eq!(disk.power_cut(Keep::None).read_file("/f").unwrap()[512..], [b'b'; 512]);
}

/// M4: what was reserved is a change of the length, and reads as zeros.
#[test]
fn a_reservation_is_loose_until_a_sync() {
    let disk = disk();
    let file = synced(&disk, "/f", b"x");
    file.allocate(1, 10_000).unwrap();
    let lengths = outcomes(&disk, "/f").into_iter().map(|bytes| bytes.unwrap().len());
    assert_eq!(lengths.collect::<BTreeSet<_>>(), [1, 10_000].into());
    file.write_all_at(5000, b"y").unwrap();
    let at = |bytes: Option<Vec<u8>>| bytes.unwrap().get(5000).copied();
    let found: BTreeSet<_> = outcomes(&disk, "/f").into_iter().map(at).collect();
    assert_eq!(found, [None, Some(0), Some(b'y')].into());
}

/// M5: before their directory is synced, any of the names, whatever file is synced.
#[test]
fn strict_names_wait_for_their_directory() {
    let disk = disk();
    for name in ["/a", "/b", "/c"] {
        created(&disk, name).sync_all().unwrap();
    }
    let all = || -> BTreeSet<Vec<String>> {
        (0..1 << disk.loose())
            .map(|mask| disk.power_cut(Keep::Mask(mask)).file_names("/"))
            .collect()
    };
    assert_eq!(all().len(), 8);
    disk.sync_dir(path("/")).unwrap();
    disk.rename(path("/a"), path("/b")).unwrap();
    disk.unlink(path("/c")).unwrap();
    let some = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let expected = [some(&["a", "b", "c"]), some(&["a", "b"]), some(&["b", "c"]), some(&["b"])];
    assert_eq!(all(), expected.into(), "a rename happens whole");
    disk.create_dir(path("/d")).unwrap();
    created(&disk, "/d/e");
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(disk.power_cut(Keep::None).file_names("/"), some(&["a", "b", "c"]));
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.power_cut(Keep::None).file_names("/d"), some(&["e"]));
}

/// M5: with a journal any sync keeps all names before it, and a cut keeps a beginning.
#[test]
fn journalled_names_are_kept_in_order() {
    let disk = Disk::new(Profile { names: Names::Journal, ..Profile::default() });
    for name in ["/a", "/b", "/c"] {
        created(&disk, name);
    }
    let counts: BTreeSet<_> =
        (0..8).map(|mask| disk.power_cut(Keep::Mask(mask)).file_names("/").concat()).collect();
    assert_eq!(counts, ["", "a", "ab", "abc"].map(str::to_owned).into());
    assert_eq!(disk.power_cut(Keep::AllBut(0)).file_names("/").len(), 0);
    disk.open(path("/a"), Access::Read).unwrap().sync_data().unwrap();
    assert_eq!(disk.power_cut(Keep::None).file_names("/").len(), 3);
}

/// M6: where an overwrite tears, what was synced beside it in the same flash page goes too, and
/// nothing else.
#[test]
fn a_torn_overwrite_takes_its_flash_page() {
    let torn = Torn::Overwrite { bytes: 4096 };
    let card = Disk::new(Profile { torn, ..Profile::default() });
    let file = synced(&card, "/f", &[b'a'; 12_288]);
    file.write_all_at(5000, b"b").unwrap();
    let all: Vec<_> = by_seeds(&card, "/f").into_iter().map(Option::unwrap).collect();
    let outside = |bytes: &Vec<u8>| bytes[..4096] == bytes[8192..] && bytes[0] == b'a';
    assert!(all.iter().all(outside), "other flash pages are whole");
    for lost in [0, 0xff] {
        assert!(all.iter().any(|bytes| bytes[4096] == lost), "{lost}");
    }
    assert!(all.iter().any(|bytes| ![0, 0xff, b'a'].contains(&bytes[4096])), "random");
    let medium = card.medium(path("/"));
    assert!(medium.tears.is_some() && medium.unmappable.is_some());
}

/// M7: new blocks show what deleted files held, never where something was synced.
#[test]
fn new_blocks_show_deleted_files() {
    let disk = Disk::new(Profile { stale: true, ..Profile::default() });
    synced(&disk, "/old", &[b'o'; 8192]);
    disk.unlink(path("/old")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    let file = synced(&disk, "/new", b"new");
    file.allocate(3, 12_288).unwrap();
    let shown = by_seeds(&disk, "/new").into_iter().map(Option::unwrap).filter(|b| b.len() > 3);
    let shown: Vec<_> = shown.collect();
    assert!(shown.iter().any(|bytes| bytes[4096..] == [b'o'; 8192]));
    assert!(shown.iter().all(|bytes| bytes[3..4096] == [0; 4093]), "the rest of a block is zeros");
    file.sync_data().unwrap();
    let all: Vec<_> = by_seeds(&disk, "/new").into_iter().map(Option::unwrap).collect();
    assert_eq!(all, [[b"new".as_slice(), &[0; 12_285]].concat()]);
}

/// M8: after a failed sync the retry succeeds, the cache still shows the data, and it is gone.
#[test]
fn a_failed_sync_loses_what_it_covered_although_the_next_one_succeeds() {
    for mapped in [false, true] {
        let disk = disk();
        let file = synced(&disk, "/f", b"old!");
        let mut map = file.map_write(4).unwrap();
        map.populate(0..4).unwrap();
        let write = |at: usize, bytes: &[u8], map: &mut crate::sys::MapWriter| match mapped {
            true => map.store(at, bytes),
            false => file.write_all_at(at as u64, bytes).unwrap(),
        };
        write(0, b"new", &mut map);
        let fault = |errno| Fault { on: CallKind::SyncFile, name: None, after: 0, times: 1, errno };
        disk.fail(fault(EIO));
        assert_eq!(code(file.sync_data()), EIO);
        file.sync_data().unwrap();
        assert_eq!(disk.kill().read_file("/f").unwrap(), b"new!", "it can still be read");
        // The retry covered the cache, but wrote nothing: nothing was dirty.
        assert_eq!(disk.power_cut(Keep::All).read_file("/f").unwrap(), b"old!");
        write(3, b".", &mut map);
        file.sync_data().unwrap();
        let rewritten = disk.power_cut(Keep::None).read_file("/f").unwrap();
        assert_eq!(rewritten, b"new.", "the sector was written again");
    }
}

/// M8, as ext4 does it: blocks whose first write was refused take nothing in this boot, in however
/// many processes it is tried; in another file, or in the next boot, it goes.
#[test]
fn a_block_whose_first_write_was_refused_reads_as_zeros_after_the_power_is_cut() {
    for mapped in [false, true] {
        let disk = disk();
        let file = synced(&disk, "/f", b"");
        file.allocate(0, 2 * 4096).unwrap();
        file.sync_data().unwrap();
        let mut map = file.map_write(2 * 4096).unwrap();
        map.populate(0..2 * 4096).unwrap();
        let write = |at: usize, map: &mut crate::sys::MapWriter| match mapped {
            true => map.store(at, b"new"),
            false => file.write_all_at(at as u64, b"new").unwrap(),
        };
        write(0, &mut map);
        disk.fail(Fault { on: CallKind::SyncFile, name: None, after: 0, times: 1, errno: EIO });
        assert_eq!(code(file.sync_data()), EIO);
        write(0, &mut map);
        write(4096, &mut map);
        file.sync_data().unwrap();
        let next = disk.kill();
        let again = next.open(Path::new("/f"), Access::ReadWrite).unwrap();
        again.write_all_at(0, b"new").unwrap();
        again.sync_data().unwrap();
        assert_eq!(next.read_file("/f").unwrap()[..3], *b"new", "it can still be read");
        let cut = next.power_cut(Keep::All);
        let bytes = cut.read_file("/f").unwrap();
        assert_eq!((&bytes[..3], &bytes[4096..4099]), (&[0; 3][..], &b"new"[..]));
        let again = cut.open(Path::new("/f"), Access::ReadWrite).unwrap();
        again.write_all_at(0, b"new").unwrap();
        again.sync_data().unwrap();
        assert_eq!(cut.power_cut(Keep::None).read_file("/f").unwrap()[..3], *b"new");
    }
}

/// M9: each kind of sync can lie on its own.
#[test]
fn syncs_that_are_ignored_keep_nothing() {
    let of_segment = |of: Option<Ignored>, mapped: bool| {
        let disk = disk();
        let file = synced(&disk, "/0.log", b"old");
        let _map = mapped.then(|| file.map_write(3).unwrap());
        of.into_iter().for_each(|of| disk.ignore_syncs(of, true));
        file.write_all_at(0, b"new").unwrap();
        file.sync_data().unwrap();
        disk.power_cut(Keep::None).read_file("/0.log").unwrap() == b"old"
    };
    use Ignored::{All, Checkpoint, Directories, Maps, Segments};
    for mapped in [false, true] {
        assert!(!of_segment(None, mapped));
        for (of, lies) in [(All, true), (Segments, !mapped), (Maps, mapped)] {
            assert_eq!(of_segment(Some(of), mapped), lies, "{of:?}");
        }
        assert!(!of_segment(Some(Checkpoint), mapped) && !of_segment(Some(Directories), mapped));
    }
    let disk = disk();
    disk.ignore_syncs(Directories, true);
    let file = created(&disk, "/checkpoint");
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.power_cut(Keep::None).read_file("/checkpoint"), None);
    disk.ignore_syncs(Directories, false);
    disk.ignore_syncs(Checkpoint, true);
    disk.sync_dir(path("/")).unwrap();
    file.write_all_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.power_cut(Keep::None).read_file("/checkpoint").unwrap(), b"");
}

/// M11: what a full disk refuses, and what it does first.
#[test]
fn a_full_disk_takes_what_fits_and_refuses_the_rest() {
    let disk = disk();
    let file = created(&disk, "/f");
    disk.set_space(Some(3 * 4096));
    assert_eq!(code(file.write_all_at(0, &[1; 4 * 4096])), ENOSPC);
    assert_eq!(file.len().unwrap(), 3 * 4096, "the beginning was written");
    file.write_all_at(0, &[2; 4096]).unwrap();
    assert_eq!(code(disk.create_new(path("/g"))), ENOSPC);
    file.set_len(4096).unwrap();
    let other = created(&disk, "/g");
    assert_eq!(code(other.allocate(0, 4 * 4096)), ENOSPC);
    assert_eq!(other.len().unwrap(), 2 * 4096, "grown as far as there were blocks");
    other.write_all_at(0, &[3; 8192]).unwrap();
    disk.unlink(path("/g")).unwrap();
    assert_eq!(code(file.allocate(4096, 8192)), ENOSPC, "an open file keeps its blocks");
    drop(other);
    file.set_len(100_000).unwrap();
    let mut map = file.map_write(100_000).unwrap();
    map.populate(0..3 * 4096).unwrap();
    assert_eq!(code(map.populate(3 * 4096..4 * 4096)), ENOSPC, "a hole needs a block");
    let cut = disk.power_cut(Keep::None);
    created(&cut, "/h").write_all_at(0, &[1; 3 * 4096]).unwrap();
    assert_eq!(code(cut.create_new(path("/i"))), ENOSPC, "the bound outlives the machine");
}

/// M11: descriptors and maps that are not to be had.
#[test]
fn descriptors_and_maps_run_out() {
    let disk = disk();
    disk.set_descriptors(Some(2));
    let (first, lock) = (created(&disk, "/a"), disk.lock(path("/")).unwrap());
    assert_eq!(code(disk.create_new(path("/b"))), EMFILE);
    assert_eq!(disk.kind(path("/b")).unwrap(), None, "nothing was made");
    assert_eq!(code(disk.open(path("/a"), Access::Read)), EMFILE);
    assert_eq!(code(disk.sync_dir(path("/"))), EMFILE);
    assert_eq!(code(disk.list(path("/"))), EMFILE);
    lock.unwrap().sync().unwrap();
    assert_eq!(disk.kind(path("/a")).unwrap(), Some(FileKind::File));
    first.write_all_at(0, b"x").unwrap();
    disk.set_map_failure(true);
    assert!(first.map_read(1).is_err() && first.map_write(1).is_err());
    disk.set_map_failure(false);
    assert_eq!(first.map_read(1).unwrap().bytes(0..1), Some(b"x".as_slice()));
}

/// M12: the wall jumps alone; a new boot begins the others again.
#[test]
fn clocks_jump_pass_and_begin_again() {
    let disk = disk();
    let (wall, mono) = (disk.now_wall().millis(), disk.now_mono());
    for _ in 0..3 {
        disk.advance(Duration::from_micros(500));
    }
    assert_eq!(disk.now_wall().millis(), wall + 1);
    assert_eq!(disk.now_mono(), mono + Duration::from_micros(1500));
    assert_eq!(disk.now_boot(), disk.now_mono());
    disk.set_wall(-5);
    disk.set_clock_synchronised(true);
    assert_eq!((disk.now_wall().millis(), disk.clock_synchronised()), (-5, true));
    assert_eq!(disk.kill().now_mono(), disk.now_mono());
    let cut = disk.power_cut(Keep::All);
    assert_eq!((cut.now_mono(), cut.now_wall().millis()), (mono, -5));
    assert!(!cut.clock_synchronised());
    let root = path("/");
    assert_eq!(disk.residence(root), disk.kill().residence(root), "the same boot and mount");
    assert_ne!(disk.residence(root), cut.residence(root));
}

/// Maps and positions see the same bytes, whichever was used.
#[test]
fn maps_and_positions_show_the_same_file() {
    let disk = disk();
    let file = synced(&disk, "/f", &[b'a'; 5000]);
    let (mut writer, reader) = (file.map_write(8192).unwrap(), file.map_read(5000).unwrap());
    writer.populate(0..5000).unwrap();
    writer.store(4000, b"stored");
    let mut read = [0; 6];
    assert_eq!(file.read_at(4000, &mut read).unwrap(), 6);
    assert_eq!(&read, b"stored");
    file.write_all_at(4100, b"written").unwrap();
    writer.publish(8192);
    for map in [writer.map(), &reader] {
        assert_eq!(map.bytes(4000..4006), Some(b"stored".as_slice()));
        assert_eq!(map.bytes(4100..4107), Some(b"written".as_slice()));
    }
    file.set_len(4096).unwrap();
    assert!(writer.map().bytes(4096..8192).unwrap().iter().all(|&byte| byte == 0));
    disk.unlink(path("/f")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    drop((file, writer));
    assert_eq!(reader.bytes(4000..4006), Some(b"stored".as_slice()), "a map keeps its file");
    assert!(disk.state().inodes.len() > 1);
    drop(reader);
    disk.sync_dir(path("/")).unwrap();
    created(&disk, "/g");
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.state().inodes.len(), 2, "then it is forgotten");
}

/// A store that would be a signal on a real machine is a panic here.
#[test]
fn a_store_where_nothing_was_populated_is_found() {
    let found = |prepare: fn(&Disk, &dyn StorageFile, &mut crate::sys::MapWriter)| {
        let disk = disk();
        let file = synced(&disk, "/f", &[b'a'; 8192]);
        let mut map = file.map_write(16_384).unwrap();
        prepare(&disk, &*file, &mut map);
        let store = std::panic::AssertUnwindSafe(|| map.store(4096, b"x"));
        std::panic::catch_unwind(store).is_err()
    };
    assert!(!found(|_, _, map| map.populate(0..8192).unwrap()));
    assert!(found(|_, _, _| {}));
    assert!(found(|_, _, map| map.populate(0..4096).unwrap()));
    let cut = |_: &Disk, file: &dyn StorageFile, map: &mut crate::sys::MapWriter| {
        map.populate(0..8192).unwrap();
        file.set_len(4096).unwrap();
        assert!(map.populate(4096..8192).is_err(), "beyond the end");
    };
    assert!(found(cut));
}

/// The hook sees every call before it happens, and its own calls are neither watched nor counted.
#[test]
fn a_watch_sees_each_call_first_and_not_its_own() {
    let disk = disk();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_inside = Arc::clone(&seen);
    disk.watch(move |disk, call| {
        assert_eq!(disk.kind(&call.path).unwrap(), None, "{call:?}");
        seen_inside.lock().push(call.clone());
        if call.number == 1 {
            disk.unwatch();
        }
    });
    for name in ["/a", "/b", "/c"] {
        created(&disk, name);
    }
    let seen: Vec<_> = seen.lock().iter().map(|call| (call.number, call.kind)).collect();
    assert_eq!(seen, [(0, CallKind::CreateNew), (1, CallKind::CreateNew)]);
    assert_eq!(disk.calls(), 3);
}

/// Faults hit the calls they name, after those that pass, so many times.
#[test]
fn faults_are_exact() {
    let disk = disk();
    let (log, other) = (created(&disk, "/0.log"), created(&disk, "/other"));
    let name = Some(".log".to_owned());
    disk.fail(Fault { on: CallKind::Write, name, after: 1, times: 2, errno: EIO });
    let wrote: Vec<_> = (0..5).map(|_| log.write_all_at(0, b"x").is_ok()).collect();
    assert_eq!(wrote, [true, false, false, true, true]);
    disk.fail(Fault { on: CallKind::Write, name: None, after: 0, times: u64::MAX, errno: EIO });
    assert!(other.write_all_at(0, b"x").is_err() && log.read_at(0, &mut [0]).is_ok());
    disk.clear_faults();
    other.write_all_at(0, b"x").unwrap();
}

/// M13: locks, handles and maps go with the process; the lock goes once, whoever holds it then.
#[test]
fn locks_are_held_until_they_are_given_back() {
    let disk = disk();
    let root = path("/");
    let first = disk.lock(root).unwrap().unwrap();
    assert!(disk.lock(root).unwrap().is_none());
    assert!(disk.kill().lock(root).unwrap().is_some());
    assert!(disk.power_cut(Keep::None).lock(root).unwrap().is_some());
    first.unlock();
    let second = disk.lock(root).unwrap();
    assert!(second.is_some());
    drop(first);
    assert!(disk.lock(root).unwrap().is_none(), "it was given back before");
    drop(second);
    assert!(disk.lock(root).unwrap().is_some());
}

/// Damage goes into the cache and onto the device; images tell states apart by what they hold.
#[test]
fn files_are_put_past_everything() {
    let disk = disk();
    disk.set_space(Some(0));
    disk.write_file("/a/b/f", b"one");
    let cut = disk.power_cut(Keep::None);
    assert_eq!(cut.read_file("/a/b/f").unwrap(), b"one");
    assert_eq!(disk.read_device("/a/b/../b/f").unwrap(), b"one");
    assert_eq!(disk.image(), cut.image());
    disk.write_file("/a/b/f", b"two");
    assert_ne!(disk.image(), cut.image());
    disk.write_file("/a/b/f", b"one");
    assert_eq!(disk.image(), cut.image());
    assert!(disk.remove_file("/a/b/f") && !disk.remove_file("/a/b/f"));
    assert_eq!(disk.power_cut(Keep::None).file_names("/a/b"), Vec::<String>::new());
    assert_eq!(disk.file_names("/"), ["a"]);
    assert!(disk.state().is_dir(ROOT));
}
