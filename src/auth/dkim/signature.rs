//! The DKIM-Signature field (RFC 6376 §3.5).

use std::ops::Range;

use super::canonical::Form;
use super::tags::{Tags, base64, elements};
use crate::auth::header::{Field, Header, NAME_BYTES_MAX, name_hash};
use crate::dns::Name;

/// Names in `h=` that are read.
const NAMES_MAX: usize = 1000;

/// Names of one hash that are looked at.
const SAME_HASH_MAX: usize = 8;

/// How far clocks may differ.
pub const CLOCK_SKEW_SECONDS: u64 = 300;

/// Algorithms that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 8301 §3.1.
    RsaSha256,
    /// RFC 8463 §3.
    Ed25519Sha256,
    /// Never good any more (RFC 8301 §3.1).
    RsaSha1,
}

impl Algorithm {
    /// Its name in `a=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
            Self::RsaSha1 => "rsa-sha1",
        }
    }
}

/// What is wrong with a signature or its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It is no list of tags, or has one twice.
    NoTags,
    /// `v=` is not 1.
    Version,
    /// A tag that has to be there is not, or is empty.
    MissingTag(&'static str),
    /// A tag that cannot be read.
    BadTag(&'static str),
    /// `h=` does not name From.
    FromUnsigned,
    /// `i=` is not in `d=`.
    ForeignIdentity,
    /// It may no longer be used: SHA-1.
    Sha1,
    /// `l=`: what stands after that many octets is not signed.
    PartOfBody,
    /// It has expired.
    Expired,
    /// It ends before it begins.
    EndsBeforeItBegins,
    /// It is from the future.
    FromFuture,
    /// There is no key.
    NoKey,
    /// The key was withdrawn.
    Revoked,
    /// The key's record cannot be read.
    BadKey,
    /// The key is not for this.
    ForeignKey,
    /// The key is too short.
    ShortKey,
    /// The key is longer than anybody needs.
    LongKey,
    /// The DNS did not answer.
    NoAnswer,
    /// The body is another one.
    BodyHash,
    /// The signature is not by the key.
    Signature,
    /// There are more signatures, or keys of theirs, than are looked at.
    OneTooMany,
    /// All signatures together sign more of the header section than is read.
    TooMuch,
}

/// A signature that can be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature<'a> {
    /// `a=`.
    pub algorithm: Algorithm,
    /// `bh=`.
    pub body_hash: Vec<u8>,
    /// `b=`.
    pub signature: Vec<u8>,
    /// The form of header fields.
    pub header_form: Form,
    /// The form of the body.
    pub body_form: Form,
    /// `d=`.
    pub domain: Name,
    /// `s=`.
    pub selector: Name,
    /// The domain of `i=`; that of `d=` where there is none.
    pub identity: Name,
    /// `h=`.
    pub signed: Vec<&'a [u8]>,
}

impl<'a> Signature<'a> {
    /// Reads the value of a field. `now`: seconds since 1970.
    pub fn parse(value: &'a [u8], now: u64) -> Result<Self, Problem> {
        let tags = Tags::parse(value).ok_or(Problem::NoTags)?;
        if needed(&tags, "v")? != b"1" {
            return Err(Problem::Version);
        }
        Self::of_message(&tags, tags.value("i"), now)
    }

    /// A signature over body and header fields. `identity` is what `i=` says, where that is an identity.
    pub(in crate::auth) fn of_message(
        tags: &Tags<'a>,
        identity: Option<&[u8]>,
        now: u64,
    ) -> Result<Self, Problem> {
        let algorithm = algorithm(tags)?;
        let (body_hash, signature) = (octets(tags, "bh")?, octets(tags, "b")?);
        let (header_form, body_form) = forms(tags.value("c")).ok_or(Problem::BadTag("c"))?;
        let (domain, selector) = signer(tags)?;
        let signed: Vec<&[u8]> = elements(needed(tags, "h")?).collect();
        let is_name = |name: &[u8]| (1..=NAME_BYTES_MAX).contains(&name.len());
        if signed.len() > NAMES_MAX || !signed.iter().all(|name| is_name(name)) {
            return Err(Problem::BadTag("h"));
        }
        if !signed.iter().any(|name| name.eq_ignore_ascii_case(b"from")) {
            return Err(Problem::FromUnsigned);
        }
        let identity = match identity {
            Some(identity) => identity_domain(identity, &domain).ok_or(Problem::ForeignIdentity)?,
            None => domain.clone(),
        };
        if tags.value("q").is_some_and(|methods| !elements(methods).any(|method| method == b"dns/txt")) {
            return Err(Problem::BadTag("q"));
        }
        times(tags, now)?;
        if algorithm == Algorithm::RsaSha1 {
            return Err(Problem::Sha1);
        }
        if tags.value("l").is_some() {
            return Err(Problem::PartOfBody);
        }
        Ok(Self {
            algorithm,
            body_hash,
            signature,
            header_form,
            body_form,
            domain,
            selector,
            identity,
            signed,
        })
    }

