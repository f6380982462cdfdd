//! A log's directory as a value: what stands under each name, to be changed and put somewhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File(Vec<u8>),
    /// These bytes, then a hole up to this length.
    Sparse(Vec<u8>, u64),
    /// With one file in it.
    Dir,
    Fifo,
    Socket,
    /// As `mknod` has it: type, major and minor number.
    Device(&'static str),
    /// A symbolic link to this.
    Link(PathBuf),
    /// A hard link to this.
    Hard(PathBuf),
}

/// Everything in a directory, by name.
pub(crate) type Image = BTreeMap<String, Node>;

/// The bytes of a regular file of the image.
pub(crate) fn bytes<'a>(image: &'a Image, name: &str) -> Option<&'a Vec<u8>> {
    match image.get(name) {
        Some(Node::File(bytes) | Node::Sparse(bytes, _)) => Some(bytes),
        _ => None,
    }
}

/// The same, to be changed.
pub(crate) fn bytes_mut<'a>(image: &'a mut Image, name: &str) -> &'a mut Vec<u8> {
    match image.get_mut(name) {
        Some(Node::File(bytes) | Node::Sparse(bytes, _)) => bytes,
        other => panic!("{name} is {other:?}"),
    }
}

/// Puts the image into a directory in place of whatever is there. `false` if the system does not
/// let us make one of the nodes.
pub(crate) fn put(image: &Image, dir: &Path) -> bool {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
    }
    for (name, node) in image {
        if !make(node, &dir.join(name)) {
            return false;
        }
    }
    // Any name made or removed later is seen by this, however soon.
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(dir).unwrap().set_modified(then).unwrap();
    true
}

fn make(node: &Node, path: &Path) -> bool {
    match node {
        Node::File(bytes) => fs::write(path, bytes).unwrap(),
        Node::Sparse(bytes, length) => {
            fs::write(path, bytes).unwrap();
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            return file.set_len(*length).is_ok();
        }
        Node::Dir => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("inside"), "x").unwrap();
        }
        Node::Fifo => {
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        }
        Node::Socket => drop(UnixListener::bind(path).unwrap()),
        Node::Device(words) => {
            let mut mknod = Command::new("mknod");
            mknod.arg(path).args(words.split(' ')).stderr(std::process::Stdio::null());
            return mknod.status().unwrap().success();
        }
        Node::Link(target) => symlink(target, path).unwrap(),
        Node::Hard(target) => return fs::hard_link(target, path).is_ok(),
    }
    true
}

/// Mode, inode, size and, of small files, the bytes.
type Picture = (u32, u64, u64, Option<Vec<u8>>);

/// What can be seen of a directory without opening anything special in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    modified: (i64, i64),
    files: BTreeMap<OsString, Picture>,
}

/// Files up to this size are compared by their bytes, larger ones by length and blocks.
const COMPARED_BYTES_MAX: u64 = 4 << 20;

impl Seen {
    pub(crate) fn of(dir: &Path) -> Seen {
        let own = dir.metadata().unwrap();
        let files = fs::read_dir(dir).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let found = entry.path().symlink_metadata().unwrap();
            let small = found.is_file() && found.len() <= COMPARED_BYTES_MAX;
            let bytes = small.then(|| fs::read(entry.path()).unwrap());
            (entry.file_name(), (found.mode(), found.ino(), found.blocks() ^ found.len(), bytes))
        });
        Seen { modified: (own.mtime(), own.mtime_nsec()), files: files.collect() }
    }

    /// The first difference, in words.
    pub(crate) fn difference(&self, other: &Seen) -> Option<String> {
        for (name, file) in &self.files {
            match other.files.get(name) {
                None => return Some(format!("{name:?} is gone")),
                Some(now) if now != file => return Some(format!("{name:?} was changed")),
                Some(_) => {}
            }
        }
        let more = other.files.keys().find(|name| !self.files.contains_key(*name));
        if let Some(more) = more {
            return Some(format!("{more:?} was made"));
        }
        (self.modified != other.modified).then(|| "a name was made and removed".to_owned())
    }
}
