use support::signer::Signer;

use super::*;
use crate::dns::asking::tests::Zone;
use crate::dns::{Failure, Records};

const BODY: &str = "Text\r\n";
const MESSAGE: &str = "From: a@x.test\r\nTo: b@y.test\r\nSubject: x\r\n\r\nText\r\n";

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

fn key(selector: &str, domain: &str) -> Question {
    Question::new(Kind::Txt, name(&format!("{selector}._domainkey.{domain}")))
}

fn records(texts: &[&str]) -> Answer {
    Answer::Records(Records::Txt(texts.iter().map(|text| text.as_bytes().into()).collect()))
}

/// What the signatures of a message come to, and how many questions were asked.
fn found(message: &str, zone: &Zone) -> (Vec<Found>, usize) {
    let (header, body) = message.split_once("\r\n\r\n").expect("a header section");
    let section = format!("{header}\r\n\r\n");
    let header = Header::new(section.as_bytes());
    let signatures = Signatures::of(&header, Some(&name("x.test")), 1_800_000_000);
    let mut bodies = Bodies::default();
    signatures.want(&mut bodies);
    bodies.update(body.as_bytes());
    bodies.finish();
    let mut keys = Keys::default();
    let (found, asked) = zone.run(|asking| signatures.check(&bodies, asking, &mut keys));
    (found.expect("all is answered"), asked)
}

fn told(message: &str, zone: &Zone) -> Vec<String> {
    found(message, zone).0.iter().map(ToString::to_string).collect()
}

/// A message with signatures of these domains, the first on top.
fn signed(signer: &Signer, domains: &[&str]) -> String {
    domains.iter().rev().fold(MESSAGE.to_owned(), |message, domain| signer.sign(domain, "s", &message))
}

fn zone(signer: &Signer, domains: &[&str]) -> Zone {
    let record = signer.record();
    domains.iter().fold(Zone::default(), |zone, domain| zone.with(key("s", domain), records(&[&record])))
}

#[test]
fn every_signature_is_told_in_the_order_of_the_fields() {
    for signer in [Signer::ed25519(), Signer::rsa()] {
        let algorithm = if matches!(signer, Signer::Rsa(_)) { "rsa-sha256" } else { "ed25519-sha256" };
        let domains = ["list.test", "x.test", "other.test"];
        let told = told(&signed(&signer, &domains), &zone(&signer, &domains));
        assert_eq!(told, domains.map(|domain| format!("pass {domain} s {algorithm}")));
    }
}

#[test]
fn of_too_many_signatures_those_that_could_be_the_authors_are_judged_first() {
    let signer = Signer::ed25519();
    let others: Vec<String> = (0..9).map(|number| format!("o{number}.test")).collect();
    for own in ["x.test", "news.x.test"] {
        // At the bottom, where it was put on first.
        let domains: Vec<&str> = others.iter().map(String::as_str).chain([own]).collect();
        let (found, asked) = found(&signed(&signer, &domains), &zone(&signer, &domains));
        let judged: Vec<String> =
            found.iter().filter_map(|one| Some(one.domain.as_ref()?.to_string())).collect();
        let mut expected = vec![own.to_owned()];
        expected.extend(others.iter().take(SIGNATURES_MAX - 1).cloned());
        assert_eq!((judged, asked), (expected, SIGNATURES_MAX), "{own}");
        assert!(found.iter().all(|one| one.result == DkimResult::Pass));
    }
}

#[test]
fn each_of_several_key_records_is_tried() {
    let (signer, other) = (Signer::ed25519(), Signer::ed25519());
    let (good, wrong) = (signer.record(), other.record());
    let message = signer.sign("x.test", "s", MESSAGE);
    for (texts, expected) in [
        (vec![&*good], "pass"),
        (vec![&wrong, &good], "pass"),
        (vec!["v=spf1 -all", "nonsense", &wrong, &good], "pass"),
        // The fifth is one too many.
        (vec![&wrong, &wrong, &wrong, &wrong, &good], "fail"),
        (vec![&wrong], "fail"),
        // That it does not verify by a good key says more than that another record is none.
        (vec![&wrong, "nonsense"], "fail"),
        (vec!["nonsense"], "permerror"),
        (vec!["v=DKIM1; p="], "permerror"),
    ] {
        let zone = Zone::default().with(key("s", "x.test"), records(&texts));
        assert_eq!(told(&message, &zone), [format!("{expected} x.test s ed25519-sha256")], "{texts:?}");
    }
}

