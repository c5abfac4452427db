//! The sets of a chain: the three fields that each sealer adds, and whether they can be a chain at all
//! (RFC 8617 §4.2, §5.2 steps 1 to 3).

use std::fmt;

use crate::auth::dkim::signature;
use crate::auth::dkim::tags::Tags;
use crate::auth::header::{Field, Header};

/// A chain has at most so many sets (RFC 8617 §4.2.1).
pub const INSTANCES_MAX: usize = 50;

/// What is wrong with a chain. Numbers are instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A field of a set says no number from 1 to 50 for it.
    NoInstance,
    /// A set has a field twice.
    Twice(usize),
    /// A set lacks a field, or all of them.
    Incomplete(usize),
    /// There are more sets than are judged.
    TooManySets(usize),
    /// The last sealer found the chain broken.
    BrokenBefore,
    /// A seal says of the chain before it what cannot be (`cv=`).
    WrongStatus(usize),
    /// The signature of the last sealer over the message.
    Message(signature::Problem),
    /// A seal.
    Seal(usize, signature::Problem),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInstance => write!(f, "an ARC field has no number from 1 to {INSTANCES_MAX}"),
            Self::Twice(instance) => write!(f, "an ARC field of set {instance} is there twice"),
            Self::Incomplete(instance) => write!(f, "ARC set {instance} is not complete"),
            Self::TooManySets(count) => {
                write!(f, "there are {count} ARC sets, and at most {} are judged", super::SETS_MAX)
            }
            Self::BrokenBefore => f.write_str("the last sealer found the chain broken"),
            Self::WrongStatus(instance) => write!(f, "cv= of ARC set {instance} cannot be"),
            Self::Message(problem) => write!(f, "signature of the last sealer: {problem}"),
            Self::Seal(instance, problem) => write!(f, "seal of ARC set {instance}: {problem}"),
        }
    }
}

/// The fields of one sealer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set<'h> {
    /// ARC-Authentication-Results.
    pub(super) results: &'h Field,
    /// ARC-Message-Signature.
    pub(super) message: &'h Field,
    /// ARC-Seal.
    pub(super) seal: &'h Field,
}

/// Kinds of fields, in the order in which a seal signs them (§5.1.1).
const NAMES: [&str; 3] = ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"];

/// The sets of a header section, the first sealer's first; none where it has no field of ARC.
pub(super) fn collect<'h>(header: &'h Header<'_>) -> Result<Vec<Set<'h>>, Problem> {
    let mut found: Vec<[Option<&Field>; 3]> = Vec::new();
    for (kind, name) in NAMES.into_iter().enumerate() {
        for field in header.named(name) {
            let value = header.value(field);
            let instance = if kind == 0 { instance_of_results(value) } else { instance_of_tags(value) };
            let instance = instance.ok_or(Problem::NoInstance)?;
            if found.len() < instance {
                found.resize(instance, [None; 3]);
            }
            let place = found.get_mut(instance - 1).and_then(|set| set.get_mut(kind));
            if place.and_then(|place| place.replace(field)).is_some() {
                return Err(Problem::Twice(instance));
            }
        }
    }
    let complete = found.into_iter().zip(1..).map(|(set, instance)| match set {
        [Some(results), Some(message), Some(seal)] => Ok(Set { results, message, seal }),
        [_, _, _] => Err(Problem::Incomplete(instance)),
    });
    complete.collect()
}

/// The number of a set: one or two digits, 1 to 50 (§4.2.1).
fn instance(digits: &[u8]) -> Option<usize> {
    let is_number = (1..=2).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    text.parse().ok().filter(|number| (1..=INSTANCES_MAX).contains(number))
}

fn instance_of_tags(value: &[u8]) -> Option<usize> {
    instance(Tags::parse(value)?.value("i")?)
}

/// `i=1;` in front of what else would be Authentication-Results (§4.1.1).
fn instance_of_results(value: &[u8]) -> Option<usize> {
    let end = value.iter().position(|octet| *octet == b';')?;
    instance_of_tags(value.get(..end)?)
}
