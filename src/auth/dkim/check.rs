//! All signatures of a message. What is needed of each is taken from the header section once, so that nothing
//! of that has to stay in memory; then come the hash of the body and the key, in any order.

use aws_lc_rs::digest::{self, Digest};

use super::bodies::Bodies;
use super::key;
use super::keys::Keys;
use super::signature::{Algorithm, Problem, Signature};
use super::verify::RSA_BITS_MAX;
use crate::auth::header::{Field, Header};
use crate::dns::{Answer, Asking, Kind, Name, Question};

/// Signatures of a message that are judged.
pub const SIGNATURES_MAX: usize = 8;

/// Keys of a message that are looked at: a few more than signatures, because a name may have several.
const KEYS_MAX: usize = SIGNATURES_MAX + 4;

/// Octets of the header section that all signatures of a message may sign together: each of them is hashed.
const SIGNED_BYTES_MAX: usize = 256 * 1024;

/// Octets of a signature by the longest key.
const SIGNATURE_BYTES_MAX: usize = RSA_BITS_MAX / 8;

/// Key records of one name that are tried.
const RECORDS_MAX: usize = 4;

/// Results (RFC 8601 §2.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DkimResult {
    /// It is by its domain, and nothing that it is over was changed.
    Pass,
    /// It does not verify.
    Fail,
    /// It may verify, and is of a kind that counts for nothing here.
    Policy,
    /// The DNS did not answer.
    TempError,
    /// It, or its key, cannot be used.
    PermError,
}

impl DkimResult {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pass, Self::Fail, Self::Policy, Self::TempError, Self::PermError];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// What a signature came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The result.
    pub result: DkimResult,
    /// `d=`, where it can be read.
    pub domain: Option<Name>,
    /// `s=`, where it can be read.
    pub selector: Option<Name>,
    /// `a=`, where it can be read.
    pub algorithm: Option<Algorithm>,
    /// Bits of the key that verified it.
    pub bits: Option<usize>,
    /// Why it does not pass.
    pub problem: Option<Problem>,
}

/// `pass x.test s1 rsa-sha256`: the result, domain, selector and algorithm; `-` for what cannot be read.
impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.result.word())?;
        for name in [&self.domain, &self.selector] {
            match name {
                Some(name) => write!(f, " {name}")?,
                None => f.write_str(" -")?,
            }
        }
        write!(f, " {}", self.algorithm.map_or("-", Algorithm::name))
    }
}

/// A signature, as much of it as is needed when the header section is gone.
#[derive(Debug)]
pub(in crate::auth) struct Signed {
    signature: Signature<'static>,
    /// What is signed besides the body.
    header: Digest,
    /// Where its key is.
    key: Question,
}

/// The signatures of a message, in the order of their fields.
#[derive(Debug, Default)]
pub struct Signatures(Vec<Result<Signed, Found>>);

impl Signatures {
    /// Reads those of a header section. Of more than [`SIGNATURES_MAX`] those are taken that could be of the
    /// author's domain, then the upper ones. `now`: seconds since 1970.
    pub fn of(header: &Header<'_>, author: Option<&Name>, now: u64) -> Self {
        let mut fields: Vec<_> = header.named("DKIM-Signature").collect();
        if fields.len() > SIGNATURES_MAX {
            let is_others = |domain: Option<Name>| {
                !domain.zip(author).is_some_and(|(domain, author)| are_related(&domain, author))
            };
            fields.sort_by_cached_key(|field| is_others(Signature::names(header.value(field)).0));
            fields.truncate(SIGNATURES_MAX);
        }
        let mut left = SIGNED_BYTES_MAX;
        Self(fields.into_iter().map(|field| Signed::read(header, field, now, &mut left)).collect())
    }

    /// The domains that sign, as far as they can be read.
    pub fn domains(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().flatten().map(|signed| &signed.signature.domain)
    }

    /// Has the body hashed in the forms that they need.
    pub fn want(&self, bodies: &mut Bodies) {
        for signed in self.0.iter().flatten() {
            bodies.want(signed.signature.body_form);
        }
    }

