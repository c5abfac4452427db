//! What holds for whatever a message and the DNS say: claims that fuzz targets (`tests/fuzz`) and the
//! property tests below share. Readers of a header section are compared with naive ones; checks end, and the
//! order of answers changes nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::arc::{ArcResult, Chain};
use super::author::Author;
use super::dkim::bodies::Bodies;
use super::dkim::key;
use super::dkim::keys::Keys;
use super::dkim::signature::Signature;
use super::dkim::verify::PublicKey;
use super::dmarc::{self, DmarcResult, Found};
use super::header::Header;
use super::results::{self, MethodResult};
use super::spf::{self, SpfResult};
use crate::dns::{Answer, Asking, Failure, Kind, Name, Question, Records};

/// Our name.
const OURS: &str = "mx1.example.org";

/// Seconds since 1970.
const NOW: u64 = 1_700_000_000;

/// More questions than any check may need.
const QUESTIONS_MAX: usize = 300;

/// A header section: its fields are all of it; whoever is vouched for is the only author that any reader
/// sees; no reader finds a field of ours once the forged ones are cut; without fields of ARC there is no
/// chain, and none of a few octets passes.
pub fn check_header(octets: &[u8]) {
    let header = Header::new(octets);
    let mut end = 0;
    for field in header.every_field() {
        let (place, whole) = (header.place(&field), header.whole(&field));
        assert_eq!((place.start, octets.get(place.clone())), (end, Some(whole)), "fields follow each other");
        end = place.end;
        let text = [header.before_value(&field), header.value(&field)].concat();
        assert_eq!(text, whole.strip_suffix(b"\r\n").unwrap_or(whole));
        let mut lines = memchr::memmem::find_iter(&text, b"\r\n");
        assert!(lines.all(|at| matches!(text.get(at + 2), Some(b' ' | b'\t'))), "it ends where it has to");
    }
    let (section, rest) = octets.split_at(end);
    assert!(rest.is_empty() || rest.starts_with(b"\r\n"), "nothing is left out");
    if let Some(domain) = Author::of(&header).domain() {
        for ends_at_cr in [false, true] {
            let lines = lenient_lines(section, ends_at_cr);
            let seen = lines.iter().take_while(|line| !line.is_empty());
            let count = seen.filter(|line| value_of(line, "from").is_some()).count();
            assert_eq!(count, 1, "{domain} is vouched for in {}", octets.escape_ascii());
        }
    }
    check_forged(octets, &header);
    let chain = Chain::of(&header, NOW);
    let none = |_: &Question| Answer::NoName;
    let (outcome, _) =
        settle(none, Turn::First, |asking| chain.check(&Bodies::default(), asking, &mut Keys::default()));
    let is_arc = |name: &[u8]| name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"arc-"));
    let has_arc = header.every_field().any(|field| is_arc(header.name(&field)));
    assert!(outcome.result != ArcResult::Pass && (has_arc || outcome.result == ArcResult::None));
}

fn check_forged(octets: &[u8], header: &Header<'_>) {
    let mut left = octets.to_vec();
    let ranges = results::forged(header, OURS);
    assert!(ranges.is_sorted_by(|one, next| one.end < next.start), "in order: {ranges:?}");
    for range in ranges.into_iter().rev() {
        left.drain(range);
    }
    let header = Header::new(&left);
    assert!(results::forged(&header, OURS).is_empty(), "once is enough");
    let end = header.every_field().last().map_or(0, |field| header.place(&field).end);
    for ends_at_cr in [false, true] {
        for line in lenient_lines(left.get(..end).unwrap_or_default(), ends_at_cr) {
            let value = value_of(line, "authentication-results").map(<[u8]>::trim_ascii_start);
            let is_ours =
                value.and_then(|value| value.split_at_checked(OURS.len())).is_some_and(|(id, rest)| {
                    id.eq_ignore_ascii_case(OURS.as_bytes())
                        && matches!(rest.first(), None | Some(b' ' | b'\t' | b';' | b'(' | b'\r'))
                });
            assert!(!is_ours, "{} is left of {}", line.escape_ascii(), octets.escape_ascii());
        }
    }
}

/// Lines as somebody sees them who ends them at CRLF, at LF, and maybe at CR.
fn lenient_lines(octets: &[u8], ends_at_cr: bool) -> Vec<&[u8]> {
    let (mut lines, mut rest, mut at) = (Vec::new(), octets, 0);
    while let Some(end) = rest.get(at..).filter(|end| !end.is_empty()) {
        let length = match end {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            [b'\r', ..] if ends_at_cr => 1,
            _ => {
                at += 1;
                continue;
            }
        };
        let (line, after) = rest.split_at(at);
        lines.push(line);
        (rest, at) = (after.get(length..).unwrap_or_default(), 0);
    }
    lines.push(rest);
    lines
}

