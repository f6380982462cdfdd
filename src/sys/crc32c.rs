//! CRC-32C (Castagnoli), by the instructions that the processor has for it.
//!
//! Floor 1. Three ways, and which one is the processor's: folding by carry-less multiplication of
//! 64 bytes at once (AVX-512), the CRC instruction (SSE 4.2, ARMv8), a table. The two libraries
//! there are were left: one is half as fast, the other brings 680 KB of tables for other CRCs.
//! After "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ" (Gopal and others, 2009)
//! and "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction" (the same, 2011).

#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(unsafe_code, reason = "instructions that not every processor has; each with its proof")
)]
#![expect(clippy::indexing_slicing, reason = "tables of 256 by a byte, and counted in a const fn")]

/// x^32 modulo the polynomial; here and below, bit i of a number is the factor of x^(31 - i).
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// CRC-32C of these bytes. Costs no system call and no allocation.
#[inline]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !continued(!0, bytes)
}

#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn continued(crc: u32, bytes: &[u8]) -> u32 {
    use std::arch::is_x86_feature_detected as has;
    if bytes.len() >= x86::FOLDED_FROM && has!("avx512f") && has!("vpclmulqdq") && has!("sse4.2") {
        // SAFETY: the processor has the instructions that the function was compiled for.
        return unsafe { x86::folded(crc, bytes) };
    }
    if has!("sse4.2") && has!("pclmulqdq") {
        // SAFETY: the processor has the instructions that the function was compiled for.
        return unsafe { x86::in_streams(crc, bytes) };
    }
    by_table(crc, bytes)
}

#[cfg(target_arch = "aarch64")]
#[inline]
pub(super) fn continued(crc: u32, bytes: &[u8]) -> u32 {
    if std::arch::is_aarch64_feature_detected!("crc") {
        // SAFETY: the processor has the instructions that the function was compiled for.
        return unsafe { arm::in_words(crc, bytes) };
    }
    by_table(crc, bytes)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn continued(crc: u32, bytes: &[u8]) -> u32 {
    by_table(crc, bytes)
}

/// Eight bytes a step: `TABLES[n]` is what a byte makes of the sum when n bytes follow it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let (mut byte, mut value) = (0, 0);
    while byte < 256 {
        let (mut crc, mut n) = (value, 0);
        while n < 8 {
            crc = times_x(crc, 8);
            tables[n][byte] = crc;
            n += 1;
        }
        byte += 1;
        value += 1;
    }
    tables
}

/// Times x^count, modulo the polynomial.
const fn times_x(mut value: u32, count: u32) -> u32 {
    let mut done = 0;
    while done < count {
        value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
        done += 1;
    }
    value
}

