//! Where what a caller opens lies: in the system's directories; in tests of this module also on a
//! simulated disk, so that each function meets every failure that its documentation names.
//!
//! Floor 6.

use std::path::Path;

use crate::{Log, LogOptions, ReadOnlyLog, ReadOnlyOptions, Result, Store, StoreOptions};

pub(super) fn log(options: LogOptions, dir: &Path) -> Result<Log> {
    #[cfg(all(test, feature = "simulation", feature = "kafka", feature = "toml"))]
    if let Some(disk) = super::tests::statuses::disk() {
        return options.open_on(&disk, dir);
    }
    options.open(dir)
}

pub(super) fn store(options: StoreOptions, dir: &Path) -> Result<Store> {
    #[cfg(all(test, feature = "simulation", feature = "kafka", feature = "toml"))]
    if let Some(disk) = super::tests::statuses::disk() {
        return options.open_on(&disk, dir);
    }
    options.open(dir)
}

pub(super) fn followed(options: ReadOnlyOptions, dir: &Path) -> Result<ReadOnlyLog> {
    #[cfg(all(test, feature = "simulation", feature = "kafka", feature = "toml"))]
    if let Some(disk) = super::tests::statuses::disk() {
        return options.open_on(&disk, dir);
    }
    options.open(dir)
}
