//! What kind of device a directory lies on.
//!
//! Floor 1. By sysfs: flash behind a simple controller may lose the neighbours of a sector that is
//! being rewritten when the power goes. `removable` is not asked: many card slots say 0.

use std::fs;
use std::path::{Path, PathBuf};

/// How deep device mappers are looked through.
const LAYERS_MAX: u32 = 4;

/// What the device is, if it may tear what it rewrites; `None` also where nothing is known.
pub(super) fn tearing(dir: &Path) -> Option<&'static str> {
    look(&entry(dir)?, LAYERS_MAX)
}

/// A number for the device and the board, by what their makers call them: a card has an id, a disk
/// a serial number, and so have the boards that tell it to everybody. A copy of what is on the
/// device does not take it along.
#[cfg(any(test, feature = "replicator"))]
pub(super) fn hardware(dir: &Path) -> Option<u64> {
    let mut names = Vec::new();
    if let Some(entry) = entry(dir) {
        name_device(&entry, LAYERS_MAX, &mut names);
    }
    names.extend(read_name(Path::new("/sys/firmware/devicetree/base/serial-number")));
    number_of(&names)
}

/// FNV-1a: two devices that share a number are no worse off than without one.
#[cfg(any(test, feature = "replicator"))]
fn number_of(names: &[Vec<u8>]) -> Option<u64> {
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = names.iter().flat_map(|name| name.iter().chain([&0]));
    (!names.is_empty()).then(|| bytes.fold(0xcbf2_9ce4_8422_2325, hash))
}

/// A card's id, a disk's world-wide id or serial number: the first that is there.
#[cfg(any(test, feature = "replicator"))]
fn name_device(entry: &Path, layers: u32, names: &mut Vec<Vec<u8>>) {
    let Ok(place) = fs::canonicalize(entry) else { return };
    for disk in [Some(&*place), place.parent()].into_iter().flatten() {
        for name in ["device/cid", "wwid", "device/wwid", "device/serial", "serial"] {
            if let Some(name) = read_name(&disk.join(name)) {
                return names.push(name);
            }
        }
    }
    let (Some(layers), Ok(below)) = (layers.checked_sub(1), fs::read_dir(place.join("slaves")))
    else {
        return;
    };
    let mut below: Vec<_> = below.flatten().map(|slave| slave.path()).collect();
    below.sort();
    below.iter().for_each(|slave| name_device(slave, layers, names));
}

#[cfg(any(test, feature = "replicator"))]
fn read_name(path: &Path) -> Option<Vec<u8>> {
    let name = fs::read(path).ok()?;
    let name = name.trim_ascii();
    (!name.is_empty()).then(|| name.to_vec())
}

/// What was written to the device since the kernel started. The row is that of the partition, or of
/// the mapper, that the directory lies on: what others write beside it on the disk does not count.
#[allow(dead_code, reason = "as the method of the trait")]
pub(super) fn bytes_written(dir: &Path) -> Option<u64> {
    written_in(&fs::read_to_string(entry(dir)?.join("stat")).ok()?)
}

/// The seventh number counts sectors written, of 512 bytes whatever the device's own are.
#[allow(dead_code, reason = "as the method of the trait")]
fn written_in(counters: &str) -> Option<u64> {
    let sectors: u64 = counters.split_ascii_whitespace().nth(6)?.parse().ok()?;
    sectors.checked_mul(512)
}

/// Where sysfs tells of the block device of a directory. Some filesystems have none of their own:
/// then nothing is there.
fn entry(dir: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;

    let device = fs::metadata(dir).ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    Some(Path::new("/sys/dev/block").join(format!("{major}:{minor}")))
}

