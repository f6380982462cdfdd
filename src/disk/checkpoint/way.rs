//! How the checkpoint's file is written and synced: through a map, or by position.
//!
//! Floor 3.

use std::io;
use std::sync::Arc;

use crate::disk::Env;
use crate::sys::{Map, MapWriter, StorageFile};

/// Through what the file is written and synced. A map keeps the file open by itself: a mapped
/// checkpoint costs no descriptor.
#[derive(Debug)]
pub(super) enum Way {
    Mapped(MapWriter),
    Positioned(Arc<dyn StorageFile>),
}

impl Way {
    pub(super) fn of(env: &Env, file: Arc<dyn StorageFile>, length: usize) -> io::Result<Way> {
        if !env.mapped {
            return Ok(Way::Positioned(file));
        }
        let mut map = file.map_write(length)?;
        map.populate(0..length)?;
        Ok(Way::Mapped(map))
    }

    pub(super) fn put(&mut self, position: usize, bytes: &[u8]) -> io::Result<()> {
        match self {
            Way::Mapped(map) => {
                map.store(position, bytes);
                Ok(())
            }
            Way::Positioned(file) => file.write_all_at(position as u64, bytes),
        }
    }

    pub(super) fn to_sync(&self) -> ToSync {
        match self {
            Way::Mapped(map) => ToSync::Map(Arc::clone(map.map())),
            Way::Positioned(file) => ToSync::File(Arc::clone(file)),
        }
    }
}

/// What a sync of the checkpoint that was begun has to sync.
#[derive(Debug)]
pub(crate) enum ToSync {
    Map(Arc<Map>),
    File(Arc<dyn StorageFile>),
}

impl ToSync {
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            ToSync::Map(map) => map.sync(),
            ToSync::File(file) => file.sync_data(),
        }
    }
}
