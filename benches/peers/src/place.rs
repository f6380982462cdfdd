//! Where it all happens: one directory on a filesystem that keeps what it is given.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::measure::CELL_BYTES;
use crate::peer::Outcome;

/// What a few cells dirty.
const WARM_BYTES: usize = 8 * CELL_BYTES;

const TMPFS: u32 = 0x0102_1994;
const FILESYSTEMS: [(u32, &str); 4] = [
    (0xEF53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (TMPFS, "tmpfs: syncs do nothing here, durable rows are worthless"),
];

/// The directory of one run; it goes away with its content.
pub(crate) struct Place {
    base: PathBuf,
    /// A child works in its parent's directory.
    borrowed: bool,
}

impl Place {
    pub(crate) fn make(asked: Option<&Path>, is_child: bool) -> Outcome<Place> {
        let base = match asked {
            Some(dir) if is_child => dir.to_owned(),
            Some(dir) => dir.join(format!("peers-{}", std::process::id())),
            None => {
                let program = std::env::current_exe()?;
                let beside = program.parent().ok_or("the program has no directory")?;
                beside.join(format!("peers-data-{}", std::process::id()))
            }
        };
        fs::create_dir_all(&base)?;
        let base = base.canonicalize()?;
        Ok(Place { base, borrowed: is_child })
    }

    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// An empty directory in it.
    pub(crate) fn empty_dir(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.base.join(name);
        remove(&dir)?;
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    pub(crate) fn filesystem(&self) -> String {
        let Ok(found) = statfs(&self.base) else { return "unknown".to_owned() };
        let magic = u32::try_from(found.f_type).unwrap_or(0);
        let known = FILESYSTEMS.iter().find(|(number, _)| *number == magic);
        known.map_or(format!("{magic:#x}"), |(_, name)| (*name).to_owned())
    }

    /// Writes and forgets a file, so that the first cells do not pay for memory that the machine
    /// has to get back from its host.
    pub(crate) fn warm_up(&self) -> Outcome {
        let path = self.base.join("warm-up");
        let mut file = File::create_new(&path)?;
        let block = vec![1; 1 << 20];
        for _ in 0..WARM_BYTES / block.len() {
            file.write_all(&block)?;
        }
        file.set_len(0)?;
        Ok(fs::remove_file(&path)?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.borrowed {
            // What is left of it the reader of a failure may want; it is named by the process.
            let _ = remove(&self.base);
        }
    }
}

/// Removes a directory. Its files are emptied first: some peers keep maps of them for good, and
/// their pages would go on being written.
pub(crate) fn remove(dir: &Path) -> Outcome {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            remove(&path)?;
        } else if let Ok(file) = File::options().write(true).open(&path) {
            file.set_len(0)?;
        }
    }
    Ok(fs::remove_dir_all(dir)?)
}
