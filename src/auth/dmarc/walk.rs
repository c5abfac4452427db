//! The walk up the DNS tree (RFC 9989 §4.10): which organisation a domain belongs to.

use super::record::{PublicSuffix, Record, is_record};
use crate::dns::{Answer, Asking, Kind, Name, Question};

/// A domain with more labels is looked at itself; then the walk goes on with one label less than this.
const LABELS_MAX: usize = 8;

/// Why a walk has no end yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// An answer is not there.
    Missing,
    /// The DNS did not answer for this name.
    Temporary(Name),
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    /// The domain of the organisation.
    pub(super) organization: Name,
    /// Its record.
    pub(super) record: Option<Record>,
    /// The record of the public suffix that it is registered under, with that name.
    pub(super) suffix: Option<(Name, Record)>,
}

/// The record of this very domain.
pub(super) fn record_of(domain: &Name, asking: &mut Asking<'_>) -> Result<Option<Record>, Stop> {
    let Some(name) = Name::new(&[b"_dmarc.", domain.octets()].concat()) else { return Ok(None) };
    let question = Question::new(Kind::Txt, name);
    let answer = asking.ask(&question).ok_or(Stop::Missing)?;
    if matches!(*answer, Answer::Failed(_)) {
        return Err(Stop::Temporary(question.name));
    }
    let mut records = answer.texts().iter().filter(|text| is_record(text));
    // Of two records none counts.
    Ok(match (records.next(), records.next()) {
        (Some(text), None) => Some(Record::parse(text)),
        (_, _) => None,
    })
}

/// The organisation of a domain.
pub(super) fn walk(start: &Name, asking: &mut Asking<'_>) -> Result<Walk, Stop> {
    let mut found: Option<(Name, Record)> = None;
    let mut at = Some(start.clone());
    while let Some(domain) = at {
        if let Some(record) = record_of(&domain, asking)? {
            match record.public_suffix {
                PublicSuffix::No => return Ok(Walk::ended(domain, record)),
                PublicSuffix::Yes if domain == *start => return Ok(Walk::ended(domain, record)),
                PublicSuffix::Yes => return below(start, domain, record, asking),
                PublicSuffix::Unknown => found = Some((domain.clone(), record)),
            }
        }
        at = next(&domain);
    }
    Ok(match found {
        // The one with the fewest labels is the last that was found.
        Some((organization, record)) => Walk::ended(organization, record),
        None => Walk { organization: start.clone(), record: None, suffix: None },
    })
}

impl Walk {
    fn ended(organization: Name, record: Record) -> Self {
        Self { organization, record: Some(record), suffix: None }
    }
}

/// The organisation one label below a public suffix. It is cut from the name that the walk began at, because
/// the walk may have passed it by.
fn below(start: &Name, suffix: Name, record: Record, asking: &mut Asking<'_>) -> Result<Walk, Stop> {
    let wanted = suffix.labels().count() + 1;
    let skipped = start.labels().count().saturating_sub(wanted);
    let labels: Vec<&[u8]> = start.labels().skip(skipped).collect();
    let organization = Name::new(&labels.join(&b'.')).unwrap_or_else(|| start.clone());
    let own = record_of(&organization, asking)?;
    Ok(Walk { organization, record: own, suffix: Some((suffix, record)) })
}

/// Where the walk goes on.
fn next(domain: &Name) -> Option<Name> {
    let count = domain.labels().count();
    let left = if count > LABELS_MAX { LABELS_MAX - 1 } else { count - 1 };
    let labels: Vec<&[u8]> = domain.labels().skip(count - left).collect();
    Name::new(&labels.join(&b'.'))
}
