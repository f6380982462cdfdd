//! CRC-32C: each way to it, against another library.
//!
//! Floor 1.
#![allow(unsafe_code, reason = "one way of several is called by itself")]

use crate::sys::crc32c::{by_table, continued, crc32c};

/// RFC 3720, B.4.
#[test]
fn crc32c_is_what_iscsi_says_it_is() {
    let rising: Vec<u8> = (0..32).collect();
    let falling: Vec<u8> = (0..32).rev().collect();
    for (bytes, crc) in [
        (vec![0; 32], 0x8a91_36aa),
        (vec![0xff; 32], 0x62a8_ab43),
        (rising, 0x46dd_794e),
        (falling, 0x113f_db5c),
        (b"123456789".to_vec(), 0xe306_9283),
        (Vec::new(), 0),
    ] {
        assert_eq!(crc32c(&bytes), crc, "{bytes:?}");
        assert_eq!(!by_table(!0, &bytes), crc, "{bytes:?}");
    }
}

/// Every way there is says of every length, from every start, what another library says.
#[test]
fn every_way_to_crc32c_is_the_same_for_every_length_and_alignment() {
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(70_000)
    .collect();
    let lengths = (0..2100).chain([3071, 3072, 3073, 4096, 6200, 9300, 65_536, 69_990]);
    for length in lengths {
        for from in [0, 1, 7, 8] {
            let Some(bytes) = bytes.get(from..from + length) else { continue };
            let crc = ::crc32c::crc32c(bytes);
            assert_eq!(crc32c(bytes), crc, "{length} bytes from {from}");
            assert_eq!(!by_table(!0, bytes), crc, "{length} bytes from {from} by table");
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("sse4.2")
                && std::arch::is_x86_feature_detected!("pclmulqdq")
            {
                // SAFETY: the processor has the instructions.
                let streams = unsafe { crate::sys::crc32c::x86::in_streams(!0, bytes) };
                assert_eq!(!streams, crc, "{length} bytes from {from} in streams");
            }
        }
    }
}

#[test]
fn a_sum_is_continued_where_it_was_left() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1500).collect();
    for at in [0, 1, 8, 200, 256, 300, 1024, 1500] {
        let (before, behind) = bytes.split_at(at);
        let whole = !continued(continued(!0, before), behind);
        assert_eq!(whole, crc32c(&bytes), "left at {at}");
    }
}