    /// `d=` and `s=` of the value of a field, whatever else is wrong with it.
    pub fn names(value: &[u8]) -> (Option<Name>, Option<Name>) {
        let Some(tags) = Tags::parse(value) else { return (None, None) };
        (tags.value("d").and_then(domain), tags.value("s").and_then(host))
    }

    /// The same without the names of what it signs, once that is hashed.
    pub fn without_names(self) -> Signature<'static> {
        Signature { signed: Vec::new(), ..self }
    }

    /// A signature over fields that no tag names, in the relaxed form, and over no body.
    #[cfg(feature = "server")]
    pub(in crate::auth) fn of_fields(tags: &Tags<'_>) -> Result<Self, Problem> {
        let (algorithm, signature) = (algorithm(tags)?, octets(tags, "b")?);
        let (domain, selector) = signer(tags)?;
        if algorithm == Algorithm::RsaSha1 {
            return Err(Problem::Sha1);
        }
        let identity = domain.clone();
        let (header_form, body_form) = (Form::Relaxed, Form::Relaxed);
        let (body_hash, signed) = (Vec::new(), Vec::new());
        Ok(Self {
            algorithm,
            body_hash,
            signature,
            header_form,
            body_form,
            domain,
            selector,
            identity,
            signed,
        })
    }

    /// Hands on what is signed besides the body: the header fields that `h=` names, then the signature's own
    /// field without the value of `b=` (§3.7).
    pub fn hash_header(&self, header: &Header<'_>, own: &Field, hash: &mut impl FnMut(&[u8])) {
        // Of fields with one name the lowest is taken first; one that is named more often than it is there
        // signs that there is no more of it (§5.4.2). The signature's own is none of them. Names are sorted,
        // because a header section can have thousands of fields, and `h=` a thousand names.
        let mut names: Vec<(u32, &[u8])> = self.signed.iter().map(|name| (name_hash(name), *name)).collect();
        names.sort_unstable_by_key(|(hash, _)| *hash);
        names.dedup_by(|one, other| one.0 == other.0 && one.1.eq_ignore_ascii_case(other.1));
        // Whoever picks names of one hash has a signature that does not verify.
        let place_of = |hash: u32, name: &[u8]| {
            let first = names.partition_point(|one| one.0 < hash);
            let same = names.get(first..)?.iter().take(SAME_HASH_MAX).take_while(|one| one.0 == hash);
            Some(first + same.map(|one| one.1).position(|one| one.eq_ignore_ascii_case(name))?)
        };
        // Fields by the place of their name, the lowest first.
        let of_header = header.fields().iter().rev().filter(|field| *field != own);
        let place = |field| Some((place_of(Header::name_hash(field), header.name(field))?, field));
        let mut fields: Vec<(usize, &Field)> = of_header.filter_map(place).collect();
        fields.sort_by_key(|(place, _)| *place);
        let mut taken = vec![0; names.len()];
        for name in &self.signed {
            let Some(place) = place_of(name_hash(name), name) else { continue };
            let (first, Some(taken)) = (fields.partition_point(|one| one.0 < place), taken.get_mut(place))
            else {
                continue;
            };
            let next = fields.get(first + *taken).filter(|one| one.0 == place);
            if let Some((_, field)) = next {
                *taken += 1;
                let (name, value) = (header.name(field), header.value(field));
                super::canonical::field(self.header_form, name, value, header.whole(field), hash);
            }
        }
        hash_own(self.header_form, header, own, hash);
    }
}

