//! The configuration file of a device: `forebay.toml`.
//!
//! Floor 5, feature `toml`. What a table may hold is what the options themselves take, so that file
//! and code never differ; `read` finds the line of whatever is wrong.

mod read;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use crate::log::options::LogOptions;
use crate::store::options::StoreOptions;
use crate::sys::{Access, FileKind, OsStorage, Storage};
use crate::words::error::{Error, Result};
use crate::words::limits;

/// What a `forebay.toml` says: the options of a store, and of its logs.
///
/// Three tables, each of which may be left out, and each key of them: `[store]` has the options of
/// [`StoreOptions`], `[defaults]` those of [`LogOptions`] for all logs, and `[logs."name"]` those
/// of one log; what is not given there comes from `[defaults]`, and what is not given there either
/// is as without a file. `partitions` in a log's table says how many it has. Keys are the names of
/// the builders' methods, but that durations are numbers of milliseconds: `segment_ms`,
/// `retention_ms`, `flush = { interval_ms = 200 }`, `on_full = { block_ms = 5000 }`.
/// `examples/forebay.toml` has every key, with its default.
///
/// # Examples
/// ```
/// use forebay::{Config, FlushPolicy, Log, OnFull};
/// use std::time::Duration;
/// let config: Config = r#"
///     [store]
///     budget_bytes = 268435456
///     [defaults]
///     segment_bytes = 1048576
///     flush = { interval_ms = 200 }
///     [logs."engine"]
///     on_full = "drop_oldest"
///     partitions = 4
/// "#
/// .parse()?;
/// let flush = FlushPolicy::Interval(Duration::from_millis(200));
/// let defaults = Log::options().segment_bytes(1 << 20).flush(flush);
/// assert_eq!(config.log_options("engine"), defaults.clone().on_full(OnFull::DropOldest));
/// assert_eq!(config.log_options("cabin"), defaults);
/// assert_eq!(config.partitions("engine"), Some(4));
///
/// let wrong = "[defaults]\nflush = { intervall_ms = 200 }".parse::<Config>().unwrap_err();
/// assert!(wrong.to_string().starts_with("line 2, [defaults] flush: "));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// With the options of the logs in it.
    store: StoreOptions,
    partitions: BTreeMap<String, u32>,
}

impl Config {
    /// Reads a configuration file; one of up to 8 MiB, symbolic links followed.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a key that nobody knows and for a
    /// value of a wrong type or out of bounds: the text has file, line, table and key. Nothing is
    /// taken of such a file. [`NotFound`](crate::ErrorKind::NotFound) if there is none, and
    /// [`Io`](crate::ErrorKind::Io) as the system says.
    ///
    /// # Examples
    /// ```no_run
    /// let config = forebay::Config::from_file("/etc/forebay.toml")?;
    /// let store = config.store_options().open("/var/lib/telemetry")?;
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let bytes = read_file(&OsStorage, path)?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            let text = "a configuration file is UTF-8, this is not";
            Error::invalid(text).at(path).position(error.valid_up_to())
        })?;
        text.parse().map_err(|error: Error| error.at(path))
    }

    /// The options of the store, those of its logs in it.
    pub fn store_options(&self) -> StoreOptions {
        self.store.clone()
    }

    /// The options of the log of this name, or of all its partitions: from its own table, else the
    /// defaults.
    pub fn log_options(&self, name: &str) -> LogOptions {
        self.store.named.get(name).unwrap_or(&self.store.logs).clone()
    }

    /// How many partitions the log of this name has; `None` if the file does not say.
    #[must_use]
    pub fn partitions(&self, name: &str) -> Option<u32> {
        self.partitions.get(name).copied()
    }

    /// The names of the logs that have a table of their own, sorted.
    pub fn logs(&self) -> impl Iterator<Item = &str> {
        self.store.named.keys().map(String::as_str)
    }

    /// The text of a file that reads as this: every option there is, and of a log those that differ
    /// from the defaults. Comments of the file it came from are not kept.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a number above 2^63 - 1, which
    /// the format does not have.
    ///
    /// # Examples
    /// ```
    /// use forebay::Config;
    /// let config: Config = "[logs.engine]\nflush = \"every_append\"".parse()?;
    /// let text = config.to_toml()?;
    /// assert!(text.contains("[logs.\"engine\"]\nflush = \"every_append\"\n"));
    /// assert_eq!(text.parse::<Config>()?, config);
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn to_toml(&self) -> Result<String> {
        write::text_of(self)
    }
}

impl FromStr for Config {
    type Err = Error;

    /// Reads a configuration from the text of a file.
    fn from_str(text: &str) -> Result<Config> {
        read::read(text)
    }
}

fn read_file(storage: &dyn Storage, path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io("cannot read the configuration file", path, error);
    // A link is followed here; what is opened is the file.
    let real = storage.absolute(path).map_err(failed)?;
    if storage.kind(&real).map_err(failed)? == Some(FileKind::Dir) {
        return Err(
            Error::invalid("a configuration file is expected, this is a directory").at(path)
        );
    }
    let file = storage.open(&real, Access::Read).map_err(failed)?;
    // A byte more than is taken, so that a file that grows meanwhile is not cut.
    let mut bytes = vec![0; limits::CONFIG_BYTES_MAX + 1];
    let length = file.read_at(0, &mut bytes).map_err(failed)?;
    if length > limits::CONFIG_BYTES_MAX {
        let most = limits::CONFIG_BYTES_MAX;
        let text = format!("a configuration file has {most} bytes at most, this has more");
        return Err(Error::invalid(text).at(path));
    }
    bytes.truncate(length);
    Ok(bytes)
}
