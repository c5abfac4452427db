//! Lists of tags (RFC 6376 §3.2): `name=value; name=value`.

/// Tags of a list that are read; a list with more is none.
const TAGS_MAX: usize = 64;

/// A list, each tag once.
#[derive(Debug)]
pub(in crate::auth) struct Tags<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Tags<'a> {
    /// Reads a list; none of what is not one, or has a tag twice.
    pub(in crate::auth) fn parse(text: &'a [u8]) -> Option<Self> {
        let mut tags: Vec<(&[u8], &[u8])> = Vec::new();
        let mut specs = text.split(|octet| *octet == b';').peekable();
        while let Some(spec) = specs.next() {
            let spec = trimmed(spec);
            if spec.is_empty() && specs.peek().is_none() {
                // A semicolon may stand at the end.
                break;
            }
            let equals = spec.iter().position(|octet| *octet == b'=')?;
            let (name, value) = (trimmed(spec.get(..equals)?), trimmed(spec.get(equals + 1..)?));
            let is_name = name.first()?.is_ascii_alphabetic()
                && name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'_');
            if !is_name || tags.len() == TAGS_MAX || tags.iter().any(|(other, _)| *other == name) {
                return None;
            }
            tags.push((name, value));
        }
        Some(Self(tags))
    }

    /// The value of a tag.
    pub(in crate::auth) fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(tag, _)| *tag == name.as_bytes()).map(|(_, value)| *value)
    }

    /// The name of the first tag.
    pub(in crate::auth) fn first(&self) -> Option<&'a [u8]> {
        self.0.first().map(|(name, _)| *name)
    }
}

/// Without blanks and folds around it.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
    let start = text.iter().position(|octet| !is_blank(octet)).unwrap_or(text.len());
    let end = text.iter().rposition(|octet| !is_blank(octet)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// Elements of a list with colons between them.
pub(in crate::auth) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|octet| *octet == b':').map(trimmed)
}

/// The octets that a value of base64 means; blanks and folds may stand anywhere in it.
pub(in crate::auth) fn base64(value: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(value.len() * 3 / 4);
    let (mut bits, mut count, mut padding) = (0_u32, 0_u32, 0_u32);
    for octet in value.iter().filter(|octet| !matches!(octet, b' ' | b'\t' | b'\r' | b'\n')) {
        let digit = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        bits = bits << 6 | u32::from(digit);
        count += 1;
        if count == 4 {
            octets.extend_from_slice(bits.to_be_bytes().get(1..)?);
            (bits, count) = (0, 0);
        }
    }
    let whole = match (count, padding) {
        (0, 0) => 0,
        (2, 2) => 1,
        (3, 1) => 2,
        _ => return None,
    };
    octets.extend_from_slice((bits << (6 * (4 - count.max(1)))).to_be_bytes().get(1..=whole)?);
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_blanks_and_folds() {
        let tags = Tags::parse(b" v = 1 ;\r\n\t a=rsa-sha256; empty=;b=a b=c ;").expect("tags");
        assert_eq!(tags.value("v"), Some(&b"1"[..]));
        assert_eq!(tags.value("empty"), Some(&b""[..]));
        assert_eq!(tags.value("b"), Some(&b"a b=c"[..]));
        assert_eq!((tags.value("V"), tags.first()), (None, Some(&b"v"[..])));
        for bad in [&b"v=1; v=1"[..], b"v", b"=1", b"v=1;;a=2", b"1v=1", b"v w=1"] {
            assert!(Tags::parse(bad).is_none(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn base64_is_read_and_nothing_else() {
        for (text, expected) in [
            (&b""[..], Some(&b""[..])),
            (b"Zg==", Some(b"f")),
            (b"Zm8=", Some(b"fo")),
            (b"Z m\r\n\t9v", Some(b"foo")),
            (b"Zm9vYg==", Some(b"foob")),
            (b"Zg", None),
            (b"Zg=", None),
            (b"Zm9v=", None),
            (b"Z=g=", None),
            (b"Zm9*", None),
        ] {
            assert_eq!(base64(text).as_deref(), expected, "{}", text.escape_ascii());
        }
    }
}
