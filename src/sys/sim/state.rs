//! The state of a simulated machine: its files as the cache has them and as the device is known to
//! have them, and the changes in between that are loose.
//!
//! Floor 1. Everything here runs under the one lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::chance::Chance;
use super::content::{Content, PAGE, pages, parts};
use super::dirs::Held;
use super::memory::Memory;
use super::names::{Edit, Tree};
use super::{Call, Fault, Ignored, Keep, Names, Profile};

pub(super) const EINVAL: i32 = 22;
pub(super) const ENOSPC: i32 = 28;
const EBADF: i32 = 9;
const EFAULT: i32 = 14;

/// The root directory's inode.
pub(super) const ROOT: u64 = 1;

/// Contents of deleted files that are kept to show up again in new blocks.
const DELETED_MAX: usize = 16;

pub(super) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// One file or directory.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) directory: bool,
    /// The name it got last, for those who watch.
    pub(super) path: Arc<Path>,
    /// Names it has in the cache.
    pub(super) links: usize,
    /// What reads see.
    pub(super) cache: Arc<Content>,
    /// What reads saw when the last of its changes stopped being loose: where replaying the loose
    /// ones begins.
    pub(super) base: Arc<Content>,
    /// What the device is known to have.
    pub(super) device: Arc<Content>,
    pub(super) opens: usize,
    pub(super) maps: Vec<Mapped>,
    /// Pages that the next sync has to write.
    pub(super) dirty: BTreeSet<usize>,
    /// A sync failed: the device lacks more of the cache than what is loose.
    pub(super) diverged: bool,
    /// Pages whose first write the device refused: their blocks stay marked as never written, and
    /// read as zeros after a power cut, whatever is written to them in this boot.
    pub(super) refused: BTreeSet<usize>,
    /// No name, no handle, no map: only a power cut can bring it back.
    pub(super) gone: bool,
}

/// One map of a file.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    pub(super) id: u64,
    pub(super) memory: Arc<Memory>,
    pub(super) writable: bool,
    /// By page: a store raises no signal.
    pub(super) populated: Vec<bool>,
}

impl Inode {
    pub(super) fn new(directory: bool, path: &Path) -> Inode {
        Inode::holding(directory, path.into(), Arc::default())
    }

    /// A file that the device has, with one name.
    pub(super) fn holding(directory: bool, path: Arc<Path>, content: Arc<Content>) -> Inode {
        Inode {
            directory,
            path,
            links: 1,
            cache: Arc::clone(&content),
            base: Arc::clone(&content),
            device: content,
            opens: 0,
            maps: Vec::new(),
            dirty: BTreeSet::new(),
            diverged: false,
            refused: BTreeSet::new(),
            gone: false,
        }
    }

    fn is_unused(&self) -> bool {
        self.links == 0 && self.opens == 0 && self.maps.is_empty()
    }

    /// Shows in the maps what changed past them.
    fn mirror(&self, at: usize, bytes: &[u8], except: Option<u64>) {
        for map in self.maps.iter().filter(|map| Some(map.id) != except) {
            map.memory.put(at, bytes);
        }
    }
}

/// What a power cut keeps or loses on its own.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Part of a write; the sector or page it lies in reaches the device as the cache had it then.
    Bytes {
        inode: u64,
        at: usize,
        bytes: Vec<u8>,
        unit: usize,
    },
    Length {
        inode: u64,
        length: usize,
    },
    Reserved {
        inode: u64,
        pages: Range<usize>,
        length: usize,
    },
    /// Names that change together: one name, or the two of a rename.
    Names(Vec<Edit>),
}

impl Change {
    pub(super) fn inode(&self) -> Option<u64> {
        match self {
            Change::Bytes { inode, .. }
            | Change::Length { inode, .. }
            | Change::Reserved { inode, .. } => Some(*inode),
            Change::Names(_) => None,
        }
    }
}