fn look(entry: &Path, layers: u32) -> Option<&'static str> {
    let place = fs::canonicalize(entry).ok()?;
    let on_usb = place
        .components()
        .any(|part| part.as_os_str().to_str().is_some_and(|name| name.starts_with("usb")));
    if on_usb {
        return Some("the device hangs on USB");
    }
    // A partition lies in the folder of its disk, which alone has `device`.
    let kind = [Some(&*place), place.parent()]
        .into_iter()
        .flatten()
        .find_map(|disk| fs::read_to_string(disk.join("device/type")).ok());
    if kind.is_some_and(|kind| kind.trim() == "SD") {
        return Some("the device is an SD card");
    }
    let layers = layers.checked_sub(1)?;
    let below = fs::read_dir(place.join("slaves")).ok()?;
    below.flatten().find_map(|slave| look(&slave.path(), layers))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{
        LAYERS_MAX, bytes_written, entry, hardware, look, name_device, number_of, written_in,
    };

    #[test]
    fn cards_and_sticks_are_known_also_behind_partitions_and_mappers() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path();
        let disk = |path: &str, kind: Option<&str>| {
            fs::create_dir_all(root.join(path).join("device")).unwrap();
            if let Some(kind) = kind {
                fs::write(root.join(path).join("device/type"), kind).unwrap();
            }
        };
        disk("mmc_host/mmc0/block/mmcblk0", Some("SD\n"));
        disk("mmc_host/mmc1/block/mmcblk1", Some("MMC\n"));
        disk("pci/usb1/1-1/block/sda", Some("0\n"));
        disk("pci/ata1/block/sdb", Some("0\n"));
        let partition = "mmc_host/mmc0/block/mmcblk0/mmcblk0p2";
        fs::create_dir(root.join(partition)).unwrap();
        fs::create_dir_all(root.join("virtual/dm-0/slaves")).unwrap();
        symlink(root.join(partition), root.join("virtual/dm-0/slaves/mmcblk0p2")).unwrap();
        fs::create_dir_all(root.join("virtual/dm-1/slaves")).unwrap();
        symlink(root.join("virtual/dm-1"), root.join("virtual/dm-1/slaves/dm-1")).unwrap();
        let found = |path: &str| look(&root.join(path), LAYERS_MAX);
        let card = Some("the device is an SD card");
        assert_eq!(found("mmc_host/mmc0/block/mmcblk0"), card);
        assert_eq!(found(partition), card);
        assert_eq!(found("virtual/dm-0"), card);
        assert_eq!(found("mmc_host/mmc1/block/mmcblk1"), None, "eMMC rewrites safely");
        assert_eq!(found("pci/usb1/1-1/block/sda"), Some("the device hangs on USB"));
        assert_eq!(found("pci/ata1/block/sdb"), None);
        assert_eq!(found("virtual/dm-1"), None, "a loop of mappers ends");
        assert_eq!(found("nothing"), None);
    }

    #[test]
    fn a_device_is_known_by_its_makers_name_also_behind_partitions_and_mappers() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path();
        let disk = |path: &str, name: &str, value: &str| {
            let file = root.join(path).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, value).unwrap();
        };
        disk("mmc0/mmcblk0", "device/cid", "1b534d45\n");
        disk("mmc0/mmcblk0", "device/serial", "0x1234\n");
        disk("mmc1/mmcblk1", "device/cid", "1b534d46\n");
        disk("virtio/vda", "serial", "\n");
        fs::create_dir(root.join("mmc0/mmcblk0/mmcblk0p2")).unwrap();
        fs::create_dir_all(root.join("virtual/dm-0/slaves")).unwrap();
        symlink(root.join("mmc0/mmcblk0/mmcblk0p2"), root.join("virtual/dm-0/slaves/a")).unwrap();
        symlink(root.join("virtual/dm-0"), root.join("virtual/dm-0/slaves/b")).unwrap();
        let names = |path: &str| {
            let mut names = Vec::new();
            name_device(&root.join(path), LAYERS_MAX, &mut names);
            names
        };
        let card = [b"1b534d45".to_vec()];
        assert_eq!(names("mmc0/mmcblk0"), card);
        assert_eq!(names("mmc0/mmcblk0/mmcblk0p2"), card);
        assert_eq!(names("virtual/dm-0")[0], card[0], "and a loop of mappers ends");
        assert_eq!(names("virtio/vda"), Vec::<Vec<u8>>::new());
        assert_eq!(number_of(&[]), None);
        assert_ne!(number_of(&names("mmc0/mmcblk0")), number_of(&names("mmc1/mmcblk1")));
        assert_eq!(hardware(root), hardware(&root.join("mmc0")), "it stays the same");
    }

    #[test]
    fn bytes_written_are_the_seventh_counter_in_units_of_512() {
        let counters = "  1 2 3 4 5 6 70 8 9 10 11 12 13 14 15 16 17\n";
        assert_eq!(written_in(counters), Some(70 * 512));
        assert_eq!(written_in("1 2 3 4 5 6"), None);
        assert_eq!(written_in("1 2 3 4 5 6 x 8"), None);
        assert_eq!(written_in(&format!("1 2 3 4 5 6 {} 8", u64::MAX)), None);
    }

    /// What was written and synced here shows in the counter of this very device, where it has one.
    #[test]
    fn what_is_synced_is_counted_by_the_device_below() {
        let exe = std::env::current_exe().unwrap();
        let tmp = tempfile::tempdir_in(exe.parent().unwrap()).unwrap();
        let before = bytes_written(tmp.path());
        assert_eq!(before.is_some(), entry(tmp.path()).unwrap().exists());
        let file = fs::File::create(tmp.path().join("file")).unwrap();
        std::io::Write::write_all(&mut &file, &[1; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        let after = bytes_written(tmp.path());
        assert_eq!(before.is_some(), after.is_some());
        assert!(before.is_none_or(|before| after >= Some(before + (1 << 20))));
        assert_eq!(bytes_written(std::path::Path::new("/proc")), None);
    }
}
