//! How much of the disk the files of one directory take, and may take.
//!
//! Floor 3. A file's blocks are taken before it grows and given back after it shrank or went, so
//! that the disk never holds more than is counted here. A log's space may lie in a store's.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::Event;
use crate::sys::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::sys::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::words::error::Error;
use crate::words::limits;

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Log,
    Store,
}

/// What space is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// What is appended: leaves the reserve alone, and what is spared for copies.
    Records,
    /// What a compaction writes before what it replaces goes: leaves the reserve alone.
    Copy,
    /// The checkpoint, indexes, what recovery needs: may take the reserve.
    Upkeep,
}

/// A bound, and what is taken of it; in bytes of whole blocks.
#[derive(Debug)]
pub(crate) struct Space {
    level: Level,
    /// Below zero where files go that were never counted: then it is no measure of anything.
    used: AtomicI64,
    /// Of these, what files take that have no name any more.
    pinned: AtomicU64,
    /// The same, until what they took can be seen to be given back.
    held: AtomicU64,
    limit: AtomicU64,
    reserve: AtomicU64,
    /// Kept back for copies.
    spare: AtomicU64,
    /// The space that this one lies in.
    above: Option<Arc<Space>>,
    /// Something was given back.
    freed: Event,
    /// How often room was made: segments went.
    rooms: AtomicU64,
    /// Held for reading while bytes are taken or given, and for writing while all are counted anew.
    moving: RwLock<()>,
}

impl Space {
    /// Without a bound, nothing taken.
    pub(crate) fn new(level: Level, above: Option<Arc<Space>>) -> Space {
        Space {
            level,
            used: AtomicI64::new(0),
            pinned: AtomicU64::new(0),
            held: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            reserve: AtomicU64::new(0),
            spare: AtomicU64::new(0),
            above,
            freed: Event::default(),
            rooms: AtomicU64::new(0),
            moving: RwLock::new(()),
        }
    }

    /// Bounds it from now on, with so much of that kept back from records. What is above the bound
    /// already stays.
    pub(crate) fn set_limit(&self, limit: Option<u64>, reserve: u64) {
        self.set_limits(limit, reserve, 0);
    }

    /// [`Space::set_limit`], with so much more kept back that copies may take.
    pub(crate) fn set_limits(&self, limit: Option<u64>, reserve: u64, spare: u64) {
        self.reserve.store(reserve, Ordering::Relaxed);
        self.spare.store(spare, Ordering::Relaxed);
        self.limit.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.freed.announce();
    }

