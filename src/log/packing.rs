//! What is done to a batch on its way down beside encoding it: values are encrypted, batches are
//! compressed.
//!
//! Floor 4. On the caller's thread, before the writer's lock.

use std::cell::RefCell;
use std::ops::Range;

use crate::codec::encode::put_header;
use crate::codec::pack::{Packing, pack};
use crate::log::{Inner, Log};
use crate::words::compression::Compression;
use crate::words::error::Result;
use crate::words::limits;
use crate::words::offset::Offset;
use crate::words::record::NewRecord;

thread_local! {
    /// Each thread compresses into a buffer of its own.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Log {
    /// [`Log::append_batch`] with a compression of its own for this batch: readings that are sent
    /// by radio, beside images that are compressed anyhow. The level is that of the options where
    /// the codec is the same, else the codec's own.
    ///
    /// # Errors
    /// As [`Log::append_batch`]; [`Unsupported`](crate::ErrorKind::Unsupported) for a codec that is
    /// not built in: nothing was appended.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::Compression;
    /// let picture = vec![0xd8; 20_000];
    /// log.append_batch_compressed(Compression::None, [picture])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_batch_compressed<'a, R: Into<NewRecord<'a>>>(
        &self,
        compression: Compression,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Range<Offset>> {
        self.inner.append_records(records, None, Some(compression))
    }
}

/// Compresses an encoded batch, and hands on whichever of the two is smaller.
#[inline(never)]
pub(super) fn with_packed<T>(
    batch: &mut [u8],
    packing: Packing,
    then: impl FnOnce(&mut [u8]) -> T,
) -> T {
    // An append inside this one finds none, and makes its own.
    let mut packed = PACKED.try_with(RefCell::take).unwrap_or_default();
    let done = match pack(batch, packing, &mut packed) {
        Some(header) => {
            put_header(&mut packed, header);
            then(&mut packed)
        }
        None => then(batch),
    };
    if packed.capacity() <= limits::ENCODE_BUFFER_KEPT_BYTES {
        let _ = PACKED.try_with(|kept| kept.replace(packed));
    }
    done
}

impl Inner {
    /// What a batch is compressed by, with `asked` for it alone.
    pub(crate) fn packing(&self, asked: Option<Compression>) -> Result<Packing> {
        let usual = self.live.packing();
        match asked {
            Some(compression) if compression != usual.compression => {
                let built_in = compression.check_built_in();
                built_in.map_err(|error| self.tally.refused(error.at(&self.env.dir)))?;
                Ok(Packing { compression, level: 0 })
            }
            _ => Ok(usual),
        }
    }

    /// The record encrypted, where the log does that.
    #[cfg(feature = "encryption")]
    #[inline]
    pub(crate) fn sealed<'r>(&self, record: &'r NewRecord<'_>) -> Result<Option<NewRecord<'r>>> {
        let Some(encryption) = &self.options.encryption else { return Ok(None) };
        let sealed = encryption.seal(self.meta.log_id, record);
        sealed.map(Some).map_err(|error| self.tally.refused(error.at(&self.env.dir)))
    }

    #[cfg(not(feature = "encryption"))]
    #[inline(always)]
    #[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(crate) fn sealed<'r>(&self, _: &'r NewRecord<'_>) -> Result<Option<NewRecord<'r>>> {
        Ok(None)
    }
}
