//! The same at memory speed: 64 octets at a time become bit masks (CR, LF, what no line may begin with), and
//! shifts of these find in a few operations what the reference looks for.
//!
//! Bit n of a mask stands for octet n of the block, so `cr << 1` marks what follows a CR. Only the masks
//! differ between machines: AVX-512, AVX2 or SSE2 on x86-64, plain code elsewhere.
//!
//! A line may begin neither with a dot nor with NUL. To look for both in every block would cost a fourth
//! comparison, so one comparison looks for octets whose bits are all among those of the dot: dot, NUL and
//! fourteen others, such as the space. Only where a line begins with one of these it is asked which.
// Inlined always: what calls for AVX must be compiled for it, down to the masks.
#![allow(unsafe_code, clippy::inline_always)]

use super::{Before, TAIL_OCTETS, Tail};

/// Octets of a block: one bit each in a `u64`.
const BLOCK: usize = 64;

/// The bits that neither a dot nor NUL has.
const NOT_OF_DOT: u8 = !b'.';

/// How a machine looks at the octets of a block.
#[derive(Clone, Copy)]
struct Look<E, W> {
    /// Marks the octets that are this one.
    equal: E,
    /// Marks the octets that have none of these bits.
    without: W,
}

/// What stands before a block, as a mark of its first octet.
#[derive(Clone, Copy)]
struct Edge {
    after_cr: u64,
    line_start: u64,
}

/// Length of the longest prefix of `octets` that can be taken as it stands. What follows it, if anything, is
/// a dot or a NUL that begins a line, an LF without CR before it, or an octet other than LF after a CR.
/// A CR as the last octet is plain.
pub fn plain_prefix(octets: &[u8], before: Before) -> usize {
    prefix::<true>(octets, before)
}

/// The same where a dot is text: what follows the prefix, if anything, is an LF without CR before it, or an
/// octet other than LF after a CR.
pub fn paired_prefix(octets: &[u8], before: Before) -> usize {
    prefix::<false>(octets, before)
}

/// Where the mail data ends (RFC 5321 §4.1.1.4): how many octets there are up to and with the LF of the first
/// CRLF "." CRLF, which may begin in the `tail`. It costs the same whatever the octets are.
pub fn end_of_mail_data(octets: &[u8], tail: Tail) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512bw") {
            // SAFETY: the machine has AVX-512BW, as just asked.
            return unsafe { x86::end_avx512(octets, tail) };
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has AVX2, as just asked.
            return unsafe { x86::end_avx2(octets, tail) };
        }
        // SAFETY: SSE2 is part of x86-64.
        end_with(octets, tail, |block, wanted| unsafe { x86::equal_sse2(block, wanted) })
    }
    #[cfg(not(target_arch = "x86_64"))]
    end_with(octets, tail, |block, wanted| mark_portable(block, |octet| octet == wanted))
}

/// A prefix without irregular octets, in which a dot that begins a line is one or is `DOTS` false.
fn prefix<const DOTS: bool>(octets: &[u8], before: Before) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512bw") {
            // SAFETY: the machine has AVX-512BW, as just asked.
            return unsafe { x86::prefix_avx512::<DOTS>(octets, before) };
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has AVX2, as just asked.
            return unsafe { x86::prefix_avx2::<DOTS>(octets, before) };
        }
        let look = Look {
            // SAFETY: SSE2 is part of x86-64.
            equal: |block: &_, wanted| unsafe { x86::equal_sse2(block, wanted) },
            // SAFETY: as above.
            without: |block: &_, bits| unsafe { x86::without_sse2(block, bits) },
        };
        prefix_with::<DOTS>(octets, before, look)
    }
    #[cfg(not(target_arch = "x86_64"))]
    prefix_with::<DOTS>(
        octets,
        before,
        Look {
            equal: |block: &_, wanted| mark_portable(block, |octet| octet == wanted),
            without: |block: &_, bits| mark_portable(block, |octet| octet & bits == 0),
        },
    )
}

