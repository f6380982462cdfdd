//! Values that are encrypted one by one before they are appended.
//!
//! Floor 4. XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): its nonces are long enough to be drawn
//! at random for ever. A batch stays a legal Kafka batch; keys, headers and times stay readable:
//! compaction and partitions go by them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::log::options::LogOptions;
use crate::sys::sync::RwLock;
use crate::sys::sync::atomic::{AtomicU32, Ordering};
use crate::sys::{self, Process};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::log_id::LogId;
use crate::words::record::{NewRecord, Record};

/// Encrypts the values of the logs it is given to, and opens them again.
///
/// Each value is sealed by itself with a key of 32 bytes, which the application gives by its
/// number: what is stored and shipped is an ordinary record whose value is the ciphertext and a
/// tag of 16 bytes, with a header [`Encryption::HEADER`] that holds the key's number, the log's id
/// and the nonce. It takes 74 bytes a record more. A value that was moved to another key or another
/// log does not open; that records are left out, repeated or put in another order is not seen.
///
/// A tombstone has no value, so it stays as it is. Ciphertext does not compress.
///
/// Clones share keys; give one to as many logs as wanted. A key for each log alone makes it
/// possible to erase that log by destroying the key, wherever copies of it lie: see
/// [`Encryption::forget`].
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use forebay::{Encryption, Log, OffsetSpec};
/// # fn from_the_secure_element(number: u32) -> Option<[u8; 32]> { (number == 7).then_some([7; 32])
/// } let encryption = Encryption::new(7, from_the_secure_element)?; let log =
/// Log::options().encryption(&encryption).open(dir)?; log.append("21.5 C")?; let batch =
/// log.reader(OffsetSpec::Earliest)?.next().expect("one was appended")?; let record =
/// batch.records().next().expect("one was appended")?; assert_ne!(record.value(), b"21.5 C");
/// assert_eq!(encryption.open(&record)?, b"21.5 C");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Encryption(Arc<Keys>);

struct Keys {
    /// The number of the key that new values are sealed with.
    current: AtomicU32,
    source: Box<Source>,
    /// Those that were asked for last, the youngest behind; they wipe themselves when they go.
    ready: RwLock<Vec<(u32, Arc<XChaCha20Poly1305>)>>,
}

type Source = dyn Fn(u32) -> Option<[u8; 32]> + Send + Sync;

/// Keys that are kept ready.
const READY_MAX: usize = 16;
/// The first byte of the header.
const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Version, number of the key, id of the log, nonce.
const HEADER_BYTES: usize = 1 + 4 + ID_BYTES + NONCE_BYTES;
/// Nonces that a thread draws at once.
const NONCES: usize = 128;

impl Encryption {
    /// The header of an encrypted record: one byte 1, four of the key's number, 16 of the log's id,
    /// 24 of the nonce, all big endian.
    pub const HEADER: &'static str = "forebay.enc";

    /// Seals with the key of this number. `keys` gives any key by its number, `None` for one it has
    /// not, or not any more; it runs on the thread that appends or opens, with no lock held, and
    /// may be run by several at once. The last 16 keys are remembered.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if `keys` has no key of this number.
    pub fn new(
        key: u32,
        keys: impl Fn(u32) -> Option<[u8; 32]> + Send + Sync + 'static,
    ) -> Result<Encryption> {
        let current = AtomicU32::new(key);
        let ready = RwLock::new(Vec::new());
        let encryption = Encryption(Arc::new(Keys { current, source: Box::new(keys), ready }));
        encryption.key(key)?;
        Ok(encryption)
    }

    /// Seals with the key of this number from now on: for every log and clone. What was sealed
    /// before opens with the key it was sealed with, as long as `keys` has it.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is no such key: the one before stays.
    ///
    /// # Examples
    /// ```
    /// use forebay::Encryption;
    /// let encryption = Encryption::new(7, |number| (number < 9).then_some([number as u8; 32]))?;
    /// encryption.use_key(8)?;
    /// assert!(encryption.use_key(9).is_err());
    /// assert_eq!(encryption.current_key(), 8);
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn use_key(&self, key: u32) -> Result<()> {
        self.key(key)?;
        self.0.current.store(key, Ordering::Release);
        Ok(())
    }

    /// The number of the key that values are sealed with now.
    #[must_use]
    pub fn current_key(&self) -> u32 {
        self.0.current.load(Ordering::Acquire)
    }

