//! A mailbox, seen in its two parts (RFC 5321 §2.3.11).

/// One accepted recipient: a mailbox, seen in its two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// The part before the last `@`.
    pub local_part: &'a [u8],
    /// The part after it: a domain or an address literal with its brackets.
    pub domain: &'a [u8],
    /// Both, with the `@`.
    pub whole: &'a [u8],
}

impl<'a> Mailbox<'a> {
    /// A mailbox that is written whole; one without `@` has no domain.
    pub fn of_whole(whole: &'a [u8]) -> Self {
        let at = whole.iter().rposition(|octet| *octet == b'@').unwrap_or(whole.len());
        let (local_part, rest) = whole.split_at_checked(at).unwrap_or_default();
        Self { local_part, domain: rest.get(1..).unwrap_or_default(), whole }
    }

    /// Whether it is that of a postmaster (RFC 5321 §4.5.1: in any case).
    pub fn is_postmaster(&self) -> bool {
        self.local_part.eq_ignore_ascii_case(b"postmaster")
    }
}
