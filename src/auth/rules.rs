//! What is checked of a message, and what is done with what is found.

use std::net::IpAddr;

use crate::dns::Name;
use crate::mail::network::Network;

/// What SPF is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpfUse {
    /// It is not asked for.
    Off,
    /// It is noted with the message, and DMARC uses it.
    Mark,
    /// Recipients of whom it does not pass are refused, too: fail and permerror.
    Refuse,
}

/// What DMARC is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmarcUse {
    /// It is not asked for.
    Off,
    /// It is noted with the message.
    Mark,
    /// A message that fails is refused where its domain asks for that and something else speaks against it
    /// (RFC 9989 §7.4).
    WithReason,
    /// It is refused wherever its domain asks for that.
    Always,
}

/// How messages are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRules {
    /// Whose results ours are (RFC 8601 §2.5).
    pub authserv_id: Box<str>,
    /// What SPF is for.
    pub spf: SpfUse,
    /// Whether signatures are verified.
    pub dkim: bool,
    /// What DMARC is for.
    pub dmarc: DmarcUse,
    /// A message whose From: is not one field with mailboxes of one domain is refused.
    pub from_refuses: bool,
    /// Domains whose ARC seals excuse a message. None: seals are not looked at.
    pub arc_trusted: Vec<Name>,
    /// Clients whose Authentication-Results fields stay, whatever they claim.
    pub keep_results_from: Vec<Network>,
    /// Mail is to come again where the DNS did not answer and that might have refused it.
    pub temporary_failure_refuses: bool,
    /// Octets of a header section.
    pub header_bytes_max: usize,
}

impl AuthRules {
    /// The same for mail of clients that are trusted: nothing is checked. A forged field is removed, and ours
    /// says so.
    #[must_use]
    pub fn for_trusted(&self) -> Self {
        Self {
            spf: SpfUse::Off,
            dkim: false,
            dmarc: DmarcUse::Off,
            from_refuses: false,
            arc_trusted: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether fields of this client stay that claim to be ours.
    pub fn keeps_results_of(&self, client: IpAddr) -> bool {
        self.keep_results_from.iter().any(|network| network.contains(client))
    }

    /// Nothing is checked.
    pub fn nothing() -> Self {
        Self {
            authserv_id: Box::default(),
            spf: SpfUse::Off,
            dkim: false,
            dmarc: DmarcUse::Off,
            from_refuses: false,
            arc_trusted: Vec::new(),
            keep_results_from: Vec::new(),
            temporary_failure_refuses: false,
            header_bytes_max: 0,
        }
    }

    /// Whether anything is asked of the DNS.
    pub fn ask_dns(&self) -> bool {
        self.spf != SpfUse::Off || self.dkim || self.dmarc != DmarcUse::Off || self.asks_sealers()
    }

    /// Whether ARC seals are looked at.
    pub fn asks_sealers(&self) -> bool {
        !self.arc_trusted.is_empty()
    }
}
