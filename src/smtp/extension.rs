//! The service extensions that can be offered, and their EHLO lines (RFC 5321 §2.2, §4.1.1.1).

use super::text::Text;

/// A service extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// PIPELINING (RFC 2920).
    Pipelining,
    /// SIZE (RFC 1870).
    Size,
    /// 8BITMIME (RFC 6152).
    EightBitMime,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    EnhancedStatusCodes,
}

impl Extension {
    /// Every extension in the order of the EHLO reply.
    pub const ALL: [Self; 4] = [Self::Pipelining, Self::Size, Self::EightBitMime, Self::EnhancedStatusCodes];

    /// The EHLO keyword.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE",
            Self::EightBitMime => "8BITMIME",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
        }
    }

    /// Appends the EHLO line's text: the keyword and its parameters.
    pub(super) fn push_line(self, message_size_max: u64, line: &mut Vec<u8>) {
        let mut line = Text(line);
        line.push(self.keyword());
        match self {
            Self::Size => line.push(format_args!(" {message_size_max}")),
            Self::Pipelining | Self::EightBitMime | Self::EnhancedStatusCodes => {}
        }
    }
}

/// The extensions that a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionSet(u32);

impl ExtensionSet {
    /// None.
    pub const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub const fn with(self, extension: Extension) -> Self {
        Self(self.0 | 1 << extension as u32)
    }

    /// These without that one.
    #[must_use]
    pub const fn without(self, extension: Extension) -> Self {
        Self(self.0 & !(1 << extension as u32))
    }

    /// Whether it is offered.
    pub const fn contains(self, extension: Extension) -> bool {
        self.0 & 1 << extension as u32 != 0
    }

    /// Those offered, in the order of the EHLO reply.
    pub fn iter(self) -> impl Iterator<Item = Extension> {
        Extension::ALL.into_iter().filter(move |extension| self.contains(*extension))
    }
}

/// All that need nothing of the operator.
impl Default for ExtensionSet {
    fn default() -> Self {
        Extension::ALL.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_taken_away_is_not_offered() {
        let set = ExtensionSet::default().without(Extension::Size);
        assert!(!set.contains(Extension::Size) && set.contains(Extension::EightBitMime));
        assert_eq!(set.iter().count(), Extension::ALL.len() - 1);
    }

    #[test]
    fn size_says_the_limit() {
        let mut line = Vec::new();
        Extension::Size.push_line(52_428_800, &mut line);
        assert_eq!(line, b"SIZE 52428800");
    }
}
