//! Chunks: the argument of BDAT, and the mail data of its chunks with bare CR and LF told (RFC 3030 §2).
//!
//! A chunk is framed by its length, so nothing in it can end it and there is no transparency: no octet is
//! moved and a dot is text. Line ends are looked at over all chunks of a transaction; CR and LF in different
//! chunks are a line end.

use std::ops::Range;

use super::data_watch::DataWatch;
use super::input::Input;
use super::mail_data::{LONG_BYTES, SHORT_RANGES_MAX};
use super::run::{Place, Rules, Run, Table};
use crate::scan::{Before, paired_prefix};
use crate::smtp::settings::ChunkLineEnd;

/// The argument of BDAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    /// Octets that follow the command.
    pub(super) octets: u64,
    /// The mail data ends with this chunk.
    pub(super) last: bool,
}

/// What is wrong with the argument of BDAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnnouncedError {
    /// No size that can be read: nobody knows where the next command begins.
    Size,
    /// So many octets follow. After the size comes something other than LAST.
    Keyword(u64),
}

/// Reads `chunk-size [SP "LAST"]`. The size is digits and nothing else.
pub(super) fn parse(argument: &[u8]) -> Result<Announced, AnnouncedError> {
    let mut words =
        argument.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty()).fuse();
    let octets = words.next().and_then(number).ok_or(AnnouncedError::Size)?;
    match (words.next(), words.next()) {
        (None, _) => Ok(Announced { octets, last: false }),
        (Some(word), None) if word.eq_ignore_ascii_case(b"LAST") => Ok(Announced { octets, last: true }),
        (Some(_), _) => Err(AnnouncedError::Keyword(octets)),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The mail data of a transaction that comes in chunks.
#[derive(Debug)]
pub(super) struct ChunkedData {
    policy: ChunkLineEnd,
    before: Before,
    /// A CR was just inserted in front of the LF that comes next.
    cr_inserted: bool,
    /// There was a CR or an LF that is no part of a CRLF, and it was kept.
    bare_kept: bool,
    /// Octets so far, inserted ones included.
    bytes: u64,
    /// Bare line ends without a long range between them. `<= SHORT_RANGES_MAX`
    short_ranges: u8,
    /// Looks at the octets that are stored.
    pub(super) watch: DataWatch,
}

/// What comes next in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InChunk {
    /// This range of the input is mail data.
    Data(Range<usize>),
    /// What the run holds is mail data.
    Insert,
    /// A bare CR or LF that the policy rejects.
    Bare,
}

impl ChunkedData {
    /// Before the first chunk.
    pub(super) fn new(policy: ChunkLineEnd, watch: DataWatch) -> Self {
        Self {
            policy,
            before: Before::LineStart,
            cr_inserted: false,
            bare_kept: false,
            bytes: 0,
            short_ranges: 0,
            watch,
        }
    }

    /// Octets so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the mail data has bare line ends.
    pub(super) fn has_bare_line_ends(&self) -> bool {
        self.bare_kept
    }

    /// Consumes input, at most the `left` octets of the chunk, up to the next thing to say. None: nothing to
    /// consume.
    pub(super) fn advance(&mut self, input: &mut Input<'_>, left: &mut u64) -> Option<InChunk> {
        let rest = input.rest();
        let rest = rest.get(..usize::try_from(*left).unwrap_or(usize::MAX)).unwrap_or(rest);
        if let Some(taken) = self.condense(rest, &mut input.supplies.run) {
            input.consume(taken);
            *left -= taken as u64;
            self.bytes += input.supplies.run.octets().len() as u64;
            return Some(InChunk::Insert);
        }
        let count = self.regular_prefix(rest);
        if count > 0 {
            if count >= LONG_BYTES {
                self.short_ranges = 0;
            }
            *left -= count as u64;
            self.bytes += count as u64;
            return Some(InChunk::Data(input.consume(count)));
        }
        if rest.is_empty() { None } else { Some(self.bare(&mut input.supplies.run)) }
    }

    /// The last chunk is consumed. None: nothing more to say.
    pub(super) fn finish(&mut self, run: &mut Run) -> Option<InChunk> {
        match (self.before, self.policy) {
            (Before::LineStart | Before::Middle, _) => None,
            (Before::Cr, ChunkLineEnd::Keep) => {
                self.bare_kept = true;
                None
            }
            (Before::Cr, ChunkLineEnd::Normalize | ChunkLineEnd::Reject) => Some(self.bare(run)),
        }
    }

    /// How many octets can be taken as they are: all where bare line ends are kept, else up to the next one.
    fn regular_prefix(&mut self, octets: &[u8]) -> usize {
        // Where bare line ends are kept and there is one, nothing is left to be found out.
        if self.bare_kept || octets.is_empty() {
            return octets.len();
        }
        if std::mem::take(&mut self.cr_inserted) {
            self.before = Before::LineStart;
            return 1;
        }
        let count = paired_prefix(octets, self.before);
        self.before = self.before.after(octets.get(..count).unwrap_or_default());
        if count < octets.len() && self.policy == ChunkLineEnd::Keep {
            self.bare_kept = true;
            return octets.len();
        }
        count
    }

