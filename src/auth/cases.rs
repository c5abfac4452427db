//! Whole messages with the results that they have to have: what the checks make of each other's results, and
//! the words of each in our field.

use std::net::{IpAddr, Ipv4Addr};

use data_encoding::BASE64;
use proptest::prelude::*;

use super::dkim::check::SIGNATURES_MAX;
use super::dkim::keys::Keys;
use super::dkim::vectors;
use super::dkim::verify::tests::{Signer, relaxed, signers, weak_key};
use super::header::Header;
use super::message::{MessageCheck, Piece};
use super::rules::{AuthRules, DmarcUse, SpfUse};
use super::sender::Sender;
use super::verdict::{Applied, Circumstances, ReverseLookup, decide};
use super::{report, results};
use crate::dns::asking::tests::Zone;
use crate::dns::{Answer, Failure, Kind, Name, Question, Records};
use crate::mail::network::Network;

const NOW: u64 = 1_700_000_000;
const OURS: &str = "mx1.example.org";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const BODY: &str = "one\r\ntwo\r\n";
const FROM: &str = "From: a@x.test\r\n";

fn rules() -> AuthRules {
    AuthRules {
        authserv_id: OURS.into(),
        spf: SpfUse::Mark,
        dkim: true,
        dmarc: DmarcUse::WithReason,
        ..AuthRules::nothing()
    }
}

fn sender(reverse_path: &str) -> Sender<'_> {
    let (ehlo, reverse_path) = (b"mx.helo.test", reverse_path.as_bytes());
    Sender { client: CLIENT, ehlo, reverse_path, hostname: OURS, now: NOW }
}

fn txt(zone: Zone, name: &str, texts: &[&str]) -> Zone {
    let texts = texts.iter().map(|text| text.as_bytes().into()).collect();
    zone.with(question(name), Answer::Records(Records::Txt(texts)))
}

fn question(name: &str) -> Question {
    Question::new(Kind::Txt, Name::new(name.as_bytes()).expect("a name"))
}

/// A check that is over, of a message that comes in these pieces; and how many questions that took.
fn judged<'a>(
    zone: &Zone,
    sender: &Sender<'_>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (MessageCheck, usize) {
    let (rules, mut check, mut kept) = (rules(), MessageCheck::new(), Vec::new());
    for piece in pieces {
        match check.look(piece) {
            Piece::Header => kept.extend_from_slice(piece),
            Piece::HeaderEnds(count) => {
                kept.extend_from_slice(&piece[..count]);
                check.take_header(&Header::new(&kept), &rules, NOW);
                check.take_body(&piece[count..]);
            }
            Piece::Body => check.take_body(piece),
        }
    }
    if check.is_in_header() {
        check.take_header(&Header::new(&kept), &rules, NOW);
    }
    check.finish();
    let mut keys = Keys::default();
    let (is_over, asked) = zone.run(|asking| check.judge(sender, &rules, asking, &mut keys).is_some());
    assert!(is_over, "all is answered");
    (check, asked)
}

/// Our field as it is written.
fn written(
    rules: &AuthRules,
    sender: &Sender<'_>,
    check: &MessageCheck,
    reverse: Option<ReverseLookup>,
) -> Vec<u8> {
    let mut field = Vec::new();
    report::field(rules, sender, check.found(), reverse, Applied::None, &mut field);
    field
}

/// Our field on one line.
fn field(zone: &Zone, sender: &Sender<'_>, message: &str) -> String {
    let (check, _) = judged(zone, sender, [message.as_bytes()]);
    let field = written(&rules(), sender, &check, None);
    String::from_utf8(field).expect("UTF-8").replace("\r\n\t", " ").trim_end().to_owned()
}

/// What our field says of signatures, of a message by nobody in particular.
fn dkim(zone: &Zone, message: &str) -> Vec<String> {
    let field = field(zone, &sender(""), message);
    field.split("; ").filter_map(|one| one.strip_prefix("dkim=")).map(str::to_owned).collect()
}

