//! What is left when the power goes, and when only the process dies.
//!
//! Floor 1.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::chance::{Chance, Hash};
use super::content::{Content, PAGE};
use super::names::Tree;
use super::state::{Change, Clocks, Inode, ROOT, State};
use super::{Keep, Names, Torn};

/// Which loose pieces the device has, and what it made of those it was writing.
struct Kept<'a> {
    state: &'a State,
    pieces: Vec<bool>,
    /// With [`Keep::Seed`]: how writes tore and what new blocks show.
    chance: Option<Chance>,
}

/// A file with loose pieces, while they are gone through.
struct Replay {
    /// What the cache had at this piece.
    cache: Content,
    device: Content,
    /// Growth that was not synced before.
    from: usize,
    /// What was written since.
    written: Vec<Range<usize>>,
    /// What was being written at the cut.
    torn: Vec<Range<usize>>,
}

impl State {
    fn kept(&self, keep: &Keep) -> Kept<'_> {
        let count = self.changes.len();
        let (mut pieces, mut chance) = (vec![false; count], None);
        match *keep {
            Keep::None => {}
            Keep::All => pieces.fill(true),
            Keep::Mask(mask) => {
                for (n, piece) in pieces.iter_mut().enumerate() {
                    *piece = mask >> n.min(63) & 1 == 1;
                }
            }
            Keep::Prefix(length) => pieces.iter_mut().take(length).for_each(|piece| *piece = true),
            Keep::Only(one) => pieces.iter_mut().skip(one).take(1).for_each(|piece| *piece = true),
            Keep::AllBut(one) => {
                pieces.fill(true);
                pieces.iter_mut().skip(one).take(1).for_each(|piece| *piece = false);
            }
            Keep::Seed(seed) => {
                let mut random = Chance(seed);
                // Few, half or most of them.
                let part = 1 + random.below(7);
                pieces.iter_mut().for_each(|piece| *piece = random.one(part, 8));
                chance = Some(random);
            }
        }
        if self.profile.names == Names::Journal {
            // The journal is replayed up to a point.
            let mut whole = true;
            for (piece, change) in pieces.iter_mut().zip(&self.changes) {
                if matches!(change, Change::Names(_)) {
                    whole &= *piece;
                    *piece = whole;
                }
            }
        }
        Kept { state: self, pieces, chance }
    }

    /// The state the next boot finds.
    pub(super) fn after_power_cut(&self, keep: &Keep) -> State {
        let mut kept = self.kept(keep);
        let mut names = kept.names();
        let mut contents = kept.contents();
        let mut inodes = BTreeMap::new();
        kept.reach(&names, ROOT, Path::new("/"), &mut contents, &mut inodes);
        names.retain(|dir| inodes.contains_key(&dir));
        let clocks = Clocks {
            mono: Duration::from_secs(1),
            boot: Duration::from_secs(1),
            synchronised: false,
            ..self.clocks
        };
        let mut next = State { clocks, boot: self.boot + 1, ..self.restarted(names, inodes) };
        let blocks = |state: &State| -> u64 {
            state.inodes.values().filter(|inode| !inode.gone).map(|i| i.cache.blocks()).sum()
        };
        next.free = next.free.map(|free| (free + blocks(self)).saturating_sub(blocks(&next)));
        next
    }

    /// What the device would have of one file.
    pub(super) fn content_after(&self, number: u64, keep: &Keep) -> Option<Arc<Content>> {
        let content = self.kept(keep).contents().remove(&number).map(Arc::new);
        content.or_else(|| Some(Arc::clone(&self.inodes.get(&number)?.device)))
    }

    /// The state the next process finds: the machine goes on.
    pub(super) fn after_kill(&self) -> State {
        let mut next = self.restarted(self.names.clone(), self.inodes.clone());
        next.device_names = self.device_names.clone();
        next.changes.clone_from(&self.changes);
        (next.unwritten, next.unwritten_told) = (self.unwritten, self.unwritten_told);
        next.synced_before = self.synced_before + self.synced_pages;
        for inode in next.inodes.values_mut() {
            (inode.opens, inode.maps) = (0, Vec::new());
        }
        let left: Vec<u64> = next.inodes.keys().copied().collect();
        left.into_iter().for_each(|number| next.let_go(number));
        next
    }

    /// This machine with these files, and nothing that lives in a process or was set up for a test.
    fn restarted(&self, names: Tree, inodes: BTreeMap<u64, Inode>) -> State {
        State {
            profile: self.profile.clone(),
            inodes,
            device_names: names.clone(),
            names,
            changes: Vec::new(),
            next_number: self.next_number,
            chance: self.chance.clone(),
            boot: self.boot,
            clocks: self.clocks,
            calls: 0,
            synced_pages: 0,
            synced_before: 0,
            faults: Vec::new(),
            ignored: Default::default(),
            free: self.free,
            descriptors: None,
            open: 0,
            maps_fail: false,
            unmappable: self.unmappable,
            locks: Default::default(),
            unwritten: (0, 0),
            unwritten_told: 0,
            deleted: self.deleted.clone(),
            hardware: self.hardware,
        }
    }

    /// A number for what [`State::after_power_cut`] finds if everything is kept.
    pub(super) fn image(&self) -> u64 {
        let all = self.after_power_cut(&Keep::All);
        let mut hash = Hash::default();
        let mut inodes: Vec<_> = all.inodes.values().collect();
        inodes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for inode in inodes {
            hash.add(u64::from(inode.directory));
            hash.add(inode.links as u64);
            hash.add_bytes(inode.path.as_os_str().as_encoded_bytes());
            inode.cache.hash(&mut hash);
        }
        hash.value()
    }
}

