//! Who sends a message, as SPF asks about it.

use std::net::IpAddr;

use super::spf;
use crate::dns::Asking;

/// Who sends a message, by connection and envelope.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The client.
    pub client: IpAddr,
    /// What it calls itself.
    pub ehlo: &'a [u8],
    /// The reverse-path; empty for the null one.
    pub reverse_path: &'a [u8],
    /// Our name, for explanations.
    pub hostname: &'a str,
    /// Seconds since 1970, for explanations.
    pub now: u64,
}

impl<'a> Sender<'a> {
    /// The domain that SPF of the reverse-path asks about (RFC 7208 §2.4): of the null one it is the client's
    /// own name.
    pub fn domain(&self) -> &'a [u8] {
        if self.reverse_path.is_empty() { self.ehlo } else { domain_of(self.reverse_path) }
    }

    /// SPF of the reverse-path; that of the null one is about the client's own name.
    pub fn spf_of_path(&self, asking: &mut Asking<'_>) -> Option<spf::Outcome> {
        let domain = self.domain();
        if domain.starts_with(b"[") {
            // An address literal has no records.
            return Some(spf::Outcome::none());
        }
        let local_part = self.reverse_path.strip_suffix(domain).and_then(|rest| rest.strip_suffix(b"@"));
        let sender = spf::Sender {
            client: self.client,
            helo: self.ehlo,
            local_part: local_part.unwrap_or_default(),
            domain,
            receiver: self.hostname,
            now: self.now,
            explains: false,
        };
        spf::check(&sender, asking)
    }

    /// SPF of the client's own name.
    pub fn spf_of_ehlo(&self, asking: &mut Asking<'_>) -> Option<spf::Outcome> {
        Sender { reverse_path: b"", ..*self }.spf_of_path(asking)
    }
}

/// What follows the last `@`; empty for the null reverse-path.
pub fn domain_of(reverse_path: &[u8]) -> &[u8] {
    reverse_path.rsplit(|octet| *octet == b'@').next().unwrap_or_default()
}
