//! Finding the place of a time in a log that somebody else writes.
//!
//! Floor 4. As the writer finds it, but for what is kept between two questions: nothing is.

use crate::log::follow::watch::{Entered, Watch};
use crate::words::error::{ErrorKind, Result};
use crate::words::offset::Offset;
use crate::words::time::Timestamp;

impl Watch {
    /// The first offset that was seen whole whose record has this time or a later one; the end if
    /// there is none. Segments that cannot be read are passed over: reading reports them.
    pub(super) fn first_at(&mut self, time: Timestamp) -> Result<Offset> {
        let (start, end) = (self.start(), self.end());
        let mut entered = self.enter(start);
        let mut next = self.base_above(start);
        loop {
            match entered.and_then(|entered| self.first_in(entered, time, start)) {
                Ok(Some(found)) => return Ok(found.clamp(start, end)),
                Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                Ok(None) | Err(_) => {}
            }
            let Some(base) = next else { return Ok(end) };
            entered = self.segment(base).map(Some);
            next = self.base_above(base);
        }
    }

    fn first_in(
        &self,
        entered: Option<Entered>,
        time: Timestamp,
        start: Offset,
    ) -> Result<Option<Offset>> {
        let Some(Entered { base, data }) = entered else { return Ok(None) };
        let (env, time) = (self.env(), time.millis());
        // What is still being written has an index that grows; what is sealed, one for all of it.
        let sealed = self.tail_seen(base).is_none();
        if sealed && data.max_timestamp(env)? < time {
            return Ok(None);
        }
        data.first_at(env, time, start, sealed)
    }
}
