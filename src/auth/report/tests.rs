use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::auth::arc::{self, ArcResult};
use crate::auth::dkim::check::DkimResult;
use crate::auth::dkim::signature::Problem;
use crate::auth::dmarc::{self, Aligned, DmarcResult, Policy};
use crate::auth::verdict::Because;

fn name(octets: &[u8]) -> Option<Name> {
    Name::new(octets)
}

fn sender<'a>(ehlo: &'a [u8], reverse_path: &'a [u8]) -> Sender<'a> {
    let client = "2001:db8::1".parse().expect("an address");
    Sender { client, ehlo, reverse_path, hostname: "mx.test", now: 0 }
}

fn rules() -> AuthRules {
    AuthRules { authserv_id: "mx.test".into(), ..AuthRules::nothing() }
}

fn spf(result: SpfResult) -> spf::Outcome {
    spf::Outcome { result, ..spf::Outcome::none() }
}

fn signature(domain: &[u8], selector: &[u8], problem: Option<Problem>) -> Signature {
    Signature {
        result: if problem.is_none() { DkimResult::Pass } else { DkimResult::PermError },
        domain: name(domain),
        selector: name(selector),
        algorithm: Some(Algorithm::RsaSha256),
        bits: problem.is_none().then_some(1024),
        problem,
    }
}

/// All of it, with these words of others wherever one can stand.
fn found(hostile: &[u8]) -> Found {
    let text = String::from_utf8_lossy(hostile).into_owned();
    let mut of_path = spf(SpfResult::PermError);
    of_path.mechanism = Some(text.clone().into());
    of_path.problem = Some(spf::Problem::Syntax(text.into()));
    let dmarc = dmarc::Outcome {
        result: DmarcResult::Fail,
        policy_domain: name(hostile).or(name(b"x.test")),
        policy: Policy::Reject,
        is_test: false,
        aligned: vec![Aligned::Spf, Aligned::Dkim],
        unanswered: name(hostile),
        published: None,
    };
    let sealers = name(hostile).into_iter().collect();
    let arc = arc::Outcome { result: ArcResult::Fail, sealers, problem: None };
    Found {
        spf_helo: Some(spf(SpfResult::Fail)),
        spf_path: Some(of_path),
        dkim: Some(vec![
            signature(hostile, hostile, None),
            signature(b"x.test", hostile, Some(Problem::BadKey)),
        ]),
        author: Some(Author { domains: name(hostile).into_iter().collect(), problem: None }),
        arc: Some(arc),
        dmarc: Some(dmarc),
        has_list_id: false,
        wants_dmarc: true,
    }
}

fn verdict() -> Verdict {
    Verdict { applied: Applied::Quarantine, refusal: None, because: Some(Because::NothingElse) }
}

/// Our field as it is written.
fn field(
    rules: &AuthRules,
    sender: &Sender<'_>,
    found: &Found,
    reverse: Option<ReverseLookup>,
    applied: Applied,
) -> Vec<u8> {
    let mut out = Vec::new();
    super::field(rules, sender, found, reverse, applied, &mut out);
    out
}

