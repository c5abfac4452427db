//! The DMARC record (RFC 9989 §4.7).

/// What a domain asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing.
    None,
    /// To treat it as suspicious.
    Quarantine,
    /// To refuse it.
    Reject,
}

impl Policy {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let all = [Self::None, Self::Quarantine, Self::Reject];
        all.into_iter().find(|policy| value.eq_ignore_ascii_case(policy.word().as_bytes()))
    }

    /// What is left of it while the domain only tests it (`t=y`).
    pub(super) const fn tested(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            Self::Quarantine | Self::None => Self::None,
        }
    }
}

/// Which domains are the author's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// Those of the same organisation.
    Relaxed,
    /// That domain only.
    Strict,
}

/// Whether a domain is one under which others register theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicSuffix {
    Yes,
    No,
    Unknown,
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// It has a policy that can be followed, or somebody to report to. Otherwise it only says which domains
    /// belong together: a message that it applies to is not judged (§4.10.1).
    pub(super) is_usable: bool,
    pub(super) policy: Policy,
    pub(super) subdomains: Option<Policy>,
    pub(super) missing_subdomains: Option<Policy>,
    pub(super) dkim: Alignment,
    pub(super) spf: Alignment,
    pub(super) public_suffix: PublicSuffix,
    pub(super) is_test: bool,
}

/// Tags of a record that are read; more are passed over.
const TAGS_MAX: usize = 64;

/// Octets of a record.
const RECORD_BYTES_MAX: usize = 4096;

/// Whether a text is a DMARC record: `v=DMARC1` is its first tag, in these letters.
pub(super) fn is_record(text: &[u8]) -> bool {
    let first = text.split(|octet| *octet == b';').next().and_then(tag);
    // Nobody needs a longer one, and each is read many times.
    text.len() <= RECORD_BYTES_MAX
        && first.is_some_and(|(name, value)| name.eq_ignore_ascii_case(b"v") && value == b"DMARC1")
}

/// Tags of a text; what is none is passed over.
fn tags(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|octet| *octet == b';').take(TAGS_MAX).filter_map(tag)
}

/// Name and value, without the blanks around them.
fn tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|octet| *octet == b'=')?;
    Some((text.get(..equals)?.trim_ascii(), text.get(equals + 1..)?.trim_ascii()))
}

impl Record {
    /// Reads a text that [`is_record`].
    pub(super) fn parse(text: &[u8]) -> Self {
        let tags: Vec<_> = tags(text).collect();
        let value = |name: &[u8]| {
            let mut found = tags.iter().filter(|(tag, _)| tag.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| *value)
        };
        let policy = |name: &[u8]| value(name).map(Policy::parse);
        let [own, subdomains, missing] = [&b"p"[..], b"sp", b"np"].map(policy);
        // A bad sp or np is as a bad p: with somebody to report to it asks for nothing (§4.10.1).
        let is_good = own.flatten().is_some() && subdomains != Some(None) && missing != Some(None);
        let is = |name: &[u8], word: &str| {
            value(name).is_some_and(|value| value.eq_ignore_ascii_case(word.as_bytes()))
        };
        let alignment = |name: &[u8]| if is(name, "s") { Alignment::Strict } else { Alignment::Relaxed };
        let public_suffix = match (is(b"psd", "y"), is(b"psd", "n")) {
            (true, _) => PublicSuffix::Yes,
            (false, true) => PublicSuffix::No,
            (false, false) => PublicSuffix::Unknown,
        };
        Self {
            is_usable: is_good || value(b"rua").is_some_and(names_somebody),
            policy: own.flatten().filter(|_| is_good).unwrap_or(Policy::None),
            subdomains: subdomains.flatten().filter(|_| is_good),
            missing_subdomains: missing.flatten().filter(|_| is_good),
            dkim: alignment(b"adkim"),
            spf: alignment(b"aspf"),
            public_suffix,
            is_test: is(b"t", "y"),
        }
    }
}

/// Whether a list of URIs holds one.
fn names_somebody(value: &[u8]) -> bool {
    value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii).any(|uri| {
        let scheme = uri.iter().position(|octet| *octet == b':');
        scheme.is_some_and(|end| {
            end > 0 && end + 1 < uri.len() && uri.iter().all(|octet| matches!(octet, b'!'..=b'~'))
        })
    })
}
