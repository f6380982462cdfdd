//! What each codec makes of records, and of bytes that are none.
//!
//! Floor 2.

use super::*;
use crate::codec::crc::crc32c;
use crate::codec::encode::{BatchEncoder, put_header};
use crate::words::record::NewRecord;
use crate::words::time::Timestamp;

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn built_in() -> impl Iterator<Item = Compression> {
    CODECS.into_iter().filter(|codec| codec.is_built_in())
}

fn by(compression: Compression) -> Packing {
    Packing { compression, level: 0 }
}

fn batch(values: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = BatchEncoder::begin(&mut out, 80 << 20);
    for value in values {
        encoder.push(&NewRecord::new(value), Timestamp::from_millis(1_795_000_000_000)).unwrap();
    }
    encoder.finish();
    out
}

/// Bytes that no codec makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn what_is_compressed_comes_back_the_same_whatever_its_size() {
    for codec in built_in() {
        for records in [1_usize, 2, 100, 5000] {
            for size in [200_usize, 40_000] {
                if records * size > 8 << 20 {
                    continue;
                }
                let value = |n: usize| format!("{n:0>size$}").into_bytes();
                let plain = batch((0..records).map(value));
                let mut packed = Vec::new();
                let header = pack(&plain, by(codec), &mut packed).unwrap();
                put_header(&mut packed, header);
                let header = BatchHeader::read(&packed).unwrap();
                assert_eq!(header.size().unwrap(), packed.len());
                assert_eq!(compression(&header), codec);
                assert_eq!(header.crc, crc32c(&packed[21..]));
                assert!(packed.len() < plain.len());
                let mut scratch = Vec::new();
                let read = super::records(&header, &packed, &mut scratch).unwrap();
                assert!(read == &plain[HEADER_BYTES..], "{codec:?} {records} {size}");
            }
        }
    }
}

#[test]
fn what_does_not_shrink_stays_plain() {
    for codec in built_in() {
        let mut packed = Vec::new();
        assert_eq!(pack(&batch([noise(5000)]), by(codec), &mut packed), None, "{codec:?}");
        assert_eq!(pack(&batch([b"x".to_vec()]), by(codec), &mut packed), None, "{codec:?}");
        let above = batch([vec![0; limits::UNPACKED_BYTES_MAX]]);
        assert_eq!(pack(&above, by(codec), &mut packed), None, "no reader would take it");
    }
}

/// Every cut and many changed bytes: an error or other bytes, never a panic.
#[test]
fn cut_and_damaged_data_is_refused_or_something_else() {
    for codec in built_in() {
        let plain = batch((0..300).map(|n| format!("temperature {n} at the door").into_bytes()));
        let mut packed = Vec::new();
        pack(&plain, by(codec), &mut packed).unwrap();
        let stored = &packed[HEADER_BYTES..];
        let mut out = Vec::new();
        for cut in 0..stored.len() {
            let cut_off = unpack(codec, &stored[..cut], &mut out);
            assert!(cut_off.is_err() || out.len() < plain.len() - HEADER_BYTES, "{codec:?} {cut}");
        }
        for at in 0..stored.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = stored.to_vec();
                changed[at] ^= change;
                let _ = unpack(codec, &changed, &mut out);
                assert!(out.len() <= limits::UNPACKED_BYTES_MAX);
            }
        }
        let random = noise(3000);
        for length in 0..random.len() {
            let _ = unpack(codec, &random[..length], &mut out);
        }
        let mut behind = stored.to_vec();
        behind.extend_from_slice(b"more");
        assert!(unpack(codec, &behind, &mut out).is_err(), "{codec:?}: what is behind it");
    }
}

/// One codec's bytes under another one's number.
#[test]
fn mixed_codecs_are_refused() {
    let plain = batch((0..300).map(|n| format!("temperature {n} at the door").into_bytes()));
    for wrote in built_in() {
        let mut packed = Vec::new();
        pack(&plain, by(wrote), &mut packed).unwrap();
        for reads in built_in().filter(|reads| *reads != wrote) {
            let mut out = Vec::new();
            let read = unpack(reads, &packed[HEADER_BYTES..], &mut out);
            assert!(read.is_err(), "{wrote:?} as {reads:?}");
        }
    }
}

