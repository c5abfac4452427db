//! The EHLO keywords that a listener offers (RFC 5321 §2.2).

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
    /// HELP: listed, for it is served and not required of all servers (RFC 5321 §4.1.1.1, §4.5.1).
    Help,
}

/// One row an extension, in the order of the EHLO reply. The limit of SIZE is added there.
pub(super) const KEYWORDS: [(Extension, &str); 5] = [
    (Extension::Pipelining, "PIPELINING"),
    (Extension::Size, "SIZE"),
    (Extension::EightBitMime, "8BITMIME"),
    (Extension::EnhancedStatusCodes, "ENHANCEDSTATUSCODES"),
    (Extension::Help, "HELP"),
];

/// Which extensions a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionSet(u32);

impl ExtensionSet {
    /// Everything that ringmx can do.
    pub fn all() -> Self {
        Self(KEYWORDS.iter().fold(0, |set, (extension, _)| set | Self::bit(*extension)))
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

    fn bit(extension: Extension) -> u32 {
        1 << extension as u8
    }
}
