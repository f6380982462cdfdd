//! How a value of a type lies in a record's bytes.
//!
//! Floor 6. Bytes come from a disk: whatever they are, decoding ends, with memory in proportion.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a codec cannot encode or decode; said inside the [`Error`](crate::Error) of the call.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// Makes bytes of values of `T`, and values of bytes.
///
/// # Examples
/// JSON, which names its fields, and so may grow some:
/// ```
/// use forebay::{Codec, CodecError};
/// use serde::{Serialize, de::DeserializeOwned};
///
/// #[derive(Clone)]
/// struct Json;
///
/// impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
///     fn encode(&self, value: &T, into: &mut Vec<u8>) -> Result<(), CodecError> {
///         Ok(serde_json::to_writer(into, value)?)
///     }
///     fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
///         Ok(serde_json::from_slice(bytes)?)
///     }
/// }
/// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
/// let readings = log.typed_with::<(String, f64), _>(Json);
/// readings.append(&("sensor-7".to_owned(), 21.5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Codec<T> {
    /// Adds the value's bytes to `into`.
    ///
    /// # Errors
    /// Any: nothing is appended.
    fn encode(&self, value: &T, into: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value that all of these bytes are.
    ///
    /// # Errors
    /// Any: told with the record's offset; the records behind it are decoded all the same.
    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// The codec that typed records have unless another one is given: bincode 2 in its standard
/// configuration, little endian with numbers of variable length.
///
/// Small and quick, and no description of itself: fields have no names, only their order. What that
/// means for types that change: [`docs::typed`](crate::docs::typed). Bytes left over are an error,
/// and so are values whose bytes claim more memory than sixteen times themselves (64 KiB at least),
/// or more than 1 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bincode;

impl<T: Serialize + DeserializeOwned> Codec<T> for Bincode {
    fn encode(&self, value: &T, into: &mut Vec<u8>) -> Result<(), CodecError> {
        bincode::serde::encode_into_std_write(value, into, bincode::config::standard())?;
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let (value, used) = decode_bounded(bytes)?;
        match bytes.len() - used {
            0 => Ok(value),
            left => Err(format!("{left} bytes are left over").into()),
        }
    }
}

/// bincode allocates what a length asks for before it looks at the bytes: it has to be bounded, by
/// a number that is known when this is compiled. No number takes more than sixteen times its bytes.
fn decode_bounded<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<(T, usize), bincode::error::DecodeError> {
    let standard = bincode::config::standard();
    if bytes.len() <= 4 << 10 {
        return bincode::serde::decode_from_slice(bytes, standard.with_limit::<{ 64 << 10 }>());
    }
    if bytes.len() <= 64 << 10 {
        return bincode::serde::decode_from_slice(bytes, standard.with_limit::<{ 1 << 20 }>());
    }
    if bytes.len() <= 1 << 20 {
        return bincode::serde::decode_from_slice(bytes, standard.with_limit::<{ 16 << 20 }>());
    }
    bincode::serde::decode_from_slice(bytes, standard.with_limit::<{ 1 << 30 }>())
}
