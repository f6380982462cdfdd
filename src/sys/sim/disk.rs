//! What a test does with a simulated disk.
//!
//! Floor 1.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::chance::Chance;
use super::content::{Content, PAGE};
use super::names::{Edit, Tree, absolute};
use super::state::{Clocks, Inode, ROOT, State};
use super::watch::Watch;
use super::{Call, Disk, Fault, Ignored, Keep, Machine, Profile, Torn};
use crate::sys::sync::Mutex;

/// 2026-01-01 00:00 UTC.
const WALL_MILLIS: i64 = 1_767_225_600_000;

impl Disk {
    /// An empty disk, just booted; its wall clock says 2026-01-01.
    ///
    /// # Panics
    /// If the profile's sizes are none that it allows.
    #[must_use]
    pub fn new(profile: Profile) -> Disk {
        let sector = profile.sector_bytes;
        assert!(
            sector.is_power_of_two() && (512..=PAGE).contains(&sector),
            "sectors have 512 to {PAGE} bytes, not {sector}"
        );
        if let Torn::Overwrite { bytes } = profile.torn {
            assert!(bytes > 0 && bytes % sector == 0, "a flash page has whole sectors");
        }
        let chance = Chance(profile.seed);
        Disk::of(State {
            inodes: [(ROOT, Inode::new(true, Path::new("/")))].into(),
            names: Tree::default(),
            device_names: Tree::default(),
            changes: Vec::new(),
            next_number: ROOT,
            chance,
            boot: 1,
            clocks: Clocks {
                mono: Duration::from_secs(1),
                boot: Duration::from_secs(1),
                wall_millis: WALL_MILLIS,
                wall_rest: Duration::ZERO,
                synchronised: false,
            },
            calls: 0,
            synced_pages: 0,
            synced_before: 0,
            faults: Vec::new(),
            ignored: Default::default(),
            free: None,
            descriptors: None,
            open: 0,
            maps_fail: false,
            unmappable: false,
            locks: Default::default(),
            hardware: None,
            unwritten: (0, 0),
            unwritten_told: 0,
            deleted: Default::default(),
            profile,
        })
    }

    fn of(state: State) -> Disk {
        Disk(Arc::new(Machine { state: Mutex::new(state), watch: Watch::default() }))
    }

    /// Calls `hook` before every call to the storage, on the thread that makes it, one at a time.
    /// What the hook itself does on this disk is neither watched nor counted. Replaces the hook
    /// there was.
    ///
    /// # Examples
    /// The power is cut before every sync of a file:
    /// ```
    /// use forebay::{Log, simulation::{CallKind, Disk, Keep, Profile}};
    /// let disk = Disk::new(Profile::default());
    /// disk.watch(|disk, call| {
    ///     if call.kind == CallKind::SyncFile {
    ///         Log::options().open_on(&disk.power_cut(Keep::None), "/log").expect("it opens");
    ///     }
    /// });
    /// let log = Log::options().open_on(&disk, "/log")?;
    /// log.append("21.5 C")?;
    /// log.flush()?;
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn watch(&self, hook: impl FnMut(&Disk, &Call) + Send + 'static) {
        self.0.watch.set(Some(Box::new(hook)));
    }

    /// Ends the watch.
    pub fn unwatch(&self) {
        self.0.watch.set(None);
    }

    /// How many calls were made; those made inside the hook are not counted.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many bytes syncs of files have made the device write, in pages of 4 KiB: those that were
    /// written to, stored to or populated since the last sync of their file, however often. Begins
    /// again with each disk that [`Disk::kill`] and [`Disk::power_cut`] give.
    #[must_use]
    pub fn synced_bytes(&self) -> u64 {
        self.state().synced_pages * PAGE as u64
    }

    /// How many pieces a power cut may keep or lose now.
    #[must_use]
    pub fn loose(&self) -> usize {
        self.state().changes.len()
    }

    /// A new disk, freshly booted, that holds what the device has; this one is unchanged.
    ///
    /// Its clocks that only rise begin again, the wall clock goes on. Neither the watch, the
    /// faults, the ignored syncs nor the bound on descriptors come with it; the bound on space
    /// does.
    #[must_use]
    pub fn power_cut(&self, keep: Keep) -> Disk {
        Disk::of(self.state().after_power_cut(&keep))
    }

    /// The machine as the next process finds it, as a new disk; this one is unchanged. Everything
    /// is there, what was loose stays loose, and all locks and descriptors are free. As to the
    /// rest, as [`Disk::power_cut`]; the clocks go on.
    #[must_use]
    pub fn kill(&self) -> Disk {
        Disk::of(self.state().after_kill())
    }

    /// A number for the names and contents that [`Disk::power_cut`] with [`Keep::All`] would hold,
    /// to count distinct states by.
    #[must_use]
    pub fn image(&self) -> u64 {
        self.state().image()
    }

    /// Makes calls fail, after those it was told of before. A failed sync drops the file's loose
    /// data: it can still be read, but never reaches the device unless it is written again; in a
    /// block that was never written before, not even then in this boot, as on ext4. The length
    /// stays loose. After the failed sync of a directory its names stay loose. A failed sync of the
    /// whole filesystem is both, for all files and directories.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Lets every call succeed again.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Makes syncs claim to have happened, or happen again.
    pub fn ignore_syncs(&self, of: Ignored, on: bool) {
        let mut state = self.state();
        if on {
            state.ignored.insert(of);
        } else {
            state.ignored.remove(&of);
        }
    }

