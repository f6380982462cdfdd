//! A directory that is being filled with a copy: whole in the end, or known to be unfinished.
//!
//! Floor 3. A mark lies in it from before the first file until everything else is synced, and
//! nothing opens a directory that holds the mark. So a crash at any moment leaves an empty
//! directory, one that is refused, or a whole copy. Filling it works in place: an empty directory
//! may be a mount point, which nothing can be renamed to.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::codec::index::IndexEntries;
use crate::disk::names::{self, Part};
use crate::disk::{Env, create_dir_synced, index_file, sync_name_of, unlink_if_there};
use crate::sys::{Access, FileKind, Storage, StorageFile};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// The directory, locked for the time being.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) env: Env,
}

impl Target {
    /// Takes a directory that does not exist, is empty, or holds what an interrupted copy left,
    /// which goes. Everything from here on is undone by [`Target::abandon`].
    pub(crate) fn prepare(source: &Env, dir: &Path) -> Result<Target> {
        let storage = &*source.storage;
        let mut dir = resolve(storage, dir)?;
        refuse_inside(&dir, &source.dir)?;
        let looked = |dir: &Path, error| Error::io("cannot look at the directory", dir, error);
        match storage.kind(&dir).map_err(|error| looked(&dir, error))? {
            None => {
                create_dir_synced(storage, &dir)?;
                dir = storage.absolute(&dir).map_err(|error| looked(&dir, error))?;
                refuse_inside(&dir, &source.dir)?;
            }
            // Whoever made it, a copy that was interrupted too, may not have synced its name.
            Some(FileKind::Dir) => sync_name_of(storage, &dir)?,
            Some(_) => {
                let text = "a new or empty directory is expected, this is no directory";
                return Err(Error::invalid(text).at(&dir));
            }
        }
        let lock = storage
            .lock(&dir)
            .map_err(|error| Error::io("cannot lock the directory", &dir, error))?
            .ok_or_else(|| Error::new(ErrorKind::Locked, "the directory is in use").at(&dir))?;
        let target = Target {
            env: Env {
                storage: Arc::clone(&source.storage),
                dir,
                names: Some(lock),
                seal: source.seal,
                mapped: false,
                segment_bytes: source.segment_bytes,
                index_interval_bytes: source.index_interval_bytes,
                torn_bytes: None,
                memory_bounded: source.memory_bounded,
                written: Default::default(),
            },
        };
        target.clear_leftovers()?;
        target.mark()?;
        Ok(target)
    }

    /// Removes what an interrupted copy left; anything else is refused.
    fn clear_leftovers(&self) -> Result<()> {
        let (names, marked) = self.names()?;
        if let Some(other) = names.iter().find(|name| !marked || !is_ours(name)) {
            let text = format!("a new or empty directory is expected, this one holds {other:?}");
            return Err(Error::invalid(text).at(&self.env.dir));
        }
        names.iter().try_for_each(|name| self.remove(name))
    }

    /// Removes every file that was made, but not the mark.
    pub(crate) fn clear(&self) -> Result<()> {
        let (names, _) = self.names()?;
        names.iter().filter(|name| is_ours(name)).try_for_each(|name| self.remove(name))
    }

    /// The names in the directory but the mark, and whether that is there.
    fn names(&self) -> Result<(Vec<String>, bool)> {
        let listed = self.env.storage.list(&self.env.dir);
        let listed =
            listed.map_err(|error| Error::io("cannot list the directory", &self.env.dir, error))?;
        let mark = |kind, name: &str| kind == FileKind::File && name == names::UNFINISHED;
        let mut marked = false;
        let mut names = Vec::new();
        for entry in listed {
            let name = entry.name.unwrap_or_else(|| "(a name that is not UTF-8)".to_owned());
            match mark(entry.kind, &name) {
                true => marked = true,
                false => names.push(name),
            }
        }
        Ok((names, marked))
    }

