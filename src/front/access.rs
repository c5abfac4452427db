//! Access lists: rules on networks, EHLO names and domains of reverse-paths, of which the first that matches
//! decides, before all other checks.
//!
//! What a rule names becomes known step by step: the client's address when it connects, its EHLO name, the
//! reverse-path. [`AccessRules::judge`] says what is certain by now. A rule that may still match holds back
//! those after it.

use std::net::IpAddr;
use std::sync::Arc;

use super::networks::Networks;
use crate::mail::domain::DomainPatterns;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No limits and no checks.
    Trust,
    /// Every recipient is refused: `550 5.7.1`.
    Refuse,
    /// The connection is refused: `554` and closed. Where the rule names more than networks, as
    /// [`Action::Refuse`].
    Drop,
    /// It is said in the log, and the rules after it decide.
    Warn,
}

/// A rule. It matches when all that it names matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Any of these networks; no network named where it is none.
    pub networks: Option<Arc<Networks>>,
    /// Any of these EHLO names; none named where it is empty.
    pub ehlo: DomainPatterns,
    /// The domain of the reverse-path is any of these; none named where it is empty. The null reverse-path
    /// has no domain.
    pub reverse_path: DomainPatterns,
    /// What it does.
    pub action: Action,
    /// What the reply says instead of our words; printable ASCII, checked by the configuration.
    pub text: Option<Box<str>>,
}

/// The rules in their order.
#[derive(Debug, Default)]
pub struct AccessRules(Vec<Rule>);

/// What is known of a session so far.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The client.
    pub client: IpAddr,
    /// Its EHLO name in lower case, without a final dot; none before EHLO.
    pub ehlo: Option<&'a [u8]>,
    /// The domain of the reverse-path in lower case as A-labels, empty for the null one; none before MAIL.
    pub reverse_path: Option<&'a [u8]>,
}

/// What the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// No rule decides, whatever becomes known.
    Nothing,
    /// This rule, by its number from 0, decides.
    By(usize),
    /// Not before more is known.
    Open,
}

/// Whether a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    No,
    Yes,
    Open,
}

impl AccessRules {
    /// These, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A rule by the number that [`Ruling::By`] gives.
    pub fn rule(&self, number: usize) -> Option<&Rule> {
        self.0.get(number)
    }

    /// Which rule decides, by what is known.
    pub fn judge(&self, facts: &Facts<'_>) -> Ruling {
        for (number, rule) in self.0.iter().enumerate().filter(|(_, rule)| rule.action != Action::Warn) {
            match rule.matches(facts) {
                Match::No => {}
                Match::Yes => return Ruling::By(number),
                Match::Open => return Ruling::Open,
            }
        }
        Ruling::Nothing
    }

    /// The rules that only warn, match, and stand before the one that decides by this ruling.
    pub fn warnings<'a>(&'a self, facts: &Facts<'a>, ruling: Ruling) -> impl Iterator<Item = usize> + 'a {
        let end = match ruling {
            Ruling::By(number) => number,
            Ruling::Nothing | Ruling::Open => self.0.len(),
        };
        let facts = *facts;
        let before = self.0.iter().enumerate().take(end).filter(|(_, rule)| rule.action == Action::Warn);
        before.filter(move |(_, rule)| rule.matches(&facts) == Match::Yes).map(|(number, _)| number)
    }
}

impl Rule {
    /// Whether it cannot be decided by the client's address alone.
    pub fn names_more_than_networks(&self) -> bool {
        !self.ehlo.is_empty() || !self.reverse_path.is_empty()
    }