/// What stands after the colon of a line that is a field of this name.
fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (before, after) = line.split_at(line.iter().position(|octet| *octet == b':')?);
    before.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()).then(|| after.get(1..))?
}

/// The value of a From: field: what is vouched for stands there, and comments and folds change nothing.
pub fn check_from(value: &[u8]) {
    let of = |value: &[u8]| {
        let octets = [b"From:", value, b"\r\n"].concat();
        check_header(&octets);
        Author::of(&Header::new(&octets))
    };
    let author = of(value);
    if value.len() > 1000 || value.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
        return;
    }
    let shown = || value.escape_ascii().to_string();
    assert_eq!(of(&[value, b" (c@y.test)"].concat()), author, "a comment after {}", shown());
    assert_eq!(of(&[b"\r\n\t", value, b"\r\n "].concat()), author, "folds around {}", shown());
    if let Some(domain) = author.domain()
        && value.is_ascii()
        && !value.contains(&b'(')
    {
        let plain: Vec<u8> = value.to_ascii_lowercase().into_iter().filter(|octet| *octet > b' ').collect();
        assert!(memchr::memmem::find(&plain, domain.octets()).is_some(), "{domain} stands in {}", shown());
    }
}

/// A record of a key, NUL, and the value of a DKIM-Signature: names are host names, an identity is in its
/// domain, and blanks between tags change nothing.
pub fn check_signature(input: &[u8]) {
    let end = input.iter().position(|octet| *octet == 0).unwrap_or(input.len());
    let (record, value) = input.split_at(end);
    let value = value.get(1..).unwrap_or_default();
    let Ok(signature) = Signature::parse(value, NOW) else { return };
    let (domain, identity) = (&signature.domain, &signature.identity);
    for name in [domain, &signature.selector, identity] {
        let is_host = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
        assert!(name.octets().iter().all(is_host), "{name}");
    }
    assert!(domain.octets().contains(&b'.'), "{domain}");
    assert!(identity == domain || identity.octets().ends_with(&[b".", domain.octets()].concat()));
    assert_eq!(Signature::names(value), (Some(domain.clone()), Some(signature.selector.clone())));
    assert!(signature.signed.iter().any(|name| name.eq_ignore_ascii_case(b"from")));
    let spread = |text: &[u8]| -> Vec<u8> {
        let spread = |octet: &u8| if *octet == b';' { b"\r\n ;\t ".to_vec() } else { vec![*octet] };
        text.iter().flat_map(spread).collect()
    };
    assert_eq!(Signature::parse(&spread(value), NOW).as_ref(), Ok(&signature));
    let key = key::parse(record, &signature);
    if record.len() < 1000 {
        assert_eq!(key::parse(&spread(record), &signature), key, "{}", record.escape_ascii());
    }
    if let Ok(key) = key {
        let _ = PublicKey::new(signature.algorithm, &key.octets);
    }
    let octets = [b"From: a@x.test\r\nDKIM-Signature:", value, b"\r\n"].concat();
    let header = Header::new(&octets);
    let mut hashed = Vec::new();
    if let Some(own) = header.named("DKIM-Signature").next() {
        signature.hash_header(&header, own, &mut |part| hashed.extend_from_slice(part));
        assert!(hashed.len() <= octets.len() + signature.signed.len() * octets.len(), "bounded");
    }
}

/// Records for a domain and those above it, a line each; `|` between two of one name, `!` for no answer:
/// policies are of a domain that has a record, a tag that nobody knows changes nothing.
pub fn check_dmarc(input: &[u8]) {
    const DOMAINS: [&str; 6] =
        ["test", "example.test", "b.example.test", "a.b.example.test", "c.b.example.test", "c.example.test"];
    let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
    let records = |suffix: &[u8]| -> HashMap<Question, Answer> {
        let lines = input.split(|octet| *octet == b'\n');
        let answers = DOMAINS.iter().zip(lines).filter(|(_, line)| !line.is_empty()).map(|(domain, line)| {
            let question = Question::new(Kind::Txt, name(&format!("_dmarc.{domain}")));
            let texts = line.split(|octet| *octet == b'|').map(|text| [text, suffix].concat().into());
            let answer = match line {
                b"!" => Answer::Failed(Failure::Server),
                _ => Answer::Records(Records::Txt(texts.collect())),
            };
            (question, answer)
        });
        answers.collect()
    };
    let (author, spf) = (name("a.b.example.test"), name("c.b.example.test"));
    let dkim = [(name("c.example.test"), Found::Pass), (name("other.test"), Found::TempError)];
    for (spf, dkim) in [(None, &dkim[..0]), (Some((&spf, Found::Pass)), &dkim[..0]), (None, &dkim[..])] {
        let facts = dmarc::Facts { author: &author, spf, dkim };
        let judged = |suffix: &[u8], turn| {
            let records = records(suffix);
            let answer = |question: &Question| records.get(question).cloned().unwrap_or(Answer::NoName);
            settle(answer, turn, |asking| dmarc::check(&facts, asking)).0
        };
        let outcome = judged(b"", Turn::First);
        assert_eq!(judged(b"", Turn::Last), outcome, "the order of answers");
        assert_eq!(judged(b"; zz=1", Turn::First), outcome, "a tag that nobody knows");
        let of = outcome.policy_domain.as_ref().map(Name::to_string);
        assert!(of.as_deref().is_none_or(|of| DOMAINS.contains(&of)), "{of:?}");
        match outcome.result {
            DmarcResult::None => assert_eq!(of, None),
            DmarcResult::Pass => assert!(!outcome.aligned.is_empty() && of.is_some()),
            DmarcResult::Fail => assert!(outcome.aligned.is_empty() && of.is_some()),
            DmarcResult::TempError => assert!(outcome.unanswered.is_some()),
        }
        assert!(outcome.wanted() <= outcome.policy, "never more than is asked for");
    }
}

