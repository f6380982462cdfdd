//! Where a test's log lies: a directory of the system, or one on a simulated disk.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
#[cfg(feature = "simulation")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(feature = "simulation")]
use forebay::simulation::{Disk, Keep, Profile};
use forebay::{ArchiveDir, Error, IoMode, Log, LogOptions, Store, StoreOptions};
use tempfile::TempDir;

use super::{MODES, batches_of, scratch};

/// What a place is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    System,
    #[cfg(feature = "simulation")]
    Simulated,
}

/// Every mode on every ground.
pub(crate) fn ways() -> impl Iterator<Item = (IoMode, Ground)> {
    MODES.into_iter().flat_map(|mode| grounds().map(move |ground| (mode, ground)))
}

/// The system, and where the feature is on, a simulated disk.
pub(crate) fn grounds() -> impl Iterator<Item = Ground> {
    let all = [
        Ground::System,
        #[cfg(feature = "simulation")]
        Ground::Simulated,
    ];
    all.into_iter()
}

impl Ground {
    /// An empty directory.
    pub(crate) fn place(self) -> Place {
        match self {
            Ground::System => {
                let dir = scratch();
                Place { path: dir.path().to_owned(), on: On::System(Some(dir)) }
            }
            #[cfg(feature = "simulation")]
            Ground::Simulated => {
                // Each log gets an id of its own, as on the system.
                static SEED: AtomicU64 = AtomicU64::new(0);
                let seed = SEED.fetch_add(1, Ordering::Relaxed);
                Place::on(Disk::new(Profile { seed, ..Profile::default() }))
            }
        }
    }

    /// An empty directory on another mount, where the system has one in reach.
    pub(crate) fn elsewhere(self) -> Place {
        match self {
            Ground::System => {
                let dir = tempfile::tempdir().unwrap();
                Place { path: dir.path().to_owned(), on: On::System(Some(dir)) }
            }
            #[cfg(feature = "simulation")]
            Ground::Simulated => Place::on(Disk::new(Profile::default()).power_cut(Keep::All)),
        }
    }
}

/// A directory of its own, which goes when this goes.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    on: On,
}

#[derive(Debug)]
enum On {
    /// `None` where somebody else removes it.
    System(Option<TempDir>),
    #[cfg(feature = "simulation")]
    Simulated(Disk),
}

impl Place {
    /// A directory of the system, made if it is not there.
    pub(crate) fn at(path: &Path) -> Place {
        fs::create_dir_all(path).unwrap();
        Place { path: path.to_owned(), on: On::System(None) }
    }

    /// A directory on this disk.
    #[cfg(feature = "simulation")]
    pub(crate) fn on(disk: Disk) -> Place {
        // A file in it, and the directories on the way are there.
        disk.write_file("/place/x", b"");
        disk.remove_file("/place/x");
        Place { path: "/place".into(), on: On::Simulated(disk) }
    }

    /// An empty directory on the same filesystem.
    pub(crate) fn beside(&self, name: &str) -> Place {
        #[cfg(not(feature = "simulation"))]
        let _ = name;
        match &self.on {
            On::System(_) => self.ground().place(),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => {
                let path = Path::new("/").join(name);
                disk.write_file(path.join("x"), b"");
                disk.remove_file(path.join("x"));
                Place { path, on: On::Simulated(disk.clone()) }
            }
        }
    }

    /// An archive in it.
    pub(crate) fn archive(&self) -> ArchiveDir {
        match &self.on {
            On::System(_) => ArchiveDir::new(&self.path).unwrap(),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => ArchiveDir::new_on(disk, &self.path).unwrap(),
        }
    }

    /// A directory in it, with what lies there.
    pub(crate) fn inside(&self, name: &str) -> Place {
        let path = self.path.join(name);
        match &self.on {
            On::System(_) => Place { path, on: On::System(None) },
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => Place { path, on: On::Simulated(disk.clone()) },
        }
    }

    pub(crate) fn ground(&self) -> Ground {
        match &self.on {
            On::System(_) => Ground::System,
            #[cfg(feature = "simulation")]
            On::Simulated(_) => Ground::Simulated,
        }
    }

    /// The disk it lies on.
    #[cfg(feature = "simulation")]
    pub(crate) fn disk(&self) -> Option<&Disk> {
        match &self.on {
            On::System(_) => None,
            On::Simulated(disk) => Some(disk),
        }
    }

    /// The path, for what only the system has.
    pub(crate) fn path(&self) -> &Path {
        assert_eq!(self.ground(), Ground::System, "no path of the system leads there");
        &self.path
    }

    /// Lets time pass for the logs here.
    pub(crate) fn pass(&self, time: Duration) {
        match &self.on {
            On::System(_) => std::thread::sleep(time),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => disk.advance(time),
        }
    }

    pub(crate) fn open(&self, options: LogOptions) -> Result<Log, Error> {
        self.open_below("", options)
    }