/// Hands on the field of a signature itself, without the value of `b=` and the CRLF at its end.
pub(in crate::auth) fn hash_own(form: Form, header: &Header<'_>, own: &Field, hash: &mut impl FnMut(&[u8])) {
    let value = header.value(own);
    let emptied = match value_of_b(value) {
        Some(range) => {
            [value.get(..range.start), value.get(range.end..)].map(Option::unwrap_or_default).concat()
        }
        None => value.to_vec(),
    };
    let whole = [header.before_value(own), &emptied, b"\r\n"].concat();
    let mut octets = Vec::new();
    let append = &mut |part: &[u8]| octets.extend_from_slice(part);
    super::canonical::field(form, header.name(own), &emptied, &whole, append);
    hash(octets.strip_suffix(b"\r\n").unwrap_or(&octets));
}

fn needed<'a>(tags: &Tags<'a>, name: &'static str) -> Result<&'a [u8], Problem> {
    tags.value(name).filter(|value| !value.is_empty()).ok_or(Problem::MissingTag(name))
}

fn octets(tags: &Tags<'_>, name: &'static str) -> Result<Vec<u8>, Problem> {
    base64(needed(tags, name)?).ok_or(Problem::BadTag(name))
}

fn algorithm(tags: &Tags<'_>) -> Result<Algorithm, Problem> {
    match needed(tags, "a")? {
        b"rsa-sha256" => Ok(Algorithm::RsaSha256),
        b"ed25519-sha256" => Ok(Algorithm::Ed25519Sha256),
        b"rsa-sha1" => Ok(Algorithm::RsaSha1),
        _ => Err(Problem::BadTag("a")),
    }
}

/// `d=` and `s=`.
fn signer(tags: &Tags<'_>) -> Result<(Name, Name), Problem> {
    let domain = domain(needed(tags, "d")?).ok_or(Problem::BadTag("d"))?;
    Ok((domain, host(needed(tags, "s")?).ok_or(Problem::BadTag("s"))?))
}

/// Where the value of `b=` stands, with the blanks around it.
fn value_of_b(value: &[u8]) -> Option<Range<usize>> {
    let mut start = 0;
    for spec in value.split(|octet| *octet == b';') {
        let equals = spec.iter().position(|octet| *octet == b'=');
        if let Some(equals) = equals
            && spec.get(..equals).is_some_and(|name| name.trim_ascii() == b"b")
        {
            return Some(start + equals + 1..start + spec.len());
        }
        start += spec.len() + 1;
    }
    None
}

fn forms(value: Option<&[u8]>) -> Option<(Form, Form)> {
    let form = |text: &[u8]| match text {
        b"simple" => Some(Form::Simple),
        b"relaxed" => Some(Form::Relaxed),
        _ => None,
    };
    let Some(value) = value else { return Some((Form::Simple, Form::Simple)) };
    match value.iter().position(|octet| *octet == b'/') {
        Some(slash) => Some((form(value.get(..slash)?)?, form(value.get(slash + 1..)?)?)),
        None => Some((form(value)?, Form::Simple)),
    }
}

/// Letters, digits, hyphens and underscores, with dots between them.
fn host(text: &[u8]) -> Option<Name> {
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    Name::new(text).filter(|_| text.iter().all(fits))
}

/// A host name of two labels at least; U-labels are allowed (RFC 8616 §5).
fn domain(text: &[u8]) -> Option<Name> {
    let text = std::str::from_utf8(text).ok()?;
    let ascii = crate::mail::a_label::to_a_labels(text)?;
    host(ascii.as_bytes()).filter(|name| name.octets().contains(&b'.'))
}

/// The domain of `i=`, which is `d=` or below it.
fn identity_domain(identity: &[u8], domain_of_signature: &Name) -> Option<Name> {
    let at = identity.iter().rposition(|octet| *octet == b'@')?;
    let name = domain(identity.get(at + 1..)?)?;
    let rest = name.octets().strip_suffix(domain_of_signature.octets())?;
    (rest.is_empty() || rest.ends_with(b".")).then_some(name)
}

