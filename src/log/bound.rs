//! A bound in a configuration file: a number, or -1 for none, as in Kafka's.
//!
//! Floor 4. In code, and where a file leaves it out, no bound is `None`; a file that is read on top
//! of another one needs a word for it.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// For `deserialize_with`. Formats that know no names are read as they were written, by `Option`.
pub(crate) fn deserialize<'de, N, D>(deserializer: D) -> Result<Option<N>, D::Error>
where
    N: TryFrom<u64>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_option(Bound(PhantomData))
}

struct Bound<N>(PhantomData<N>);

impl<'de, N: TryFrom<u64>> Visitor<'de> for Bound<N> {
    type Value = Option<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or -1 for no bound")
    }

    fn visit_none<E: Error>(self) -> Result<Option<N>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<N>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<N>, D::Error> {
        deserializer.deserialize_u64(self)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<N>, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) if number == -1 => Ok(None),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<N>, E> {
        match N::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}
