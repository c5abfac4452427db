//! The chain of a message: which of its signatures have to verify, and whether they do (RFC 8617 §5.2).

use aws_lc_rs::digest;

use super::ArcResult;
use super::sets::{Problem, SETS_MAX, Set, collect};
use crate::auth::dkim::bodies::Bodies;
use crate::auth::dkim::canonical::{self, Form};
use crate::auth::dkim::check::Signed;
use crate::auth::dkim::keys::Keys;
use crate::auth::dkim::signature::{self, Signature, hash_own};
use crate::auth::dkim::tags::Tags;
use crate::auth::header::{Field, Header};
use crate::dns::{Asking, Name};

/// Keys that are looked at: a few more than seals, because a name may have several.
const KEYS_MAX: usize = SETS_MAX + 4;

/// What came of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub result: ArcResult,
    /// `d=` of the seals, the last sealer's first. He is the one to be trusted, because his seal tells what
    /// he found of the others. Unless the chain passes they are claims of anybody, as many as could be read.
    pub sealers: Vec<Name>,
    /// Why it does not pass.
    pub problem: Option<Problem>,
}

/// The chain of a message. It holds nothing of the header section.
#[derive(Debug)]
pub struct Chain(Result<Signatures, Outcome>);

/// What has to verify.
#[derive(Debug)]
struct Signatures {
    /// The last sealer's signature over the message.
    message: Signed,
    /// Seals, the last one first, with their instances.
    seals: Vec<(usize, Signed)>,
}

impl Default for Chain {
    /// That of a message without one.
    fn default() -> Self {
        Self(Err(Outcome { result: ArcResult::None, sealers: Vec::new(), problem: None }))
    }
}

impl Chain {
    /// Reads the one of a header section. `now`: seconds since 1970.
    pub fn of(header: &Header<'_>, now: u64) -> Self {
        let mut sealers = Vec::new();
        match read(header, now, &mut sealers) {
            Ok(Some(signatures)) => Self(Ok(signatures)),
            Ok(None) => Self::default(),
            Err(problem) => Self(Err(Outcome { result: ArcResult::Fail, sealers, problem: Some(problem) })),
        }
    }

    /// The form of the body whose hash is needed, if one is.
    pub fn body_form(&self) -> Option<Form> {
        self.0.as_ref().ok().map(|signatures| signatures.message.signature().body_form)
    }

    /// About how many octets it takes in memory beside its own size.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Ok(signatures) => {
                let seals = &signatures.seals;
                seals.capacity() * size_of::<(usize, Signed)>()
                    + signatures.all().map(Signed::bytes).sum::<usize>()
            }
            Err(outcome) => {
                let names = outcome.sealers.iter().map(|name| name.octets().len());
                outcome.sealers.capacity() * size_of::<Name>() + names.sum::<usize>()
            }
        }
    }

    /// Has the body hashed in the form that is needed.
    pub fn want(&self, bodies: &mut Bodies) {
        if let Some(form) = self.body_form() {
            bodies.want(form);
        }
    }

    /// Asks for the keys before they are needed.
    pub fn ask_ahead(&self, asking: &mut Asking<'_>) {
        for signed in self.0.iter().flat_map(Signatures::all) {
            let _ = asking.ask(signed.key());
        }
    }

    /// What it comes to, once the body is over. None as long as answers are missing.
    pub fn check(&self, bodies: &Bodies, asking: &mut Asking<'_>, keys: &mut Keys) -> Option<Outcome> {
        let signatures = match &self.0 {
            Ok(signatures) => signatures,
            Err(outcome) => return Some(outcome.clone()),
        };
        // All keys first: verifying costs more than all else, and is done once.
        let answers: Vec<_> = signatures.all().map(|signed| asking.ask(signed.key())).collect();
        let mut answers = answers.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
        keys.grant(KEYS_MAX);
        let of_message = signatures.message.verify(answers.next().as_deref(), bodies, keys);
        let mut unanswered = None;
        let mut problem = stop_at(of_message.map_err(Problem::Message), &mut unanswered);
        for ((instance, seal), answer) in signatures.seals.iter().zip(answers) {
            if problem.is_none() {
                let of_seal = seal.verify_header(Some(&answer), keys);
                problem = stop_at(of_seal.map_err(|why| Problem::Seal(*instance, why)), &mut unanswered);
            }
        }
        // What is broken for good is broken, whatever another answer would have been.
        let result = match (problem, unanswered) {
            (Some(_), _) => ArcResult::Fail,
            (None, Some(_)) => ArcResult::TempError,
            (None, None) => ArcResult::Pass,
        };
        let sealers = signatures.seals.iter().map(|(_, seal)| seal.signature().domain.clone()).collect();
        Some(Outcome { result, sealers, problem: problem.or(unanswered) })
    }
}