pub(super) fn by_table(mut crc: u32, bytes: &[u8]) -> u32 {
    let of = |n: usize, byte: u8| TABLES[n][usize::from(byte)];
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let [a, b, c, d] = crc.to_le_bytes();
        let [e, f, g, h, i, j, k, l] = *word;
        crc = of(7, a ^ e) ^ of(6, b ^ f) ^ of(5, c ^ g) ^ of(4, d ^ h);
        crc ^= of(3, i) ^ of(2, j) ^ of(1, k) ^ of(0, l);
    }
    for byte in rest {
        let [lowest, ..] = crc.to_le_bytes();
        crc = crc >> 8 ^ of(0, lowest ^ byte);
    }
    crc
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::times_x;

    /// So many bytes are folded rather than summed up in streams.
    pub(super) const FOLDED_FROM: usize = 256;

    /// So many words of a stream are summed up before the three streams are put together.
    const WORDS_MAX: usize = 128;
    /// What moves a sum over n words: x^(64 n - 33), for what follows brings x^33 with it.
    static OVER_WORDS: [u32; 2 * WORDS_MAX + 1] = over_words();

    const fn over_words() -> [u32; 2 * WORDS_MAX + 1] {
        let mut over = [0; 2 * WORDS_MAX + 1];
        over[1] = power_of_x(64 - 33);
        let mut words = 2;
        while words < over.len() {
            over[words] = times_x(over[words - 1], 64);
            words += 1;
        }
        over
    }

    const fn power_of_x(power: u32) -> u32 {
        times_x(1 << 31, power)
    }

    /// Three streams side by side: the instruction takes three cycles, and one is begun in each.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub(crate) fn in_streams(mut crc: u32, bytes: &[u8]) -> u32 {
        let (mut words, rest) = bytes.as_chunks::<8>();
        while words.len() >= 6 {
            let each = (words.len() / 3).min(WORDS_MAX);
            let (first, behind) = words.split_at(each);
            let (second, behind) = behind.split_at(each);
            let (third, behind) = behind.split_at(each);
            words = behind;
            let (mut a, mut b, mut c) = (u64::from(crc), 0, 0);
            let mut last = 0;
            for ((one, two), three) in first.iter().zip(second).zip(third) {
                c = _mm_crc32_u64(c, last);
                a = _mm_crc32_u64(a, u64::from_le_bytes(*one));
                b = _mm_crc32_u64(b, u64::from_le_bytes(*two));
                last = u64::from_le_bytes(*three);
            }
            last ^= moved(a, 2 * each) ^ moved(b, each);
            crc = low_half(_mm_crc32_u64(c, last));
        }
        in_words(crc, words, rest)
    }

    /// A sum before so many words, as what is added to the last of them.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    fn moved(crc: u64, words: usize) -> u64 {
        let by = OVER_WORDS.get(words).copied().unwrap_or_default();
        let product = _mm_clmulepi64_si128(
            _mm_cvtsi64_si128(crc.cast_signed()),
            _mm_cvtsi64_si128(i64::from(by)),
            0,
        );
        _mm_cvtsi128_si64(product).cast_unsigned()
    }

    /// The instruction gives 32 bits in 64.
    fn low_half(crc: u64) -> u32 {
        (crc & 0xffff_ffff) as u32
    }

    #[target_feature(enable = "sse4.2")]
    fn in_words(mut crc: u32, words: &[[u8; 8]], rest: &[u8]) -> u32 {
        for word in words {
            crc = low_half(_mm_crc32_u64(u64::from(crc), u64::from_le_bytes(*word)));
        }
        let (half, rest) = rest.as_chunks::<4>();
        for half in half {
            crc = _mm_crc32_u32(crc, u32::from_le_bytes(*half));
        }
        for byte in rest {
            crc = _mm_crc32_u8(crc, *byte);
        }
        crc
    }

    /// What moves the two words of 128 bits over so many bits; as [`OVER_WORDS`].
    const fn over_bits(bits: u32) -> [i64; 2] {
        [power_of_x(bits + 31) as i64, power_of_x(bits - 33) as i64]
    }

    const OVER_BLOCK: [[i64; 2]; 4] = [over_bits(2048); 4];
    const OVER_LINE: [[i64; 2]; 4] = [over_bits(512); 4];
    /// Each of a register's 128 bits to its last, which stays where it is.
    const TO_LAST: [[i64; 2]; 4] = [over_bits(384), over_bits(256), over_bits(128), [0, 0]];

    #[target_feature(enable = "avx512f")]
    fn in_register(over: [[i64; 2]; 4]) -> __m512i {
        let [[a, b], [c, d], [e, f], [g, h]] = over;
        _mm512_setr_epi64(a, b, c, d, e, f, g, h)
    }

    /// `value` moved by `over`, and `with` added.
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn fold(value: __m512i, over: __m512i, with: __m512i) -> __m512i {
        const ALL_THREE_ADDED: i32 = 0x96;
        let low = _mm512_clmulepi64_epi128(value, over, 0x00);
        let high = _mm512_clmulepi64_epi128(value, over, 0x11);
        _mm512_ternarylogic_epi64(low, high, with, ALL_THREE_ADDED)
    }

    #[target_feature(enable = "avx512f")]
    fn load(bytes: &[u8; 64]) -> __m512i {
        // SAFETY: reads 64 bytes, which the reference has; they need no alignment.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    /// 256 bytes a step in four registers, which are folded into one, and that one into 16 bytes.
    #[target_feature(enable = "avx512f,vpclmulqdq,sse4.2")]
    pub(super) fn folded(crc: u32, bytes: &[u8]) -> u32 {
        let (lines, rest) = bytes.as_chunks::<64>();
        let (blocks, lines) = lines.as_chunks::<4>();
        let Some(([a, b, c, d], blocks)) = blocks.split_first() else {
            let (words, rest) = bytes.as_chunks::<8>();
            return in_words(crc, words, rest);
        };
        let start = _mm512_zextsi128_si512(_mm_cvtsi64_si128(i64::from(crc)));
        let mut four = [_mm512_xor_si512(load(a), start), load(b), load(c), load(d)];
        let over = in_register(OVER_BLOCK);
        for block in blocks {
            for (sum, line) in four.iter_mut().zip(block) {
                *sum = fold(*sum, over, load(line));
            }
        }
        let over = in_register(OVER_LINE);
        let [mut sum, b, c, d] = four;
        for next in [b, c, d] {
            sum = fold(sum, over, next);
        }
        for line in lines {
            sum = fold(sum, over, load(line));
        }
        let last = _mm512_maskz_mov_epi64(0b1100_0000, sum);
        let sum = fold(sum, in_register(TO_LAST), last);
        let two = _mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
        let one = _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
        let crc = _mm_crc32_u64(0, _mm_extract_epi64(one, 0).cast_unsigned());
        let crc = _mm_crc32_u64(crc, _mm_extract_epi64(one, 1).cast_unsigned());
        let (words, rest) = rest.as_chunks::<8>();
        in_words(low_half(crc), words, rest)
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    #[target_feature(enable = "crc")]
    pub(super) fn in_words(mut crc: u32, bytes: &[u8]) -> u32 {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            crc = __crc32cd(crc, u64::from_le_bytes(*word));
        }
        for byte in rest {
            crc = __crc32cb(crc, *byte);
        }
        crc
    }
}