/// The words of the results alone.
fn dkim_words(zone: &Zone, message: &str) -> Vec<String> {
    let word = |one: String| one.split(' ').next().unwrap_or_default().to_owned();
    dkim(zone, message).into_iter().map(word).collect()
}

/// Of DMARC.
fn dmarc(zone: &Zone, reverse_path: &str, message: &str) -> Option<String> {
    let field = field(zone, &sender(reverse_path), message);
    let result = field.split("; ").find_map(|one| one.strip_prefix("dmarc="))?;
    result.split(' ').next().map(str::to_owned)
}

/// A signature of `d=` over From and more fields, with more tags.
fn signature(signer: &Signer, domain: &str, tags: &str, fields: &[&str]) -> String {
    let names: Vec<&str> = fields.iter().filter_map(|field| field.split(':').next()).collect();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, BODY.as_bytes());
    let own = |signature: &str| {
        format!(
            "DKIM-Signature: v=1; a={}; c=relaxed/relaxed; d={domain}; s=s; {tags}h={}; bh={}; b={signature}\r\n",
            signer.algorithm(),
            names.join(":"),
            BASE64.encode(hash.as_ref()),
        )
    };
    let signed = fields.iter().map(|field| if field.contains(": ") { relaxed(field) } else { String::new() });
    let signed = signed.collect::<String>() + relaxed(&own("")).trim_end();
    own(&BASE64.encode(&signer.sign(signed.as_bytes())))
}

fn signed(signer: &Signer, tags: &str) -> String {
    format!("{}{FROM}\r\n{BODY}", signature(signer, "x.test", tags, &[FROM]))
}

/// The key of s._domainkey.x.test.
fn key(records: &[&str]) -> Zone {
    txt(Zone::default(), "s._domainkey.x.test", records)
}

#[test]
fn signatures_that_cannot_be_read_are_a_permanent_error_and_nothing_is_asked_for_them() {
    let [signer, _] = signers();
    let good = signed(&signer, "");
    let many = format!("h=From{};", ":a".repeat(1000));
    for (from, to) in [
        ("v=1; ", ""),
        ("v=1", "v=2"),
        ("a=rsa-sha256; ", ""),
        ("s=s; ", ""),
        ("d=x.test; ", ""),
        ("h=From; ", ""),
        ("v=1", "v=1; v=1"),
        ("h=From", "h=To"),
        ("s=s;", "s=s; i=@y.test;"),
        ("d=x.test", "d=com"),
        ("d=x.test", "d=x\0.test"),
        ("d=x.test", "d=x\".test"),
        ("s=s", "s=s\0"),
        ("s=s", "s=\"s"),
        ("h=From;", &many),
    ] {
        let message = good.replacen(from, to, 1);
        assert_ne!(message, good, "{from} is there");
        assert_eq!(dkim_words(&key(&[&signer.record()]), &message), ["permerror"], "{to}");
        let questions = |message: &str| judged(&key(&[]), &sender(""), [message.as_bytes()]).1;
        assert_eq!(questions(&message), questions(&format!("{FROM}\r\n")), "{to}");
    }
}

#[test]
fn weak_signatures_and_keys_are_never_a_pass() {
    let [signer, _] = signers();
    let (good, record) = (signed(&signer, ""), signer.record());
    let sha1 = good.replacen("rsa-sha256", "rsa-sha1", 1);
    assert_eq!(dkim_words(&key(&[&record]), &sha1), ["policy"]);
    for (octets, expected) in [(64, "policy"), (127, "policy"), (513, "permerror")] {
        let record = format!("p={}", BASE64.encode(&weak_key(octets)));
        assert_eq!(dkim_words(&key(&[&record]), &good), [expected], "{octets} octets");
    }
    assert_eq!(dkim_words(&key(&[&record]), &signed(&signer, "l=10; ")), ["policy"], "part of the body");
    assert_eq!(dkim(&key(&[&record]), &good), ["pass header.d=x.test header.s=s header.a=rsa-sha256"]);
}