    /// Wipes a key from memory. The next value that needs it asks the application for it: where
    /// that has destroyed it as well, nothing that was sealed with it can be read any more, on this
    /// device or elsewhere.
    pub fn forget(&self, key: u32) {
        let gone = {
            let mut ready = self.0.ready.write();
            let at = ready.iter().position(|(number, _)| *number == key);
            at.map(|at| ready.remove(at))
        };
        drop(gone);
    }

    /// Whether a record says that it is encrypted.
    #[must_use]
    pub fn is_encrypted(record: &Record<'_>) -> bool {
        record.headers().any(|(name, _)| name == Encryption::HEADER)
    }

    /// The value of an encrypted record, from whatever log or broker it was read.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), if the application has not got its key;
    /// [`Corrupt`](ErrorKind::Corrupt), if it is not encrypted, its header is none, or it was
    /// sealed with another key, for another log, under another record's key, or changed since;
    /// [`UnsupportedFormat`](ErrorKind::UnsupportedFormat), if a newer version sealed it. Each
    /// names the record's offset; the records behind it are not concerned.
    pub fn open(&self, record: &Record<'_>) -> Result<Vec<u8>> {
        self.open_at(record).map_err(|error| error.offset(record.offset()))
    }

    fn open_at(&self, record: &Record<'_>) -> Result<Vec<u8>> {
        let corrupt = |what: String| Error::new(ErrorKind::Corrupt, what);
        let mut named = record.headers().filter(|(name, _)| *name == Encryption::HEADER);
        let Some((_, header)) = named.next() else {
            return Err(corrupt("the record is not encrypted: it has no header for it".into()));
        };
        if named.next().is_some() {
            return Err(corrupt("the record has two headers that say it is encrypted".into()));
        }
        let place = Place::read(header.unwrap_or_default())?;
        if record.is_tombstone() {
            return Err(corrupt("the record says that it is encrypted and has no value".into()));
        }
        let key = self.key(place.key)?;
        let mut value = record.value().to_vec();
        let data = associated(place.log, record.key());
        key.decrypt_in_place(&XNonce::from(place.nonce), &data, &mut value).map_err(|_| {
            corrupt(format!(
                "the value does not open with key {}: it was sealed with another one, for another \
                 log or record key, or changed since",
                place.key
            ))
        })?;
        Ok(value)
    }

    /// The record as it is stored in this log.
    pub(crate) fn seal<'r>(&self, log: LogId, record: &'r NewRecord<'_>) -> Result<NewRecord<'r>> {
        let borrowed = |bytes: &'r [u8]| Cow::Borrowed(bytes);
        let mut sealed = NewRecord {
            key: record.key.as_deref().map(borrowed),
            value: record.value.as_deref().map(borrowed),
            headers: Vec::with_capacity(record.headers.len() + 1),
            timestamp: record.timestamp,
        };
        let headers = record.headers.iter();
        let headers = headers
            .map(|(name, value)| (Cow::Borrowed(name.as_ref()), value.as_deref().map(borrowed)));
        sealed.headers.extend(headers);
        let named = record.headers.iter().find(|(name, _)| name == Encryption::HEADER);
        if let Some((_, header)) = named {
            // One that was sealed for another log, and is passed on.
            let place = Place::read(header.as_deref().unwrap_or_default());
            place.map_err(|error| Error::invalid(error.what_failed()))?;
            return Ok(sealed);
        }
        let Some(value) = record.value.as_deref() else { return Ok(sealed) };
        let number = self.current_key();
        let key = self.key(number)?;
        let place = Place { key: number, log: *log.as_bytes(), nonce: draw_nonce()? };
        let mut text = Vec::with_capacity(value.len() + TAG_BYTES);
        text.extend_from_slice(value);
        let data = associated(place.log, record.key.as_deref());
        key.encrypt_in_place(&XNonce::from(place.nonce), &data, &mut text)
            .map_err(|_| Error::invalid("the value is longer than can be encrypted"))?;
        sealed.value = Some(Cow::Owned(text));
        sealed.headers.push((Encryption::HEADER.into(), Some(Cow::Owned(place.write()))));
        Ok(sealed)
    }