    /// The bound, if there is one.
    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != u64::MAX)
    }

    /// What of the bound is kept back from records.
    pub(crate) fn reserve(&self) -> u64 {
        self.reserve.load(Ordering::Relaxed)
    }

    /// For who takes or gives, and notes it elsewhere too: both before or after a new count.
    pub(crate) fn moving(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read()
    }

    /// Until this is dropped, nothing is taken or given.
    pub(crate) fn still(&self) -> RwLockWriteGuard<'_, ()> {
        self.moving.write()
    }

    /// Bytes that are taken.
    pub(crate) fn used(&self) -> u64 {
        u64::try_from(self.used.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Of these, what files take that have no name any more: somebody has them open.
    pub(crate) fn pinned(&self) -> u64 {
        self.pinned.load(Ordering::Relaxed)
    }

    /// Bytes that files with a name take.
    pub(crate) fn named(&self) -> u64 {
        self.used().saturating_sub(self.pinned())
    }

    /// A file that takes so much has no name any more.
    pub(crate) fn pin(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.pinned.fetch_add(bytes, Ordering::Relaxed);
        if let Some(above) = &self.above {
            above.pin(bytes);
        }
    }

    /// Gives back what such a file took.
    pub(crate) fn give_pinned(&self, bytes: u64) {
        let mut space = Some(self);
        while let Some(one) = space {
            one.pinned.fetch_sub(bytes, Ordering::Relaxed);
            space = one.above.as_deref();
        }
        self.give(bytes);
        // The last of all: who sees that nothing is held finds what was given back.
        let mut space = Some(self);
        while let Some(one) = space {
            one.held.fetch_sub(bytes, Ordering::Release);
            space = one.above.as_deref();
        }
    }

    /// Says how much is really taken; the space above learns the difference.
    pub(crate) fn settle(&self, actual: u64) {
        let actual = i64::try_from(actual).unwrap_or(i64::MAX);
        let before = self.used.swap(actual, Ordering::Relaxed);
        if let Some(above) = &self.above {
            above.used.fetch_add(actual - before, Ordering::Relaxed);
        }
        self.freed.announce();
    }

    /// Begins with what is known to be taken, and counted above already.
    pub(crate) fn begin_with(&self, used: u64) {
        self.used.store(i64::try_from(used).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Takes bytes, or says whose budget has no room for them.
    pub(crate) fn take(&self, bytes: u64, purpose: Use) -> io::Result<()> {
        let limit = self.limit.load(Ordering::Relaxed);
        let (reserve, spare) = (&self.reserve, &self.spare);
        let reserve = match purpose {
            Use::Records => reserve.load(Ordering::Relaxed) + spare.load(Ordering::Relaxed),
            Use::Copy => reserve.load(Ordering::Relaxed),
            Use::Upkeep => 0,
        };
        let most = i64::try_from(limit.saturating_sub(reserve)).unwrap_or(i64::MAX);
        let wanted = i64::try_from(bytes).unwrap_or(i64::MAX);
        // Before it looks: what is made behind the look has to be told from what was there.
        let (rooms, held) = (self.rooms(), self.held.load(Ordering::Acquire));
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let then = used.checked_add(wanted)?;
            (then <= most).then_some(then)
        });
        if let Err(used) = taken {
            let over = OverBudget { level: self.level, limit, reserve, used, wanted, rooms, held };
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, over));
        }
        match &self.above {
            Some(above) => above.take(bytes, purpose).inspect_err(|_| {
                self.used.fetch_sub(wanted, Ordering::Relaxed);
            }),
            None => Ok(()),
        }
    }

    /// Gives bytes back.
    pub(crate) fn give(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.used.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        // Whoever waits holds no lock while it looks for room: it must not count itself in behind
        // a look at how many wait.
        self.freed.announce();
        if let Some(above) = &self.above {
            above.give(bytes);
        }
    }

    /// Takes note that segments went to make room, once what they took is given back.
    pub(crate) fn room_was_made(&self) {
        self.rooms.fetch_add(1, Ordering::AcqRel);
        if let Some(above) = &self.above {
            above.room_was_made();
        }
    }

    /// How often that was.
    pub(crate) fn rooms(&self) -> u64 {
        self.rooms.load(Ordering::Acquire)
    }

    /// Whether room was made since a budget, this one or that above, refused what failed with this
    /// error: then to look again comes before making more.
    pub(crate) fn has_made_room_since(&self, error: &Error) -> bool {
        let Some(over) = refusal(error) else { return false };
        let mut spaces = std::iter::successors(Some(self), |one| one.above.as_deref());
        let whose = spaces.find(|one| one.level == over.level);
        whose.is_some_and(|one| one.rooms() != over.rooms)
    }

    /// Whether files that had no name any more took some of the budget that refused.
    pub(crate) fn was_room_held(error: &Error) -> bool {
        refusal(error).is_some_and(|over| over.held > 0)
    }

    /// To be read before looking for room, for [`Space::wait_since`].
    pub(crate) fn generation(&self) -> u32 {
        self.freed.generation()
    }

    /// Waits until something was given back since `seen` was read, at most so long; whether
    /// that went by without it.
    pub(crate) fn wait_since(&self, seen: u32, most: Duration) -> bool {
        self.freed.wait(seen, Some(most))
    }
}

