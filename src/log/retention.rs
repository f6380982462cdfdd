//! Retention.
//!
//! Floor 4.

use crate::log::Inner;
use crate::words::error::Result;

#[derive(Clone, Copy, Default)]
pub(crate) struct Dropped {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

pub(crate) struct Report {
    pub(crate) segments_deleted: u64,
    pub(crate) records_deleted: u64,
}
impl Inner {
    pub(crate) fn apply_retention(&self) -> Result<Report> {
        Ok(Report { segments_deleted: 0, records_deleted: 0 })
    }
    pub(crate) fn dropped(&self) -> Dropped {
        Dropped::default()
    }

    pub(crate) fn expire(&self) -> Result<bool> {
        Ok(false)
    }
    pub(crate) fn drop_oldest(&self) -> Result<Option<Dropped>> {
        let all = self.segments.all();
        let Some(second) = all.get(1) else { return Ok(None) };
        let start = self.log_start_offset();
        self.delete_below(second.base)?;
        Ok(Some(Dropped { bytes: 0, records: (second.base - start).unsigned_abs() }))
    }
}
