//! Header fields as a reader sees them who also ends lines at a bare LF, or at a bare CR.
//!
//! Neither ends a line (RFC 5322 §2.3), and over DATA neither comes in. BDAT can keep them. What stands after
//! one is text to us and to a signature, and a field to a lenient reader: he must not find there what we
//! would have refused, or taken out.

/// How such a reader sees some lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The lines, each with CRLF at its end. Empty ones are left out.
    pub octets: Vec<u8>,
    /// There is an empty line, where the header section ends for him.
    pub has_empty_line: bool,
}

/// How lenient readers see these octets. There are no readings of octets where every CR and LF is of a CRLF:
/// all see the same there.
pub fn readings(octets: &[u8]) -> impl Iterator<Item = Reading> {
    let readers = if has_bare_line_end(octets) { &[false, true][..] } else { &[] };
    readers.iter().map(move |ends_at_cr| reading(octets, *ends_at_cr))
}

/// Whether a CR or LF stands without the other.
pub fn has_bare_line_end(octets: &[u8]) -> bool {
    let mut rest = octets;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        match rest.get(at..).and_then(|end| end.strip_prefix(b"\r\n")) {
            Some(after) => rest = after,
            None => return true,
        }
    }
    false
}

/// Lines that end at a CRLF, at a bare LF, and maybe at a bare CR.
fn reading(octets: &[u8], ends_at_cr: bool) -> Reading {
    let mut reading = Reading { octets: Vec::with_capacity(octets.len() + 16), has_empty_line: false };
    let (mut rest, mut line) = (octets, 0);
    while !rest.is_empty() {
        let found = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (text, end) = rest.split_at_checked(found).unwrap_or((rest, &[]));
        reading.octets.extend_from_slice(text);
        rest = match end {
            [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => after,
            [b'\r', after @ ..] if ends_at_cr => after,
            [octet, after @ ..] => {
                reading.octets.push(*octet);
                rest = after;
                continue;
            }
            [] => break,
        };
        if reading.octets.len() == line {
            reading.has_empty_line = true;
        } else {
            reading.octets.extend_from_slice(b"\r\n");
            line = reading.octets.len();
        }
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_without_bare_line_ends_have_one_reading() {
        for octets in [&b""[..], b"a: b", b"a: b\r\n", b"a:\r\n\tb\r\n\r\n"] {
            assert_eq!(readings(octets).count(), 0, "{}", octets.escape_ascii());
        }
    }

    #[test]
    fn each_reader_has_his_line_ends() {
        for (octets, of_lf, of_cr) in [
            (&b"a\nb\r\n"[..], (&b"a\r\nb\r\n"[..], false), (&b"a\r\nb\r\n"[..], false)),
            (b"a\rb\r\n", (b"a\rb\r\n", false), (b"a\r\nb\r\n", false)),
            (b"a\n\nb", (b"a\r\nb", true), (b"a\r\nb", true)),
            (b"a\n\r\n", (b"a\r\n", true), (b"a\r\n", true)),
            (b"a\r\r\n", (b"a\r\r\n", false), (b"a\r\n", true)),
            (b"\na", (b"a", true), (b"a", true)),
            (b"a\r", (b"a\r", false), (b"a\r\n", false)),
            (b"a\n b", (b"a\r\n b", false), (b"a\r\n b", false)),
        ] {
            let seen: Vec<_> = readings(octets).map(|one| (one.octets, one.has_empty_line)).collect();
            let expected = [of_lf, of_cr].map(|(octets, is_empty)| (octets.to_vec(), is_empty));
            assert_eq!(seen, expected, "{}", octets.escape_ascii());
        }
    }
}