fn parsed(sender: &Sender<'_>, found: &Found) -> Value {
    let mut text = String::new();
    json(sender, found, verdict(), &mut text);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_object_has_its_fixed_names() {
    let value = parsed(&sender(b"mx.x.test", b"a@x.test"), &found(b"x.test"));
    assert_eq!(value["version"], 1);
    assert_eq!(value["spf"]["helo"]["result"], "fail");
    assert_eq!(value["spf"]["mailfrom"]["domain"], "x.test");
    assert_eq!(value["dkim"][0]["bits"], 1024);
    assert_eq!(value["dkim"][1]["problem"], "the record of the key cannot be read");
    assert_eq!(value["arc"]["sealers"][0], "x.test");
    assert_eq!(value["from"]["domains"][0], "x.test");
    assert_eq!(value["dmarc"]["aligned"], serde_json::json!(["spf", "dkim"]));
    assert_eq!(value["dmarc"]["applied"], "quarantine");
    assert_eq!(value["dmarc"]["because"], "no_other_reason");
    let names: Vec<&String> = value.as_object().expect("an object").keys().collect();
    for fixed in ["arc", "dkim", "dmarc", "from", "spf", "version"] {
        assert!(names.iter().any(|name| *name == fixed), "{fixed}: {names:?}");
    }
}

#[test]
fn what_was_not_looked_for_is_null_or_none() {
    let value = parsed(&sender(b"mx.x.test", b""), &Found::default());
    assert_eq!(value["spf"]["helo"]["result"], "none");
    assert_eq!(value["spf"]["mailfrom"]["mechanism"], Value::Null);
    assert_eq!(value["dkim"], serde_json::json!([]));
    assert_eq!(value["dmarc"]["policy"], Value::Null);
    assert_eq!(value["from"]["problem"], Value::Null);
}

/// RFC 7208 section 2.4: it is that of the client's own name.
#[test]
fn the_null_path_has_the_result_of_the_clients_name() {
    let found = Found { spf_helo: Some(spf(SpfResult::Pass)), ..Found::default() };
    let sender = sender(b"mx.x.test", b"");
    let value = parsed(&sender, &found);
    assert_eq!(
        (&value["spf"]["mailfrom"]["result"], &value["spf"]["mailfrom"]["domain"]),
        (&"pass".into(), &"mx.x.test".into())
    );
    let field = field(&rules(), &sender, &found, None, Applied::None);
    assert_eq!(field, b"Authentication-Results: mx.test;\r\n\tspf=pass smtp.helo=mx.x.test\r\n");
}

#[test]
fn of_a_path_that_is_not_ascii_the_field_has_the_domain() {
    let found = Found { spf_path: Some(spf(SpfResult::Pass)), ..Found::default() };
    let sender = sender(b"mx.x.test", "j\u{f6}rg@x.test".as_bytes());
    let field = field(&rules(), &sender, &found, None, Applied::None);
    assert_eq!(field, b"Authentication-Results: mx.test;\r\n\tspf=pass smtp.mailfrom=x.test\r\n");
}

#[test]
fn of_a_message_that_is_marked_for_its_author_the_field_says_why() {
    let author = Author { domains: Vec::new(), problem: Some(crate::auth::author::Problem::Several) };
    let found = Found { author: Some(author), wants_dmarc: true, ..Found::default() };
    let field = field(&rules(), &sender(b"mx.x.test", b""), &found, None, Applied::Quarantine);
    let text = String::from_utf8(field).expect("UTF-8").replace("\r\n\t", " ");
    assert_eq!(
        text,
        "Authentication-Results: mx.test; dmarc=permerror (there are several From: fields, applied=quarantine)\r\n"
    );
}

#[test]
fn an_address_of_ipv6_is_quoted_in_the_field() {
    let field =
        field(&rules(), &sender(b"x", b""), &Found::default(), Some(ReverseLookup::Fail), Applied::None);
    assert_eq!(field, b"Authentication-Results: mx.test;\r\n\tiprev=fail policy.iprev=\"2001:db8::1\"\r\n");
}

/// Nothing of others ends the field, begins one, or says a result of its own.
fn is_one_field(octets: &[u8]) -> bool {
    let text = octets.strip_suffix(b"\r\n").expect("its end");
    let lines = text.split(|octet| *octet == b'\n');
    let are_folded = lines.skip(1).all(|line| line.starts_with(b"\t"));
    let ends = text.windows(2).filter(|two| two.contains(&b'\r') || two.contains(&b'\n'));
    let has_bare_end = ends.filter(|two| *two != b"\r\n" && two[0] != b'\n' && two[1] != b'\r').count() > 0;
    // Outside of quoted strings and comments.
    let (mut quoted, mut commented, mut escaped, mut results) = (false, false, false, 0);
    for octet in text {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !commented => quoted = !quoted,
            b'(' if !quoted => commented = true,
            b')' if !quoted => commented = false,
            b';' if !quoted && !commented => results += 1,
            _ => {}
        }
    }
    are_folded && !has_bare_end && !quoted && !commented && results <= 7
}

#[test]
fn hostile_words_stay_in_their_places() {
    for hostile in [
        &b"x\"; dkim=pass header.d=bank.test"[..],
        b"a; dmarc=pass",
        b"a\r\nX-Forged: y",
        b"a\nb\rc",
        b"\\\"",
        b"(comment",
        b"quoted)\0\x7f",
        b"\xff\xfe",
        "\u{202e}\u{e9}".as_bytes(),
        b"</script>\x1b[31m",
    ] {
        let sender = sender(hostile, hostile);
        let value = parsed(&sender, &found(hostile));
        assert_eq!(value["dmarc"]["applied"], "quarantine", "{}", hostile.escape_ascii());
        let field = field(&rules(), &sender, &found(hostile), Some(ReverseLookup::Pass), Applied::Quarantine);
        assert!(is_one_field(&field), "{}", field.escape_ascii());
        let told = field.windows(10).filter(|text| text == b";\r\n\tdmarc=").count();
        assert_eq!(told, usize::from(name(hostile).is_some()), "{}", field.escape_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_make_one_object_and_one_field(
        ehlo in proptest::collection::vec(any::<u8>(), 0..80),
        path in "[\\PC\r\n\t\"\\\\;()]{0,60}",
        word in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'\r'), Just(b'\n'), Just(b'('), Just(b';'), any::<u8>()], 0..60),
    ) {
        let sender = sender(&ehlo, path.as_bytes());
        let found = found(&word);
        let value = parsed(&sender, &found);
        prop_assert_eq!(&value["version"], &Value::from(1));
        let field = field(&rules(), &sender, &found, None, Applied::None);
        prop_assert!(is_one_field(&field), "{}", field.escape_ascii());
    }
}

#[test]
fn the_object_has_a_bound_whatever_is_told() {
    let long = [b"a.".repeat(120), b"test".to_vec()].concat();
    // As much as the evaluators give of a term, escaped.
    let mut found = found(&b"\\".repeat(400));
    found.dkim = Some((0..8).map(|_| signature(&long, &long, Some(Problem::NoKey))).collect());
    let domains = (0..64).filter_map(|number| name(format!("{number}.{}", "x.".repeat(100)).as_bytes()));
    found.author = Some(Author { domains: domains.collect(), problem: None });
    let sealers = (0..10).filter_map(|_| name(&long)).collect();
    found.arc = Some(arc::Outcome { result: ArcResult::Pass, sealers, problem: None });
    let (sender, long_path) = (b"x".repeat(255), [&b"a"[..], b"@", &long].concat());
    let mut text = String::new();
    json(&self::sender(&sender, &long_path), &found, verdict(), &mut text);
    assert!(text.len() < crate::limits::RESULTS_BYTES_MAX - 2048, "{}", text.len());
    assert!(serde_json::from_str::<Value>(&text).is_ok());
}