impl Kept<'_> {
    fn names(&self) -> Tree {
        let mut names = self.state.device_names.clone();
        for (change, kept) in self.state.changes.iter().zip(&self.pieces) {
            if let (Change::Names(edits), true) = (change, kept) {
                edits.iter().for_each(|edit| names.set(edit));
            }
        }
        names
    }

    /// What the device has of every file with loose pieces.
    fn contents(&mut self) -> BTreeMap<u64, Content> {
        let mut replays = BTreeMap::new();
        for (change, &kept) in self.state.changes.iter().zip(&self.pieces) {
            let Some(number) = change.inode() else { continue };
            let Some(inode) = self.state.inodes.get(&number) else { continue };
            let replay = replays.entry(number).or_insert_with(|| Replay::of(inode));
            replay.apply(change, kept, self.chance.as_mut());
        }
        let finish = |(number, replay): (u64, Replay)| {
            let content = match &mut self.chance {
                Some(chance) => replay.finish_by_chance(self.state, chance),
                None => replay.finish(),
            };
            (number, content)
        };
        replays.into_iter().map(finish).collect()
    }

    /// Adds what can be reached from a directory.
    fn reach(
        &self,
        names: &Tree,
        dir: u64,
        path: &Path,
        contents: &mut BTreeMap<u64, Content>,
        into: &mut BTreeMap<u64, Inode>,
    ) {
        into.insert(dir, Inode::new(true, path));
        for (name, number) in names.list(dir) {
            let Some(inode) = self.state.inodes.get(&number) else { continue };
            if let Some(found) = into.get_mut(&number) {
                found.links += 1;
                continue;
            }
            if inode.directory {
                self.reach(names, number, &path.join(&**name), contents, into);
                continue;
            }
            let content = match contents.remove(&number) {
                Some(content) => Arc::new(content),
                None => Arc::clone(&inode.device),
            };
            let known = inode.path.file_name() == Some((**name).as_ref())
                && inode.path.parent() == Some(path);
            let path = if known { Arc::clone(&inode.path) } else { path.join(&**name).into() };
            into.insert(number, Inode::holding(false, path, content));
        }
    }
}