impl Signatures {
    fn all(&self) -> impl Iterator<Item = &Signed> {
        std::iter::once(&self.message).chain(self.seals.iter().map(|(_, seal)| seal))
    }
}

/// The problem at which the chain ends. One of the DNS is only noted.
fn stop_at(verified: Result<usize, Problem>, unanswered: &mut Option<Problem>) -> Option<Problem> {
    use signature::Problem::NoAnswer;
    match verified {
        Ok(_) => None,
        Err(problem @ (Problem::Message(NoAnswer) | Problem::Seal(_, NoAnswer))) => {
            *unanswered = unanswered.or(Some(problem));
            None
        }
        Err(problem) => Some(problem),
    }
}

/// What a seal says of itself.
struct Seal<'h> {
    set: Set<'h>,
    instance: usize,
    tags: Tags<'h>,
    signature: Signature<'h>,
}

fn read(header: &Header<'_>, now: u64, sealers: &mut Vec<Name>) -> Result<Option<Signatures>, Problem> {
    let sets = collect(header)?;
    let Some(newest) = sets.last() else { return Ok(None) };
    if sets.len() > SETS_MAX {
        return Err(Problem::TooManySets(sets.len()));
    }
    let mut seals = Vec::with_capacity(sets.len());
    for (place, set) in sets.iter().enumerate().rev() {
        let seal = Seal::read(header, *set, place + 1)?;
        sealers.push(seal.signature.domain.clone());
        seals.push(seal);
    }
    check_status(&seals)?;
    let message = read_message(header, newest.message, now).map_err(Problem::Message)?;
    Ok(Some(Signatures { message, seals: hash_seals(header, seals)? }))
}

impl<'h> Seal<'h> {
    fn read(header: &Header<'h>, set: Set<'h>, instance: usize) -> Result<Self, Problem> {
        let of_this = |problem| Problem::Seal(instance, problem);
        let tags = Tags::parse(header.value(set.seal)).ok_or_else(|| of_this(signature::Problem::NoTags))?;
        // What a seal signs is given; one that says something else is none (RFC 8617 §4.1.3).
        if tags.value("h").is_some() {
            return Err(of_this(signature::Problem::BadTag("h")));
        }
        let signature = Signature::of_fields(&tags).map_err(of_this)?;
        Ok(Self { set, instance, tags, signature })
    }
}

/// Whether the seals say of the chain before them what has to be (§5.2 steps 2 and 3). The last one is first.
fn check_status(seals: &[Seal<'_>]) -> Result<(), Problem> {
    for (place, seal) in seals.iter().enumerate() {
        let expected: &[u8] = if seal.instance == 1 { b"none" } else { b"pass" };
        match seal.tags.value("cv") {
            Some(status) if status == expected => {}
            Some(b"fail") if place == 0 => return Err(Problem::BrokenBefore),
            Some(_) | None => return Err(Problem::WrongStatus(seal.instance)),
        }
    }
    Ok(())
}

fn read_message(header: &Header<'_>, own: &Field, now: u64) -> Result<Signed, signature::Problem> {
    let tags = Tags::parse(header.value(own)).ok_or(signature::Problem::NoTags)?;
    // Here i= is the number of the set.
    let signature = Signature::of_message(&tags, None, now)?;
    let mut hash = digest::Context::new(&digest::SHA256);
    signature.hash_header(header, own, &mut |part| hash.update(part));
    Signed::new(signature, hash.finish())
}

/// The hash of what each seal signs: all sets up to its own in their order, each field in the relaxed form,
/// and its own field last (§5.1.1). The first seal signs the beginning of what the second does, and so on, so
/// all of it is hashed once. Seals come with the last one first, and go so.
fn hash_seals(header: &Header<'_>, seals: Vec<Seal<'_>>) -> Result<Vec<(usize, Signed)>, Problem> {
    let mut before = digest::Context::new(&digest::SHA256);
    let mut hashed = Vec::with_capacity(seals.len());
    for Seal { set, instance, signature, .. } in seals.into_iter().rev() {
        let whole = |field: &Field, hash: &mut digest::Context| {
            let (name, value) = (header.name(field), header.value(field));
            canonical::field(Form::Relaxed, name, value, header.whole(field), &mut |part| hash.update(part));
        };
        whole(set.results, &mut before);
        whole(set.message, &mut before);
        let mut hash = before.clone();
        hash_own(Form::Relaxed, header, set.seal, &mut |part| hash.update(part));
        whole(set.seal, &mut before);
        let signed = Signed::new(signature, hash.finish());
        hashed.push((instance, signed.map_err(|problem| Problem::Seal(instance, problem))?));
    }
    hashed.reverse();
    Ok(hashed)
}
