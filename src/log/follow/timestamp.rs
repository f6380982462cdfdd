//! Finding the place of a time in a log that somebody else writes.
//!
//! Floor 4. As the writer finds it, but for what is kept between two questions: nothing is.

use crate::log::follow::watch::Watch;
use crate::words::error::{ErrorKind, Result};
use crate::words::offset::Offset;
use crate::words::time::Timestamp;

impl Watch {
    /// The first offset that was seen whole whose record has this time or a later one; the end if
    /// there is none. Segments that cannot be read are passed over: reading reports them.
    pub(super) fn first_at(&mut self, time: Timestamp) -> Result<Offset> {
        let (start, end) = (self.start(), self.end());
        let mut next = self.enter(start)?;
        while let Some(entered) = next {
            let sealed = self.tail_seen(entered.base).is_none();
            let env = self.env();
            let (data, time) = (&entered.data, time.millis());
            let reaches = match sealed {
                true => data.max_timestamp(env).map(|highest| highest >= time),
                false => Ok(true),
            };
            match reaches.and_then(|reaches| match reaches {
                true => data.first_at(env, time, start, sealed),
                false => Ok(None),
            }) {
                Ok(Some(found)) => return Ok(found.clamp(start, end)),
                Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                Ok(None) | Err(_) => next = self.after(entered.base, entered.base + 1)?,
            }
        }
        Ok(end)
    }
}