/// What a file of this length takes at most: its whole blocks, and those in which the filesystem
/// keeps where they lie. On a fragmented ext4 or xfs each block may lie elsewhere; four places are
/// told by the inode itself, so many more by a block.
pub(crate) fn blocks(length: u64) -> u64 {
    let data = length.div_ceil(limits::BLOCK_BYTES);
    let maps = match data {
        ..=limits::BLOCKS_IN_INODE => 0,
        _ => data.div_ceil(limits::BLOCKS_IN_MAP),
    };
    // Where these are more than the inode can tell, one more tells where they lie.
    let top = u64::from(maps > limits::BLOCKS_IN_INODE);
    data.saturating_add(maps + top).saturating_mul(limits::BLOCK_BYTES)
}

/// A budget has no room.
#[derive(Debug)]
struct OverBudget {
    level: Level,
    limit: u64,
    reserve: u64,
    used: i64,
    wanted: i64,
    /// How often room had been made by then.
    rooms: u64,
    /// What was taken by files that had no name any more.
    held: u64,
}

impl std::error::Error for OverBudget {}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.level {
            Level::Log => "log",
            Level::Store => "store",
        };
        let OverBudget { limit, used, wanted, .. } = self;
        write!(f, "the budget of the {whose}, {limit} bytes, has {used} taken")?;
        if self.reserve > 0 {
            write!(f, " and {} in reserve", self.reserve)?;
        }
        write!(f, ", {wanted} more are wanted")
    }
}

/// Whose budget refused what failed with this error; `None` if none did.
pub(crate) fn over_budget(error: &Error) -> Option<Level> {
    refusal(error).map(|over| over.level)
}

fn refusal(error: &Error) -> Option<&OverBudget> {
    let source = error.source()?.downcast_ref::<io::Error>()?;
    source.get_ref()?.downcast_ref::<OverBudget>()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_space_is_never_taken_beyond_its_bound_nor_beyond_that_of_the_one_above() {
        let store = Arc::new(Space::new(Level::Store, None));
        store.set_limit(Some(100), 10);
        let (a, b) = (
            Space::new(Level::Log, Some(Arc::clone(&store))),
            Space::new(Level::Log, Some(Arc::clone(&store))),
        );
        a.set_limit(Some(60), 0);
        assert!(a.take(60, Use::Records).is_ok());
        let own = a.take(1, Use::Records).unwrap_err();
        let own = Error::io("x", Path::new("/"), own);
        assert_eq!(over_budget(&own), Some(Level::Log));
        assert!(b.take(30, Use::Records).is_ok());
        let above = Error::io("x", Path::new("/"), b.take(1, Use::Records).unwrap_err());
        assert_eq!(over_budget(&above), Some(Level::Store));
        assert!(above.to_string().contains("100 bytes, has 90 taken and 10 in reserve"), "{above}");
        assert!(b.take(10, Use::Upkeep).is_ok(), "the reserve is there for upkeep");
        assert_eq!((a.used(), b.used(), store.used()), (60, 40, 100));
        b.give(40);
        a.settle(20);
        assert_eq!((a.used(), b.used(), store.used()), (20, 0, 20));
        let device = Error::io("x", Path::new("/"), io::Error::from_raw_os_error(28));
        assert_eq!(over_budget(&device), None);
    }

    #[test]
    fn lengths_count_in_whole_blocks() {
        assert_eq!([0, 1, 4096, 4097].map(blocks), [0, 4096, 4096, 8192]);
        // With the blocks that say where they lie, from the fifth on.
        let counted = |count: u64| blocks(count * 4096) / 4096;
        assert_eq!([4, 5, 16, 340, 341].map(counted), [4, 6, 17, 341, 343]);
        assert_eq!([1360, 1361, 4096].map(counted), [1364, 1367, 4110]);
        assert!(blocks(u64::MAX) > u64::MAX / 2);
    }
}