#[test]
fn a_key_without_an_answer_is_a_temporary_error_and_one_that_is_missing_is_none() {
    let message = Signer::ed25519().sign("x.test", "s", MESSAGE);
    for (answer, expected, problem) in [
        (Answer::Failed(Failure::TimedOut), DkimResult::TempError, Problem::NoAnswer),
        (Answer::Failed(Failure::Server), DkimResult::TempError, Problem::NoAnswer),
        (Answer::NoName, DkimResult::PermError, Problem::NoKey),
        (Answer::NoRecords, DkimResult::PermError, Problem::NoKey),
    ] {
        let zone = Zone::default().with(key("s", "x.test"), answer.clone());
        let (found, _) = found(&message, &zone);
        assert_eq!((found[0].result, found[0].problem), (expected, Some(problem)), "{answer:?}");
    }
    // A body that was changed is a fail whatever the DNS says.
    let zone = Zone::default().with(key("s", "x.test"), Answer::Failed(Failure::TimedOut));
    let changed = message.replace(BODY, "Test\r\n");
    assert_eq!(found(&changed, &zone).0[0].problem, Some(Problem::BodyHash));
}

#[test]
fn an_algorithm_takes_only_its_own_keys() {
    let (rsa, ed25519) = (Signer::rsa(), Signer::ed25519());
    for (signer, other) in [(&rsa, &ed25519), (&ed25519, &rsa)] {
        let message = signer.sign("x.test", "s", MESSAGE);
        let zone = Zone::default().with(key("s", "x.test"), records(&[&other.record()]));
        assert_eq!(found(&message, &zone).0[0].problem, Some(Problem::ForeignKey));
    }
}

#[test]
fn what_cannot_be_read_asks_nothing() {
    for (field, problem) in [
        ("v=1; a=rsa-sha256", Problem::MissingTag("bh")),
        ("v=2; a=rsa-sha256; d=x.test; s=s; h=from; bh=Zm9v; b=Zm9v", Problem::Version),
        ("v=1; a=rsa-sha1; d=x.test; s=s; h=from; bh=Zm9v; b=Zm9v", Problem::Sha1),
        ("v=1; a=rsa-sha256; d=x.test; s=s; h=to; bh=Zm9v; b=Zm9v", Problem::FromUnsigned),
        ("v=1; a=rsa-sha256; d=x\0.test; s=s; h=from; bh=Zm9v; b=Zm9v", Problem::BadTag("d")),
        ("v=1; a=rsa-sha256; d=test; s=s; h=from; bh=Zm9v; b=Zm9v", Problem::BadTag("d")),
        ("v=1; a=rsa-sha256; d=x.test; s=\"s\"; h=from; bh=Zm9v; b=Zm9v", Problem::BadTag("s")),
    ] {
        let (found, asked) = found(&format!("DKIM-Signature: {field}\r\n{MESSAGE}"), &Zone::default());
        assert_eq!((found[0].problem, asked), (Some(problem), 0), "{field}");
    }
}

/// The body may take minutes, and whoever sends it has many connections.
#[test]
fn nothing_is_kept_of_a_signature_that_is_too_long() {
    let long = "QUFB".repeat(50_000);
    let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    for (bh, b, problem) in [(hash, &*long, Problem::LongKey), (&*long, "Zm9v", Problem::BadTag("bh"))] {
        let field = format!("v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh={bh}; b={b}");
        let message = format!("DKIM-Signature: {field}\r\n{MESSAGE}");
        let section = message.strip_suffix(BODY).expect("its body");
        assert!(Signatures::of(&Header::new(section.as_bytes()), None, 0).bytes() < 1024);
        let (found, asked) = found(&message, &Zone::default());
        assert_eq!((found[0].problem, asked), (Some(problem), 0));
    }
}
