//! Who still keeps a segment's file that the log itself has let go.
//!
//! Floor 3. A file that was unlinked keeps its space until the last map and descriptor of it are
//! gone: readers hold both, batches the map.

use std::sync::{Arc, Weak};

use crate::disk::segment::SegmentData;
use crate::sys::Map;

/// One opening of a segment's file, not kept alive by this.
#[derive(Debug)]
pub(crate) struct Pin {
    data: Weak<SegmentData>,
    map: Weak<Map>,
}

impl Pin {
    pub(crate) fn of(data: &Arc<SegmentData>) -> Pin {
        Pin { data: Arc::downgrade(data), map: data.map().map_or_else(Weak::new, Arc::downgrade) }
    }

    /// Whether somebody has the file or the map still.
    pub(crate) fn is_held(&self) -> bool {
        self.data.strong_count() > 0 || self.map.strong_count() > 0
    }
}