    /// Takes octets one by one as far as a run goes. None: ranges are long, or nothing is to be normalised.
    fn condense(&mut self, octets: &[u8], run: &mut Run) -> Option<usize> {
        if self.short_ranges < SHORT_RANGES_MAX || self.cr_inserted || self.policy != ChunkLineEnd::Normalize
        {
            return None;
        }
        let mut place = if self.before == Before::Cr { Place::Cr } else { Place::Middle };
        let rules = Rules { normalize_lf: true, normalize_cr: true, dots: false };
        let (taken, irregular) = Table::of(rules).condense(&mut place, octets, run);
        self.before = match place {
            Place::Cr => Before::Cr,
            Place::Middle | Place::LineStart | Place::Dot | Place::DotCr => Before::Middle,
        };
        // A few octets at the end of a piece tell nothing.
        if !irregular && taken >= LONG_BYTES {
            self.short_ranges = 0;
        }
        (taken > 0).then_some(taken)
    }

    /// At an octet that shows that the CR before it is bare, or at a bare LF, or at the end after a CR.
    fn bare(&mut self, run: &mut Run) -> InChunk {
        self.short_ranges = (self.short_ranges + 1).min(SHORT_RANGES_MAX);
        let inserted = match (self.policy, self.before) {
            (ChunkLineEnd::Keep | ChunkLineEnd::Reject, _) => return InChunk::Bare,
            (ChunkLineEnd::Normalize, Before::Cr) => {
                self.before = Before::LineStart;
                b'\n'
            }
            (ChunkLineEnd::Normalize, Before::LineStart | Before::Middle) => {
                self.cr_inserted = true;
                b'\r'
            }
        };
        self.bytes += 1;
        run.hold(inserted);
        InChunk::Insert
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::supplies::Supplies;

    #[test]
    fn sizes_are_digits_and_nothing_else() {
        let announced = |octets, last| Ok(Announced { octets, last });
        assert_eq!(parse(b"0"), announced(0, false));
        assert_eq!(parse(b"007 \t last "), announced(7, true));
        assert_eq!(parse(b"18446744073709551615 LAST"), announced(u64::MAX, true));
        for size in ["", "LAST", "-1", "+1", "1e3", "0x10", "1.0", "1,", "18446744073709551616", "\u{664}"] {
            assert_eq!(parse(size.as_bytes()), Err(AnnouncedError::Size), "{size}");
        }
        for (keyword, octets) in [("5 LAS", 5), ("5 LAST LAST", 5), ("5 6", 5), ("5 LAST=1", 5)] {
            assert_eq!(parse(keyword.as_bytes()), Err(AnnouncedError::Keyword(octets)), "{keyword}");
        }
    }

    /// What is stored of chunks: None when it is rejected; and whether it has bare line ends.
    fn receive(chunks: &[&[u8]], policy: ChunkLineEnd) -> Option<(Vec<u8>, bool)> {
        let mut data = ChunkedData::new(policy, DataWatch::new(u32::MAX, 0));
        let (mut stored, mut supplies) = (Vec::new(), Supplies::default());
        for chunk in chunks {
            let (mut input, mut left) = (Input::new(chunk, &mut supplies), chunk.len() as u64);
            while let Some(found) = data.advance(&mut input, &mut left) {
                match found {
                    InChunk::Data(range) => stored.extend_from_slice(&chunk[range]),
                    InChunk::Insert => stored.extend_from_slice(input.supplies.run.octets()),
                    InChunk::Bare => return None,
                }
            }
            assert_eq!((left, input.rest().len()), (0, 0));
        }
        match data.finish(&mut supplies.run) {
            Some(InChunk::Insert) => stored.extend_from_slice(supplies.run.octets()),
            Some(_) => return None,
            None => {}
        }
        assert_eq!(data.bytes(), stored.len() as u64);
        Some((stored, data.has_bare_line_ends()))
    }

    #[test]
    fn bare_line_ends_are_kept_normalized_or_rejected() {
        use ChunkLineEnd::{Keep, Normalize, Reject};
        /// Chunks, the same normalized, and whether there is a bare line end.
        type Case<'a> = (&'a [&'a [u8]], &'a [u8], bool);
        let cases: [Case; 8] = [
            (&[b"a\r\n.\r\n..b\r\n"], b"a\r\n.\r\n..b\r\n", false),
            (&[b"a\r", b"\nb"], b"a\r\nb", false),
            (&[b"a\nb"], b"a\r\nb", true),
            (&[b"a\r", b"b"], b"a\r\nb", true),
            (&[b"a\r"], b"a\r\n", true),
            (&[b"\n\n\r\r"], b"\r\n\r\n\r\n\r\n", true),
            (&[b"\n.\r.\r\n."], b"\r\n.\r\n.\r\n.", true),
            (&[b"", b""], b"", false),
        ];
        for (chunks, normalized, bare) in cases {
            let bytewise: Vec<&[u8]> = chunks.iter().flat_map(|chunk| chunk.chunks(1)).collect();
            for chunks in [chunks, &bytewise] {
                assert_eq!(receive(chunks, Keep), Some((chunks.concat(), bare)), "{chunks:?}");
                assert_eq!(receive(chunks, Normalize), Some((normalized.to_vec(), false)), "{chunks:?}");
                let rejected = receive(chunks, Reject);
                assert_eq!(rejected, (!bare).then(|| (chunks.concat(), false)), "{chunks:?}");
            }
        }
    }
}
