//! The extensions that ringmx knows, and sets of them: what a listener offers (RFC 5321 §2.2).

/// An extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Extension {
    /// PIPELINING (RFC 2920).
    Pipelining,
    /// SIZE (RFC 1870).
    Size,
    /// 8BITMIME (RFC 6152).
    EightBitMime,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    EnhancedStatusCodes,
    /// SMTPUTF8 (RFC 6531).
    SmtpUtf8,
    /// CHUNKING (RFC 3030 §2).
    Chunking,
    /// BINARYMIME (RFC 3030 §3).
    BinaryMime,
    /// DSN (RFC 3461).
    Dsn,
    /// STARTTLS (RFC 3207). Only ever offered in plaintext, where the listener has TLS.
    StartTls,
    /// REQUIRETLS (RFC 8689). Only ever offered under TLS.
    RequireTls,
    /// LIMITS (RFC 9422).
    Limits,
    /// HELP: listed, because it is served and not required of all servers (RFC 5321 §4.1.1.1, §4.5.1).
    Help,
}

/// One row an extension, in the order of the EHLO reply. What SIZE and LIMITS say besides is added there.
pub const KEYWORDS: [(Extension, &str); 12] = [
    (Extension::Pipelining, "PIPELINING"),
    (Extension::Size, "SIZE"),
    (Extension::EightBitMime, "8BITMIME"),
    (Extension::SmtpUtf8, "SMTPUTF8"),
    (Extension::EnhancedStatusCodes, "ENHANCEDSTATUSCODES"),
    (Extension::Chunking, "CHUNKING"),
    (Extension::BinaryMime, "BINARYMIME"),
    (Extension::Dsn, "DSN"),
    (Extension::StartTls, "STARTTLS"),
    (Extension::RequireTls, "REQUIRETLS"),
    (Extension::Limits, "LIMITS"),
    (Extension::Help, "HELP"),
];

/// Which extension must not be offered without which other, and who says so.
const NEEDS: [(Extension, Extension, &str); 2] = [
    (Extension::BinaryMime, Extension::Chunking, "RFC 3030 section 3"),
    (Extension::SmtpUtf8, Extension::EightBitMime, "RFC 6531 section 3.1"),
];

impl Extension {
    /// The EHLO keyword.
    pub fn keyword(self) -> &'static str {
        KEYWORDS.iter().find(|(extension, _)| *extension == self).map_or("", |(_, keyword)| keyword)
    }

    /// The extension of a keyword in any case.
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        let row = KEYWORDS.iter().find(|(_, known)| known.eq_ignore_ascii_case(keyword));
        row.map(|(extension, _)| *extension)
    }
}

/// Which extensions a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionSet(u32);

impl ExtensionSet {
    /// Everything that ringmx can do.
    pub fn all() -> Self {
        Self(KEYWORDS.iter().fold(0, |set, (extension, _)| set | Self::bit(*extension)))
    }

    /// What is offered where nothing else is configured: no promises that whoever consumes the store has to
    /// keep.
    pub fn usual() -> Self {
        Self::all().without(Extension::Dsn).without(Extension::RequireTls)
    }

    /// The same without one.
    #[must_use]
    pub fn without(self, extension: Extension) -> Self {
        Self(self.0 & !Self::bit(extension))
    }

    /// Whether an extension is offered.
    pub fn offers(self, extension: Extension) -> bool {
        self.0 & Self::bit(extension) != 0
    }

    /// An extension in the set that must not be offered without another that is not: both, and the RFC.
    pub fn contradiction(self) -> Option<(Extension, Extension, &'static str)> {
        NEEDS.into_iter().find(|(one, needed, _)| self.offers(*one) && !self.offers(*needed))
    }

    fn bit(extension: Extension) -> u32 {
        1 << extension as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_that_need_others_are_told() {
        assert_eq!(ExtensionSet::all().contradiction(), None);
        let told = |set: ExtensionSet| set.contradiction().map(|(one, needed, _)| (one, needed));
        let no_chunking = ExtensionSet::all().without(Extension::Chunking);
        assert_eq!(told(no_chunking), Some((Extension::BinaryMime, Extension::Chunking)));
        assert_eq!(told(no_chunking.without(Extension::BinaryMime)), None);
        let no_8bit = ExtensionSet::all().without(Extension::EightBitMime);
        assert_eq!(told(no_8bit), Some((Extension::SmtpUtf8, Extension::EightBitMime)));
    }

    #[test]
    fn every_extension_has_one_keyword() {
        for (extension, keyword) in KEYWORDS {
            assert_eq!(extension.keyword(), keyword);
            assert_eq!(Extension::from_keyword(&keyword.to_lowercase()), Some(extension));
        }
        assert_eq!(Extension::from_keyword("X"), None);
    }
}
