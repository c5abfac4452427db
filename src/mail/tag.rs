//! Local-parts with a tag: `anna+lists` is `anna` with the tag `lists`, where `+` sets tags off (RFC 5233).

use std::borrow::Cow;

use super::local_part::{is_atext, push_spelled};

/// The octets of which any sets a tag off from what comes before it; none by default.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Delimiters(u128);

impl Delimiters {
    /// These octets. `None` if one of them is no ASCII punctuation that stands in local-parts without quotes.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let is_one = |octet: &u8| is_atext(*octet) && octet.is_ascii_punctuation();
        octets.iter().all(is_one).then(|| Self(octets.iter().fold(0, |set, octet| set | 1 << octet)))
    }

    /// A local-part, which is in its one spelling, without its tag: up to the first of these octets. `None`
    /// where it has none, or nothing before it.
    pub fn untagged<'a>(&self, local_part: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.0 == 0 {
            return None;
        }
        let is_one = |octet: &u8| octet.is_ascii() && self.0 & 1 << octet != 0;
        // None of them is ever escaped in quotes.
        let quotes = usize::from(local_part.starts_with(b"\""));
        let at = local_part.iter().position(is_one).filter(|at| *at > quotes)?;
        let before = local_part.get(..at)?;
        if quotes == 0 {
            return Some(Cow::Borrowed(before));
        }
        let mut spelled = Vec::new();
        push_spelled(&[before, b"\""].concat(), &mut spelled);
        Some(Cow::Owned(spelled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_begins_at_the_first_delimiter_after_something() {
        let delimiters = Delimiters::new(b"+-").expect("good");
        for (local_part, untagged) in [
            ("anna", None),
            ("anna+lists", Some("anna")),
            ("anna+", Some("anna")),
            ("anna-a+b", Some("anna")),
            ("+anna", None),
            ("++", None),
            ("\"a b+c\"", Some("\"a b\"")),
            ("\"a+b c\"", Some("a")),
            ("\"+a b\"", None),
            ("\"a\\\\+ b\"", Some("\"a\\\\\"")),
            ("jos\u{e9}+x", Some("jos\u{e9}")),
        ] {
            let found = delimiters.untagged(local_part.as_bytes());
            assert_eq!(found.as_deref(), untagged.map(str::as_bytes), "{local_part}");
        }
        assert_eq!(Delimiters::default().untagged(b"anna+lists"), None);
    }

    #[test]
    fn what_stands_only_in_quotes_sets_nothing_off() {
        for octets in [&b"."[..], b"\"", b"\\", b"@", b"a", b" ", b"\xe9", b"+@"] {
            assert_eq!(Delimiters::new(octets), None, "{octets:?}");
        }
        assert_eq!(Delimiters::new(b""), Some(Delimiters::default()));
    }
}
