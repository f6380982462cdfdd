//! A file that only takes room, so that there is some when a full disk needs it.
//!
//! Floor 3. It goes when the checkpoint, a deletion or whatever else keeps the files in order finds
//! no block; it is made again when there is room.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::create_anew;
use crate::disk::space::{Space, Use, blocks};
use crate::sys::sync::Mutex;
use crate::sys::sync::atomic::{AtomicU64, Ordering};
use crate::sys::{FileKind, Storage};
use crate::words::limits;

/// The file, there or not.
#[derive(Debug)]
pub(crate) struct Reserve {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    space: Arc<Space>,
    /// How large it is meant to be.
    bytes: AtomicU64,
    /// How large it is; zero where it is not there.
    held: Mutex<u64>,
}

impl Reserve {
    /// For a file that may be there; what it takes is not counted in the space yet.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        path: PathBuf,
        space: Arc<Space>,
        bytes: u64,
    ) -> Reserve {
        let found = match storage.kind(&path) {
            Ok(Some(FileKind::File)) => storage.file_size(&path).map_or(0, |size| size.length),
            _ => 0,
        };
        Reserve {
            storage,
            path,
            space,
            bytes: AtomicU64::new(bytes),
            held: Mutex::new(blocks(found)),
        }
    }

    /// How large it is meant to be from now on.
    pub(crate) fn resize(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// What it takes now.
    pub(crate) fn held(&self) -> u64 {
        *self.held.lock()
    }

    /// Makes it as large as it is meant to be, if there is room; else it stays as it is.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let mut held = self.held.lock();
        let bytes = self.bytes.load(Ordering::Relaxed);
        let wanted = blocks(bytes);
        if *held == wanted {
            return Ok(());
        }
        self.remove(&mut held)?;
        self.space.take(wanted, Use::Records)?;
        let made = self.make(bytes);
        if made.is_err() {
            self.space.give(wanted);
            let _ = self.storage.unlink(&self.path);
        } else {
            *held = wanted;
        }
        made
    }

    fn make(&self, bytes: u64) -> io::Result<()> {
        let file = create_anew(&*self.storage, &self.path)?;
        if bytes == 0 {
            return Ok(());
        }
        match file.allocate(0, bytes) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let zeros = vec![0; limits::COPY_BYTES];
                let mut at = 0;
                while at < bytes {
                    let length = usize::try_from(bytes - at).unwrap_or(usize::MAX);
                    let part = zeros.get(..length.min(zeros.len())).unwrap_or_default();
                    file.write_all_at(at, part)?;
                    at += part.len() as u64;
                }
                Ok(())
            }
            done => done,
        }
    }

    /// Gives its blocks to whoever needs them now; whether there were any.
    pub(crate) fn release(&self) -> bool {
        let mut held = self.held.lock();
        *held > 0 && self.remove(&mut held).is_ok()
    }

    fn remove(&self, held: &mut u64) -> io::Result<()> {
        if *held > 0 {
            self.storage.unlink(&self.path)?;
            self.space.give(*held);
            *held = 0;
        }
        Ok(())
    }
}