/// SPF records, a line each, of which each name has one or none: the check ends, errors say why, and the
/// order of answers changes nothing.
pub fn check_spf(input: &[u8]) {
    let texts: Vec<&[u8]> = input.split(|octet| *octet == b'\n').take(8).collect();
    let answer = |question: &Question| {
        let sum: usize = question.name.octets().iter().map(|octet| usize::from(*octet)).sum();
        match question.kind {
            Kind::Txt if question.name.octets() == b"example.test" => {
                Answer::Records(Records::Txt(vec![texts.first().copied().unwrap_or_default().into()]))
            }
            Kind::Txt => match texts.get(sum % (texts.len() + 1)) {
                Some(text) => Answer::Records(Records::Txt(vec![(*text).into()])),
                None => Answer::NoName,
            },
            Kind::A if sum.is_multiple_of(3) => Answer::NoRecords,
            Kind::A => Answer::Records(Records::A(vec![Ipv4Addr::new(
                192,
                0,
                2,
                u8::try_from(sum % 4).unwrap_or(0),
            )])),
            Kind::Mx => Answer::Records(Records::Mx(vec![(0, Some(question.name.clone()))])),
            Kind::Ptr => Answer::Records(Records::Ptr(Name::new(b"mx.example.test").into_iter().collect())),
            Kind::Aaaa | Kind::Tlsa => Answer::NoRecords,
        }
    };
    let sender = spf::Sender {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        helo: b"mx.example.test",
        local_part: b"a",
        domain: b"example.test",
        receiver: OURS,
        explains: true,
        now: NOW,
    };
    let (outcome, _) = settle(answer, Turn::First, |asking| spf::check(&sender, asking));
    let (again, _) = settle(answer, Turn::Last, |asking| spf::check(&sender, asking));
    assert_eq!(again, outcome, "the order of answers");
    assert_eq!(outcome.problem.is_some(), outcome.result == SpfResult::PermError, "{outcome:?}");
    assert!(outcome.result != SpfResult::TempError, "all is answered");
    let is_clean = |text: &str| text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    assert!(outcome.explanation.as_deref().is_none_or(is_clean), "{outcome:?}");
}

/// Whatever stands in a field of ours, or claims to be one: ours is one field, read back as ours, and its
/// value is what came from outside, or is left out.
pub fn check_results(value: &[u8]) {
    check_header(&[b"Authentication-Results:", value, b"\r\n"].concat());
    let result = MethodResult {
        method: "spf",
        result: "none",
        comment: Some(String::from_utf8_lossy(value).into_owned()),
        properties: [Some(("smtp.helo", value)), None, None],
    };
    let mut field = Vec::new();
    results::write(OURS, &[result], &mut field);
    let header = Header::new(&field);
    assert_eq!(header.every_field().count(), 1, "{}", field.escape_ascii());
    assert!(field.ends_with(b"\r\n") && !field.contains(&0), "{}", field.escape_ascii());
    let forged = results::forged(&header, OURS);
    assert_eq!((forged.len(), forged.first()), (1, Some(&(0..field.len()))));
    let text = field.strip_suffix(b"\r\n").unwrap_or(&field);
    if let Some(at) = memchr::memmem::rfind(text, b" smtp.helo=").filter(|_| !value.contains(&b'=')) {
        let written = text.get(at + b" smtp.helo=".len()..).unwrap_or_default();
        let read = match written.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
            Some(quoted) => unquoted(quoted),
            None => Some(written.to_vec()),
        };
        assert_eq!(read.as_deref(), Some(value), "{}", field.escape_ascii());
    }
}

