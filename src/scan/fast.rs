//! The same at memory speed: 64 octets at a time become bit masks (CR, LF, dot, NUL), and shifts of these find in a few
//! operations what the reference looks for.
//!
//! Bit n of a mask stands for octet n of the block, so `cr << 1` marks what follows a CR. Only the masks differ between
//! machines: AVX-512, AVX2 or SSE2 on x86-64, plain code elsewhere.
// Inlined always: what calls for AVX must be compiled for it, down to the masks.
#![allow(unsafe_code, clippy::inline_always)]

use super::{Before, TAIL_OCTETS, Tail};

/// Octets of a block: one bit each in a `u64`.
const BLOCK: usize = 64;

/// Where CR, LF, dot and NUL stand in a block.
#[derive(Clone, Copy)]
struct Masks {
    cr: u64,
    lf: u64,
    dot: u64,
    nul: u64,
}

impl Masks {
    /// Without the first octets, fewer than a block.
    #[inline(always)]
    fn shifted_out(self, count: usize) -> Self {
        Self { cr: self.cr >> count, lf: self.lf >> count, dot: self.dot >> count, nul: self.nul >> count }
    }
}

/// Length of the longest prefix of `octets` that can be taken as it stands. What follows it, if anything, is a dot that
/// or a NUL that begins a line, an LF without CR before it, or an octet other than LF behind a CR. A CR as the last octet is plain.
pub fn plain_prefix(octets: &[u8], before: Before) -> usize {
    prefix::<true>(octets, before)
}

/// The same where a dot is text: what follows the prefix, if anything, is an LF without CR before it, or an octet other than LF
/// behind a CR.
pub fn paired_prefix(octets: &[u8], before: Before) -> usize {
    prefix::<false>(octets, before)
}

/// Where the mail data ends (RFC 5321 §4.1.1.4): how many octets there are up to and with the LF of the first CRLF "." CRLF,
/// which may begin in the `tail`. It costs the same whatever the octets are.
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
        end_with(octets, tail, |block| unsafe { x86::masks_sse2(block) })
    }
    #[cfg(not(target_arch = "x86_64"))]
    end_with(octets, tail, masks_portable)
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
        // SAFETY: SSE2 is part of x86-64.
        prefix_with::<DOTS>(octets, before, |block| unsafe { x86::masks_sse2(block) })
    }
    #[cfg(not(target_arch = "x86_64"))]
    prefix_with::<DOTS>(octets, before, masks_portable)
}

/// The search for the end, for any way of making masks: a mark for each octet of CRLF "." CRLF, shifted to the last one.
#[inline(always)]
fn end_with(octets: &[u8], tail: Tail, masks: impl Fn(&[u8; BLOCK]) -> Masks) -> Option<usize> {
    const TAIL_AT: usize = BLOCK - TAIL_OCTETS;
    let marks = |wanted: u8| {
        tail.0
            .iter()
            .enumerate()
            .fold(0, |mask, (at, octet)| mask | u64::from(*octet == wanted) << (TAIL_AT + at))
    };
    let mut last = Masks { cr: marks(b'\r'), lf: marks(b'\n'), dot: marks(b'.'), nul: 0 };
    let (blocks, rest) = octets.as_chunks::<BLOCK>();
    let end = |last: Masks, now: Masks| {
        let behind = |now: u64, last: u64, count: u32| now << count | last >> (u64::BITS - count);
        now.lf
            & behind(now.cr, last.cr, 1)
            & behind(now.dot, last.dot, 2)
            & behind(now.lf, last.lf, 3)
            & behind(now.cr, last.cr, 4)
    };
    for (index, block) in blocks.iter().enumerate() {
        let now = masks(block);
        let found = end(last, now);
        if found != 0 {
            return Some(index * BLOCK + found.trailing_zeros() as usize + 1);
        }
        last = now;
    }
    let mut block = [0; BLOCK];
    block.get_mut(..rest.len())?.copy_from_slice(rest);
    let found = end(last, masks(&block));
    (found != 0).then(|| blocks.len() * BLOCK + found.trailing_zeros() as usize + 1)
}

/// The search, for any way of making masks. Inlined into callers that were compiled for the instructions of `masks`.
#[inline(always)]
fn prefix_with<const DOTS: bool>(
    octets: &[u8],
    before: Before,
    masks: impl Fn(&[u8; BLOCK]) -> Masks,
) -> usize {
    let mut after_cr = u64::from(before == Before::Cr);
    let mut line_start = u64::from(before == Before::LineStart);
    let (blocks, rest) = octets.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        let masks = masks(block);
        let irregular = irregular::<DOTS>(masks, after_cr, line_start);
        if irregular != 0 {
            return index * BLOCK + irregular.trailing_zeros() as usize;
        }
        after_cr = masks.cr >> (BLOCK - 1);
        line_start = masks.lf >> (BLOCK - 1);
    }
    if rest.is_empty() {
        return octets.len();
    }
    let missing = BLOCK - rest.len();
    let rest_masks = if let Some(last) = octets.last_chunk::<BLOCK>() {
        // It ends where the rest does; what it repeats of the block before is shifted out. Cheaper than a copy.
        masks(last).shifted_out(missing)
    } else {
        let mut block = [0; BLOCK];
        if let Some(start) = block.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        masks(&block)
    };
    // What lies behind the end is not there: a CR as the last octet may still get its LF.
    let there = u64::MAX >> missing;
    let irregular = irregular::<DOTS>(rest_masks, after_cr, line_start) & there;
    let plain = if irregular == 0 { rest.len() } else { irregular.trailing_zeros() as usize };
    octets.len() - rest.len() + plain
}