    /// Makes the mark, synced, before there is anything else.
    fn mark(&self) -> Result<()> {
        let path = self.path(names::UNFINISHED);
        let made = || -> io::Result<()> {
            let file = match self.env.storage.create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                created => created?,
            };
            file.write_all_at(0, MARK_TEXT)?;
            file.sync_all()
        };
        let marked = made().map_err(|error| Error::io("cannot write a file", &path, error));
        marked.and_then(|()| self.sync_names()).inspect_err(|_| self.abandon())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.env.dir.join(name)
    }

    /// A new file.
    pub(crate) fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let path = self.path(name);
        let created = self.env.storage.create_new(&path);
        created.map_err(|error| Error::io("cannot create a file", &path, error))
    }

    /// Makes a file's content survive a power cut. No space shows here too on some filesystems;
    /// the file is new, so that this is no sync that must not be tried again (I8).
    pub(crate) fn sync(&self, path: &Path, file: &dyn StorageFile) -> Result<()> {
        file.sync_all().map_err(|error| Error::io("cannot sync a file", path, error))
    }

    /// Copies the first `length` bytes of a file to a new one, a bounded part at a time, and syncs
    /// it; how much there was to copy.
    pub(crate) fn copy(
        &self,
        from: &dyn StorageFile,
        from_path: &Path,
        name: &str,
        length: u64,
    ) -> Result<u64> {
        let file = self.create(name)?;
        let path = self.path(name);
        let mut buffer = vec![0; limits::COPY_BYTES];
        let mut done = 0;
        while done < length {
            let want = usize::try_from(length - done).unwrap_or(usize::MAX).min(buffer.len());
            let into = buffer.get_mut(..want).unwrap_or_default();
            let read = from
                .read_at(done, into)
                .map_err(|error| Error::io("cannot read a file to copy", from_path, error))?;
            let bytes = buffer.get(..read).unwrap_or_default();
            file.write_all_at(done, bytes)
                .map_err(|error| Error::io("cannot write a copy", &path, error))?;
            done += read as u64;
            if read < want {
                break;
            }
        }
        self.sync(&path, &*file)?;
        Ok(done)
    }

    /// Writes the two index files of a segment and syncs them.
    pub(crate) fn write_index(&self, base: Offset, entries: &IndexEntries) -> Result<()> {
        let written = index_file::write(&self.env, base, entries);
        written.map_err(|error| {
            let path = self.path(&names::segment_file(base, Part::Index));
            Error::io("cannot write an index", &path, error)
        })?;
        self.sync_index(base)
    }

    /// Syncs the two index files of a segment.
    pub(crate) fn sync_index(&self, base: Offset) -> Result<()> {
        for part in [Part::Index, Part::TimeIndex] {
            let name = names::segment_file(base, part);
            let path = self.path(&name);
            match self.env.storage.open(&path, Access::ReadWrite) {
                Ok(file) => self.sync(&path, &*file)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("cannot sync an index", &path, error)),
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        unlink_if_there(&*self.env.storage, &path)
            .map_err(|error| Error::io("cannot remove a file", &path, error))
    }

    fn sync_names(&self) -> Result<()> {
        let synced = self.env.names.as_ref().map_or(Ok(()), |names| names.sync());
        synced.map_err(|error| Error::io("cannot sync the directory", &self.env.dir, error))
    }

    /// Takes the mark away, every file being synced: from now on it is a whole copy.
    pub(crate) fn finish(&self) -> Result<()> {
        self.sync_names()?;
        self.remove(names::UNFINISHED)?;
        self.sync_names()
    }

    /// Removes what was made, the mark last. What cannot be removed stays marked.
    pub(crate) fn abandon(&self) {
        let marked = self.names().is_ok_and(|(_, marked)| marked);
        if marked && self.clear().is_ok() && self.sync_names().is_ok() {
            // Best effort: a directory that holds the mark alone is taken by the next copy.
            let _ = self.remove(names::UNFINISHED);
        }
    }
}

/// Refuses a directory that a copy did not get done with.
pub(crate) fn check_finished(storage: &dyn Storage, dir: &Path) -> Result<()> {
    match storage.kind(&dir.join(names::UNFINISHED)) {
        Ok(Some(FileKind::File)) => {
            let text = "the directory holds an unfinished snapshot or export, no log: make it anew";
            Err(Error::invalid(text).at(dir))
        }
        _ => Ok(()),
    }
}

const MARK_TEXT: &[u8] = b"A snapshot or an export was begun here and is not complete.\n";

/// What a snapshot or an export makes.
fn is_ours(name: &str) -> bool {
    let made = name.strip_suffix(names::NEW_SUFFIX).unwrap_or(name);
    made == names::META || made == names::CHECKPOINT || names::parse_segment_file(made).is_some()
}

/// The path from the root: links followed as far as there is something, plain names behind it.
fn resolve(storage: &dyn Storage, dir: &Path) -> Result<PathBuf> {
    let failed = |error| Error::io("cannot look at the directory", dir, error);
    let mut missing = Vec::new();
    let mut level = dir;
    while storage.kind(or_here(level)).map_err(failed)?.is_none() {
        let last = level.components().next_back();
        let (Some(Component::Normal(name)), Some(parent)) = (last, level.parent()) else {
            let text = "the directory lies below one that does not exist, by way of `..`";
            return Err(Error::invalid(text).at(dir));
        };
        missing.push(name);
        level = parent;
    }
    let mut found = storage.absolute(or_here(level)).map_err(failed)?;
    found.extend(missing.into_iter().rev());
    Ok(found)
}

fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn refuse_inside(dir: &Path, source: &Path) -> Result<()> {
    if dir.starts_with(source) {
        let text = "the directory is the log's own, or lies inside it: choose another one";
        return Err(Error::invalid(text).at(dir));
    }
    Ok(())
}
