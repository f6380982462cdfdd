//! A disk that remembers what was synced, and the states that a power cut may leave of it.
//!
//! Pure: changes go in, one by one, as a filesystem has seen them; [`Model::cut`] says what the
//! next boot finds. A piece is loose from its change until a sync that covers it: the sectors of a
//! write, a change of a file's length, one or two names. A cut keeps any part of the loose pieces.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::{Random, mix};

/// The number of the directory that is mounted.
pub const ROOT: u64 = 1;
/// What a device writes whole or not at all.
pub const SECTOR: usize = 512;
/// What a block of the filesystem has.
const BLOCK: usize = 4096;

/// What a filesystem was asked to do, in this order.
#[derive(Clone, Debug)]
pub enum Change {
    /// A directory or a file gets a name, its first or one more.
    Name { dir: u64, name: String, number: u64, is_dir: bool },
    /// A name goes.
    Unname { dir: u64, name: String },
    /// A name moves.
    Rename { dir: u64, name: String, to_dir: u64, to: String },
    /// Bytes are written.
    Write { number: u64, at: usize, bytes: Vec<u8> },
    /// Dirty bytes of the cache could not be written out: they are read, and never reach the disk.
    Lose { number: u64, at: usize, bytes: Vec<u8> },
    /// A file is cut or grows.
    Length { number: u64, length: usize },
    /// A sync of a file ended well.
    SyncFile { number: u64 },
    /// A sync of a directory ended well.
    SyncDir { number: u64 },
    /// A sync of a file failed: its dirty bytes are taken for written, and never are.
    Forget { number: u64 },
    /// What the writer said.
    Line(String),
}

/// When names survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// After a sync of their directory; before it, any of them.
    Strict,
    /// After any sync; before it, those made first.
    Journal,
}

/// What the disk does wrong, so that it is known that the laws would tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Nothing.
    Nothing,
    /// Syncs of files claim to have happened.
    LyingSync,
    /// Syncs of directories claim to have happened.
    LyingDirSync,
}

/// Which loose pieces a cut keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None.
    None,
    /// All.
    All,
    /// Those whose bit is set; from 64 on none.
    Mask(u64),
    /// This one alone.
    Only(usize),
    /// All but this one.
    AllBut(usize),
    /// Those made first; of the last write, some sectors.
    Prefix(u64),
    /// Of each file those made first, and likewise of the names.
    Prefixes(u64),
    /// Any of them.
    Some(u64),
    /// Any of them; new blocks that nothing reached show what a deleted file held.
    Stale(u64),
    /// Any of them; flash pages of this many bytes that were being written are spoiled, what was
    /// synced there before as well.
    Torn(u64, usize),
}

type Edit = (u64, String, Option<u64>);

#[derive(Clone, Debug)]
enum Piece {
    Sector { number: u64, at: usize, bytes: Vec<u8> },
    Length { number: u64, length: usize },
    Names(Vec<Edit>),
}

impl Piece {
    fn file(&self) -> Option<u64> {
        match self {
            Piece::Sector { number, .. } | Piece::Length { number, .. } => Some(*number),
            Piece::Names(_) => None,
        }
    }
}

/// Bytes, and how many of them the file has: sectors may be there before its length is.
#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    length: usize,
}

impl Content {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
    }

    fn set_length(&mut self, length: usize) {
        if length < self.length {
            self.bytes.truncate(length);
        }
        self.length = length;
    }

    fn whole(mut self) -> Vec<u8> {
        self.bytes.resize(self.length, 0);
        self.bytes
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    cache: Vec<u8>,
    device: Arc<Content>,
}

/// The files and directories of one moment.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Paths below the mounted directory.
    pub dirs: BTreeSet<String>,
    /// Their contents, and which of them are the same file.
    pub files: BTreeMap<String, (u64, Arc<Vec<u8>>)>,
}

impl Image {
    /// A number that differs where the files do.
    pub fn hash(&self) -> u64 {
        let mut hash = 0;
        let mut add = |bytes: &[u8]| {
            let (words, rest) = bytes.as_chunks::<8>();
            for word in words {
                hash = mix(hash ^ u64::from_le_bytes(*word));
            }
            hash =
                mix(hash
                    ^ rest.iter().fold(rest.len() as u64, |sum, byte| sum << 8 | u64::from(*byte)));
        };
        for dir in &self.dirs {
            add(dir.as_bytes());
        }
        for (path, (_, bytes)) in &self.files {
            add(path.as_bytes());
            add(bytes);
        }
        hash
    }

