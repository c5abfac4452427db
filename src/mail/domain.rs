//! Which domains an operator means.

/// An accepted recipient domain, as a lower-case A-label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainPattern {
    /// `example.org`: that domain only.
    Exact(String),
    /// `*.example.org`: every domain below it, but not itself. Stored without the `*.`.
    Below(String),
}

impl DomainPattern {
    /// Whether it accepts a domain, which is given in lower case as A-labels.
    pub fn matches(&self, domain: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == domain,
            Self::Below(above) => is_below(domain.as_bytes(), above.as_bytes()),
        }
    }
}

/// Whether a domain is below another one, and not that itself. Both in lower case as A-labels.
pub fn is_below(domain: &[u8], above: &[u8]) -> bool {
    domain.strip_suffix(above).is_some_and(|rest| rest.len() > 1 && rest.ends_with(b"."))
}