    /// Leaves this much room for what is written from now on, in whole blocks of 4 KiB; removed
    /// files and cut ends give theirs back. On a full disk no file can be created either.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().free = bytes.map(|bytes| bytes / PAGE as u64);
    }

    /// Lets so many files and locked directories be open at a time.
    pub fn set_descriptors(&self, count: Option<usize>) {
        self.state().descriptors = count;
    }

    /// Makes maps fail for want of address space.
    pub fn set_map_failure(&self, on: bool) {
        self.state().maps_fail = on;
    }

    /// Makes the disk one that cannot be mapped for writing, as filesystems are that move blocks.
    pub fn set_unmappable(&self, on: bool) {
        self.state().unmappable = on;
    }

    /// Lets time pass on all clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        let clocks = &mut state.clocks;
        clocks.mono = clocks.mono.saturating_add(by);
        clocks.boot = clocks.boot.saturating_add(by);
        let rest = clocks.wall_rest.saturating_add(by);
        let millis = i64::try_from(rest.as_millis()).unwrap_or(i64::MAX);
        clocks.wall_millis = clocks.wall_millis.saturating_add(millis);
        clocks.wall_rest = Duration::from_nanos(u64::from(rest.subsec_nanos() % 1_000_000));
    }

    /// Sets the wall clock, in milliseconds since 1970; the others stay.
    pub fn set_wall(&self, millis: i64) {
        self.state().clocks.wall_millis = millis;
    }

    /// Says whether the wall clock was set by a source of time.
    pub fn set_clock_synchronised(&self, on: bool) {
        self.state().clocks.synchronised = on;
    }

    /// The number of the device, by which a copy of what is on it is told from it; none at first.
    pub fn set_hardware(&self, number: Option<u64>) {
        self.state().hardware = number;
    }

    /// What a file holds, read past the watch and the faults.
    #[must_use]
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.content(path.as_ref(), |inode| &inode.cache)
    }

    /// What the device is known to have of a file: what was synced.
    #[must_use]
    pub fn read_device(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.content(path.as_ref(), |inode| &inode.device)
    }

    fn content(&self, path: &Path, of: impl Fn(&Inode) -> &Arc<Content>) -> Option<Vec<u8>> {
        let state = self.state();
        let number = state.lookup(path).ok()?;
        let inode = state.inodes.get(&number).filter(|inode| !inode.directory)?;
        Some(of(inode).bytes())
    }

    /// Makes a file hold these bytes, in the cache and on the device, past the watch, the faults
    /// and every bound; makes it, and the directories above it, if they are not there. Maps that
    /// are open keep showing what they showed.
    ///
    /// # Panics
    /// If the path leads to a directory, or through a file.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = absolute(path.as_ref());
        let mut state = self.state();
        let above = path.ancestors().skip(1).collect::<Vec<_>>();
        for dir in above.into_iter().rev() {
            state.put_inode(dir, true);
        }
        let number = state.put_inode(&path, false);
        let content = Arc::new(Content::of(bytes));
        state.changes.retain(|change| change.inode() != Some(number));
        if let Some(inode) = state.inodes.get_mut(&number) {
            assert!(!inode.directory, "{path:?} is a directory");
            inode.cache = Arc::clone(&content);
            inode.base = Arc::clone(&content);
            inode.device = content;
            inode.dirty.clear();
        }
    }

    /// Removes a file, in the cache and on the device; whether it was there.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> bool {
        let path = absolute(path.as_ref());
        let mut state = self.state();
        let Ok(place) = state.place(&path) else { return false };
        let file = place.inode.filter(|number| !state.is_dir(*number));
        if file.is_some() {
            state.rename(vec![Edit { dir: place.dir, name: Arc::clone(&place.name), inode: None }]);
            state.settle_names(|edit| edit.dir == place.dir && edit.name == place.name);
        }
        file.is_some()
    }

    /// The names in a directory, sorted; none if there is no such directory.
    #[must_use]
    pub fn file_names(&self, dir: impl AsRef<Path>) -> Vec<String> {
        let state = self.state();
        let Ok(number) = state.dir(dir.as_ref()) else { return Vec::new() };
        state.names.list(number).map(|(name, _)| name.to_string()).collect()
    }
}

impl State {
    /// The inode of a path, made and named on the device if it is not there.
    fn put_inode(&mut self, path: &Path, directory: bool) -> u64 {
        let place = self.place(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        if let Some(number) = place.inode {
            let same = self.is_dir(number) == directory;
            assert!(same, "{path:?} is there, and of the other kind");
            return number;
        }
        let number = self.number();
        let mut inode = Inode::new(directory, path);
        inode.links = 0;
        self.inodes.insert(number, inode);
        let name = Arc::clone(&place.name);
        self.rename(vec![Edit { dir: place.dir, name: place.name, inode: Some(number) }]);
        self.settle_names(|edit| edit.dir == place.dir && edit.name == name);
        number
    }
}
