//! A simulated disk: one machine with one filesystem in memory, whose power can be cut at any call.
//!
//! For tests of forebay and of what is built on it; **not covered by semantic versioning**. A log
//! is opened on it by [`LogOptions::open_on`](crate::LogOptions::open_on); everything it does then
//! goes through the disk, in both ways of I/O, clocks and chance included. A disk is deterministic
//! from its [`Profile`] as long as one thread uses it.
//!
//! A change is *loose* from its call until a sync that covers it has ended: [`Disk::power_cut`]
//! keeps any part of the loose pieces, as [`Keep`] says. Pieces are the sectors of a write; for a
//! store through a map each page it touches, once half stored and once whole; a change of a
//! file's length or of its reserved blocks; a name made or removed, or the two of a rename.
//! [`Disk::kill`] ends the process alone: the cache stays.
//!
//! A sync may cover a file, by a descriptor or a map of it, the names of a directory, or the whole
//! filesystem. The last fails as well if anything at all could not be written since its caller
//! locked the directory, or before if nobody was told by such a sync, as Linux does since 5.8. A
//! file or directory is renamed inside its directory only.
//!
//! Where the log does what a real machine answers with a signal, as a store to a page of a map that
//! was not populated, the disk panics.
//!
//! # Examples
//! Whatever a power cut takes, what was flushed is there:
//! ```
//! use forebay::{Log, simulation::{Disk, Keep, Profile}};
//! let disk = Disk::new(Profile::default());
//! let log = Log::options().open_on(&disk, "/log")?;
//! log.append("kept")?;
//! log.flush()?;
//! log.append("may be lost")?;
//! for seed in 0..100 {
//!     let next_boot = disk.power_cut(Keep::Seed(seed));
//!     let log = Log::options().open_on(&next_boot, "/log")?;
//!     assert!(log.log_end_offset().get() >= 1);
//! }
//! # Ok::<(), forebay::Error>(())
//! ```
//!
//! Floor 1.
#![allow(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "for tests, which write them out; not covered by semantic versioning"
)]

mod chance;
mod content;
mod cut;
mod dirs;
mod disk;
mod memory;
mod names;
mod remote;
mod state;
mod storage;
mod watch;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use state::State;
use watch::Watch;

use crate::sys::sync::Mutex;

/// A simulated machine with one filesystem. A clone is another handle on the same one.
///
/// # Examples
/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Disk(Arc<Machine>);

#[derive(Debug)]
struct Machine {
    state: Mutex<State>,
    watch: Watch,
}

/// What kind of disk it is.
///
/// # Examples
/// ```
/// use forebay::simulation::{Disk, Names, Profile, Torn};
/// let card = Profile { torn: Torn::Overwrite { bytes: 64 << 10 }, ..Profile::default() };
/// let ext4 = Profile { names: Names::Journal, seed: 7, ..Profile::default() };
/// assert_eq!(Disk::new(card).loose() + Disk::new(ext4).loose(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// When names survive a power cut.
    pub names: Names,
    /// What the device writes whole or not at all: a power of two from 512 to 4096.
    pub sector_bytes: usize,
    /// What a write leaves that was under way at the cut.
    pub torn: Torn,
    /// New blocks that nothing was written to may show what deleted files held, after a cut with
    /// [`Keep::Seed`]; else they read as zeros.
    pub stale: bool,
    /// Where [`Disk`] takes its chance from: ids of logs, the number of the boot.
    pub seed: u64,
}

impl Default for Profile {
    fn default() -> Profile {
        let (names, torn) = (Names::Strict, Torn::PowerSafe);
        Profile { names, sector_bytes: 512, torn, stale: false, seed: 0 }
    }
}

/// When names survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// After a sync of their directory; before it, any of them.
    Strict,
    /// After a sync of any file or directory; before it, those made first.
    Journal,
}

/// What a write leaves that was under way at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// Each sector old or new.
    PowerSafe,
    /// With [`Keep::Seed`], the flash pages of this many bytes (a multiple of the sector) that were
    /// being written: each of their sectors old, new, zeros, ones or random, also those that were
    /// synced. Such a disk cannot be mapped.
    Overwrite {
        /// How large a flash page is.
        bytes: usize,
    },
}

/// Which loose pieces a power cut keeps; they are counted in the order they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None of them.
    None,
    /// All of them.
    All,
    /// Piece `i` if bit `i` is set; those from 64 on if bit 63 is.
    Mask(u64),
    /// Some of them, some pages in part, and whatever else the profile lets happen, by this seed.
    Seed(u64),
    /// The first ones, so many.
    Prefix(usize),
    /// This one.
    Only(usize),
    /// All but this one.
    AllBut(usize),
}

/// One call to the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// How many calls came before it.
    pub number: u64,
    /// What it does.
    pub kind: CallKind,
    /// The file or directory, by the name it got last; of a rename the new name. Empty for clocks
    /// and chance.
    pub path: PathBuf,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// Makes a directory.
    CreateDir,
    /// Removes an empty directory.
    RemoveDir,
    /// Makes a file.
    CreateNew,
    /// Opens a file.
    Open,
    /// Asks what a name stands for, how long a file is, or where a directory lies.
    Look,
    /// Lists a directory.
    List,
    /// Renames a file or a directory.
    Rename,
    /// Gives a file another name.
    Link,
    /// Removes a name.
    Unlink,
    /// Locks a directory, alone or with others.
    Lock,
    /// Reads by position.
    Read,
    /// Writes by position.
    Write,
    /// Cuts or grows a file.
    SetLen,
    /// Reserves blocks.
    Allocate,
    /// Begins to write out without waiting.
    WriteOut,
    /// Syncs a file, by a descriptor or through a map.
    SyncFile,
    /// Syncs a directory.
    SyncDir,
    /// Syncs everything there is.
    SyncFilesystem,
    /// Maps a file for reading.
    MapRead,
    /// Maps a file for writing.
    MapWrite,
    /// Makes pages of a map ready for stores.
    Populate,
    /// Reads a clock.
    Clock,
    /// Asks for random bytes.
    Random,
}

/// A call that fails.
///
/// # Examples
/// The second sync of a segment meets an I/O error, and what it covered never reaches the device:
/// ```
/// use forebay::{Log, simulation::{CallKind, Disk, Fault, Keep, Profile}};
/// let disk = Disk::new(Profile::default());
/// let log = Log::options().open_on(&disk, "/log")?;
/// log.append("kept")?;
/// log.flush()?;
/// let name = Some(".log".to_owned());
/// disk.fail(Fault { on: CallKind::SyncFile, name, after: 0, times: 1, errno: 5 });
/// log.append("lost")?;
/// assert!(log.flush().is_err());
/// let log = Log::options().open_on(&disk.power_cut(Keep::All), "/log")?;
/// assert_eq!(log.log_end_offset().get(), 1);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which calls. A clock does not fail.
    pub on: CallKind,
    /// Only on files and directories whose name contains this.
    pub name: Option<String>,
    /// How many of these calls pass before.
    pub after: u64,
    /// How many fail then.
    pub times: u64,
    /// The system's number for the error.
    pub errno: i32,
}

/// Syncs that only claim to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// Of segments that are not mapped for writing.
    Segments,
    /// Of files that are mapped for writing.
    Maps,
    /// Of directories.
    Directories,
    /// Of checkpoints.
    Checkpoint,
    /// Of everything.
    All,
}
