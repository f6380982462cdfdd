//! Retention.
//!
//! Floor 4.

use crate::log::Inner;
use crate::words::error::Result;

pub(crate) struct Dropped {
    #[allow(dead_code, reason = "the store uses it")]
    pub(crate) records: u64,
}

impl Inner {
    pub(crate) fn expire(&self) -> Result<bool> {
        Ok(false)
    }
    pub(crate) fn drop_oldest(&self) -> Result<Option<Dropped>> {
        let all = self.segments.all();
        let Some(second) = all.get(1) else { return Ok(None) };
        let start = self.log_start_offset();
        self.delete_below(second.base)?;
        Ok(Some(Dropped { records: (second.base - start).unsigned_abs() }))
    }
}