    /// Opens a log in a directory inside this one.
    pub(crate) fn open_below(&self, name: &str, options: LogOptions) -> Result<Log, Error> {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        match &self.on {
            On::System(_) => options.open(path),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => options.open_on(disk, path),
        }
    }

    /// Opens a store here.
    pub(crate) fn open_store(&self, options: StoreOptions) -> Result<Store, Error> {
        match &self.on {
            On::System(_) => options.open(&self.path),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => options.open_on(disk, &self.path),
        }
    }

    /// The directory of this name in here, with what lies in it.
    pub(crate) fn below(&self, name: &str) -> Place {
        let path = self.path.join(name);
        let on = match &self.on {
            On::System(_) => On::System(None),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => On::Simulated(disk.clone()),
        };
        Place { path, on }
    }

    /// What all files take, at every depth, in blocks of 4 KiB by their lengths.
    pub(crate) fn taken(&self) -> u64 {
        match &self.on {
            On::System(_) => taken_below(&self.path),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => disk.used_bytes(&self.path),
        }
    }

    /// How many files lie here, at every depth.
    pub(crate) fn count_files(&self) -> u64 {
        let below = self.names().into_iter().map(|name| {
            let inner = self.below(&name);
            match inner.is_dir() {
                true => inner.count_files(),
                false => 1,
            }
        });
        below.sum()
    }

    fn is_dir(&self) -> bool {
        match &self.on {
            On::System(_) => self.path.is_dir(),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => disk.read_file(&self.path).is_none(),
        }
    }

    /// The names of what lies here, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        match &self.on {
            On::System(_) => {
                let names = super::files(&self.path).into_iter();
                names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
            }
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => disk.file_names(&self.path),
        }
    }

    /// The names of the segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<String> {
        let mut names = self.names();
        names.retain(|name| name.ends_with(".log"));
        names
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.names().iter().any(|have| have == name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        match &self.on {
            On::System(_) => fs::read(self.path.join(name)).unwrap(),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => disk.read_file(self.path.join(name)).unwrap(),
        }
    }

    pub(crate) fn len(&self, name: &str) -> usize {
        self.len_of(name).unwrap()
    }

    /// Nothing for a file that is not there.
    pub(crate) fn len_of(&self, name: &str) -> Option<usize> {
        match &self.on {
            On::System(_) => match self.path.join(name).metadata() {
                Ok(file) => Some(usize::try_from(file.len()).unwrap()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => panic!("{name}: {error}"),
            },
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => disk.read_file(self.path.join(name)).map(|bytes| bytes.len()),
        }
    }

    /// Makes a file, and the directories in its name.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        match &self.on {
            On::System(_) => {
                let path = self.path.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => disk.write_file(self.path.join(name), bytes.as_ref()),
        }
    }

    pub(crate) fn remove(&self, name: &str) {
        match &self.on {
            On::System(_) => fs::remove_file(self.path.join(name)).unwrap(),
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => assert!(disk.remove_file(self.path.join(name)), "{name}"),
        }
    }

    /// Removes everything in it.
    pub(crate) fn clear(&self) {
        match &self.on {
            On::System(_) => {
                for path in super::files(&self.path) {
                    fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
                }
            }
            #[cfg(feature = "simulation")]
            On::Simulated(_) => self.names().iter().for_each(|name| self.remove(name)),
        }
    }

    /// Every file with its bytes, by name.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.names().into_iter().map(|name| (name.clone(), self.read(&name))).collect()
    }

    /// What a process that is killed now leaves, in a place of its own; special files left out.
    pub(crate) fn killed(&self) -> Place {
        match &self.on {
            On::System(_) => {
                let copy = self.ground().place();
                super::copy_dir(&self.path, &copy.path);
                copy
            }
            #[cfg(feature = "simulation")]
            On::Simulated(disk) => {
                Place { path: self.path.clone(), on: On::Simulated(disk.kill()) }
            }
        }
    }

    /// The offsets and place of every whole batch of a segment.
    pub(crate) fn batches_of(&self, name: &str) -> Vec<(Range<i64>, Range<usize>)> {
        match &self.on {
            On::System(_) => batches_of(&self.path.join(name)),
            #[cfg(feature = "simulation")]
            On::Simulated(_) => {
                let copy = scratch();
                fs::write(copy.path().join(name), self.read(name)).unwrap();
                batches_of(&copy.path().join(name))
            }
        }
    }
}

fn taken_below(dir: &Path) -> u64 {
    let Ok(listed) = fs::read_dir(dir) else { return 0 };
    let taken = listed.map(|entry| {
        let path = entry.unwrap().path();
        // What goes meanwhile takes nothing.
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => taken_below(&path),
            Ok(found) => found.len().div_ceil(4096) * 4096,
            Err(_) => 0,
        }
    });
    taken.sum()
}

/// Opens at a place, as `LogOptions::open` does at a path.
pub(crate) trait OpenIn {
    fn open_in(self, place: &Place) -> Result<Log, Error>;
}

impl OpenIn for LogOptions {
    fn open_in(self, place: &Place) -> Result<Log, Error> {
        place.open(self)
    }
}