    /// About how many octets they take in memory.
    pub fn bytes(&self) -> usize {
        let of_name = |name: &Name| name.octets().len();
        let bytes = |one: &Result<Signed, Found>| match one {
            Ok(signed) => signed.bytes(),
            Err(found) => [&found.domain, &found.selector].into_iter().flatten().map(of_name).sum(),
        };
        self.0.capacity() * size_of::<Result<Signed, Found>>() + self.0.iter().map(bytes).sum::<usize>()
    }

    /// Asks for the keys before they are needed.
    pub fn ask_ahead(&self, asking: &mut Asking<'_>) {
        for signed in self.0.iter().flatten() {
            let _ = asking.ask(&signed.key);
        }
    }

    /// What they come to, once the body is over. None as long as answers are missing.
    pub fn check(&self, bodies: &Bodies, asking: &mut Asking<'_>, keys: &mut Keys) -> Option<Vec<Found>> {
        // All keys first: verifying costs more than all else, and is done once.
        let answers: Vec<_> =
            self.0.iter().map(|one| one.as_ref().ok().map(|signed| asking.ask(&signed.key))).collect();
        if answers.iter().any(|answer| matches!(answer, Some(None))) {
            return None;
        }
        keys.grant(KEYS_MAX);
        let found = self.0.iter().zip(answers).map(|(one, answer)| match one {
            Ok(signed) => signed.check(answer.flatten().as_deref(), bodies, keys),
            Err(found) => found.clone(),
        });
        Some(found.collect())
    }
}

impl Signed {
    /// `left`: octets of the header section that may be signed still.
    fn read(header: &Header<'_>, field: &Field, now: u64, left: &mut usize) -> Result<Self, Found> {
        let value = header.value(field);
        let unread = |problem: Problem| {
            let (domain, selector) = Signature::names(value);
            let algorithm = (problem == Problem::Sha1).then_some(Algorithm::RsaSha1);
            let problem = Some(problem);
            Found { result: result_of(problem), domain, selector, algorithm, bits: None, problem }
        };
        let signature = Signature::parse(value, now).map_err(unread)?;
        if *left == 0 {
            return Err(unread(Problem::TooMuch));
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut bytes = 0;
        signature.hash_header(header, field, &mut |part| {
            bytes += part.len();
            hash.update(part);
        });
        let rest = left.checked_sub(bytes);
        *left = rest.unwrap_or(0);
        rest.ok_or_else(|| unread(Problem::TooMuch))?;
        Self::new(signature, hash.finish()).map_err(unread)
    }

    /// `header` is the hash of what is signed besides the body.
    pub(in crate::auth) fn new(signature: Signature<'_>, header: Digest) -> Result<Self, Problem> {
        if signature.signature.len() > SIGNATURE_BYTES_MAX {
            return Err(Problem::LongKey);
        }
        // Only a seal of ARC is over no body.
        if !matches!(signature.body_hash.len(), 0 | digest::SHA256_OUTPUT_LEN) {
            return Err(Problem::BadTag("bh"));
        }
        let name = [signature.selector.octets(), b"._domainkey.", signature.domain.octets()].concat();
        let name = Name::new(&name).ok_or(Problem::BadTag("s"))?;
        Ok(Self { signature: signature.without_names(), header, key: Question::new(Kind::Txt, name) })
    }

    /// About how many octets it takes in memory beside its own size.
    pub(in crate::auth) fn bytes(&self) -> usize {
        let Signature { domain, selector, identity, signature, body_hash, .. } = &self.signature;
        let names = [domain, selector, identity, &self.key.name].map(|name| name.octets().len());
        names.iter().sum::<usize>() + signature.len() + body_hash.len()
    }

    /// Its tags, without those of `h=`.
    pub(in crate::auth) fn signature(&self) -> &Signature<'static> {
        &self.signature
    }

    /// Where its key is.
    pub(in crate::auth) fn key(&self) -> &Question {
        &self.key
    }

    fn check(&self, answer: Option<&Answer>, bodies: &Bodies, keys: &mut Keys) -> Found {
        let (bits, problem) = match self.verify(answer, bodies, keys) {
            Ok(bits) => (Some(bits), None),
            Err(problem) => (None, Some(problem)),
        };
        let Signature { domain, selector, algorithm, .. } = &self.signature;
        Found {
            result: result_of(problem),
            domain: Some(domain.clone()),
            selector: Some(selector.clone()),
            algorithm: Some(*algorithm),
            bits,
            problem,
        }
    }

