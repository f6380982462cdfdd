//! Making room whoever holds what stands there.
//!
//! Floor 4. For a full budget or disk, by [`OnFull::DropOldest`](crate::OnFull::DropOldest). A
//! segment at a time: thinned first, if that is asked for, then deleted from the front.

use crate::log::Inner;
use crate::log::retention::rules::Layout;
use crate::words::error::{ErrorKind, Result};

/// What was taken to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Records that nobody can read any more, by their offsets.
    pub(crate) records: u64,
    /// Bytes of batches that were given back.
    pub(crate) bytes: u64,
}

impl Inner {
    /// What was dropped since the log was opened.
    pub(crate) fn dropped(&self) -> Dropped {
        let (records, bytes) = self.tally.all_dropped();
        Dropped { records, bytes }
    }

    /// Makes room by one segment, whatever holds it: thins the older half of the log where the
    /// options say so, else deletes the oldest sealed segment; where there is none, seals the
    /// active one first. `None` if there is nothing that could go. Whatever lies below the log
    /// start already goes before anything else.
    ///
    /// The new start is synced before the first file goes, and what is dropped is durable before;
    /// with an archive, only what that took goes. For callers that hold none of the log's locks.
    /// Any number of threads may call at once: who finds that another one has made room says so,
    /// with nothing dropped.
    pub(crate) fn drop_oldest(&self) -> Result<Option<Dropped>> {
        self.check_open()?;
        self.check_refusal()?;
        let removed = self.remove_deleted(&mut self.deletion.lock())?;
        if removed.segments > 0 {
            return Ok(Some(Dropped { records: 0, bytes: removed.bytes }));
        }
        let mut layout = Layout::of(self, true);
        if layout.sealed.is_empty() {
            // Where it cannot be sealed, another thread may have done that just now.
            self.seal_active()?;
            layout = Layout::of(self, true);
            if layout.sealed.is_empty() {
                return Ok(None);
            }
        }
        if let Some(one_in) = self.policy().thin_keep_one_in {
            match self.thin_oldest(&layout, one_in) {
                // Not even for 61 bytes in place of a segment: then one goes whole.
                Err(error) if error.kind() == ErrorKind::OutOfSpace => {}
                Ok(None) => {}
                thinned => {
                    self.space.room_was_made();
                    return thinned;
                }
            }
        }
        self.delete_oldest(&layout)
    }

    /// Deletes the oldest sealed segment that holds something, with the gaps before and behind it.
    fn delete_oldest(&self, layout: &Layout) -> Result<Option<Dropped>> {
        let mut from_full = layout.sealed.iter().skip_while(|segment| segment.is_gap());
        let oldest = from_full.next();
        let gaps = from_full.take_while(|segment| segment.is_gap());
        let Some(last) = gaps.last().or(oldest).or(layout.sealed.last()) else { return Ok(None) };
        let up_to = self.hand_over(last.next, true)?;
        let least = oldest.unwrap_or(last);
        if up_to < least.next {
            // Another thread hands it over just now.
            return Ok(None);
        }
        let mut deletion = self.deletion.lock();
        self.check_open()?;
        if !self.segments.holds(&least.segment) {
            return Ok(Some(Dropped::default()));
        }
        let before = self.log_start_offset();
        let start = if up_to < last.next { least.next } else { last.next };
        self.flush_until(start)?;
        self.raise_log_start(|_, _| Some(start))?;
        // What gaps stood over was counted when they were made.
        let dropped = oldest.map_or(Dropped::default(), |oldest| Dropped {
            records: (oldest.next - oldest.segment.base.max(before)).max(0).unsigned_abs(),
            bytes: oldest.bytes,
        });
        // From here on nobody can read it: a failed unlink is tried again by the next deletion.
        self.tally.dropped(dropped.records, dropped.bytes);
        let removed = self.remove_deleted(&mut deletion)?;
        Ok(Some(Dropped { bytes: removed.bytes, ..dropped }))
    }

    /// Begins a new segment if the active one holds something and there is room for its successor.
    fn seal_active(&self) -> Result<()> {
        let mut writer = self.lock_writer()?;
        self.refusal(&mut writer)?;
        if writer.active.is_empty() {
            return Ok(());
        }
        let rolled = self.save_tail(&mut writer).and_then(|()| self.roll(&mut writer));
        match rolled {
            Err(error) if error.kind() == ErrorKind::OutOfSpace => Ok(()),
            rolled => rolled,
        }
    }
}