/// What a quoted string holds; none where a quote ends it before.
fn unquoted(quoted: &[u8]) -> Option<Vec<u8>> {
    let (mut octets, mut rest) = (Vec::new(), quoted.iter());
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'"' => return None,
            b'\\' => *rest.next()?,
            octet => *octet,
        });
    }
    Some(octets)
}

/// Which of several questions is answered.
#[derive(Debug, Clone, Copy)]
enum Turn {
    First,
    Last,
}

/// The result of a check, and how many questions it took.
fn settle<T>(
    answer: impl Fn(&Question) -> Answer,
    turn: Turn,
    mut check: impl FnMut(&mut Asking<'_>) -> Option<T>,
) -> (T, usize) {
    let mut known = HashMap::<Question, Arc<Answer>>::new();
    loop {
        let mut look = |question: &Question| known.get(question).cloned();
        let mut asking = Asking::new(&mut look);
        if let Some(result) = check(&mut asking) {
            return (result, known.len());
        }
        let mut missing = asking.missing();
        assert!(!missing.is_empty() && known.len() < QUESTIONS_MAX, "it ends");
        let question = match turn {
            Turn::First => missing.remove(0),
            Turn::Last => missing.remove(missing.len() - 1),
        };
        let found = answer(&question);
        known.insert(question, Arc::new(found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Octets of these words, and now and then any octet.
    fn of(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            20 => (0..words.len()).prop_map(|at| words[at].as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|octet| vec![octet]),
        ];
        prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
    }

    const HEADER: &[&str] = &[
        "From",
        ": ",
        ":",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "a@x.test",
        "b@y.test",
        "Subject: s",
        "From: a@x.test\r\n",
        "Authentication-Results",
        "mx1.example.org",
        "; none",
        "(",
        ")",
        "\"",
        "\0",
        "ARC-Seal: i=1; cv=none;",
    ];
    const FROM: &[&str] = &[
        "a",
        "@",
        "x.test",
        "<",
        ">",
        "<a@x.test>",
        ",",
        ";",
        ":",
        "\"",
        "\\",
        "(",
        ")",
        " ",
        ".",
        "[",
        "]",
        "\u{fc}",
        "g:",
        "a@X.test",
        "=?utf-8?Q?",
        "\r\n ",
        "\n",
    ];
    const SIGNATURE: &[&str] = &[
        "p=Zm9v",
        "k=ed25519",
        "v=DKIM1",
        "\0v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=Zm9v; b=Zm9v",
        "; ",
        ";",
        "t=1",
        "x=1800000000",
        "i=a@m.x.test",
        "c=relaxed/simple",
        " ",
        "\r\n ",
        "=",
        "q=dns/txt",
        "l=1",
        "b=",
        ":",
    ];
    const DMARC: &[&str] = &[
        "v=DMARC1",
        "; p=reject",
        "; p=none",
        "; sp=quarantine",
        "; np=none",
        "; psd=y",
        "; psd=n",
        "; t=y",
        "; adkim=s",
        "; rua=mailto:a@x.test",
        "\n",
        "\n",
        "\n!",
        "|",
        ";",
        "=",
        " ",
        "; p=bogus",
    ];
    const SPF: &[&str] = &[
        "v=spf1 ",
        "v=spf1 ",
        "a",
        "mx",
        "ptr",
        "-all",
        "~all",
        "include:",
        "redirect=",
        "exists:",
        "exp=",
        "x.test",
        "y.test",
        "%{i}",
        "%{s}",
        "%{p}",
        "%{d2r}",
        ".",
        "/24",
        "//64",
        "ip4:192.0.2.1",
        "ip6:::1",
        " ",
        "\n",
        ":",
        "?",
        "%",
    ];
    const RESULTS: &[&str] = &[
        "mx1.example.org",
        "other.test",
        ";",
        " ",
        "none",
        "1",
        "(",
        ")",
        "\"",
        "\\",
        "=",
        "@",
        "\r\n ",
        "\n",
        "\r",
        "\u{fc}",
        "Authentication-Results:",
        "\0",
        ".",
        "'",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn claims_hold_for_header_sections(octets in of(HEADER)) {
            check_header(&octets);
        }

        #[test]
        fn claims_hold_for_from_fields(value in of(FROM)) {
            check_from(&value);
        }

        #[test]
        fn claims_hold_for_signatures_and_keys(input in of(SIGNATURE)) {
            check_signature(&input);
        }

        #[test]
        fn claims_hold_for_dmarc_records(input in of(DMARC)) {
            check_dmarc(&input);
        }

        #[test]
        fn claims_hold_for_spf_records(input in of(SPF)) {
            check_spf(&input);
        }

        #[test]
        fn claims_hold_for_authentication_results(value in of(RESULTS)) {
            check_results(&value);
        }
    }
}
