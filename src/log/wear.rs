//! How much the device had to write for what was appended, and how long flash lasts at that.
//!
//! Floor 4. Counted by `disk::wear` where syncs happen.

use std::iter::Sum;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes that a log made to go to its device since it was opened.
///
/// Counted is what each sync covers, in whole pages of 4 KiB: the segment from the page that the
/// last covered byte lies in to the new end; pages that were populated ahead of it and go as zeros
/// first; checkpoint slots, with the copies of tails on media that tear; `log.meta`; index files;
/// and at open what is cut, copied, set aside or written again after an unclean stop.
///
/// Not counted is what the filesystem writes of its own, as its journal, inodes and bitmaps: see
/// [`docs::performance`](crate::docs::performance) for how much that is; what the kernel writes
/// before a sync asks for it, which happens to pages that stay dirty for half a minute; what
/// snapshots and exports write; and what the controller of the card writes beyond what it is told.
/// On blocks smaller than 4 KiB a page may go in part, and less is written than counted.
///
/// Sums of several logs, or of several runs of one, are made by `+=` and `sum`.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
/// use std::time::Duration;
/// for n in 0..10 {
///     log.append(format!("21.{n} C"))?;
///     log.flush()?;
/// }
/// let wear = log.stats().wear;
/// assert!(wear.device_bytes >= 10 * 4096, "each flush writes a page at least");
/// assert!(wear.per_payload_byte().expect("something was appended") > 50.0);
/// // A card rated for 20 TB, if this was a minute's work.
/// let years = wear.lifetime(20 << 40, Duration::from_secs(60)).expect("something was written");
/// assert!(years > Duration::from_secs(365 * 86_400));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Wear {
    /// Bytes of the batches appended.
    pub payload_bytes: u64,
    /// Bytes that were made to go to the device.
    pub device_bytes: u64,
    /// The same in sectors of 512 bytes, as `/sys/block/NAME/stat` counts.
    pub sectors: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
}

impl Wear {
    pub(crate) fn of(payload_bytes: u64, (device_bytes, syncs): (u64, u64)) -> Wear {
        Wear { payload_bytes, device_bytes, sectors: device_bytes / 512, syncs }
    }

    /// Bytes to the device for each byte of batches; `None` while nothing was appended.
    ///
    /// Many small flushes make it high: the remedies are batches, and a longer
    /// [`FlushPolicy::Interval`](crate::FlushPolicy::Interval).
    #[must_use]
    pub fn per_payload_byte(&self) -> Option<f64> {
        (self.payload_bytes > 0).then(|| self.device_bytes as f64 / self.payload_bytes as f64)
    }

    /// How long a device lasts from new that is rated for so many bytes written (TBW in its data
    /// sheet), if all time goes on as this, which was counted in the time `over`. `None` while
    /// nothing was written, or if no time has passed.
    ///
    /// An estimate from above. It takes the device for used by nothing else, and leaves out what
    /// [`Wear`] does not count: measure the journal once, or take twice `device_bytes`. The rating
    /// holds for the writing that its data sheet names, mostly large writes in order; a card that
    /// is synced after each small one may write far more inside. Watch the device's own counter
    /// where it has one (eMMC: life time estimation; SD: some makers' tools).
    ///
    /// # Examples
    /// ```
    /// use forebay::Wear;
    /// use std::time::Duration;
    /// let mut wear = Wear::default();
    /// assert_eq!(wear.lifetime(1 << 40, Duration::from_secs(1)), None);
    /// wear.device_bytes = 1 << 20; // 1 MiB a second
    /// let lasts = wear.lifetime(1 << 40, Duration::from_secs(1));
    /// assert_eq!(lasts, Some(Duration::from_secs(1 << 20)));
    /// ```
    #[must_use]
    pub fn lifetime(&self, rated_endurance_bytes: u64, over: Duration) -> Option<Duration> {
        if over.is_zero() {
            return None;
        }
        let nanos = over.as_nanos();
        let device = u128::from(self.device_bytes);
        // In two parts, so that nothing overflows: whole multiples of what was counted, and a rest.
        let rated = u128::from(rated_endurance_bytes);
        let times = rated.checked_div(device)?;
        let rest = nanos.checked_mul(rated % device).map_or(0, |product| product / device);
        let nanos = nanos.saturating_mul(times).saturating_add(rest);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        Some(Duration::from_secs(seconds))
    }
}

impl AddAssign for Wear {
    fn add_assign(&mut self, other: Wear) {
        self.payload_bytes = self.payload_bytes.saturating_add(other.payload_bytes);
        self.device_bytes = self.device_bytes.saturating_add(other.device_bytes);
        self.sectors = self.sectors.saturating_add(other.sectors);
        self.syncs = self.syncs.saturating_add(other.syncs);
    }
}

impl Sum for Wear {
    fn sum<I: Iterator<Item = Wear>>(wears: I) -> Wear {
        wears.fold(Wear::default(), |mut sum, wear| {
            sum += wear;
            sum
        })
    }
}