    /// Makes these files in an empty directory.
    pub fn put(&self, into: &Path) -> io::Result<()> {
        for dir in &self.dirs {
            fs::create_dir(into.join(dir))?;
        }
        let mut made: HashMap<u64, &String> = HashMap::new();
        for (path, (number, bytes)) in &self.files {
            if let Some(first) = made.insert(*number, path) {
                fs::hard_link(into.join(first), into.join(path))?;
                continue;
            }
            let file = fs::File::create(into.join(path))?;
            file.write_all_at(bytes, 0)?;
        }
        Ok(())
    }
}

/// The disk.
#[derive(Clone, Debug)]
pub struct Model {
    mode: Names,
    planted: Planted,
    files: BTreeMap<u64, File>,
    dirs: BTreeSet<u64>,
    names: BTreeMap<(u64, String), u64>,
    device_names: BTreeMap<(u64, String), u64>,
    loose: Vec<Piece>,
    deleted: Vec<Vec<u8>>,
    next: u64,
}

impl Model {
    /// A disk that holds these files, all of them synced.
    pub fn new(image: &Image, mode: Names, planted: Planted) -> Model {
        let mut model = Model {
            mode,
            planted,
            files: BTreeMap::new(),
            dirs: BTreeSet::from([ROOT]),
            names: BTreeMap::new(),
            device_names: BTreeMap::new(),
            loose: Vec::new(),
            deleted: Vec::new(),
            next: 100,
        };
        let mut known = HashMap::from([(String::new(), ROOT)]);
        for path in &image.dirs {
            let number = model.number();
            let (dir, name) = split(path);
            model.dirs.insert(number);
            model.names.insert((known[dir], name.to_owned()), number);
            known.insert(path.clone(), number);
        }
        let mut made = HashMap::new();
        for (path, (old, bytes)) in &image.files {
            let number = *made.entry(*old).or_insert_with(|| model.number());
            let (dir, name) = split(path);
            model.names.insert((known[dir], name.to_owned()), number);
            let content = Content { bytes: bytes.to_vec(), length: bytes.len() };
            let file = File { cache: bytes.to_vec(), device: Arc::new(content) };
            model.files.insert(number, file);
        }
        model.device_names = model.names.clone();
        model
    }

    /// A number nobody has.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What a name leads to.
    pub fn find(&self, dir: u64, name: &str) -> Option<u64> {
        self.names.get(&(dir, name.to_owned())).copied()
    }

    /// The names in a directory.
    pub fn list(&self, dir: u64) -> Vec<(String, u64)> {
        let from = (dir, String::new())..(dir + 1, String::new());
        self.names.range(from).map(|((_, name), number)| (name.clone(), *number)).collect()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self, number: u64) -> bool {
        self.dirs.contains(&number)
    }

    /// A file's bytes as a reader has them.
    pub fn cache(&self, number: u64) -> Option<&Vec<u8>> {
        self.files.get(&number).map(|file| &file.cache)
    }

    /// How many names lead to it.
    pub fn links(&self, number: u64) -> usize {
        self.names.values().filter(|to| **to == number).count()
    }

    /// The name of a file, its last part.
    pub fn name_of(&self, number: u64) -> Option<&str> {
        let mut all = self.names.iter();
        all.find(|(_, to)| **to == number).map(|((_, name), _)| name.as_str())
    }

    /// What all files take that have a name.
    pub fn used(&self) -> usize {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().filter_map(|number| self.files.get(number)).map(|f| f.cache.len()).sum()
    }

    /// Pieces that a cut may keep or take.
    pub fn loose(&self) -> usize {
        self.loose.len()
    }

