//! Finding the place of a time in the log.
//!
//! Floor 4. A sealed segment's highest time is read from its time index when it is first asked for
//! and kept: a few bytes a segment. The first segment that reaches the time is looked into.

use std::sync::Arc;

use crate::disk::segment::Segment;
use crate::log::Inner;
use crate::words::error::{ErrorKind, Result};
use crate::words::offset::Offset;
use crate::words::time::Timestamp;

impl Inner {
    /// The first readable offset whose record has this time or a later one; the log end offset if
    /// there is none. Segments that cannot be opened are passed over: reading reports them.
    pub(crate) fn first_at(&self, time: Timestamp) -> Result<Offset> {
        let (start, end) = (self.log_start_offset(), self.log_end_offset());
        let mut from = start;
        while let Some((segment, sealed)) = self.segments.first_reaching(from, time.millis()) {
            match self.first_in_segment(&segment, sealed, time.millis(), start) {
                Ok(Some(found)) => return Ok(found.max(self.log_start_offset())),
                Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                Ok(None) | Err(_) => {}
            }
            match self.segments.after(segment.base) {
                Some(following) if sealed => from = following.base,
                _ => break,
            }
        }
        Ok(end.max(self.log_start_offset()))
    }

    fn first_in_segment(
        &self,
        segment: &Arc<Segment>,
        sealed: bool,
        time: i64,
        from: Offset,
    ) -> Result<Option<Offset>> {
        let data = self.segments.open(&self.env, segment)?;
        if sealed && segment.max_timestamp().is_none() {
            let highest = data.max_timestamp(&self.env)?;
            segment.know_max_timestamp(highest);
            if highest < time {
                return Ok(None);
            }
        }
        data.first_at(&self.env, time, from, sealed)
    }
}