/// The search for the end, for any way of looking: a mark for each octet of CRLF "." CRLF, shifted to the
/// last one.
#[inline(always)]
fn end_with(octets: &[u8], tail: Tail, equal: impl Fn(&[u8; BLOCK], u8) -> u64) -> Option<usize> {
    const TAIL_AT: usize = BLOCK - TAIL_OCTETS;
    /// Where CR, LF and dot stand.
    #[derive(Clone, Copy)]
    struct Marks([u64; 3]);
    const WANTED: [u8; 3] = *b"\r\n.";
    let mut last = Marks(WANTED.map(|wanted| {
        let mark = |(at, octet): (usize, &u8)| u64::from(*octet == wanted) << (TAIL_AT + at);
        tail.0.iter().enumerate().map(mark).fold(0, |marks, mark| marks | mark)
    }));
    let (blocks, rest) = octets.as_chunks::<BLOCK>();
    let end = |Marks([last_cr, last_lf, last_dot]): Marks, Marks([cr, lf, dot]): Marks| {
        let behind = |now: u64, last: u64, count: u32| now << count | last >> (u64::BITS - count);
        lf & behind(cr, last_cr, 1)
            & behind(dot, last_dot, 2)
            & behind(lf, last_lf, 3)
            & behind(cr, last_cr, 4)
    };
    for (index, block) in blocks.iter().enumerate() {
        let now = Marks(WANTED.map(|wanted| equal(block, wanted)));
        let found = end(last, now);
        if found != 0 {
            return Some(index * BLOCK + found.trailing_zeros() as usize + 1);
        }
        last = now;
    }
    let mut block = [0; BLOCK];
    block.get_mut(..rest.len())?.copy_from_slice(rest);
    let found = end(last, Marks(WANTED.map(|wanted| equal(&block, wanted))));
    (found != 0).then(|| blocks.len() * BLOCK + found.trailing_zeros() as usize + 1)
}

/// The search, for any way of looking. Inlined into callers that were compiled for its instructions.
#[inline(always)]
fn prefix_with<const DOTS: bool>(
    octets: &[u8],
    before: Before,
    look: Look<impl Fn(&[u8; BLOCK], u8) -> u64 + Copy, impl Fn(&[u8; BLOCK], u8) -> u64 + Copy>,
) -> usize {
    let mut edge = Edge {
        after_cr: u64::from(before == Before::Cr),
        line_start: u64::from(before == Before::LineStart),
    };
    let (blocks, rest) = octets.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        let irregular;
        (irregular, edge) = irregular_in::<DOTS>(look, block, 0, edge);
        if irregular != 0 {
            return index * BLOCK + irregular.trailing_zeros() as usize;
        }
    }
    if rest.is_empty() {
        return octets.len();
    }
    let missing = BLOCK - rest.len();
    let (irregular, _) = if let Some(last) = octets.last_chunk::<BLOCK>() {
        // It ends where the rest does; what it repeats of the block before is shifted out. Cheaper than a
        // copy.
        irregular_in::<DOTS>(look, last, missing, edge)
    } else {
        let mut block = [0; BLOCK];
        if let Some(start) = block.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        irregular_in::<DOTS>(look, &block, 0, edge)
    };
    // What comes after the end is not there: a CR as the last octet may still get its LF.
    let irregular = irregular & u64::MAX >> missing;
    let plain = if irregular == 0 { rest.len() } else { irregular.trailing_zeros() as usize };
    octets.len() - rest.len() + plain
}