    /// Does what a filesystem was asked to do.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Name { dir, name, number, is_dir } => {
                match is_dir {
                    true => drop(self.dirs.insert(*number)),
                    false => drop(self.files.entry(*number).or_default()),
                }
                self.next = self.next.max(*number);
                self.rename(vec![(*dir, name.clone(), Some(*number))]);
            }
            Change::Unname { dir, name } => {
                if let Some(number) = self.find(*dir, name)
                    && let Some(file) = self.files.get(&number)
                    && file.cache.len() > SECTOR
                {
                    self.deleted.push(file.cache.clone());
                }
                self.rename(vec![(*dir, name.clone(), None)]);
            }
            Change::Rename { dir, name, to_dir, to } => {
                let number = self.find(*dir, name);
                let gone = (*dir, name.clone(), None);
                let come = (*to_dir, to.clone(), number);
                match dir == to_dir {
                    true => self.rename(vec![gone, come]),
                    false => {
                        self.rename(vec![gone]);
                        self.rename(vec![come]);
                    }
                }
            }
            Change::Write { number, at, bytes } => self.write(*number, *at, bytes),
            Change::Lose { number, at, bytes } => {
                let Some(file) = self.files.get_mut(number) else { return };
                let place = file.cache.get_mut(*at..).unwrap_or_default();
                let have = place.len().min(bytes.len());
                place[..have].copy_from_slice(&bytes[..have]);
            }
            Change::Length { number, length } => {
                let Some(file) = self.files.get_mut(number) else { return };
                file.cache.resize(*length, 0);
                self.loose.push(Piece::Length { number: *number, length: *length });
            }
            Change::SyncFile { number } => self.sync_file(*number),
            Change::SyncDir { number } => self.sync_dir(*number),
            Change::Forget { number } => self
                .loose
                .retain(|piece| !matches!(piece, Piece::Sector { number: of, .. } if of == number)),
            Change::Line(_) => {}
        }
    }

    fn rename(&mut self, edits: Vec<Edit>) {
        edits.iter().for_each(|edit| set(&mut self.names, edit));
        self.loose.push(Piece::Names(edits));
    }

    fn write(&mut self, number: u64, at: usize, bytes: &[u8]) {
        let Some(file) = self.files.get_mut(&number) else { return };
        let end = at + bytes.len();
        if file.cache.len() < end {
            file.cache.resize(end, 0);
            self.loose.push(Piece::Length { number, length: end });
        }
        file.cache[at..end].copy_from_slice(bytes);
        // The device is given whole sectors, as the cache has them now.
        for start in (at / SECTOR * SECTOR..end).step_by(SECTOR) {
            let bytes = file.cache[start..file.cache.len().min(start + SECTOR)].to_vec();
            self.loose.push(Piece::Sector { number, at: start, bytes });
        }
    }

    fn sync_file(&mut self, number: u64) {
        if self.planted == Planted::LyingSync {
            return;
        }
        if let Some(file) = self.files.get_mut(&number) {
            let device = Arc::make_mut(&mut file.device);
            for piece in self.loose.extract_if(.., |piece| piece.file() == Some(number)) {
                settle(device, &piece);
            }
        }
        if self.mode == Names::Journal {
            self.sync_names(None);
        }
    }

    fn sync_dir(&mut self, number: u64) {
        if self.planted != Planted::LyingDirSync {
            self.sync_names((self.mode == Names::Strict).then_some(number));
        }
    }

    fn sync_names(&mut self, only: Option<u64>) {
        let covered = |piece: &mut Piece| match piece {
            Piece::Names(edits) => only.is_none_or(|dir| edits.iter().any(|edit| edit.0 == dir)),
            _ => false,
        };
        for piece in self.loose.extract_if(.., covered) {
            let Piece::Names(edits) = piece else { continue };
            edits.iter().for_each(|edit| set(&mut self.device_names, edit));
        }
    }

    /// What the next boot finds if the power goes now.
    pub fn cut(&self, keep: Keep) -> Image {
        let (kept, mut random) = self.choose(keep);
        let mut names = self.device_names.clone();
        let mut contents: BTreeMap<u64, Content> = BTreeMap::new();
        let mut written: BTreeSet<(u64, usize)> = BTreeSet::new();
        let mut torn: BTreeSet<(u64, usize)> = BTreeSet::new();
        for (piece, kept) in self.loose.iter().zip(kept) {
            if let (Piece::Sector { number, at, .. }, Keep::Torn(_, page)) = (piece, keep)
                && random.below(4) == 0
            {
                torn.insert((*number, at / page * page));
            }
            if !kept {
                continue;
            }
            let Some(number) = piece.file() else {
                let Piece::Names(edits) = piece else { continue };
                edits.iter().for_each(|edit| set(&mut names, edit));
                continue;
            };
            let device = || Content::clone(&self.files[&number].device);
            settle(contents.entry(number).or_insert_with(device), piece);
            if let Piece::Sector { at, .. } = piece {
                written.insert((number, at / BLOCK));
            }
        }
        if let Keep::Stale(_) = keep {
            self.show_deleted(&mut contents, &written, &mut random);
        }
        if let Keep::Torn(_, page) = keep {
            self.spoil(&mut contents, &torn, page, &mut random);
        }
        self.image(&names, contents)
    }

    fn choose(&self, keep: Keep) -> (Vec<bool>, Random) {
        let count = self.loose.len();
        let seed = match keep {
            Keep::Prefix(seed) | Keep::Prefixes(seed) | Keep::Some(seed) => seed,
            Keep::Stale(seed) | Keep::Torn(seed, _) => seed,
            _ => 0,
        };
        let mut random = Random::new(seed);
        let all = 0..count;
        let mut kept: Vec<bool> = match keep {
            Keep::None => vec![false; count],
            Keep::All => vec![true; count],
            Keep::Mask(mask) => all.map(|n| n < 64 && mask >> n & 1 == 1).collect(),
            Keep::Only(one) => all.map(|n| n == one).collect(),
            Keep::AllBut(one) => all.map(|n| n != one).collect(),
            Keep::Prefix(_) => {
                let length = random.below(count as u64 + 1) as usize;
                // Of what comes next, some sectors: a write that was under way.
                let torn = length + 8;
                all.map(|n| n < length || n < torn && random.below(2) == 0).collect()
            }
            Keep::Prefixes(_) => {
                let mut lengths: BTreeMap<Option<u64>, u64> = BTreeMap::new();
                let pieces = self.loose.iter();
                pieces.for_each(|piece| *lengths.entry(piece.file()).or_default() += 1);
                lengths.values_mut().for_each(|length| *length = random.below(*length + 1));
                let one_more = |piece: &Piece| {
                    let left = lengths.entry(piece.file()).or_default();
                    let kept = *left > 0;
                    *left = left.saturating_sub(1);
                    kept
                };
                self.loose.iter().map(one_more).collect()
            }
            Keep::Some(_) | Keep::Stale(_) | Keep::Torn(..) => {
                // Few, half or most of them.
                let part = 1 + random.below(7);
                all.map(|_| random.below(8) < part).collect()
            }
        };
        if self.mode == Names::Journal {
            // The journal is replayed up to a point.
            let mut whole = true;
            for (kept, _) in kept.iter_mut().zip(&self.loose).filter(|(_, p)| p.file().is_none()) {
                whole &= *kept;
                *kept = whole;
            }
        }
        (kept, random)
    }

    fn show_deleted(
        &self,
        contents: &mut BTreeMap<u64, Content>,
        written: &BTreeSet<(u64, usize)>,
        random: &mut Random,
    ) {
        if self.deleted.is_empty() {
            return;
        }
        for (number, content) in contents {
            let first = self.files[number].device.length.next_multiple_of(BLOCK);
            let deleted = &self.deleted[random.below(self.deleted.len() as u64) as usize];
            for at in (first..content.length).step_by(BLOCK) {
                let from = if random.below(4) == 0 { at } else { at - first };
                if written.contains(&(*number, at / BLOCK)) || from >= deleted.len() {
                    continue;
                }
                let bytes = &deleted[from..deleted.len().min(from + BLOCK)];
                content.put(at, bytes);
            }
        }
    }

    fn spoil(
        &self,
        contents: &mut BTreeMap<u64, Content>,
        torn: &BTreeSet<(u64, usize)>,
        page: usize,
        random: &mut Random,
    ) {
        for (number, start) in torn {
            let file = &self.files[number];
            let content = contents.entry(*number).or_insert_with(|| Content::clone(&file.device));
            let one = (random.below(2) == 0).then(|| random.below(5));
            for at in (*start..(start + page).min(content.length)).step_by(SECTOR) {
                let mut sector = [0; SECTOR];
                match one.unwrap_or_else(|| random.below(5)) {
                    0 => continue,
                    1 => {
                        let new = file.cache.get(at..).unwrap_or_default();
                        let have = new.len().min(SECTOR);
                        sector[..have].copy_from_slice(&new[..have]);
                    }
                    2 => {}
                    3 => sector.fill(0xff),
                    _ => sector.fill_with(|| random.number().to_le_bytes()[0]),
                }
                content.put(at, &sector);
            }
        }
    }

    fn image(
        &self,
        names: &BTreeMap<(u64, String), u64>,
        mut contents: BTreeMap<u64, Content>,
    ) -> Image {
        let mut image = Image::default();
        let mut known: HashMap<u64, Arc<Vec<u8>>> = HashMap::new();
        let mut waiting = vec![(ROOT, String::new())];
        while let Some((dir, path)) = waiting.pop() {
            let from = (dir, String::new())..(dir + 1, String::new());
            for ((_, name), &number) in names.range(from) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                if self.is_dir(number) {
                    image.dirs.insert(path.clone());
                    waiting.push((number, path));
                    continue;
                }
                let bytes = known.entry(number).or_insert_with(|| {
                    let device = || Content::clone(&self.files[&number].device);
                    Arc::new(contents.remove(&number).unwrap_or_else(device).whole())
                });
                image.files.insert(path, (number, Arc::clone(bytes)));
            }
        }
        image
    }
}

fn settle(device: &mut Content, piece: &Piece) {
    match piece {
        Piece::Sector { at, bytes, .. } => device.put(*at, bytes),
        Piece::Length { length, .. } => device.set_length(*length),
        Piece::Names(_) => {}
    }
}

fn set(names: &mut BTreeMap<(u64, String), u64>, (dir, name, number): &Edit) {
    match number {
        Some(number) => names.insert((*dir, name.clone()), *number),
        None => names.remove(&(*dir, name.clone())),
    };
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests;