/// A few kilobytes that would become more than the bound.
#[cfg(any(feature = "gzip", feature = "lz4", feature = "snappy", feature = "zstd"))]
#[test]
fn bombs_end_at_the_bound() {
    for codec in built_in() {
        let zeros = vec![0; (limits::UNPACKED_BYTES_MAX) + 1000];
        let mut stored = Vec::new();
        match codec {
            #[cfg(feature = "gzip")]
            Compression::Gzip => gzip::pack(&zeros, 0, &mut stored).unwrap(),
            #[cfg(feature = "snappy")]
            Compression::Snappy => snappy::pack(&zeros, &mut stored).unwrap(),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => lz4::pack(&zeros, &mut stored).unwrap(),
            #[cfg(feature = "zstd")]
            Compression::Zstd => zstd::pack(&zeros, 0, &mut stored).unwrap(),
            _ => unreachable!(),
        }
        let mut out = Vec::new();
        let refused = unpack(codec, &stored, &mut out).unwrap_err();
        assert_eq!(refused.what, TOO_MUCH, "{codec:?}");
        // As a vector doubles.
        assert!(out.capacity() <= 4 * limits::UNPACKED_BYTES_MAX, "{codec:?}");
    }
}

#[test]
fn a_codec_that_is_not_there_says_so() {
    let mut out = Vec::new();
    for codec in CODECS.into_iter().filter(|codec| !codec.is_built_in()) {
        assert_eq!(unpack(codec, b"bytes", &mut out).unwrap_err().what, NOT_BUILT_IN);
        assert_eq!(pack(&batch([vec![0; 500]]), by(codec), &mut out), None);
    }
    let unknown = unpack(Compression::Unknown, b"bytes", &mut out).unwrap_err();
    assert!(unknown.what.contains("Kafka does not know"));
    let mut header = BatchHeader::UNSTAMPED;
    for number in 5..8 {
        header.attributes = number;
        assert_eq!(compression(&header), Compression::Unknown);
    }
}

/// What other writers do, and Kafka's own reader takes.
#[cfg(feature = "gzip")]
#[test]
fn gzip_of_several_members_is_read_whole() {
    let (mut stored, mut out) = (Vec::new(), Vec::new());
    gzip::pack(b"first ", 0, &mut stored).unwrap();
    gzip::pack(b"second", 9, &mut stored).unwrap();
    unpack(Compression::Gzip, &stored, &mut out).unwrap();
    assert_eq!(out, b"first second");
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_of_several_frames_is_read_whole() {
    let (mut stored, mut out) = (Vec::new(), Vec::new());
    zstd::pack(&vec![1; 200_000], 1, &mut stored).unwrap();
    zstd::pack(&vec![2; 300_000], -5, &mut stored).unwrap();
    unpack(Compression::Zstd, &stored, &mut out).unwrap();
    assert_eq!(out.len(), 500_000);
    assert!(out.iter().take(200_000).all(|byte| *byte == 1) && out.ends_with(&[2]));
}

#[cfg(feature = "snappy")]
#[test]
fn snappy_is_read_bare_and_in_streams_put_together() {
    let (mut stored, mut out) = (Vec::new(), Vec::new());
    snappy::pack(&vec![1; 100_000], &mut stored).unwrap();
    snappy::pack(b"second", &mut stored).unwrap();
    unpack(Compression::Snappy, &stored, &mut out).unwrap();
    assert_eq!(out.len(), 100_006);
    let bare = snap::raw::Encoder::new().compress_vec(&vec![7; 90_000]).unwrap();
    unpack(Compression::Snappy, &bare, &mut out).unwrap();
    assert_eq!(out, vec![7; 90_000]);
}
