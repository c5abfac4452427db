//! The header section of a message as fields (RFC 5322 §2.2). One index serves all checks, so that none of
//! them reads a message otherwise than another.
//!
//! Octets are kept as they came, because signatures are over them. A line that is no field of the standard is
//! an odd one: it is there, and a reader who is lenient might take it for a field.

use std::ops::Range;

use super::lenient;

/// Fields that are kept; whoever sends more has no header section that anybody reads.
const FIELDS_MAX: usize = 4096;

/// Most messages have no more.
const FIELDS_USUAL: usize = 32;

/// One field, with its folded lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name, colon, value and the last CRLF.
    whole: Range<usize>,
    /// The name without blanks around it; what comes before the colon, which may be no name.
    name: Range<usize>,
    /// From after the colon to before the last CRLF.
    value: Range<usize>,
    /// A hash of the name in lower case, to tell most names apart at once; 0 of one that is too long.
    name_hash: u32,
    /// It is no field of the standard: no colon, other octets than a name's before it, or a first line that
    /// begins with a blank.
    is_odd: bool,
}

/// The fields of a header section.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    octets: &'a [u8],
    fields: Vec<Field>,
    /// There are more fields than are kept.
    is_cut: bool,
    /// Some CR or LF stands without the other.
    has_bare_line_end: bool,
}

impl<'a> Header<'a> {
    /// Takes a header section, with or without the empty line after it. Lines end with CRLF; a bare LF is an
    /// octet as any other.
    pub fn new(octets: &'a [u8]) -> Self {
        let mut all = fields(octets);
        let mut fields = Vec::with_capacity(FIELDS_USUAL);
        fields.extend(all.by_ref().take(FIELDS_MAX));
        let has_bare_line_end = lenient::has_bare_line_end(octets);
        Self { octets, fields, is_cut: all.next().is_some(), has_bare_line_end }
    }

    /// Whether some CR or LF stands without the other, so that lenient readers may see other lines.
    pub fn has_bare_line_end(&self) -> bool {
        self.has_bare_line_end
    }

    /// The fields from the top.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether there are more fields than are kept.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// All fields from the top, also those that are not kept.
    pub fn every_field(&self) -> impl Iterator<Item = Field> {
        fields(self.octets)
    }

    /// Octets of a field: all of it, with its last CRLF.
    pub fn whole(&self, field: &Field) -> &'a [u8] {
        self.octets.get(field.whole.clone()).unwrap_or_default()
    }

    /// Where a field lies in the header section.
    pub fn place(&self, field: &Field) -> Range<usize> {
        field.whole.clone()
    }

    /// What stands before the colon, without blanks around it.
    pub fn name(&self, field: &Field) -> &'a [u8] {
        self.octets.get(field.name.clone()).unwrap_or_default()
    }

    /// The [`name_hash`] of its name.
    pub(super) fn name_hash(field: &Field) -> u32 {
        field.name_hash
    }

    /// What stands before the value: name and colon, with blanks.
    pub fn before_value(&self, field: &Field) -> &'a [u8] {
        self.octets.get(field.whole.start..field.value.start).unwrap_or_default()
    }

    /// What stands after the colon, folded as it is, without the last CRLF.
    pub fn value(&self, field: &Field) -> &'a [u8] {
        self.octets.get(field.value.clone()).unwrap_or_default()
    }

    /// The fields of this name, from the top; odd lines are none.
    pub fn named(&self, name: &'static str) -> impl DoubleEndedIterator<Item = &Field> {
        self.fields
            .iter()
            .filter(move |field| !field.is_odd && self.name(field).eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Whether this is a field of this name, or an odd line that a lenient reader might take for one. `name`
    /// is in lower case.
    pub fn could_be(&self, field: &Field, name: &str) -> bool {
        let plain = self.name(field).iter().copied().filter(|octet| matches!(octet, b'!'..=b'~'));
        plain.map(|octet| octet.to_ascii_lowercase()).eq(name.bytes())
    }

    /// Odd lines that a lenient reader might take for a field of this name, which is in lower case.
    pub fn might_be(&self, name: &'static str) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.is_odd && self.could_be(field, name))
    }
}

/// A name of a field that is longer is none that anybody signs.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// A hash of a name, the same in any case; 0 of one that is too long. Eight octets at a time: it is taken of
/// every field of every message.
pub(super) fn name_hash(name: &[u8]) -> u32 {
    if name.len() > NAME_BYTES_MAX {
        return 0;
    }
    let mixed = |hash: u64, octets: [u8; 8]| {
        // Letters become small, and all others what they become, in any case the same.
        let octets = u64::from_le_bytes(octets) | 0x2020_2020_2020_2020;
        (hash ^ octets).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    };
    let (eights, rest) = name.as_chunks::<8>();
    let hash = eights.iter().fold(name.len() as u64, |hash, octets| mixed(hash, *octets));
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let hash = mixed(hash, last);
    u32::try_from((hash ^ (hash >> 32)) & 0xffff_ffff).unwrap_or_default()
}

/// The fields of a header section, up to the empty line.
fn fields(octets: &[u8]) -> impl Iterator<Item = Field> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = octets.get(at..).filter(|rest| !rest.is_empty() && !rest.starts_with(b"\r\n"))?;
        let length = field_bytes(rest);
        let field = field(rest.get(..length)?, at);
        at += length;
        Some(field)
    })
}

