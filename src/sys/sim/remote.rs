//! A disk that shows another one's files, as over a network.
//!
//! Floor 1.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Disk;
use super::content::{Content, PAGE, parts};
use super::state::Inode;

impl Disk {
    /// Shows what another disk holds now, as a machine does that has mounted it over a network: so
    /// a process on this one sees what another machine writes, and survives its power cuts. What is
    /// open here stays open, and follows the file, not its name; of a file that is gone there it
    /// keeps what it was. Nothing may be written here.
    ///
    /// # Panics
    /// If a map of this disk reaches beyond what a file was cut to: reading there is a signal on a
    /// real machine.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Log, OffsetSpec, ReadOnlyLog, simulation::{Disk, Keep, Profile}};
    /// let writes = Disk::new(Profile::default());
    /// let log = Log::options().open_on(&writes, "/log")?;
    /// log.append("may be lost")?;
    /// let reads = Disk::new(Profile::default());
    /// reads.show(&writes);
    /// let followed = ReadOnlyLog::options().open_on(&reads, "/log")?;
    /// let mut reader = followed.reader(OffsetSpec::Earliest)?;
    /// assert!(reader.next().is_some());
    /// let next_boot = writes.power_cut(Keep::None);
    /// let log = Log::options().open_on(&next_boot, "/log")?;
    /// reads.show(&next_boot);
    /// assert!(reader.next().is_none());
    /// assert_eq!(reader.retracted(), 1);
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn show(&self, of: &Disk) {
        let (names, mut shown) = {
            let other = of.state();
            let files = other.inodes.iter().filter(|(_, inode)| !inode.gone);
            let copy = |(number, inode): (&u64, &Inode)| {
                let (path, content) = (Arc::clone(&inode.path), Arc::clone(&inode.cache));
                let mut copy = Inode::holding(inode.directory, path, content);
                copy.links = inode.links;
                (*number, copy)
            };
            (other.names.clone(), files.map(copy).collect::<BTreeMap<u64, Inode>>())
        };
        let mut state = self.state();
        for (number, own) in std::mem::take(&mut state.inodes) {
            if own.opens == 0 && own.maps.is_empty() {
                continue;
            }
            let Some(inode) = shown.get_mut(&number) else {
                shown.insert(number, Inode { links: 0, ..own });
                continue;
            };
            if !Arc::ptr_eq(&own.cache, &inode.cache) {
                show_in_maps(&own, &inode.cache);
            }
            (inode.opens, inode.maps) = (own.opens, own.maps);
        }
        state.inodes = shown;
        state.device_names = names.clone();
        state.names = names;
        state.changes.clear();
    }
}

fn show_in_maps(inode: &Inode, content: &Content) {
    for map in &inode.maps {
        let length = map.memory.length();
        let path = &inode.path;
        let held = content.len();
        assert!(length <= held, "a map of {length} bytes of {path:?}, which has {held}");
        for part in parts(0..length, PAGE) {
            let mut page = [0; PAGE];
            let Some(bytes) = page.get_mut(..part.len()) else { continue };
            content.copy(part.start, bytes);
            map.memory.put(part.start, bytes);
        }
    }
}