    /// Whether it matches wherever the other one does.
    pub fn covers(&self, other: &Self) -> bool {
        let holds = |ours: &DomainPatterns, theirs: &DomainPatterns| {
            ours.is_empty() || !theirs.is_empty() && ours.hold_all(theirs)
        };
        let holds_networks = match (&self.networks, &other.networks) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => ours.holds_all(theirs),
        };
        holds_networks && holds(&self.ehlo, &other.ehlo) && holds(&self.reverse_path, &other.reverse_path)
    }

    fn matches(&self, facts: &Facts<'_>) -> Match {
        if self.networks.as_ref().is_some_and(|networks| !networks.contains(facts.client)) {
            return Match::No;
        }
        let named = [(&self.ehlo, facts.ehlo), (&self.reverse_path, facts.reverse_path)];
        named.into_iter().fold(Match::Yes, |so_far, (patterns, name)| match (patterns.is_empty(), name) {
            (true, _) => so_far,
            (false, None) if so_far == Match::No => Match::No,
            (false, None) => Match::Open,
            (false, Some(name)) => {
                if patterns.match_any(name) {
                    so_far
                } else {
                    Match::No
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::domain::DomainPattern;
    use crate::mail::network::Network;

    fn rule(networks: &[&str], ehlo: &[&str], reverse_path: &[&str], action: Action) -> Rule {
        let patterns = |names: &[&str]| {
            let pattern = |name: &&str| match name.strip_prefix("*.") {
                Some(above) => DomainPattern::Below(above.to_owned()),
                None => DomainPattern::Exact((*name).to_owned()),
            };
            DomainPatterns::new(&names.iter().map(pattern).collect::<Vec<_>>())
        };
        let parse = |text: &&str| Network::parse(text).expect("a network");
        Rule {
            networks: (!networks.is_empty()).then(|| Arc::new(Networks::new(networks.iter().map(parse)))),
            ehlo: patterns(ehlo),
            reverse_path: patterns(reverse_path),
            action,
            text: None,
        }
    }

    #[test]
    fn a_rule_covers_those_that_name_no_more_than_it() {
        let rule = |networks, ehlo, reverse_path| rule(networks, ehlo, reverse_path, Action::Refuse);
        let wide = rule(&["10.0.0.0/8"], &[], &[]);
        let named = rule(&["10.0.0.0/8"], &["*.dyn.test"], &[]);
        assert!(rule(&[], &[], &[]).covers(&named) && wide.covers(&named));
        assert!(wide.covers(&rule(&["10.1.0.0/16"], &["x.test"], &["y.test"])));
        assert!(named.covers(&rule(&["10.1.2.3"], &["a.dyn.test"], &[])));
        for other in [
            rule(&[], &[], &[]),
            rule(&["10.0.0.0/8", "192.0.2.1"], &["a.dyn.test"], &[]),
            rule(&["10.0.0.1"], &[], &["y.test"]),
            rule(&["10.0.0.1"], &["dyn.test"], &[]),
        ] {
            assert!(!named.covers(&other), "{other:?}");
        }
    }

    fn facts<'a>(client: &str, ehlo: Option<&'a str>, reverse_path: Option<&'a str>) -> Facts<'a> {
        Facts {
            client: client.parse().expect("an address"),
            ehlo: ehlo.map(str::as_bytes),
            reverse_path: reverse_path.map(str::as_bytes),
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = AccessRules::new(vec![
            rule(&["192.0.2.1"], &[], &[], Action::Trust),
            rule(&["192.0.2.0/24"], &[], &[], Action::Refuse),
            rule(&[], &[], &[], Action::Drop),
        ]);
        for (client, expected) in [("192.0.2.1", 0), ("192.0.2.2", 1), ("198.51.100.1", 2)] {
            assert_eq!(rules.judge(&facts(client, None, None)), Ruling::By(expected), "{client}");
        }
        assert_eq!(AccessRules::default().judge(&facts("192.0.2.1", None, None)), Ruling::Nothing);
    }

    #[test]
    fn a_rule_that_may_still_match_holds_back_those_after_it() {
        let rules = AccessRules::new(vec![
            rule(&[], &["*.dyn.test"], &["spam.test", "*.spam.test"], Action::Refuse),
            rule(&["192.0.2.0/24"], &[], &[], Action::Trust),
        ]);
        let judge = |ehlo, reverse_path| rules.judge(&facts("192.0.2.1", ehlo, reverse_path));
        assert_eq!(judge(None, None), Ruling::Open);
        assert_eq!(judge(Some("a.dyn.test"), None), Ruling::Open);
        assert_eq!(judge(Some("mx.test"), None), Ruling::By(1), "it cannot match any more");
        assert_eq!(judge(Some("a.dyn.test"), Some("a.spam.test")), Ruling::By(0));
        assert_eq!(judge(Some("a.dyn.test"), Some("")), Ruling::By(1), "the null reverse-path has no domain");
        assert_eq!(judge(None, Some("good.test")), Ruling::By(1));
    }

    #[test]
    fn a_warning_decides_nothing() {
        let rules = AccessRules::new(vec![
            rule(&["192.0.2.0/24"], &[], &[], Action::Warn),
            rule(&["198.51.100.0/24"], &[], &[], Action::Warn),
            rule(&["192.0.2.0/25"], &[], &[], Action::Refuse),
            rule(&["192.0.2.0/24"], &[], &[], Action::Warn),
        ]);
        let facts = facts("192.0.2.1", None, None);
        assert_eq!(rules.judge(&facts), Ruling::By(2));
        assert_eq!(
            rules.warnings(&facts, Ruling::By(2)).collect::<Vec<_>>(),
            [0],
            "those before the rule that decides"
        );
    }

    /// Whatever order facts come in, what was certain stays.
    #[test]
    fn what_is_decided_stays_decided() {
        let rules = AccessRules::new(vec![
            rule(&["192.0.2.0/25"], &["a.test"], &[], Action::Refuse),
            rule(&["192.0.2.0/24"], &[], &["b.test"], Action::Trust),
            rule(&[], &["*.test"], &["c.test"], Action::Refuse),
        ]);
        for client in ["192.0.2.1", "192.0.2.200", "198.51.100.1"] {
            for ehlo in ["a.test", "b.test", "x"] {
                for reverse_path in ["b.test", "c.test", ""] {
                    let last = rules.judge(&facts(client, Some(ehlo), Some(reverse_path)));
                    assert_ne!(last, Ruling::Open);
                    for (ehlo, reverse_path) in [(None, None), (Some(ehlo), None), (None, Some(reverse_path))]
                    {
                        let early = rules.judge(&facts(client, ehlo, reverse_path));
                        assert!(early == Ruling::Open || early == last, "{client} {ehlo:?} {reverse_path:?}");
                    }
                }
            }
        }
    }
}
