//! Which domains an operator means, and the one rule how a domain is one of them.

use std::collections::HashSet;

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

/// Whether one of these patterns matches a domain, which is given in lower case as A-labels. What names no
/// domains is for all.
pub fn are_for(patterns: &[DomainPattern], domain: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(domain))
}

/// Many patterns, of which any may match: as [`DomainPattern::matches`], but exact ones are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainPatterns {
    exact: HashSet<Box<[u8]>>,
    /// Domains below these match.
    below: Vec<Box<[u8]>>,
}

impl DomainPatterns {
    /// All of these.
    pub fn new(patterns: &[DomainPattern]) -> Self {
        let mut all = Self::default();
        for pattern in patterns {
            match pattern {
                DomainPattern::Exact(exact) => _ = all.exact.insert(exact.as_bytes().into()),
                DomainPattern::Below(above) => all.below.push(above.as_bytes().into()),
            }
        }
        all
    }

    /// Whether there is none of them.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// Whether they accept every domain that the others accept.
    pub fn hold_all(&self, others: &Self) -> bool {
        others.exact.iter().all(|exact| self.match_any(exact))
            && others
                .below
                .iter()
                .all(|below| self.below.iter().any(|above| below == above || is_below(below, above)))
    }

    /// Whether one of them accepts a domain, which is given in lower case as A-labels.
    pub fn match_any(&self, domain: &[u8]) -> bool {
        self.exact.contains(domain) || self.below.iter().any(|above| is_below(domain, above))
    }
}

/// Whether a domain is below another one, and not that itself. Both in lower case as A-labels.
fn is_below(domain: &[u8], above: &[u8]) -> bool {
    domain.strip_suffix(above).is_some_and(|rest| rest.len() > 1 && rest.ends_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_patterns_match_as_each_of_them_does() {
        let patterns = [DomainPattern::Exact("x.test".into()), DomainPattern::Below("y.test".into())];
        let all = DomainPatterns::new(&patterns);
        for domain in
            ["x.test", "a.x.test", "y.test", "a.y.test", "a.b.y.test", "evily.test", ".y.test", "y", ""]
        {
            let one = patterns.iter().any(|pattern| pattern.matches(domain));
            assert_eq!(all.match_any(domain.as_bytes()), one, "{domain:?}");
        }
        assert!(!all.is_empty() && DomainPatterns::new(&[]).is_empty());
    }

    #[test]
    fn patterns_hold_those_that_accept_nothing_else() {
        let patterns = |names: &[&str]| {
            let pattern = |name: &&str| match name.strip_prefix("*.") {
                Some(above) => DomainPattern::Below(above.to_owned()),
                None => DomainPattern::Exact((*name).to_owned()),
            };
            DomainPatterns::new(&names.iter().map(pattern).collect::<Vec<_>>())
        };
        let all = patterns(&["x.test", "*.y.test"]);
        for (others, held) in [
            (&["x.test"][..], true),
            (&["a.y.test", "*.y.test", "*.b.y.test"], true),
            (&["y.test"], false),
            (&["*.x.test"], false),
            (&["*.test"], false),
            (&["x.test", "z.test"], false),
        ] {
            assert_eq!(all.hold_all(&patterns(others)), held, "{others:?}");
        }
    }
}