/// How long the field is that these octets begin with: up to a CRLF that no blank follows.
fn field_bytes(octets: &[u8]) -> usize {
    // One octet is looked for, because to prepare a search for two costs more than most lines.
    for end in memchr::memchr_iter(b'\n', octets) {
        let is_line_end = octets.get(..end).is_some_and(|line| line.ends_with(b"\r"));
        if is_line_end && !matches!(octets.get(end + 1), Some(b' ' | b'\t')) {
            return end + 1;
        }
    }
    octets.len()
}

fn field(octets: &[u8], at: usize) -> Field {
    let end = octets.strip_suffix(b"\r\n").map_or(octets.len(), <[u8]>::len);
    let colon = memchr::memchr(b':', octets.get(..end).unwrap_or_default());
    let before = octets.get(..colon.unwrap_or(end)).unwrap_or_default();
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
    let start = before.iter().position(|octet| !is_blank(octet)).unwrap_or(before.len());
    let name_end = before.iter().rposition(|octet| !is_blank(octet)).map_or(start, |last| last + 1);
    let name = before.get(start..name_end).unwrap_or_default();
    // Blanks before the colon are obsolete syntax (§4.5), which everybody reads. A line end there is not.
    let has_plain_end =
        before.get(name_end..).unwrap_or_default().iter().all(|octet| matches!(octet, b' ' | b'\t'));
    let is_name = !name.is_empty() && name.iter().all(|octet| matches!(octet, b'!'..=b'9' | b';'..=b'~'));
    Field {
        whole: at..at + octets.len(),
        name: at + start..at + name_end,
        name_hash: name_hash(name),
        value: at + colon.map_or(end, |colon| colon + 1)..at + end,
        is_odd: colon.is_none() || start > 0 || !is_name || !has_plain_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(octets: &[u8]) -> Vec<(String, bool)> {
        let header = Header::new(octets);
        let name = |field: &Field| (header.name(field).escape_ascii().to_string(), field.is_odd);
        header.fields().iter().map(name).collect()
    }

    #[test]
    fn fields_are_told_apart_and_end_with_the_empty_line() {
        let octets =
            b"From: a\r\nSubject:\r\n folded\r\n\tmore\r\nX-Odd line\r\nTo : b\r\n\r\nBody: no field\r\n";
        let header = Header::new(octets);
        let expected = [("From", false), ("Subject", false), ("X-Odd line", true), ("To", false)];
        assert_eq!(names(octets), expected.map(|(name, is_odd)| (name.to_owned(), is_odd)));
        assert_eq!(header.value(&header.fields()[1]), b"\r\n folded\r\n\tmore");
        assert_eq!(header.whole(&header.fields()[1]), b"Subject:\r\n folded\r\n\tmore\r\n");
        let whole: usize = header.fields().iter().map(|field| header.whole(field).len()).sum();
        assert_eq!(&octets[whole..whole + 2], b"\r\n", "nothing is left out");
    }

    #[test]
    fn what_a_lenient_reader_might_take_for_a_field_is_known() {
        for odd in [
            &b" From: a\r\n"[..],
            b"From\r\n : a\r\n",
            b"Fr\0om: a\r\n",
            b"From\r: a\r\n",
            b"From \x0b: a\r\n",
        ] {
            let header = Header::new(odd);
            assert_eq!(header.named("From").count(), 0, "{}", odd.escape_ascii());
            assert_eq!(header.might_be("from").count(), 1, "{}", odd.escape_ascii());
        }
        let header = Header::new(b"FROM : a\r\nfrom:b\r\n");
        assert_eq!((header.named("From").count(), header.might_be("from").count()), (2, 0));
    }

    #[test]
    fn any_octets_are_some_header_section() {
        for octets in
            [&b""[..], b"\r\n", b":", b"\r", b"a", b"a:", b":\r\n:\r\n", b"a\r\n b", b"\n\n", b" \r\n \r\n"]
        {
            let header = Header::new(octets);
            for field in header.fields() {
                let _ = (header.name(field), header.value(field), header.whole(field));
            }
        }
        let many = b"a:b\r\n".repeat(FIELDS_MAX + 1);
        let header = Header::new(&many);
        assert!(header.is_cut());
        assert_eq!((header.fields().len(), header.every_field().count()), (FIELDS_MAX, FIELDS_MAX + 1));
    }
}