/// Marks what is not plain in a block without its first `skipped` octets, and what stands before the next
/// block. After the first mark the others may be wrong, because an LF without CR begins no line.
#[inline(always)]
fn irregular_in<const DOTS: bool>(
    look: Look<impl Fn(&[u8; BLOCK], u8) -> u64, impl Fn(&[u8; BLOCK], u8) -> u64>,
    block: &[u8; BLOCK],
    skipped: usize,
    edge: Edge,
) -> (u64, Edge) {
    let cr = (look.equal)(block, b'\r') >> skipped;
    let lf = (look.equal)(block, b'\n') >> skipped;
    let line_start = lf << 1 | edge.line_start;
    let unpaired = (cr << 1 | edge.after_cr) ^ lf;
    let next = Edge { after_cr: cr >> (BLOCK - 1), line_start: lf >> (BLOCK - 1) };
    if !DOTS {
        return (unpaired, next);
    }
    let like_dot = (look.without)(block, NOT_OF_DOT) >> skipped;
    if unpaired | like_dot & line_start == 0 {
        return (0, next);
    }
    let dot_or_nul = ((look.equal)(block, b'.') | (look.equal)(block, 0)) >> skipped;
    (unpaired | dot_or_nul & line_start, next)
}

#[cfg_attr(target_arch = "x86_64", allow(dead_code))]
fn mark_portable(block: &[u8; BLOCK], is_wanted: impl Fn(u8) -> bool) -> u64 {
    block.iter().enumerate().fold(0, |mask, (index, octet)| mask | u64::from(is_wanted(*octet)) << index)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8,
        _mm_set1_epi8, _mm_setzero_si128, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256,
        _mm256_movemask_epi8, _mm256_set1_epi8, _mm256_setzero_si256, _mm512_cmpeq_epi8_mask,
        _mm512_loadu_si512, _mm512_set1_epi8, _mm512_testn_epi8_mask,
    };

    use super::{BLOCK, Before, Look, Tail, end_with, prefix_with};

    /// The search compiled for AVX-512. Unsafe to call on a machine without.
    #[target_feature(enable = "avx512bw")]
    pub(super) fn prefix_avx512<const DOTS: bool>(octets: &[u8], before: Before) -> usize {
        let look = Look {
            equal: |block: &_, wanted| equal_avx512(block, wanted),
            without: |block: &_, bits| without_avx512(block, bits),
        };
        prefix_with::<DOTS>(octets, before, look)
    }

    /// The search for the end, likewise.
    #[target_feature(enable = "avx512bw")]
    pub(super) fn end_avx512(octets: &[u8], tail: Tail) -> Option<usize> {
        end_with(octets, tail, |block, wanted| equal_avx512(block, wanted))
    }

    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn load_avx512(block: &[u8; BLOCK]) -> __m512i {
        // SAFETY: the block is 64 octets, which is one unaligned load.
        unsafe { _mm512_loadu_si512(block.as_ptr().cast::<__m512i>()) }
    }

    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn equal_avx512(block: &[u8; BLOCK], wanted: u8) -> u64 {
        _mm512_cmpeq_epi8_mask(load_avx512(block), _mm512_set1_epi8(wanted.cast_signed()))
    }

    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn without_avx512(block: &[u8; BLOCK], bits: u8) -> u64 {
        _mm512_testn_epi8_mask(load_avx512(block), _mm512_set1_epi8(bits.cast_signed()))
    }

    /// The search compiled for AVX2. Unsafe to call on a machine without.
    #[target_feature(enable = "avx2")]
    pub(super) fn prefix_avx2<const DOTS: bool>(octets: &[u8], before: Before) -> usize {
        let look = Look {
            equal: |block: &_, wanted| equal_avx2(block, wanted),
            without: |block: &_, bits| without_avx2(block, bits),
        };
        prefix_with::<DOTS>(octets, before, look)
    }

    /// The search for the end, likewise.
    #[target_feature(enable = "avx2")]
    pub(super) fn end_avx2(octets: &[u8], tail: Tail) -> Option<usize> {
        end_with(octets, tail, |block, wanted| equal_avx2(block, wanted))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn mark_avx2(block: &[u8; BLOCK], bits: __m256i, wanted: __m256i) -> u64 {
        let start = block.as_ptr().cast::<__m256i>();
        // SAFETY: the block is 64 octets, so two unaligned loads of 32 stay inside it.
        let halves = unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] };
        let [low, high] = halves.map(|half| {
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(half, bits), wanted)).cast_unsigned()
        });
        u64::from(high) << 32 | u64::from(low)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn equal_avx2(block: &[u8; BLOCK], wanted: u8) -> u64 {
        mark_avx2(block, _mm256_set1_epi8(-1), _mm256_set1_epi8(wanted.cast_signed()))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn without_avx2(block: &[u8; BLOCK], bits: u8) -> u64 {
        mark_avx2(block, _mm256_set1_epi8(bits.cast_signed()), _mm256_setzero_si256())
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn mark_sse2(block: &[u8; BLOCK], bits: __m128i, wanted: __m128i) -> u64 {
        let start = block.as_ptr().cast::<__m128i>();
        // SAFETY: the block is 64 octets, so four unaligned loads of 16 stay inside it.
        let quarters = unsafe { [0, 1, 2, 3].map(|quarter| _mm_loadu_si128(start.add(quarter))) };
        quarters.iter().rev().fold(0, |mask, quarter| {
            let equal = _mm_cmpeq_epi8(_mm_and_si128(*quarter, bits), wanted);
            mask << 16 | u64::from(_mm_movemask_epi8(equal).cast_unsigned())
        })
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn equal_sse2(block: &[u8; BLOCK], wanted: u8) -> u64 {
        mark_sse2(block, _mm_set1_epi8(-1), _mm_set1_epi8(wanted.cast_signed()))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn without_sse2(block: &[u8; BLOCK], bits: u8) -> u64 {
        mark_sse2(block, _mm_set1_epi8(bits.cast_signed()), _mm_setzero_si128())
    }

    #[cfg(test)]
    mod tests {
        use super::super::{NOT_OF_DOT, mark_portable};
        use super::*;

        #[test]
        fn all_ways_make_the_same_marks() {
            let mut block = [b'x'; BLOCK];
            // Under Miri each is thousands of times slower.
            let (step, octets) = if cfg!(miri) { (21, 0..=b'/') } else { (1, 0..=u8::MAX) };
            for at in (0..BLOCK).step_by(step) {
                for octet in octets.clone() {
                    block[at] = octet;
                    for wanted in *b"\r\n.\x00" {
                        let expected = mark_portable(&block, |octet| octet == wanted);
                        // SAFETY: SSE2 is part of x86-64.
                        assert_eq!(unsafe { equal_sse2(&block, wanted) }, expected);
                        if std::is_x86_feature_detected!("avx512bw") {
                            // SAFETY: as just asked.
                            assert_eq!(unsafe { equal_avx512(&block, wanted) }, expected);
                        }
                        if std::is_x86_feature_detected!("avx2") {
                            // SAFETY: as just asked.
                            assert_eq!(unsafe { equal_avx2(&block, wanted) }, expected);
                        }
                    }
                    let expected = mark_portable(&block, |octet| octet & NOT_OF_DOT == 0);
                    assert!(expected >> at & 1 == 1 || !matches!(octet, b'.' | 0), "{octet}");
                    // SAFETY: SSE2 is part of x86-64.
                    assert_eq!(unsafe { without_sse2(&block, NOT_OF_DOT) }, expected);
                    if std::is_x86_feature_detected!("avx512bw") {
                        // SAFETY: as just asked.
                        assert_eq!(unsafe { without_avx512(&block, NOT_OF_DOT) }, expected);
                    }
                    if std::is_x86_feature_detected!("avx2") {
                        // SAFETY: as just asked.
                        assert_eq!(unsafe { without_avx2(&block, NOT_OF_DOT) }, expected);
                    }
                }
            }
        }
    }
}