fn times(tags: &Tags<'_>, now: u64) -> Result<(), Problem> {
    let seconds = |name: &'static str| -> Result<Option<u64>, Problem> {
        let Some(value) = tags.value(name) else { return Ok(None) };
        let is_number = (1..=12).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
        number.map(Some).ok_or(Problem::BadTag(name))
    };
    let (begins, ends) = (seconds("t")?, seconds("x")?);
    if let (Some(begins), Some(ends)) = (begins, ends)
        && ends <= begins
    {
        return Err(Problem::EndsBeforeItBegins);
    }
    if ends.is_some_and(|ends| ends.saturating_add(CLOCK_SKEW_SECONDS) < now) {
        return Err(Problem::Expired);
    }
    if begins.is_some_and(|begins| begins > now.saturating_add(CLOCK_SKEW_SECONDS)) {
        return Err(Problem::FromFuture);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;
    const GOOD: &str = "v=1; a=rsa-sha256; c=relaxed/simple; d=x.test; s=s1; h=From : To; bh=Zm9v; b=YmFy";

    fn problem(value: &str) -> Option<Problem> {
        Signature::parse(value.as_bytes(), NOW).err()
    }

    #[test]
    fn a_good_signature_is_read() {
        let signature = Signature::parse(GOOD.as_bytes(), NOW).expect("a signature");
        assert_eq!((signature.header_form, signature.body_form), (Form::Relaxed, Form::Simple));
        assert_eq!((signature.signed, signature.body_hash), (vec![&b"From"[..], b"To"], b"foo".to_vec()));
        for more in [
            "i=@x.test",
            "i=a@mail.x.test",
            "q=dns/txt:other",
            "x=1700000001",
            "t=1700000300",
            "x=1699999700",
            "z=a:b|c:d",
        ] {
            assert_eq!(problem(&format!("{GOOD}; {more}")), None, "{more}");
        }
    }

    #[test]
    fn each_fault_has_its_problem() {
        for (value, expected) in [
            (GOOD.replace("v=1; ", ""), Problem::MissingTag("v")),
            (GOOD.replace("v=1", "v=2"), Problem::Version),
            (GOOD.replace("v=1", "v=1; v=1"), Problem::NoTags),
            (GOOD.replace("rsa-sha256", "rsa-sha1"), Problem::Sha1),
            (GOOD.replace("rsa-sha256", "rsa-md5"), Problem::BadTag("a")),
            (GOOD.replace("; b=YmFy", ""), Problem::MissingTag("b")),
            (GOOD.replace("b=YmFy", "b="), Problem::MissingTag("b")),
            (GOOD.replace("b=YmFy", "b=?"), Problem::BadTag("b")),
            (GOOD.replace("From : To", "To"), Problem::FromUnsigned),
            (GOOD.replace("From : To", "From::To"), Problem::BadTag("h")),
            (GOOD.replace("relaxed/simple", "relaxed/other"), Problem::BadTag("c")),
            (GOOD.replace("d=x.test", "d=test"), Problem::BadTag("d")),
            (GOOD.replace("d=x.test", "d=x\0.test"), Problem::BadTag("d")),
            (GOOD.replace("d=x.test", "d=x\".test"), Problem::BadTag("d")),
            (GOOD.replace("s=s1", "s=s 1"), Problem::BadTag("s")),
            (GOOD.replace("s=s1", "s=s\0"), Problem::BadTag("s")),
            (GOOD.replace("s=s1", "s=\"s\""), Problem::BadTag("s")),
            (GOOD.replace("; s=s1", ""), Problem::MissingTag("s")),
            (GOOD.replace("; d=x.test", ""), Problem::MissingTag("d")),
            (GOOD.replace("a=rsa-sha256; ", ""), Problem::MissingTag("a")),
            (GOOD.replace("; bh=Zm9v", ""), Problem::MissingTag("bh")),
            (GOOD.replace("; h=From : To", ""), Problem::MissingTag("h")),
            (format!("{GOOD}; x=123456789012345"), Problem::BadTag("x")),
            (format!("{GOOD}; i=@y.test"), Problem::ForeignIdentity),
            (format!("{GOOD}; i=@evilx.test"), Problem::ForeignIdentity),
            (format!("{GOOD}; q=other"), Problem::BadTag("q")),
            (format!("{GOOD}; l=10"), Problem::PartOfBody),
            (format!("{GOOD}; x=1699999699"), Problem::Expired),
            (format!("{GOOD}; t=1699999000; x=1699999000"), Problem::EndsBeforeItBegins),
            (format!("{GOOD}; t=1700000301"), Problem::FromFuture),
            (format!("{GOOD}; t=soon"), Problem::BadTag("t")),
            (format!("{GOOD}; h2={}", "x".repeat(10)), Problem::FromUnsigned),
        ] {
            let expected = if value.contains("h2=") { None } else { Some(expected) };
            assert_eq!(problem(&value), expected, "{value}");
        }
        let many = GOOD.replace("From : To", &format!("From{}", ":a".repeat(1000)));
        assert_eq!(problem(&many), Some(Problem::BadTag("h")));
    }

    #[test]
    fn names_have_one_spelling() {
        let of = |domain: &str| {
            let value = GOOD.replace("d=x.test", &format!("d={domain}; i=a@{domain}"));
            Signature::parse(value.as_bytes(), NOW).map(|signature| signature.domain.to_string())
        };
        assert_eq!(of("X.Test."), Ok("x.test".to_owned()));
        assert_eq!(of("B\u{dc}CHER.test"), Ok("xn--bcher-kva.test".to_owned()));
        assert_eq!(of("x y.test"), Err(Problem::BadTag("d")));
        assert_eq!(of("x..test"), Err(Problem::BadTag("d")));
        assert_eq!(of(&format!("{}.test", "x".repeat(64))), Err(Problem::BadTag("d")));
    }

    fn hashed(message: &str) -> String {
        let header = Header::new(message.as_bytes());
        let own = header.named("DKIM-Signature").next().expect("a signature");
        let signature = Signature::parse(header.value(own), NOW).expect("a good one");
        let mut octets = Vec::new();
        signature.hash_header(&header, own, &mut |part| octets.extend_from_slice(part));
        String::from_utf8(octets).expect("ASCII")
    }

    #[test]
    fn fields_are_taken_from_the_bottom_and_missing_ones_are_empty() {
        let message = "From: a@x.test\r\nX: 1\r\nx: 2\r\nX: 3\r\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d=x.test; s=s1; \
                       h=X:From:x:from:Missing; bh=Zm9v; b= YmFy\r\n\tYmFy; t=1\r\n";
        assert_eq!(
            hashed(message),
            "x:3\r\nfrom:a@x.test\r\nx:2\r\ndkim-signature:v=1; a=rsa-sha256; c=relaxed/relaxed; d=x.test; s=s1; \
             h=X:From:x:from:Missing; bh=Zm9v; b=; t=1"
        );
    }

    #[test]
    fn a_signature_never_signs_itself_and_names_may_be_in_any_case() {
        let own = "DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s1;\r\n h= FROM : dkim-signature : DKIM-Signature; bh=Zm9v; b=YmFy";
        let message = format!("{own}\r\nDKIM-Signature: older\r\nfrom: a@x.test\r\n");
        let expected = own.replace("b=YmFy", "b=");
        assert_eq!(hashed(&message), format!("from: a@x.test\r\nDKIM-Signature: older\r\n{expected}"));
    }

    #[test]
    fn a_signature_at_the_very_end_of_a_message_is_whole() {
        let own = "DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s1; h=From; bh=Zm9v; b=YmFy";
        assert_eq!(
            hashed(&format!("From: a@x.test\r\n{own}")),
            format!("From: a@x.test\r\n{}", own.replace("b=YmFy", "b="))
        );
    }

    #[test]
    fn many_names_and_many_fields_cost_little() {
        let names = "X:".repeat(999);
        let own =
            format!("DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s1; h={names}From; bh=Zm9v; b=YmFy\r\n");
        let fields = (0..4000).map(|at| format!("x: {at}\r\n")).collect::<Vec<_>>().concat();
        let octets = hashed(&format!("{own}From: a@x.test\r\n{fields}"));
        assert!(
            octets.starts_with("x: 3999\r\nx: 3998\r\n") && octets.contains("x: 3001\r\nFrom: a@x.test\r\n")
        );
    }

    #[test]
    fn only_the_value_of_b_is_emptied() {
        let message = "From: a@x.test\r\nDKIM-SIGNATURE : v=1; a=rsa-sha256; d=x.test; s=s1;\r\n h=From; bh=Zm9v;\r\n b=YmFy\r\n";
        assert_eq!(
            hashed(message),
            "From: a@x.test\r\nDKIM-SIGNATURE : v=1; a=rsa-sha256; d=x.test; s=s1;\r\n h=From; bh=Zm9v;\r\n b="
        );
    }
}