/// The three clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) mono: Duration,
    pub(super) boot: Duration,
    pub(super) wall_millis: i64,
    /// What is left of the wall's milliseconds.
    pub(super) wall_rest: Duration,
    pub(super) synchronised: bool,
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) profile: Profile,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) names: Tree,
    pub(super) device_names: Tree,
    /// Loose, in the order they were made.
    pub(super) changes: Vec<Change>,
    pub(super) next_number: u64,
    pub(super) chance: Chance,
    pub(super) boot: u64,
    pub(super) clocks: Clocks,
    pub(super) calls: u64,
    /// Pages that syncs of files have written.
    pub(super) synced_pages: u64,
    /// The same by processes before this one, since the boot.
    pub(super) synced_before: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) ignored: BTreeSet<Ignored>,
    /// Blocks that are left; `None` without a bound.
    pub(super) free: Option<u64>,
    pub(super) descriptors: Option<usize>,
    pub(super) open: usize,
    pub(super) maps_fail: bool,
    pub(super) unmappable: bool,
    pub(super) locks: BTreeMap<u64, Held>,
    /// How often something could not be written, and the last errno of it.
    pub(super) unwritten: (u64, i32),
    /// Up to which of these somebody who synced the whole filesystem was told.
    pub(super) unwritten_told: u64,
    pub(super) deleted: VecDeque<Arc<Content>>,
    pub(super) hardware: Option<u64>,
}

impl State {
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The error of a fault that is due.
    pub(super) fn check_faults(&mut self, call: &Call) -> io::Result<()> {
        let name = call.path.file_name().unwrap_or_default().to_string_lossy();
        for fault in &mut self.faults {
            let wanted = fault.name.as_ref().is_none_or(|part| name.contains(part.as_str()));
            if fault.on != call.kind || !wanted || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            return Err(errno(fault.errno));
        }
        Ok(())
    }