/// Marks what is not plain. Behind the first mark the others may be wrong, for an LF without CR begins no line.
#[inline(always)]
fn irregular<const DOTS: bool>(Masks { cr, lf, dot, nul }: Masks, after_cr: u64, line_start: u64) -> u64 {
    let after_cr = cr << 1 | after_cr;
    let line_start = lf << 1 | line_start;
    (after_cr ^ lf) | if DOTS { (dot | nul) & line_start } else { 0 }
}

#[cfg_attr(target_arch = "x86_64", allow(dead_code))]
fn masks_portable(block: &[u8; BLOCK]) -> Masks {
    let mask = |wanted: u8| {
        block.iter().enumerate().fold(0, |mask, (index, octet)| mask | u64::from(*octet == wanted) << index)
    };
    Masks { cr: mask(b'\r'), lf: mask(b'\n'), dot: mask(b'.'), nul: mask(0) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
        _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8,
        _mm512_cmpeq_epi8_mask, _mm512_loadu_si512, _mm512_set1_epi8,
    };

    use super::{BLOCK, Before, Masks, Tail, end_with, prefix_with};

    /// The search compiled for AVX-512. Unsafe to call on a machine without.
    #[target_feature(enable = "avx512bw")]
    pub(super) fn prefix_avx512<const DOTS: bool>(octets: &[u8], before: Before) -> usize {
        prefix_with::<DOTS>(octets, before, |block| masks_avx512(block))
    }

    /// The search for the end, likewise.
    #[target_feature(enable = "avx512bw")]
    pub(super) fn end_avx512(octets: &[u8], tail: Tail) -> Option<usize> {
        end_with(octets, tail, |block| masks_avx512(block))
    }

    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn masks_avx512(block: &[u8; BLOCK]) -> Masks {
        // SAFETY: the block is 64 octets, which is one unaligned load.
        let octets = unsafe { _mm512_loadu_si512(block.as_ptr().cast::<__m512i>()) };
        let mask = |wanted: u8| _mm512_cmpeq_epi8_mask(octets, _mm512_set1_epi8(wanted.cast_signed()));
        Masks { cr: mask(b'\r'), lf: mask(b'\n'), dot: mask(b'.'), nul: mask(0) }
    }

    /// The search compiled for AVX2. Unsafe to call on a machine without.
    #[target_feature(enable = "avx2")]
    pub(super) fn prefix_avx2<const DOTS: bool>(octets: &[u8], before: Before) -> usize {
        prefix_with::<DOTS>(octets, before, |block| masks_avx2(block))
    }

    /// The search for the end, likewise.
    #[target_feature(enable = "avx2")]
    pub(super) fn end_avx2(octets: &[u8], tail: Tail) -> Option<usize> {
        end_with(octets, tail, |block| masks_avx2(block))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn masks_avx2(block: &[u8; BLOCK]) -> Masks {
        let start = block.as_ptr().cast::<__m256i>();
        // SAFETY: the block is 64 octets, so two unaligned loads of 32 stay inside it.
        let halves = unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] };
        let mask = |wanted: u8| {
            let wanted = _mm256_set1_epi8(wanted.cast_signed());
            let [low, high] =
                halves.map(|half| _mm256_movemask_epi8(_mm256_cmpeq_epi8(half, wanted)).cast_unsigned());
            u64::from(high) << 32 | u64::from(low)
        };
        Masks { cr: mask(b'\r'), lf: mask(b'\n'), dot: mask(b'.'), nul: mask(0) }
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn masks_sse2(block: &[u8; BLOCK]) -> Masks {
        let start = block.as_ptr().cast::<__m128i>();
        // SAFETY: the block is 64 octets, so four unaligned loads of 16 stay inside it.
        let quarters = unsafe { [0, 1, 2, 3].map(|quarter| _mm_loadu_si128(start.add(quarter))) };
        let mask = |wanted: u8| {
            let wanted = _mm_set1_epi8(wanted.cast_signed());
            quarters.iter().rev().fold(0, |mask, quarter| {
                let bits = _mm_movemask_epi8(_mm_cmpeq_epi8(*quarter, wanted)).cast_unsigned();
                mask << 16 | u64::from(bits)
            })
        };
        Masks { cr: mask(b'\r'), lf: mask(b'\n'), dot: mask(b'.'), nul: mask(0) }
    }

    #[cfg(test)]
    mod tests {
        use super::super::masks_portable;
        use super::*;

        #[test]
        fn all_ways_make_the_same_masks() {
            let mut block = [b'x'; BLOCK];
            for at in 0..BLOCK {
                for octet in *b"\r\n.\x00\xff" {
                    block[at] = octet;
                    // SAFETY: SSE2 is part of x86-64.
                    let (a, b) = (unsafe { masks_sse2(&block) }, masks_portable(&block));
                    assert_eq!((a.cr, a.lf, a.dot, a.nul), (b.cr, b.lf, b.dot, b.nul));
                    if std::is_x86_feature_detected!("avx512bw") {
                        // SAFETY: as just asked.
                        let c = unsafe { masks_avx512(&block) };
                        assert_eq!((c.cr, c.lf, c.dot, c.nul), (b.cr, b.lf, b.dot, b.nul));
                    }
                    if std::is_x86_feature_detected!("avx2") {
                        // SAFETY: as just asked.
                        let c = unsafe { masks_avx2(&block) };
                        assert_eq!((c.cr, c.lf, c.dot, c.nul), (b.cr, b.lf, b.dot, b.nul));
                    }
                }
            }
        }
    }
}
