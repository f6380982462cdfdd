//! Which partition a key belongs to.
//!
//! Floor 5. Kafka's own choice: what an application writes to partitions here lies where a Kafka
//! producer would have put it.

/// The partition that Kafka's producers choose for a record with this key, of so many.
///
/// The Java client's default, librdkafka's `murmur2` and `murmur2_random`, and others that say
/// compatible: murmur2 of the key, its sign bit taken off, modulo the number of partitions. Records
/// of one key always get the same one, as long as the number of partitions stays. An empty key is a
/// key. A record without a key has no such partition: spread those as you like. Of 0 partitions the
/// answer is 0, as of 1.
///
/// # Examples
/// ```
/// let partition = forebay::partition_for_key(b"sensor-7", 12);
/// assert!(partition < 12);
/// assert_eq!(partition, forebay::partition_for_key(b"sensor-7", 12));
/// assert_eq!(forebay::partition_for_key(b"foobar", 100), 66, "as Kafka's Java client says");
/// ```
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & POSITIVE).checked_rem(partitions).unwrap_or(0)
}

/// All but the sign bit: Kafka's `toPositive`.
const POSITIVE: u32 = 0x7fff_ffff;

/// Austin Appleby's MurmurHash2 with the seed that Kafka gives it.
fn murmur2(key: &[u8]) -> u32 {
    let (words, rest) = key.as_chunks::<4>();
    // Kafka counts in 32 bits as well.
    let length = u32::try_from(key.len() & 0xffff_ffff).unwrap_or_default();
    let mut hash = SEED ^ length;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let bytes = rest.iter().rev().fold(0, |bytes, byte| bytes << 8 | u32::from(*byte));
        hash = (hash ^ bytes).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// `Utils.murmur2` and `BuiltInPartitioner.partitionForKey` of Kafka's Java client, 3.9.1 and
    /// 4.3.1, said this; the hash, then the partition of 3, 12, 1000 and 2^31 - 1.
    const JAVA: [(&[u8], i32, [u32; 4]); 34] = [
        (b"21", -973_932_308, [0, 0, 340, 1_173_551_340]),
        (b"foobar", -790_332_482, [0, 6, 166, 1_357_151_166]),
        (b"a-little-bit-long-string", -985_981_536, [2, 8, 112, 1_161_502_112]),
        (b"a-little-bit-longer-string", -1_486_304_829, [2, 11, 819, 661_178_819]),
        (
            b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
            [2, 5, 677, 2_088_585_677],
        ),
        (b"abc", 479_470_107, [0, 3, 107, 479_470_107]),
        (b"", 275_646_681, [0, 9, 681, 275_646_681]),
        (b"\x00", 375_494_588, [2, 8, 588, 375_494_588]),
        (b"\xff", -311_467_685, [0, 3, 963, 1_836_015_963]),
        (b"\x80", 857_690_492, [2, 8, 492, 857_690_492]),
        (b"\x00\x00", 595_382_058, [0, 6, 58, 595_382_058]),
        (b"\xff\xff", -1_642_832_928, [2, 8, 720, 504_650_720]),
        (b"\x80\x91", 627_719_599, [1, 7, 599, 627_719_599]),
        (b"\x00\x00\x00", 1_013_532_917, [2, 5, 917, 1_013_532_917]),
        (b"\xff\xff\xff", 1_548_199_422, [0, 6, 422, 1_548_199_422]),
        (b"\x80\x91\xa2", 309_046_872, [0, 0, 872, 309_046_872]),
        (b"\x00\x00\x00\x00", 850_957_120, [1, 4, 120, 850_957_120]),
        (b"\xff\xff\xff\xff", 644_171_429, [2, 5, 429, 644_171_429]),
        (b"\x80\x91\xa2\xb3", -838_711_625, [0, 3, 23, 1_308_772_023]),
        (b"\x00\x00\x00\x00\x00", 263_274_959, [2, 11, 959, 263_274_959]),
        (b"\xff\xff\xff\xff\xff", -363_838_622, [0, 6, 26, 1_783_645_026]),
        (b"\x80\x91\xa2\xb3\xc4", -2_136_307_287, [2, 5, 361, 11_176_361]),
        (b"\x00\x00\x00\x00\x00\x00", 254_929_376, [2, 8, 376, 254_929_376]),
        (b"\xff\xff\xff\xff\xff\xff", 28_450_676, [2, 8, 676, 28_450_676]),
        (b"\x80\x91\xa2\xb3\xc4\xd5", 847_163_050, [1, 10, 50, 847_163_050]),
        (b"\x00\x00\x00\x00\x00\x00\x00", 1_067_877_175, [1, 7, 175, 1_067_877_175]),
        (b"\xff\xff\xff\xff\xff\xff\xff", -71_293_549, [1, 7, 99, 2_076_190_099]),
        (b"\x80\x91\xa2\xb3\xc4\xd5\xe6", 1_556_198_382, [0, 6, 382, 1_556_198_382]),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00", -522_759_933, [2, 11, 715, 1_624_723_715]),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", 185_950_397, [2, 5, 397, 185_950_397]),
        (b"\x80\x91\xa2\xb3\xc4\xd5\xe6\xf7", -1_041_061_038, [2, 2, 610, 1_106_422_610]),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1_714_106_139, [0, 3, 139, 1_714_106_139]),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1_612_811_207, [2, 11, 207, 1_612_811_207]),
        (b"\x80\x91\xa2\xb3\xc4\xd5\xe6\xf7\x08", -103_652_852, [0, 0, 796, 2_043_830_796]),
    ];

    #[test]
    fn keys_lie_where_the_java_client_puts_them() {
        for (key, hash, partitions) in JAVA {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
            let of = [3, 12, 1000, 0x7fff_ffff].map(|count| partition_for_key(key, count));
            assert_eq!(of, partitions, "{key:?}");
        }
    }

    /// What librdkafka's own test expects of its `murmur2`.
    #[test]
    fn keys_hash_as_in_librdkafka() {
        let text = b"PreAmbleWillBeRemoved,ThePrePartThatIs";
        let cases: [(&[u8], u32); 11] = [
            (b"kafka", 0xd067_cf64),
            (b"giberish123456789", 0x8f55_2b0c),
            (b"1234", 0x9fc9_7b14),
            (b"234", 0xe7c0_09ca),
            (b"34", 0x8739_30da),
            (b"4", 0x5a4b_5ca1),
            (text, 0x7842_4f1c),
            (&text[1..], 0x4a62_b377),
            (&text[2..], 0xe0e4_e09e),
            (&text[3..], 0x62b8_b43f),
            (b"", 0x106e_08d9),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key), hash, "{key:?}");
        }
    }

    /// The same 100,000 keys of 0 to 64 bytes, put through the Java client.
    #[test]
    fn many_keys_lie_where_the_java_client_puts_them() {
        let (mut sum, mut state) = (0_u64, 1_u64);
        for number in 0..100_000_u32 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005);
                state = state.wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            };
            let key: Vec<u8> = (0..number % 65).map(|_| next()).collect();
            let partition = partition_for_key(&key, 1 + number % 1000);
            sum = sum.wrapping_mul(31).wrapping_add(u64::from(partition));
        }
        assert_eq!(sum, 11_956_381_403_622_570_509);
    }

    #[test]
    fn no_number_of_partitions_is_too_small_or_too_large() {
        for (key, hash, _) in JAVA {
            assert_eq!((partition_for_key(key, 0), partition_for_key(key, 1)), (0, 0));
            let positive = hash.cast_unsigned() & POSITIVE;
            assert_eq!(partition_for_key(key, u32::MAX), positive);
        }
    }
}