    /// Whether the body is the one that it signs, and the rest is, too; then the bits of the key.
    pub(in crate::auth) fn verify(
        &self,
        answer: Option<&Answer>,
        bodies: &Bodies,
        keys: &mut Keys,
    ) -> Result<usize, Problem> {
        if bodies.hash(self.signature.body_form).as_ref().map(<[u8; 32]>::as_slice)
            != Some(&*self.signature.body_hash)
        {
            return Err(Problem::BodyHash);
        }
        self.verify_header(answer, keys)
    }

    /// Whether what it signs besides the body is what it was; then the bits of the key.
    pub(in crate::auth) fn verify_header(
        &self,
        answer: Option<&Answer>,
        keys: &mut Keys,
    ) -> Result<usize, Problem> {
        let texts = match answer {
            Some(Answer::Failed(_)) | None => return Err(Problem::NoAnswer),
            Some(answer @ (Answer::Records(_) | Answer::NoRecords | Answer::NoName)) => answer.texts(),
        };
        let mut problem = Problem::NoKey;
        for text in texts.iter().take(RECORDS_MAX) {
            match self.verify_by(text, keys) {
                Ok(bits) => return Ok(bits),
                // That it does not verify by a good key says more than that another one is none.
                Err(_) if problem == Problem::Signature => {}
                Err(other) => problem = other,
            }
        }
        Err(problem)
    }

    fn verify_by(&self, record: &[u8], keys: &mut Keys) -> Result<usize, Problem> {
        let Signature { algorithm, signature, .. } = &self.signature;
        let record = key::parse(record, &self.signature)?;
        let key = keys.get(*algorithm, &record.octets)?;
        if key.verify_hashed(signature, &self.header) { Ok(key.bits) } else { Err(Problem::Signature) }
    }
}

/// Whether one is the other, or a part of it. Only a guess which signatures could be aligned.
fn are_related(one: &Name, other: &Name) -> bool {
    let is_in = |one: &Name, other: &Name| {
        let rest = one.octets().strip_suffix(other.octets());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."))
    };
    is_in(one, other) || is_in(other, one)
}

/// What a problem means for the result (RFC 8601 §2.7.1, RFC 8301 §3).
fn result_of(problem: Option<Problem>) -> DkimResult {
    let Some(problem) = problem else { return DkimResult::Pass };
    match problem {
        Problem::Sha1 | Problem::ShortKey | Problem::PartOfBody | Problem::FromFuture => DkimResult::Policy,
        Problem::Expired | Problem::BodyHash | Problem::Signature => DkimResult::Fail,
        Problem::NoAnswer => DkimResult::TempError,
        Problem::NoTags
        | Problem::Version
        | Problem::MissingTag(_)
        | Problem::BadTag(_)
        | Problem::FromUnsigned
        | Problem::ForeignIdentity
        | Problem::EndsBeforeItBegins
        | Problem::NoKey
        | Problem::Revoked
        | Problem::BadKey
        | Problem::ForeignKey
        | Problem::LongKey
        | Problem::OneTooMany
        | Problem::TooMuch => DkimResult::PermError,
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MissingTag(tag) => return write!(f, "{tag}= is missing"),
            Self::BadTag(tag) => return write!(f, "{tag}= cannot be read"),
            Self::NoTags => "the field is no list of tags",
            Self::Version => "v= is not 1",
            Self::FromUnsigned => "From is not signed",
            Self::ForeignIdentity => "i= is not in d=",
            Self::Sha1 => "SHA-1 is no longer good",
            Self::PartOfBody => "l=: not all of the body is signed",
            Self::Expired => "it has expired",
            Self::EndsBeforeItBegins => "x= is before t=",
            Self::FromFuture => "t= is in the future",
            Self::NoKey => "there is no key",
            Self::Revoked => "the key was withdrawn",
            Self::BadKey => "the record of the key cannot be read",
            Self::ForeignKey => "the key is not for this signature",
            Self::ShortKey => "the key is too short",
            Self::LongKey => "the key is too long",
            Self::NoAnswer => "no answer for the key",
            Self::BodyHash => "the body was changed",
            Self::Signature => "the signature does not verify",
            Self::OneTooMany => "there are too many signatures or keys",
            Self::TooMuch => "too much of the header section is signed",
        })
    }
}

#[cfg(test)]
mod tests;
