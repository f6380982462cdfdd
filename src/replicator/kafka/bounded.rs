//! Every length in a broker's answer is looked at before the answer is decoded (I11).
//!
//! Floor 6. The wire codec reserves memory for as many elements as an answer claims to have: a
//! broken or hostile one could claim two billion. A shape per answer says where its lengths are;
//! an answer that claims more than it has bytes for is not decoded.

use crate::{Error, Result};

/// The shape of an answer, a character a field: `1` `2` `4` `8` fixed bytes, `u` a uuid, `v` what
/// a compact length precedes (text or bytes, or none), `(` ... `)` a compact array, `t` tagged
/// fields, and as of old `s` text and `[` ... `]` an array.
pub(super) type Shape = &'static [u8];

/// ApiVersions 3.
pub(super) const API_VERSIONS: Shape = b"2(222t)4t";
/// SaslHandshake 1.
pub(super) const SASL_HANDSHAKE: Shape = b"2[s]";
/// SaslAuthenticate 2.
pub(super) const SASL_AUTHENTICATE: Shape = b"2vv8t";
/// Metadata 11.
pub(super) const METADATA: Shape = b"4(4v4vt)v4(2vu1(2444(4)(4)(4)t)4t)t";
/// InitProducerId 4.
pub(super) const INIT_PRODUCER_ID: Shape = b"4282t";
/// DescribeProducers 0.
pub(super) const DESCRIBE_PRODUCERS: Shape = b"4(v(42v(844848t)t)t)t";
/// DescribeConfigs 4.
pub(super) const DESCRIBE_CONFIGS: Shape = b"4(2v1v(vv111(vv1t)1vt)t)t";
/// CreateTopics 7.
pub(super) const CREATE_TOPICS: Shape = b"4(vu2v42(vv111t)t)t";
/// Produce 9.
pub(super) const PRODUCE: Shape = b"(v(42888(4vt)vt)t)4t";
/// Produce 13: topics by their ids.
pub(super) const PRODUCE_BY_ID: Shape = b"(u(42888(4vt)vt)t)4t";
/// ListOffsets 6.
pub(super) const LIST_OFFSETS: Shape = b"4(v(42884t)t)t";
/// Fetch 12.
pub(super) const FETCH: Shape = b"424(v(42888(88t)4vt)t)t";

/// Whether the answer has what its lengths claim.
pub(super) fn check(shape: Shape, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    walk(shape, &mut rest).ok_or_else(|| {
        let at = bytes.len() - rest.len();
        let text = format!("the broker's answer is broken at byte {at} of {}", bytes.len());
        Error::upstream(text)
    })?;
    match rest.len() {
        0 => Ok(()),
        extra => {
            let text = format!("the broker's answer has {extra} bytes more than its fields");
            Err(Error::upstream(text))
        }
    }
}

/// Walks over `shape` once; `None` where the bytes end too early.
fn walk(mut shape: &[u8], rest: &mut &[u8]) -> Option<()> {
    while let Some((kind, behind)) = shape.split_first() {
        shape = behind;
        match kind {
            b'1' => skip(rest, 1)?,
            b'2' => skip(rest, 2)?,
            b'4' => skip(rest, 4)?,
            b'8' => skip(rest, 8)?,
            b'u' => skip(rest, 16)?,
            b's' => {
                let length = i16::from_be_bytes(take(rest)?);
                skip(rest, usize::try_from(length).ok()?)?;
            }
            b'v' => {
                let length = varint(rest)?.saturating_sub(1);
                skip(rest, length)?;
            }
            b't' => {
                for _ in 0..varint(rest)? {
                    varint(rest)?;
                    let length = varint(rest)?;
                    skip(rest, length)?;
                }
            }
            b'(' | b'[' => {
                let close = closing(shape)?;
                let (element, behind) = shape.split_at_checked(close)?;
                let count = match kind {
                    b'(' => varint(rest)?.saturating_sub(1),
                    _ => usize::try_from(i32::from_be_bytes(take(rest)?)).ok()?,
                };
                // Each element has a byte at least.
                if count > rest.len() {
                    return None;
                }
                for _ in 0..count {
                    walk(element, rest)?;
                }
                shape = behind.get(1..)?;
            }
            _ => return None,
        }
    }
    Some(())
}

/// Where the array ends whose elements begin here.
fn closing(shape: &[u8]) -> Option<usize> {
    let mut depth = 0_u32;
    shape.iter().position(|kind| match kind {
        b'(' | b'[' => {
            depth += 1;
            false
        }
        b')' | b']' if depth == 0 => true,
        b')' | b']' => {
            depth -= 1;
            false
        }
        _ => false,
    })
}

/// The bytes at the front, if there are so many.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

fn skip(rest: &mut &[u8], bytes: usize) -> Option<()> {
    *rest = rest.get(bytes..)?;
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let [byte] = take(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return usize::try_from(value).ok().filter(|value| *value <= u32::MAX as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_what_it_claims_passes_and_each_cut_of_it_does_not() {
        // One element: three shorts and no tagged fields.
        let bytes = [0, 0, 2, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0];
        assert!(check(API_VERSIONS, &bytes).is_ok());
        for cut in 0..bytes.len() {
            let error = check(API_VERSIONS, &bytes[..cut]).unwrap_err().to_string();
            assert!(error.contains("broken at byte"), "{cut}: {error}");
        }
        let more = [bytes.as_slice(), &[0]].concat();
        assert!(check(API_VERSIONS, &more).unwrap_err().to_string().contains("1 bytes more"));
    }

    #[test]
    fn a_length_of_two_billion_is_not_believed() {
        for claim in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 6], &[0x80, 0x80, 0x80, 0x01]] {
            let bytes = [&[0, 0], claim, &[0; 40]].concat();
            assert!(check(API_VERSIONS, &bytes).is_err(), "{claim:?}");
        }
        assert!(check(SASL_HANDSHAKE, &[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0]).is_err());
        assert!(check(SASL_HANDSHAKE, &[0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(check(SASL_HANDSHAKE, &[0, 0, 0, 0, 0, 1, 0, 2, 65, 66]).is_ok());
    }

    #[test]
    fn shapes_are_well_formed() {
        let all = [
            API_VERSIONS,
            SASL_HANDSHAKE,
            SASL_AUTHENTICATE,
            METADATA,
            INIT_PRODUCER_ID,
            DESCRIBE_PRODUCERS,
            DESCRIBE_CONFIGS,
            CREATE_TOPICS,
            PRODUCE,
            PRODUCE_BY_ID,
            LIST_OFFSETS,
            FETCH,
        ];
        for shape in all {
            // Empty arrays, texts and numbers: as long as its fields.
            let mut depth = 0;
            let fields = shape.iter().map(|kind| {
                let outside = depth == 0;
                depth += i32::from(b"([".contains(kind)) - i32::from(b")]".contains(kind));
                match kind {
                    _ if !outside => 0,
                    b'u' => 16,
                    b's' => 2,
                    b'[' => 4,
                    b'v' | b't' | b'(' => 1,
                    digit => usize::from(digit - b'0'),
                }
            });
            let length: usize = fields.sum();
            assert_eq!(depth, 0);
            assert!(check(shape, &vec![0; length]).is_ok(), "{}", shape.escape_ascii());
        }
    }
}
