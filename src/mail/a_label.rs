//! Domains in their one comparable spelling: A-labels (RFC 5890 §2.3.2.1).

use std::borrow::Cow;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// A domain with U-labels as A-labels; ASCII is given back as it is. None when a label is not one in Unicode.
pub fn to_a_labels(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() {
        return Some(Cow::Borrowed(domain));
    }
    // Which ASCII characters may stand in a label is for the caller to say.
    Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_domain_are_one() {
        for text in ["b\u{fc}cher.test", "B\u{dc}CHER.Test", "bu\u{308}cher.test", "b\u{fc}cher\u{3002}test"]
        {
            assert_eq!(to_a_labels(text).as_deref(), Some("xn--bcher-kva.test"), "{text}");
        }
        assert_eq!(to_a_labels("Under_Score.test").as_deref(), Some("Under_Score.test"));
        assert_eq!(to_a_labels("a\u{200b}\u{fffd}.test"), None);
    }
}