    /// A key by its number, asked for where it is not ready.
    fn key(&self, number: u32) -> Result<Arc<XChaCha20Poly1305>> {
        let keys = &*self.0;
        let found = keys.ready.read().iter().find(|(of, _)| *of == number).map(|it| it.1.clone());
        if let Some(key) = found {
            return Ok(key);
        }
        let Some(mut bytes) = (keys.source)(number) else {
            let text = format!("there is no key {number}: what was sealed with it stays closed");
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        let key = Arc::new(XChaCha20Poly1305::new(&bytes.into()));
        zeroize::Zeroize::zeroize(&mut bytes);
        let gone = {
            let mut ready = keys.ready.write();
            ready.retain(|(of, _)| *of != number);
            ready.push((number, Arc::clone(&key)));
            (ready.len() > READY_MAX).then(|| ready.remove(0))
        };
        drop(gone);
        Ok(key)
    }
}

/// What the header says.
struct Place {
    key: u32,
    log: [u8; ID_BYTES],
    nonce: [u8; NONCE_BYTES],
}

impl Place {
    fn read(header: &[u8]) -> Result<Place> {
        match header.split_first() {
            Some((&VERSION, rest)) => Place::fields(rest).ok_or_else(|| {
                let text = format!(
                    "the header {} has {} bytes, and not {HEADER_BYTES}",
                    Encryption::HEADER,
                    header.len()
                );
                Error::new(ErrorKind::Corrupt, text)
            }),
            Some((version, _)) => {
                let text = format!("a newer version, {version}, has encrypted the record");
                Err(Error::new(ErrorKind::UnsupportedFormat, text))
            }
            None => {
                let text = format!("the header {} is empty", Encryption::HEADER);
                Err(Error::new(ErrorKind::Corrupt, text))
            }
        }
    }

    fn fields(rest: &[u8]) -> Option<Place> {
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (log, nonce) = rest.split_first_chunk::<ID_BYTES>()?;
        let nonce = nonce.try_into().ok()?;
        Some(Place { key: u32::from_be_bytes(*key), log: *log, nonce })
    }

    fn write(&self) -> Vec<u8> {
        let key = self.key.to_be_bytes();
        [[VERSION].as_slice(), &key, &self.log, &self.nonce].concat()
    }
}

/// What a value is tied to: the log's id, whether the record has a key, and the key.
fn associated(log: [u8; ID_BYTES], key: Option<&[u8]>) -> Vec<u8> {
    [&log, [u8::from(key.is_some())].as_slice(), key.unwrap_or_default()].concat()
}

thread_local! {
    /// Random bytes for nonces, and how many of them are used: a system call for each would cost as
    /// much as the encryption.
    static DRAWN: RefCell<Option<Drawn>> = const { RefCell::new(None) };
}

struct Drawn {
    /// A forked child must not use its parent's.
    by: Process,
    bytes: Box<[[u8; NONCE_BYTES]; NONCES]>,
    used: usize,
}

fn draw_nonce() -> Result<[u8; NONCE_BYTES]> {
    let next = |drawn: &mut Drawn| {
        let nonce = *drawn.bytes.get(drawn.used)?;
        drawn.used += 1;
        drawn.by.is_current().then_some(nonce)
    };
    let kept = DRAWN.try_with(RefCell::take).ok().flatten();
    let mut drawn = match kept {
        Some(mut drawn) => match next(&mut drawn) {
            Some(nonce) => {
                let _ = DRAWN.try_with(|kept| kept.replace(Some(drawn)));
                return Ok(nonce);
            }
            None => drawn,
        },
        None => Drawn {
            by: Process::current(),
            bytes: Box::new([[0; NONCE_BYTES]; NONCES]),
            used: NONCES,
        },
    };
    sys::random(drawn.bytes.as_flattened_mut()).map_err(|error| {
        Error::new(ErrorKind::Io, format!("the system has no random bytes for a nonce: {error}"))
    })?;
    drawn.by = Process::current();
    drawn.used = 1;
    let [first, ..] = *drawn.bytes;
    let _ = DRAWN.try_with(|kept| kept.replace(Some(drawn)));
    Ok(first)
}

impl LogOptions {
    /// Encrypts the value of each record that is appended; off unless set. Readers get what is
    /// stored, and open it with [`Encryption::open`]. What is in the log already stays as it is,
    /// and so do batches of a mirror's source. A hook of [`LogOptions::validate`] sees the value
    /// before. A record that carries the header [`Encryption::HEADER`] is taken for encrypted, and
    /// refused if that is none.
    ///
    /// Not part of a configuration file; options are equal if they have the same `Encryption`.
    pub fn encryption(mut self, encryption: &Encryption) -> LogOptions {
        self.encryption = Some(encryption.clone());
        self
    }
}

impl PartialEq for Encryption {
    fn eq(&self, other: &Encryption) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Encryption {}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").field("key", &self.current_key()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
