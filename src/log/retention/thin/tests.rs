//! What thinning asks for, and the gaps it makes.
//!
//! Floor 4.

use super::*;
use crate::codec::decode::check_header;
use crate::codec::layout::BatchHeader;
use crate::disk::segment::Segment;
use crate::words::log_id::LogId;

const MOST: i64 = i32::MAX as i64;

/// I4: whatever the range, the batches lead from its begin to its end, and are known by their size.
#[test]
fn the_batches_of_a_gap_lead_from_its_begin_to_its_end() {
    let seal = Seal::of(LogId::from_bytes([7; 16]));
    for begin in [0, 5, 1 << 40] {
        for count in [1, 2, MOST - 1, MOST, MOST + 1, 2 * MOST, 2 * MOST + 1, 5 * MOST + 3] {
            let range = Offset::new(begin)..Offset::new(begin + count);
            let bytes = encode_gaps(range.clone(), 77, &seal);
            assert_eq!(bytes.len() as u64, gap_bytes(&range), "{range:?}");
            let mut next = begin;
            for batch in bytes.chunks(HEADER_BYTES) {
                let header: BatchHeader = check_header(batch, batch.len(), &seal).unwrap();
                assert_eq!((header.base_offset, header.count), (next, 0));
                assert_eq!((header.max_timestamp, header.base_timestamp), (77, 77));
                assert!(header.stands_for_deleted());
                next = header.next_offset();
            }
            assert_eq!(next, begin + count);
        }
    }
}

fn layout(bytes: &[u64]) -> Layout {
    let at = |n: usize| Offset::new(10 * i64::try_from(n).unwrap());
    let sealed = bytes.iter().enumerate().map(|(n, &bytes)| Sealed {
        segment: Arc::new(Segment::closed(at(n))),
        next: at(n + 1),
        bytes,
    });
    Layout::made_of(sealed.collect())
}

fn thinned_until_nothing_is_due(bytes: &mut [u64], one_in: u32) -> Vec<usize> {
    let mut order = Vec::new();
    loop {
        let layout = layout(bytes);
        let Some(found) = layout.to_thin(one_in).next() else { return order };
        let at = usize::try_from(found.segment.base.get() / 10).unwrap();
        assert!(bytes[at] > 61, "nothing is thinned twice");
        bytes[at] = 61;
        order.push(at);
        assert!(order.len() <= bytes.len());
    }
}

/// Of any run of so many segments in the part that was thinned, one stays, however often thinning
/// is begun anew; what is thinned next lies behind what was; the newer half of the bytes stays.
#[test]
fn one_in_so_many_stays_and_the_newer_half_is_whole() {
    for one_in in 2..6_u32 {
        for count in 1..40 {
            let mut bytes = vec![4000; count];
            let order = thinned_until_nothing_is_due(&mut bytes, one_in);
            assert!(order.is_sorted(), "{order:?}");
            assert_eq!(thinned_until_nothing_is_due(&mut bytes, one_in), [0; 0]);
            let last = order.last().map_or(0, |last| last + 1);
            for (at, bytes) in bytes.iter().enumerate() {
                let stays = at.is_multiple_of(one_in as usize) || at >= last;
                assert_eq!(*bytes == 4000, stays, "{at} of {count}, one in {one_in}");
            }
            let older: u64 = bytes[..last].iter().sum();
            assert!(older * 2 <= bytes.iter().sum::<u64>() + 1);
            // Dropping from the front keeps which ones stay.
            let front =
                bytes.iter().skip(1).position(|bytes| *bytes > 61).map_or(count, |at| at + 1);
            let mut rest = bytes.split_off(front.min(count));
            let before = rest.clone();
            let more = thinned_until_nothing_is_due(&mut rest, one_in);
            assert!(
                more.iter().all(|at| before[*at] == 4000 && !at.is_multiple_of(one_in as usize))
            );
        }
    }
}
