//! Directories of the simulated disk: which name leads to which file.
//!
//! Floor 1.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::state::{EINVAL, ROOT, State, errno};

const ENOENT: i32 = 2;
const ENOTDIR: i32 = 20;

/// One name that is to lead somewhere else, or nowhere.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) dir: u64,
    pub(super) name: Arc<str>,
    pub(super) inode: Option<u64>,
}

type Names = BTreeMap<Arc<str>, u64>;

/// The names of all directories; what is not changed is shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(Arc<BTreeMap<u64, Arc<Names>>>);

impl Tree {
    pub(super) fn get(&self, dir: u64, name: &str) -> Option<u64> {
        self.0.get(&dir)?.get(name).copied()
    }

    pub(super) fn set(&mut self, edit: &Edit) {
        let names = Arc::make_mut(&mut self.0).entry(edit.dir).or_default();
        let names = Arc::make_mut(names);
        match edit.inode {
            Some(inode) => names.insert(Arc::clone(&edit.name), inode),
            None => names.remove(&edit.name),
        };
    }

    pub(super) fn list(&self, dir: u64) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.0.get(&dir).into_iter().flat_map(|names| names.iter()).map(|(name, to)| (name, *to))
    }

    /// Leaves out the other directories.
    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        if !self.0.keys().all(|dir| keep(*dir)) {
            Arc::make_mut(&mut self.0).retain(|dir, _| keep(*dir));
        }
    }

    /// Everything a name leads to.
    pub(super) fn all(&self) -> impl Iterator<Item = u64> {
        self.0.values().flat_map(|names| names.values().copied())
    }
}

/// The path from the root, `.` and `..` taken out.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let mut whole = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    whole
}

/// Where a path leads.
pub(super) struct Place {
    pub(super) dir: u64,
    pub(super) name: Arc<str>,
    pub(super) inode: Option<u64>,
}

impl State {
    /// The directory a path lies in, its last name, and what that leads to.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let path = absolute(path);
        let mut place = Place { dir: ROOT, name: "".into(), inode: Some(ROOT) };
        for part in path.components().skip(1) {
            let dir = place.inode.ok_or_else(|| errno(ENOENT))?;
            if !self.is_dir(dir) {
                return Err(errno(ENOTDIR));
            }
            let name: Arc<str> = part.as_os_str().to_str().ok_or_else(|| errno(EINVAL))?.into();
            place = Place { dir, inode: self.names.get(dir, &name), name };
        }
        Ok(place)
    }

    pub(super) fn is_dir(&self, number: u64) -> bool {
        self.inodes.get(&number).is_some_and(|inode| inode.directory)
    }

    /// The inode of a path that has to be there.
    pub(super) fn lookup(&self, path: &Path) -> io::Result<u64> {
        self.place(path)?.inode.ok_or_else(|| errno(ENOENT))
    }

    /// The inode of a directory.
    pub(super) fn dir(&self, path: &Path) -> io::Result<u64> {
        let number = self.lookup(path)?;
        if self.is_dir(number) { Ok(number) } else { Err(errno(ENOTDIR)) }
    }
}
