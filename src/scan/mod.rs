//! Byte search over mail data: how far it is plain, that is, can be taken as it stands; and where it ends.
//!
//! Plain mail data has no line that begins with a dot (transparency, RFC 5321 §4.5.2, or the end of mail
//! data) or with NUL (which a server behind us may drop, and then find a dot), and no CR or LF that is not
//! part of a CRLF (§2.3.8). [`naive`] says it a byte at a time; `fast` says the same at memory speed.

mod fast;
pub mod naive;

pub use fast::{end_of_mail_data, paired_prefix, plain_prefix};

/// What stands before the octets to be scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// The beginning of a line: a CRLF, or the beginning of the mail data.
    LineStart,
    /// A CR whose LF has to follow.
    Cr,
    /// Anything else.
    Middle,
}

impl Before {
    /// What stands before the octet that follows a plain prefix: the last octet of that tells, and where it
    /// is empty nothing has changed.
    #[must_use]
    pub fn after(self, plain: &[u8]) -> Self {
        match plain.last() {
            None => self,
            Some(b'\r') => Self::Cr,
            Some(b'\n') => Self::LineStart,
            Some(_) => Self::Middle,
        }
    }
}

/// Octets before a search for the end of mail data that it may begin in.
const TAIL_OCTETS: usize = 4;

/// The last octets before those that are searched; where there are fewer, NULs stand for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail([u8; TAIL_OCTETS]);

impl Tail {
    /// With these octets after it.
    #[must_use]
    pub fn after(self, octets: &[u8]) -> Self {
        match octets.last_chunk() {
            Some(last) => Self(*last),
            None => octets
                .iter()
                .fold(self, |Self([_, second, third, fourth]), octet| Self([second, third, fourth, *octet])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BEFORE: [Before; 3] = [Before::LineStart, Before::Cr, Before::Middle];

    #[test]
    fn the_first_octet_that_is_not_plain_is_found() {
        let cases: [(&[u8], Before, usize); 12] = [
            (b"text\r\nmore", Before::LineStart, 10),
            (b".", Before::LineStart, 0),
            (b".", Before::Middle, 1),
            (b"a\r\n.b", Before::LineStart, 3),
            (b"a\nb", Before::Middle, 1),
            (b"\n", Before::Cr, 1),
            (b"\n.", Before::Cr, 1),
            (b"x", Before::Cr, 0),
            (b"a\rb", Before::Middle, 2),
            (b"a\r\r\n", Before::Middle, 2),
            (b"a\r", Before::Middle, 2),
            (b"", Before::LineStart, 0),
        ];
        for (octets, before, plain) in cases {
            assert_eq!(naive::plain_prefix(octets, before), plain, "{octets:?} after {before:?}");
            assert_eq!(plain_prefix(octets, before), plain, "{octets:?} after {before:?}");
        }
    }

    /// Every place of every irregularity around the edges of blocks.
    #[test]
    fn fast_and_naive_agree_at_every_offset() {
        let parts: [&[u8]; 10] = [
            b"\r\n.",
            b"\n",
            b"\r",
            b"\r\n",
            b"\r\n..\r\n",
            b".",
            b"\r\n\0",
            b"\0",
            b"\r\n ",
            b"\r\n (\r\n.",
        ];
        for length in [0_usize, 1, 15, 16, 31, 63, 64, 65, 127, 128, 200] {
            let line = vec![b'x'; length];
            for part in parts {
                // Under Miri each is thousands of times slower.
                for at in (0..=length).step_by(if cfg!(miri) { 21 } else { 1 }) {
                    let mut octets = line.clone();
                    octets.splice(at..at, part.iter().copied());
                    for before in BEFORE {
                        let expected = naive::plain_prefix(&octets, before);
                        assert_eq!(plain_prefix(&octets, before), expected, "{part:?} at {at} of {length}");
                        let expected = naive::paired_prefix(&octets, before);
                        assert_eq!(paired_prefix(&octets, before), expected, "{part:?} at {at} of {length}");
                    }
                }
            }
            if cfg!(miri) && length > 64 {
                break;
            }
        }
    }

    /// The end at every offset, and begun in the tail.
    #[test]
    fn the_end_of_mail_data_is_found_wherever_it_is_cut() {
        for length in [0_usize, 1, 59, 60, 61, 62, 63, 64, 65, 128] {
            let mut octets = vec![b'x'; length];
            octets.extend_from_slice(b"\r\n.\r\n.\r\n");
            let whole = end_of_mail_data(&octets, Tail::default());
            assert_eq!(whole, Some(length + 5));
            for cut in (0..octets.len()).step_by(if cfg!(miri) { 21 } else { 1 }) {
                let (first, second) = octets.split_at(cut);
                let found = match end_of_mail_data(first, Tail::default()) {
                    None => end_of_mail_data(second, Tail::default().after(first)).map(|at| cut + at),
                    found => found,
                };
                assert_eq!(found, whole, "{length} cut at {cut}");
            }
        }
        for fake in
            [&b"\n.\r\n"[..], b"\r\n.\n", b"\r\n..\r\n", b"\r\n.\r\r\n", b"\r.\r\n", b".\r\n", b"\r\n\0.\r\n"]
        {
            assert_eq!(end_of_mail_data(fake, Tail::default()), None, "{fake:?}");
        }
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![4 => Just(b'x'), 1 => Just(b'\r'), 1 => Just(b'\n'), 1 => Just(b'.'), 1 => Just(0), 1 => any::<u8>()];
        let run = prop_oneof![
            3 => prop::collection::vec(octet, 0..40),
            3 => (0..120_usize).prop_map(|count| [vec![b'y'; count], b"\r\n".to_vec()].concat()),
        ];
        prop::collection::vec(run, 0..12).prop_map(|runs| runs.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 1 } else { 512 },
            // Miri has no files to remember a failure in.
            failure_persistence: if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence },
            ..ProptestConfig::default()
        })]
        #[test]
        fn fast_and_naive_agree(octets in octets(), before in 0..3_usize) {
            prop_assert_eq!(plain_prefix(&octets, BEFORE[before]), naive::plain_prefix(&octets, BEFORE[before]));
            prop_assert_eq!(paired_prefix(&octets, BEFORE[before]), naive::paired_prefix(&octets, BEFORE[before]));
            let tail = Tail::default().after(&octets[octets.len() / 2..]);
            prop_assert_eq!(end_of_mail_data(&octets, tail), naive::end_of_mail_data(&octets, tail));
        }
    }
}