    pub(super) fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| errno(EBADF))
    }

    /// Takes blocks for the pages of a range that have none; up to where that went.
    fn take_blocks(&mut self, number: u64, range: &Range<usize>) -> io::Result<usize> {
        let mut free = self.free;
        let inode = self.inode(number)?;
        let mut end = range.end;
        for page in pages(range) {
            if inode.cache.has_block(page) {
                continue;
            }
            if free == Some(0) {
                end = (page * PAGE).max(range.start);
                break;
            }
            free = free.map(|free| free - 1);
            Arc::make_mut(&mut inode.cache).reserve(page);
        }
        self.free = free;
        Ok(end)
    }

    fn give_blocks(&mut self, count: u64) {
        self.free = self.free.map(|free| free + count);
    }

    /// Writes; on a full disk what there is room for.
    pub(super) fn write(&mut self, number: u64, at: usize, bytes: &[u8]) -> io::Result<()> {
        let range = at..at.checked_add(bytes.len()).ok_or_else(|| errno(EINVAL))?;
        let end = self.take_blocks(number, &range)?;
        let written = bytes.get(..end - at).unwrap_or_default();
        let unit = self.profile.sector_bytes;
        let inode = self.inode(number)?;
        Arc::make_mut(&mut inode.cache).put(at, written);
        inode.mirror(at, written, None);
        let grown = end > inode.cache.len() && !written.is_empty();
        if grown {
            Arc::make_mut(&mut inode.cache).set_len(end);
        }
        self.note_bytes(number, at, written, unit, |_| None);
        if grown {
            self.changes.push(Change::Length { inode: number, length: end });
        }
        if end < range.end { Err(errno(ENOSPC)) } else { Ok(()) }
    }

    /// Adds loose bytes, one piece a unit, or two where `middle` says where to split it.
    fn note_bytes(
        &mut self,
        inode: u64,
        at: usize,
        bytes: &[u8],
        unit: usize,
        middle: impl Fn(&Range<usize>) -> Option<usize>,
    ) {
        let Some(file) = self.inodes.get_mut(&inode) else { return };
        file.dirty.extend(pages(&(at..at + bytes.len())));
        for part in parts(at..at + bytes.len(), unit) {
            if file.refused.contains(&(part.start / PAGE)) {
                continue;
            }
            let split = middle(&part).unwrap_or(part.start);
            for half in [part.start..split, split..part.end] {
                let Some(bytes) = bytes.get(half.start - at..half.end - at) else { continue };
                if !bytes.is_empty() {
                    let bytes = bytes.to_vec();
                    self.changes.push(Change::Bytes { inode, at: half.start, bytes, unit });
                }
            }
        }
    }

    /// Takes in what was stored through a map.
    ///
    /// # Panics
    /// If the pages were not populated, or the file is shorter: on a real machine that is a signal.
    pub(super) fn store(&mut self, number: u64, map: u64, at: usize, bytes: &[u8]) {
        let Some(inode) = self.inodes.get_mut(&number) else { return };
        let range = at..at + bytes.len();
        let mapped = inode.maps.iter().find(|mapped| mapped.id == map);
        let ready = mapped.is_some_and(|mapped| {
            pages(&range).all(|page| mapped.populated.get(page) == Some(&true))
        });
        let (path, length) = (&inode.path, inode.cache.len());
        assert!(ready, "a store at {range:?} of {path:?}, where the map is not populated");
        assert!(range.end <= length, "a store at {range:?} of {path:?}, {length} bytes long");
        Arc::make_mut(&mut inode.cache).put(at, bytes);
        inode.mirror(at, bytes, Some(map));
        let middle = |part: &Range<usize>| Some(part.start + part.len() / 2);
        self.note_bytes(number, at, bytes, PAGE, middle);
    }

    pub(super) fn set_len(&mut self, number: u64, length: usize) -> io::Result<()> {
        let inode = self.inode(number)?;
        if length == inode.cache.len() {
            return Ok(());
        }
        let before = Arc::clone(&inode.cache);
        Arc::make_mut(&mut inode.cache).set_len(length);
        for part in before.data_in(length..before.len().max(length)) {
            let zeros = [0; PAGE];
            inode.mirror(part.start, zeros.get(..part.len()).unwrap_or_default(), None);
        }
        for map in &mut inode.maps {
            map.populated.iter_mut().skip(length.div_ceil(PAGE)).for_each(|page| *page = false);
        }
        inode.dirty.retain(|page| *page < length.div_ceil(PAGE));
        inode.refused.retain(|page| *page < length.div_ceil(PAGE));
        if length < before.len() && !length.is_multiple_of(PAGE) {
            // The rest of the last page becomes zeros.
            inode.dirty.insert(length / PAGE);
        }
        let freed = before.blocks().saturating_sub(inode.cache.blocks());
        self.give_blocks(freed);
        self.changes.push(Change::Length { inode: number, length });
        Ok(())
    }

    /// Reserves blocks and grows; on a full disk as far as there are any, as ext4 does.
    pub(super) fn allocate(&mut self, number: u64, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Err(errno(EINVAL));
        }
        let end = self.take_blocks(number, &range)?;
        let inode = self.inode(number)?;
        let length = inode.cache.len().max(end);
        Arc::make_mut(&mut inode.cache).set_len(length);
        let pages = pages(&(range.start..end));
        self.changes.push(Change::Reserved { inode: number, pages, length });
        if end < range.end { Err(errno(ENOSPC)) } else { Ok(()) }
    }

    /// Maps `length` bytes; which of the file's maps it is.
    pub(super) fn map(
        &mut self,
        number: u64,
        length: usize,
        writable: bool,
    ) -> io::Result<(u64, Arc<Memory>)> {
        let id = self.number();
        let inode = self.inode(number)?;
        let memory = Arc::new(Memory::new(length));
        for part in inode.cache.data_in(0..length.min(inode.cache.len())) {
            let mut page = [0; PAGE];
            let Some(bytes) = page.get_mut(..part.len()) else { continue };
            inode.cache.copy(part.start, bytes);
            memory.put(part.start, bytes);
        }
        let populated = vec![false; if writable { length.div_ceil(PAGE) } else { 0 }];
        inode.maps.push(Mapped { id, memory: Arc::clone(&memory), writable, populated });
        Ok((id, memory))
    }

    pub(super) fn unmap(&mut self, number: u64, map: u64) {
        if let Ok(inode) = self.inode(number) {
            inode.maps.retain(|mapped| mapped.id != map);
        }
        self.let_go(number);
    }

    pub(super) fn populate(
        &mut self,
        number: u64,
        map: u64,
        range: Range<usize>,
    ) -> io::Result<()> {
        let inode = self.inode(number)?;
        if range.end > inode.cache.len().next_multiple_of(PAGE) {
            // The kernel's word for a page beyond the end of the file.
            return Err(errno(EFAULT));
        }
        let end = self.take_blocks(number, &range)?;
        let inode = self.inode(number)?;
        let mapped = inode.maps.iter_mut().find(|mapped| mapped.id == map);
        let mapped = mapped.ok_or_else(|| errno(EBADF))?;
        inode.dirty.extend(pages(&(range.start..end)));
        for page in pages(&(range.start..end)) {
            if let Some(populated) = mapped.populated.get_mut(page) {
                *populated = true;
            }
        }
        if end < range.end { Err(errno(ENOSPC)) } else { Ok(()) }
    }

    /// Makes a file's changes reach the device.
    pub(super) fn sync(&mut self, number: u64) -> io::Result<()> {
        let written = match self.inode(number)?.diverged {
            true => self.content_after(number, &Keep::All),
            false => None,
        };
        let inode = self.inode(number)?;
        inode.device = written.unwrap_or_else(|| Arc::clone(&inode.cache));
        inode.base = Arc::clone(&inode.cache);
        let written = std::mem::take(&mut inode.dirty).len();
        self.synced_pages += written as u64;
        self.changes.retain(|change| change.inode() != Some(number));
        if self.profile.names == Names::Journal {
            self.settle_names(|_| true);
        }
        Ok(())
    }

    /// For those who sync the whole filesystem: they hear of it when they do.
    pub(super) fn note_unwritten(&mut self, errno: i32) {
        self.unwritten = (self.unwritten.0 + 1, errno);
    }

    /// What a failed sync does: the data is clean and never reaches the device; the length may.
    /// Blocks that were never written before stay marked so: ext4 takes the mark from the pages in
    /// the cache when it begins to write them, and from the blocks only behind a write that worked.
    pub(super) fn drop_dirty(&mut self, number: u64) {
        let State { inodes, changes, .. } = self;
        let Some(inode) = inodes.get_mut(&number) else { return };
        for change in changes.iter() {
            match change {
                Change::Bytes { inode: of, at, .. } if *of == number => {
                    let page = at / PAGE;
                    if !inode.device.has_data(page) {
                        inode.refused.insert(page);
                    }
                }
                _ => {}
            }
        }
        inode.base = Arc::clone(&inode.cache);
        inode.diverged = true;
        inode.dirty.clear();
        let length = inode.cache.len();
        let sized = |change: &Change| {
            matches!(change, Change::Length { inode, .. } | Change::Reserved { inode, .. }
                if *inode == number)
        };
        let was_sized = self.changes.iter().any(sized);
        self.changes.retain(|change| change.inode() != Some(number));
        if was_sized {
            self.changes.push(Change::Length { inode: number, length });
        }
    }

    /// Makes the changes of names that are `wanted` reach the device.
    pub(super) fn settle_names(&mut self, wanted: impl Fn(&Edit) -> bool) {
        let State { changes, device_names, .. } = self;
        let before = changes.len();
        changes.retain(|change| match change {
            Change::Names(edits) if edits.iter().any(&wanted) => {
                edits.iter().for_each(|edit| device_names.set(edit));
                false
            }
            _ => true,
        });
        if self.changes.len() < before {
            self.forget();
        }
    }

    /// Frees the blocks of a file that nobody can reach any more.
    pub(super) fn let_go(&mut self, number: u64) {
        let Ok(inode) = self.inode(number) else { return };
        if inode.gone || !inode.is_unused() {
            return;
        }
        inode.gone = true;
        let content = Arc::clone(&inode.cache);
        self.give_blocks(content.blocks());
        if content.len() > 0 {
            self.deleted.truncate(DELETED_MAX - 1);
            self.deleted.push_front(content);
        }
    }

    /// Forgets files that not even a power cut can bring back, and directories with all their names
    /// were and may be.
    fn forget(&mut self) {
        let State { inodes, names, device_names, changes, .. } = self;
        if !inodes.values().any(|inode| inode.gone) {
            return;
        }
        let pending = changes.iter().flat_map(|change| match change {
            Change::Names(edits) => edits.as_slice(),
            _ => &[],
        });
        let mut kept: BTreeSet<u64> = pending.filter_map(|edit| edit.inode).collect();
        kept.extend(device_names.all());
        inodes.retain(|number, inode| !inode.gone || kept.contains(number));
        names.retain(|dir| inodes.contains_key(&dir));
        device_names.retain(|dir| inodes.contains_key(&dir));
        changes.retain(|change| match change {
            Change::Names(edits) => edits.iter().any(|edit| inodes.contains_key(&edit.dir)),
            _ => change.inode().is_none_or(|number| inodes.contains_key(&number)),
        });
    }

    /// Changes names in the cache, and notes it as one loose piece.
    pub(super) fn rename(&mut self, edits: Vec<Edit>) {
        for edit in &edits {
            let old = self.names.get(edit.dir, &edit.name);
            self.names.set(edit);
            for (number, gained) in [(edit.inode, true), (old, false)] {
                let Some(inode) = number.and_then(|number| self.inodes.get_mut(&number)) else {
                    continue;
                };
                inode.links = if gained { inode.links + 1 } else { inode.links - 1 };
            }
        }
        let lost: Vec<u64> = self
            .inodes
            .iter()
            .filter(|(_, inode)| inode.is_unused() && !inode.gone)
            .map(|(number, _)| *number)
            .collect();
        self.changes.push(Change::Names(edits));
        lost.into_iter().for_each(|number| self.let_go(number));
    }
}
