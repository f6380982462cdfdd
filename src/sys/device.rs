//! What kind of device a directory lies on.
//!
//! Floor 2. By sysfs: flash behind a simple controller may lose the neighbours of a sector that is
//! being rewritten when the power goes. `removable` is not asked: many card slots say 0.

use std::fs;
use std::path::{Path, PathBuf};

/// How deep device mappers are looked through.
const LAYERS_MAX: u32 = 4;

/// What the device is, if it may tear what it rewrites; `None` also where nothing is known.
pub(super) fn tearing(dir: &Path) -> Option<&'static str> {
    look(&entry(dir)?, LAYERS_MAX)
}

/// What was written to the device since the kernel started. The row is that of the partition, or of
/// the mapper, that the directory lies on: what others write beside it on the disk does not count.
pub(super) fn bytes_written(dir: &Path) -> Option<u64> {
    written_in(&fs::read_to_string(entry(dir)?.join("stat")).ok()?)
}

/// The seventh number counts sectors written, of 512 bytes whatever the device's own are.
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

    use super::{LAYERS_MAX, bytes_written, entry, look, written_in};

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
