//! What a sender's domain says about its mail in the DNS, and what a receiver has to make of that.
//!
//! The lists below have lengths without a common factor, so that every SPF policy meets every DMARC policy.

use std::fmt;

use super::kind::Kind;

/// Who may send mail of a domain (RFC 7208). The clients of a run are those of loopback, and behind `--proxy`
/// those of its default network.
const SPF: [Spf; 10] = [
    Spf::Pass,
    Spf::Pass,
    Spf::Pass,
    Spf::SoftFail,
    Spf::Pass,
    Spf::Pass,
    Spf::Fail,
    Spf::Pass,
    Spf::None,
    Spf::Pass,
];

/// What is asked for mail that fails DMARC; `None`: nothing is said.
const DMARC: [Option<&str>; 7] =
    [Some("reject"), Some("none"), Some("reject"), Some("quarantine"), None, Some("reject"), Some("none")];

/// What SPF comes to for the clients of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spf {
    /// They are named.
    Pass,
    /// They are not named, softly.
    SoftFail,
    /// They are not named.
    Fail,
    /// There is no record.
    None,
}

/// The records of one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What SPF comes to.
    pub spf: Spf,
    /// `p=` of the DMARC record, if there is one.
    pub dmarc: Option<&'static str>,
}

/// What a receiver has to find of a message, in the words of RFC 8601 §2.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Of the reverse-path.
    pub spf: &'static str,
    /// Of the signature.
    pub dkim: &'static str,
    /// Of the domain in From:.
    pub dmarc: &'static str,
    /// What its domain asks for mail that fails.
    pub policy: &'static str,
}

impl Spf {
    /// The record, if there is one.
    pub fn record(self) -> Option<&'static str> {
        match self {
            Self::Pass => Some("v=spf1 ip4:127.0.0.0/8 ip4:198.18.0.0/15 ip6:::1 -all"),
            Self::SoftFail => Some("v=spf1 ip4:192.0.2.1 ~all"),
            Self::Fail => Some("v=spf1 ip4:192.0.2.1 -all"),
            Self::None => None,
        }
    }

    /// Its word.
    fn result(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::SoftFail => "softfail",
            Self::Fail => "fail",
            Self::None => "none",
        }
    }
}

impl Policy {
    /// That of a domain by its rank, from 0.
    pub fn of(rank: usize) -> Self {
        Self { spf: SPF[rank % SPF.len()], dmarc: DMARC[rank % DMARC.len()] }
    }

    /// What a receiver finds of mail that is signed in this way.
    pub fn expected(self, kind: Kind) -> Expected {
        let dkim = match kind {
            Kind::Rsa2048 | Kind::Rsa1024 | Kind::Ed25519 => "pass",
            Kind::Broken => "fail",
            Kind::Unsigned => "none",
        };
        // Reverse-path, From: and d= are of one domain, so whatever passes is aligned.
        let dmarc = match self.dmarc {
            None => "none",
            Some(_) if self.spf == Spf::Pass || dkim == "pass" => "pass",
            Some(_) => "fail",
        };
        Expected { spf: self.spf.result(), dkim, dmarc, policy: self.dmarc.unwrap_or("-") }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spf, dkim, dmarc, policy } = self;
        write!(f, "spf={spf} dkim={dkim} dmarc={dmarc} policy={policy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_aligned_pass_is_enough_and_without_a_record_there_is_no_result() {
        let expected = |spf, dmarc, kind| Policy { spf, dmarc }.expected(kind).dmarc;
        assert_eq!(expected(Spf::Pass, Some("reject"), Kind::Broken), "pass");
        assert_eq!(expected(Spf::Fail, Some("reject"), Kind::Rsa1024), "pass");
        assert_eq!(expected(Spf::SoftFail, Some("reject"), Kind::Unsigned), "fail");
        assert_eq!(expected(Spf::Pass, None, Kind::Rsa2048), "none");
        assert_eq!(
            Policy::of(0).expected(Kind::Broken).to_string(),
            "spf=pass dkim=fail dmarc=pass policy=reject"
        );
    }

    #[test]
    fn every_spf_policy_meets_every_dmarc_policy() {
        for spf in SPF {
            for dmarc in DMARC {
                assert!((0..70).any(|rank| Policy::of(rank) == Policy { spf, dmarc }), "{spf:?} {dmarc:?}");
            }
        }
    }
}