impl Replay {
    fn of(inode: &Inode) -> Replay {
        Replay {
            cache: Content::clone(&inode.base),
            device: Content::clone(&inode.device),
            from: inode.device.len(),
            written: Vec::new(),
            torn: Vec::new(),
        }
    }

    fn apply(&mut self, change: &Change, kept: bool, chance: Option<&mut Chance>) {
        match change {
            Change::Bytes { at, bytes, unit, .. } => {
                self.cache.put(*at, bytes);
                let start = at / unit * unit;
                let whole = start..start + unit;
                if let Some(chance) = chance {
                    self.write_by_chance(whole, kept, chance);
                } else if kept {
                    self.device.take(whole, &self.cache);
                }
            }
            Change::Length { length, .. } => {
                self.cache.set_len(*length);
                if kept {
                    self.device.set_len(*length);
                }
            }
            Change::Reserved { pages, length, .. } => {
                self.cache.set_len(*length);
                if kept {
                    pages.clone().for_each(|page| self.device.reserve(page));
                    self.device.set_len(*length);
                }
            }
            Change::Names(_) => {}
        }
    }

    /// A page may be written in part: its sectors are what is whole.
    fn write_by_chance(&mut self, whole: Range<usize>, kept: bool, chance: &mut Chance) {
        const SECTOR: usize = 512;
        if chance.one(1, 4) {
            self.torn.push(whole.clone());
        }
        if !kept {
            return;
        }
        if whole.len() > SECTOR && chance.one(1, 4) {
            for start in whole.step_by(SECTOR).filter(|_| chance.one(1, 2)) {
                self.device.take(start..start + SECTOR, &self.cache);
                self.written.push(start..start + SECTOR);
            }
        } else {
            self.device.take(whole.clone(), &self.cache);
            self.written.push(whole);
        }
    }

    fn finish(mut self) -> Content {
        self.device.trim();
        self.device
    }

    fn finish_by_chance(mut self, state: &State, chance: &mut Chance) -> Content {
        if state.profile.stale && !state.deleted.is_empty() {
            self.show_deleted(state, chance);
        }
        if let Torn::Overwrite { bytes } = state.profile.torn {
            for sector in std::mem::take(&mut self.torn) {
                self.tear(sector.start / bytes * bytes, bytes, chance);
            }
        }
        self.finish()
    }

    /// New blocks that nothing was written to show what they held before.
    fn show_deleted(&mut self, state: &State, chance: &mut Chance) {
        let first = self.from.next_multiple_of(PAGE);
        let one = chance.below(state.deleted.len());
        for start in (first..self.device.len()).step_by(PAGE) {
            let page = start..start + PAGE;
            let written = self.written.iter().any(|w| w.start < page.end && page.start < w.end);
            if written || chance.one(1, 4) {
                continue;
            }
            // Mostly the blocks of one deleted file in a row, as it was.
            let (from, at) = match chance.one(3, 4) {
                true => (one, start - first),
                false => (chance.below(state.deleted.len()), chance.below(16) * PAGE),
            };
            let Some(deleted) = state.deleted.get(from) else { continue };
            let mut bytes = [0; PAGE];
            deleted.copy(at, &mut bytes);
            self.device.put(start, &bytes);
        }
    }

    /// What a flash page that was being written is left as.
    fn tear(&mut self, start: usize, bytes: usize, chance: &mut Chance) {
        const SECTOR: usize = 512;
        let end = (start + bytes).min(self.device.len());
        let one = chance.one(1, 2).then(|| chance.below(5));
        for start in (start..end).step_by(SECTOR) {
            let mut sector = [0; SECTOR];
            match one.unwrap_or_else(|| chance.below(5)) {
                0 => continue,
                1 => self.cache.copy(start, &mut sector),
                2 => {}
                3 => sector.fill(0xff),
                _ => sector.fill_with(|| chance.next().to_le_bytes()[0]),
            }
            self.device.put(start, &sector);
        }
    }
}