#[test]
fn the_vectors_pass_and_the_length_of_a_weak_key_is_told() {
    let zone =
        txt(Zone::default(), "brisbane._domainkey.football.example.com", &[vectors::ED25519_KEY_OF_8463]);
    let zone = txt(zone, "test._domainkey.football.example.com", &[vectors::RSA_KEY_OF_8463]);
    let message = format!("{}\r\n{}", vectors::OF_8463, vectors::BODY);
    let all = dkim(&zone, &message);
    assert_eq!(all[0], "pass header.d=football.example.com header.s=brisbane header.a=ed25519-sha256");
    assert_eq!(all[1], "pass (1024 bits) header.d=football.example.com header.s=test header.a=rsa-sha256");
}

#[test]
fn times_of_a_signature() {
    let [_, signer] = signers();
    for (tags, expected) in [
        ("x=1699999700; ", "pass"),
        ("x=1699999699; ", "fail"),
        ("t=1699999000; x=1699999000; ", "permerror"),
        ("t=1699999000; x=1699998000; ", "permerror"),
        ("t=1700000300; ", "pass"),
        ("t=1700000301; ", "policy"),
    ] {
        assert_eq!(dkim_words(&key(&[&signer.record()]), &signed(&signer, tags)), [expected], "{tags}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_a_permanent_error() {
    let [signer, _] = signers();
    let record = signer.record();
    let of = |records: &[&str]| dkim_words(&key(records), &signed(&signer, ""));
    let long = format!("{record}; n={}", "x".repeat(4096));
    let with = |more: &str| record.replacen("v=DKIM1;", &format!("v=DKIM1; {more};"), 1);
    for bad in [
        "v=DKIM1; p=",
        "no record",
        "v=DKIM1; p=?",
        &record.replacen("k=rsa", "k=ed25519", 1),
        &with("h=sha1"),
        &with("s=other"),
        &long,
    ] {
        assert_eq!(of(&[bad]), ["permerror"], "{bad}");
        // Each of several records is tried, four at most.
        assert_eq!(of(&[bad, bad, bad, &record]), ["pass"], "{bad}");
        assert_eq!(of(&[bad, bad, bad, bad, &record]), ["permerror"], "{bad}");
    }
    assert_eq!(dkim_words(&Zone::default(), &signed(&signer, "")), ["permerror"], "no record");
    let strict = with("t=s");
    assert_eq!(dkim_words(&key(&[&strict]), &signed(&signer, "i=@mail.x.test; ")), ["permerror"]);
    assert_eq!(dkim_words(&key(&[&strict]), &signed(&signer, "i=a@x.test; ")), ["pass"]);
    assert_eq!(of(&[&with("t=y")]), ["pass"], "a test");
    let unanswered = Zone::default().with(question("s._domainkey.x.test"), Answer::Failed(Failure::TimedOut));
    assert_eq!(dkim_words(&unanswered, &signed(&signer, "")), ["temperror"]);
}

#[test]
fn what_was_changed_fails() {
    let [rsa, ed25519] = signers();
    for signer in [rsa, ed25519] {
        let (zone, good) = (key(&[&signer.record()]), signed(&signer, ""));
        assert_eq!(dkim_words(&zone, &good.replace("two", "three")), ["fail"], "body");
        assert_eq!(dkim_words(&zone, &good.replace("a@x.test", "b@x.test")), ["fail"], "header");
        let oversigned = format!("{}{FROM}\r\n{BODY}", signature(&signer, "x.test", "", &[FROM, "From"]));
        assert_eq!(dkim_words(&zone, &oversigned), ["pass"]);
        let second = oversigned.replace(FROM, &format!("From: evil@y.test\r\n{FROM}"));
        assert_eq!(dkim_words(&zone, &second), ["fail"], "h=from:from");
    }
}

#[test]
fn of_many_signatures_eight_are_judged_and_the_authors_first() {
    let [_, signer] = signers();
    let others: String = (0..9).map(|at| signature(&signer, &format!("d{at}.test"), "", &[FROM])).collect();
    let message = format!("{others}{}", signed(&signer, ""));
    let zone = (0..9).fold(key(&[&signer.record()]), |zone, at| {
        txt(zone, &format!("s._domainkey.d{at}.test"), &[&signer.record()])
    });
    let all = dkim(&zone, &message);
    assert_eq!(all.len(), SIGNATURES_MAX);
    assert!(all.iter().any(|one| one.starts_with("pass") && one.contains("header.d=x.test")), "{all:?}");
}

#[test]
fn what_many_keys_and_much_that_is_signed_cost_has_a_bound() {
    let [_, signer] = signers();
    let wrong: Vec<String> = (0..3).map(|_| signers()[1].record()).collect();
    let names: Vec<String> = (0..8).map(|at| format!("d{at}.test")).collect();
    let all =
        |tags: &[&str]| -> String { names.iter().map(|name| signature(&signer, name, "", tags)).collect() };
    let zone = |records: &[&str]| {
        names.iter().fold(Zone::default(), |zone, name| txt(zone, &format!("s._domainkey.{name}"), records))
    };
    // Four keys of each name, of which the last is the right one: three names have all of theirs looked at.
    let own = signer.record();
    let records: Vec<&str> = wrong.iter().map(String::as_str).chain([&*own]).collect();
    let message = format!("{}{FROM}\r\n{BODY}", all(&[FROM]));
    let told = dkim(&zone(&records), &message);
    let passed = told.iter().filter(|one| one.starts_with("pass")).count();
    assert_eq!((told.len(), passed), (8, 3), "{told:?}");
    assert!(told[4].starts_with("permerror (there are too many signatures or keys"), "{told:?}");
    // Each signs 100 KiB: two of them are what is read.
    let long = format!("X: {}\r\n", "x".repeat(100 << 10));
    let message = format!("{}{FROM}{long}\r\n{BODY}", all(&[FROM, &long]));
    let told = dkim_words(&zone(&[&own]), &message);
    assert_eq!(told.iter().filter(|word| *word == "pass").count(), 2, "{told:?}");
}

#[test]
fn a_signature_over_a_forged_field_verifies_although_that_is_cut() {
    let [_, signer] = signers();
    let forged = format!("Authentication-Results: {OURS}; spf=pass\r\n");
    let own = signature(&signer, "x.test", "", &[FROM, &forged]);
    let message = format!("{own}{forged}{FROM}\r\n{BODY}");
    assert_eq!(dkim_words(&key(&[&signer.record()]), &message), ["pass"]);
    let place = own.len()..own.len() + forged.len();
    assert_eq!(results::forged(&Header::new(message.as_bytes()), OURS), [place]);
}

/// x.test asks for rejection, and 192.0.2.1 may send for it; x.test and helo.test have the key.
fn domain(signer: &Signer) -> Zone {
    let zone = txt(key(&[&signer.record()]), "_dmarc.x.test", &["v=DMARC1; p=reject"]);
    txt(zone, "x.test", &["v=spf1 ip4:192.0.2.1 -all"])
}

#[test]
fn spf_counts_for_the_reverse_path_and_for_nothing_else() {
    let [_, signer] = signers();
    let message = format!("{FROM}\r\n{BODY}");
    let helo = |zone: &Zone, ehlo: &'static [u8], reverse_path: &str| {
        let sender = Sender { ehlo, ..sender(reverse_path) };
        field(zone, &sender, &message)
    };
    assert_eq!(dmarc(&domain(&signer), "b@x.test", &message).as_deref(), Some("pass"));
    let by_name = helo(&domain(&signer), b"x.test", "b@other.test");
    assert!(by_name.contains("spf=pass smtp.helo=x.test") && by_name.contains("dmarc=fail"), "{by_name}");
    let null = helo(&domain(&signer), b"x.test", "");
    assert!(null.contains("spf=pass smtp.helo=x.test") && null.contains("dmarc=pass"), "{null}");
    assert!(!null.contains("smtp.mailfrom"), "{null}");
    for (record, expected) in
        [("v=spf1 ~all", "softfail"), ("v=spf1 ?all", "neutral"), ("other", "none"), ("v=spf1 -all", "fail")]
    {
        let zone = txt(domain(&signer), "x.test", &[record]);
        let field = helo(&zone, b"mx.helo.test", "b@x.test");
        assert!(field.contains(&format!("spf={expected} smtp.mailfrom=b@x.test")), "{field}");
        assert!(field.contains("dmarc=fail"), "{field}");
    }
}

#[test]
fn a_key_without_an_answer_leaves_dmarc_open_unless_something_else_passes() {
    let [_, signer] = signers();
    let unanswered = || Answer::Failed(Failure::Server);
    let zone = || domain(&signer).with(question("s._domainkey.x.test"), unanswered());
    let message = signed(&signer, "");
    assert_eq!(dmarc(&zone(), "b@other.test", &message).as_deref(), Some("temperror"));
    assert_eq!(dmarc(&zone(), "b@x.test", &message).as_deref(), Some("pass"));
    let no_spf = domain(&signer).with(question("x.test"), unanswered());
    assert_eq!(dmarc(&no_spf, "b@x.test", &format!("{FROM}\r\n{BODY}")).as_deref(), Some("temperror"));
    assert_eq!(dmarc(&no_spf, "b@x.test", &message).as_deref(), Some("pass"));
}

#[test]
fn names_are_compared_as_a_labels_in_lower_case_without_a_dot_at_the_end() {
    let [_, signer] = signers();
    let ascii = "xn--bcher-kva.test";
    let zone = txt(Zone::default(), &format!("s._domainkey.{ascii}"), &[&signer.record()]);
    let zone = txt(zone, &format!("_dmarc.{ascii}"), &["v=DMARC1; p=reject; adkim=s; aspf=s"]);
    let zone = txt(zone, ascii, &["v=spf1 ip4:192.0.2.1 -all"]);
    for spelled in ["XN--Bcher-KVA.Test", "xn--bcher-kva.test.", "b\u{fc}cher.test", "B\u{dc}CHER.TEST."] {
        let from = format!("From: a@{spelled}\r\n");
        let message = format!("{}{from}\r\n{BODY}", signature(&signer, spelled, "", &[&from]));
        assert_eq!(dmarc(&zone, "", &message).as_deref(), Some("pass"), "From and d=: {spelled}");
    }
    for spelled in ["XN--Bcher-KVA.Test", "xn--bcher-kva.test."] {
        let message = format!("From: a@{ascii}\r\n\r\n{BODY}");
        let result = dmarc(&zone, &format!("b@{spelled}"), &message);
        assert_eq!(result.as_deref(), Some("pass"), "MAIL FROM: {spelled}");
    }
}

#[test]
fn without_one_domain_in_from_nothing_is_vouched_for() {
    let [_, signer] = signers();
    let good = signed(&signer, "");
    let zone = txt(domain(&signer), "_dmarc.y.test", &["v=DMARC1; p=reject"]);
    for from in [
        "From: a@x.test, b@y.test\r\n",
        "From: a@x.test\r\nFrom: b@y.test\r\n",
        "",
        "From: undisclosed:;\r\n",
        "From:\r\n",
        "From\r\n : a@x.test\r\n",
        " From: a@x.test\r\n",
        "From: <@y.test,@z.test:a@x.test>\r\n",
        "From: <a@x.test>\\,<b@y.test>\r\n",
        "From: a@x.test,<b@y.test>\r\n",
        "From: <a@x.test>b@y.test\r\n",
        "From: =?utf-8?B?YUB4LnRlc3Q=?=\r\n",
        "Subject: s\nFrom: b@y.test\r\nFrom: a@x.test\r\n",
    ] {
        let result = dmarc(&zone, "b@x.test", &good.replace(FROM, from));
        assert_eq!(result.as_deref(), Some("permerror"), "{from}");
    }
    assert_eq!(dmarc(&zone, "b@x.test", &good.replace(FROM, "From : a@x.test\r\n")).as_deref(), Some("pass"));
}

#[test]
fn a_policy_of_reject_needs_one_more_reason() {
    let [_, signer] = signers();
    let zone = txt(domain(&signer), "x.test", &["v=spf1 ?all"]);
    let (check, _) = judged(&zone, &sender("b@x.test"), [FROM.as_bytes()]);
    let known = Circumstances::default();
    let applied = |zone: &Zone, known| {
        let (check, _) = judged(zone, &sender("b@x.test"), [FROM.as_bytes()]);
        decide(check.found(), &rules(), known).applied
    };
    assert_eq!(check.found().dmarc.as_ref().map(|found| found.result.word()), Some("fail"));
    assert_eq!(applied(&zone, known), Applied::Quarantine, "nothing else speaks against it");
    assert_eq!(applied(&zone, Circumstances { is_listed: true, ..known }), Applied::Reject);
    let spf_fails = txt(domain(&signer), "x.test", &["v=spf1 -all"]);
    assert_eq!(applied(&spf_fails, known), Applied::Reject);
    let marks = txt(zone, "_dmarc.x.test", &["v=DMARC1; p=none"]);
    assert_eq!(applied(&marks, Circumstances { is_listed: true, ..known }), Applied::None);
}

#[test]
fn fields_of_listed_fronts_stay() {
    let networks = ["10.0.0.0/8"].map(|network| Network::parse(network).expect("a network"));
    let rules = AuthRules { keep_results_from: networks.into(), ..rules() };
    for (client, stays) in [("10.1.2.3", true), ("192.0.2.1", false), ("::1", false)] {
        assert_eq!(rules.keeps_results_of(client.parse().expect("an address")), stays, "{client}");
    }
}

#[test]
fn a_field_of_ours_tells_nothing_that_was_not_looked_for_and_quotes_addresses() {
    let sender = sender("o'neil;(x)@x.test");
    let rules_of_nobody = AuthRules { authserv_id: OURS.into(), ..AuthRules::nothing() };
    let nothing = written(&rules_of_nobody, &sender, &MessageCheck::new(), None);
    assert_eq!(nothing, format!("Authentication-Results: {OURS}; none\r\n").into_bytes());
    let client = IpAddr::V6("2001:db8::1".parse().expect("an address"));
    let ipv6 = Sender { client, ..sender };
    let (check, _) = judged(&Zone::default(), &ipv6, [FROM.as_bytes()]);
    let reverse = Some(ReverseLookup::Fail);
    let field = written(&rules(), &ipv6, &check, reverse);
    let field = String::from_utf8(field).expect("UTF-8");
    assert!(field.contains("iprev=fail policy.iprev=\"2001:db8::1\""), "{field}");
    assert!(field.contains("smtp.mailfrom=\"o'neil;(x)@x.test\""), "{field}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn every_split_of_a_message_has_one_verdict(
        cuts in proptest::collection::vec(0_usize..700, 0..6),
        is_changed in any::<bool>(),
    ) {
        let of_6376 = format!("{}\r\n{}", vectors::OF_6376, vectors::BODY);
        let message = if is_changed { of_6376.replace("lost", "won") } else { of_6376 };
        let zone = txt(Zone::default(), "brisbane._domainkey.example.com", &[vectors::KEY_OF_6376]);
        let zone = txt(zone, "_dmarc.example.com", &["v=DMARC1; p=reject"]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(message.len())).collect();
        cuts.extend([0, message.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| &message.as_bytes()[ends[0]..ends[1]]);
        let sender = sender("b@example.com");
        let (check, _) = judged(&zone, &sender, pieces);
        let field = written(&rules(), &sender, &check, None);
        let (whole, _) = judged(&zone, &sender, [message.as_bytes()]);
        let expected = written(&rules(), &sender, &whole, None);
        prop_assert_eq!(field.escape_ascii().to_string(), expected.escape_ascii().to_string());
        let word = if is_changed { "dkim=fail" } else { "dkim=pass" };
        prop_assert!(String::from_utf8_lossy(&field).contains(word));
    }
}
