mod cases;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::dns::{Answer, Asking, Failure, Kind, Question, Records};

/// A zone by hand: the suite's form.
#[derive(Default)]
struct Zone(HashMap<Vec<u8>, Vec<Entry>>);

enum Entry {
    /// No answer for kinds that the entries before do not have.
    Timeout,
    /// As [`Entry::Timeout`], for one kind.
    TimeoutOf(Kind),
    Record(Record),
    /// The name is there.
    Nothing,
}

#[derive(Clone)]
enum Record {
    A(std::net::Ipv4Addr),
    Aaaa(std::net::Ipv6Addr),
    Mx(u16, Option<Name>),
    Ptr(Name),
    Txt(Box<[u8]>),
    Cname(Name),
}

impl Record {
    fn kind(&self) -> Option<Kind> {
        match self {
            Self::A(_) => Some(Kind::A),
            Self::Aaaa(_) => Some(Kind::Aaaa),
            Self::Mx(..) => Some(Kind::Mx),
            Self::Ptr(_) => Some(Kind::Ptr),
            Self::Txt(_) => Some(Kind::Txt),
            Self::Cname(_) => None,
        }
    }
}

fn key(name: &str) -> Vec<u8> {
    name.trim_end_matches('.').to_ascii_lowercase().into_bytes()
}

fn text(value: &Value) -> Box<[u8]> {
    let strings = value.as_array().map_or_else(|| vec![value], |strings| strings.iter().collect());
    // The suite's texts are Latin-1 where they are not ASCII.
    let octets = strings.into_iter().flat_map(|string| string.as_str().expect("a string").chars());
    octets.map(|octet| u8::try_from(u32::from(octet)).expect("an octet")).collect()
}

impl Zone {
    fn parse(lines: &[Value]) -> Self {
        let mut zone = Self::default();
        let has_txt = |name: &str| lines.iter().any(|line| line[0] == name && line[1] == "TXT");
        for line in lines {
            let name = line[0].as_str().expect("a name");
            let value = &line[2];
            let name_of = |value: &Value| Name::new(value.as_str().expect("a name").as_bytes());
            let kind = line[1].as_str().expect("a kind");
            let entry = match kind {
                "TIMEOUT" => Entry::Timeout,
                "SPF" if has_txt(name) => Entry::Nothing,
                "SPF" | "TXT" if value == "NONE" => Entry::Nothing,
                "SPF" | "TXT" if value == "TIMEOUT" => Entry::TimeoutOf(Kind::Txt),
                "SPF" | "TXT" => Entry::Record(Record::Txt(text(value))),
                "A" if value == "TIMEOUT" => Entry::TimeoutOf(Kind::A),
                "A" => Entry::Record(Record::A(value.as_str().expect("an address").parse().expect("IPv4"))),
                "AAAA" if value == "TIMEOUT" => Entry::TimeoutOf(Kind::Aaaa),
                "AAAA" => {
                    Entry::Record(Record::Aaaa(value.as_str().expect("an address").parse().expect("IPv6")))
                }
                "MX" => {
                    let preference = value[0].as_u64().and_then(|number| number.try_into().ok());
                    Entry::Record(Record::Mx(preference.expect("a preference"), name_of(&value[1])))
                }
                "PTR" => Entry::Record(Record::Ptr(name_of(value).expect("a name"))),
                "CNAME" => Entry::Record(Record::Cname(name_of(value).expect("a name"))),
                other => panic!("{other}"),
            };
            zone.0.entry(key(name)).or_default().push(entry);
        }
        zone
    }

    fn answer(&self, question: &Question) -> Answer {
        let mut name = question.name.octets().to_vec();
        for _ in 0..8 {
            let Some(entries) = self.0.get(&name) else { return Answer::NoName };
            let mut found = Vec::new();
            let mut alias = None;
            for entry in entries {
                match entry {
                    Entry::Timeout if found.is_empty() => return Answer::Failed(Failure::TimedOut),
                    Entry::TimeoutOf(kind) if *kind == question.kind => {
                        return Answer::Failed(Failure::TimedOut);
                    }
                    Entry::Record(Record::Cname(target)) => alias = Some(target.octets().to_vec()),
                    Entry::Record(record) if record.kind() == Some(question.kind) => {
                        found.push(record.clone());
                    }
                    Entry::Timeout | Entry::TimeoutOf(_) | Entry::Nothing | Entry::Record(_) => {}
                }
            }
            match alias {
                Some(target) if found.is_empty() => name = target,
                _ => return answer_of(question.kind, found),
            }
        }
        // A loop of names is none that anybody answers.
        Answer::Failed(Failure::Server)
    }
}

fn answer_of(kind: Kind, found: Vec<Record>) -> Answer {
    if found.is_empty() {
        return Answer::NoRecords;
    }
    let mut records = match kind {
        Kind::A => Records::A(Vec::new()),
        Kind::Aaaa => Records::Aaaa(Vec::new()),
        Kind::Mx => Records::Mx(Vec::new()),
        Kind::Ptr => Records::Ptr(Vec::new()),
        Kind::Txt => Records::Txt(Vec::new()),
        Kind::Tlsa => unreachable!("SPF asks for none"),
    };
    for record in found {
        match (&mut records, record) {
            (Records::A(all), Record::A(one)) => all.push(one),
            (Records::Aaaa(all), Record::Aaaa(one)) => all.push(one),
            (Records::Mx(all), Record::Mx(preference, one)) => all.push((preference, one)),
            (Records::Ptr(all), Record::Ptr(one)) => all.push(one),
            (Records::Txt(all), Record::Txt(one)) => all.push(one),
            _ => unreachable!("of one kind"),
        }
    }
    Answer::Records(records)
}

/// Runs a check to its end. `pick` chooses which of the missing questions is answered next.
fn run(sender: &Sender<'_>, zone: &Zone, pick: impl Fn(usize) -> usize) -> (Outcome, usize) {
    let mut known = HashMap::<Question, Arc<Answer>>::new();
    loop {
        let mut look = |question: &Question| known.get(question).cloned();
        let mut asking = Asking::new(&mut look);
        let outcome = check(sender, &mut asking);
        let missing = asking.missing();
        if let Some(outcome) = outcome {
            return (outcome, known.len());
        }
        let question = missing.get(pick(missing.len())).expect("something is missing").clone();
        assert!(known.len() < 500, "a check that asks without an end");
        let answer = Arc::new(zone.answer(&question));
        known.insert(question, answer);
    }
}

fn identity<'a>(from: &'a str, helo: &'a str) -> (&'a [u8], &'a [u8]) {
    match from.rsplit_once('@') {
        Some((local_part, domain)) => (local_part.as_bytes(), domain.as_bytes()),
        None if from.is_empty() => (b"postmaster", helo.as_bytes()),
        None => (b"", from.as_bytes()),
    }
}

fn sender<'a>(client: &str, helo: &'a str, from: &'a str) -> Sender<'a> {
    let (local_part, domain) = identity(from, helo);
    Sender {
        client: client.parse::<IpAddr>().expect("an address"),
        helo: helo.as_bytes(),
        local_part,
        domain,
        receiver: "mx.example.org",
        explains: true,
        now: 1_700_000_000,
    }
}

/// The suite, each case with answers in three orders.
#[test]
fn the_openspf_suite_passes_in_any_order_of_answers() {
    let suite: Value = serde_json::from_str(include_str!("../../../tests/data/rfc7208.json")).expect("JSON");
    let (mut cases, mut wrong) = (0, Vec::new());
    for section in suite.as_array().expect("sections") {
        let zone = Zone::parse(section["zone"].as_array().expect("a zone"));
        for case in section["tests"].as_array().expect("cases") {
            cases += 1;
            let field = |name: &str| case[name].as_str().unwrap_or_default();
            let sender = sender(field("client"), field("helo"), field("from"));
            let picks: [fn(usize) -> usize; 3] = [|_| 0, |count| count - 1, |count| count / 2];
            let outcomes = picks.map(|pick| run(&sender, &zone, pick).0);
            let allowed: Vec<&str> =
                case["results"].as_array().expect("results").iter().filter_map(Value::as_str).collect();
            for outcome in &outcomes {
                let is_right = allowed.contains(&outcome.result.word());
                let explanation = case.get("explanation").and_then(Value::as_str);
                let ours = outcome.explanation.as_deref();
                let explains = explanation.is_none_or(|expected| match expected {
                    "DEFAULT" => ours.is_none(),
                    expected => ours.is_some_and(|ours| ours.eq_ignore_ascii_case(expected)),
                });
                if !(is_right && explains) {
                    wrong.push(format!(
                        "{}: {outcome:?}, expected {allowed:?} {explanation:?}",
                        field("name")
                    ));
                }
            }
        }
    }
    assert_eq!(cases, 203);
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

fn zone(lines: &[(&str, &str, &str)]) -> Zone {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(name, kind, value)| match *kind {
            "MX" => serde_json::json!([name, kind, [10, value]]),
            _ => serde_json::json!([name, kind, value]),
        })
        .collect();
    Zone::parse(&lines)
}

fn result(zone: &Zone, client: &str, from: &str) -> &'static str {
    run(&sender(client, "mx.x.test", from), zone, |_| 0).0.result.word()
}

#[test]
fn includes_of_a_record_are_asked_for_together() {
    let zone = zone(&[
        ("x.test", "TXT", "v=spf1 include:a.test include:b.test include:c.test -all"),
        ("a.test", "TXT", "v=spf1 -all"),
        ("b.test", "TXT", "v=spf1 -all"),
        ("c.test", "TXT", "v=spf1 ip4:192.0.2.1 -all"),
    ]);
    let question = Question::new(Kind::Txt, Name::new(b"x.test").expect("a name"));
    let known = Arc::new(zone.answer(&question));
    let mut look = |asked: &Question| (*asked == question).then(|| Arc::clone(&known));
    let mut asking = Asking::new(&mut look);
    assert_eq!(check(&sender("192.0.2.1", "x.test", "a@x.test"), &mut asking), None);
    assert_eq!(asking.missing().len(), 3);
    assert_eq!(result(&zone, "192.0.2.1", "a@x.test"), "pass");
}

#[test]
fn an_ipv4_client_is_one_also_over_an_ipv6_socket() {
    let zone = zone(&[("x.test", "TXT", "v=spf1 ip4:192.0.2.0/24 -all")]);
    assert_eq!(result(&zone, "::ffff:192.0.2.1", "a@x.test"), "pass");
}

#[test]
fn exchangers_without_ipv6_addresses_are_not_void_terms() {
    let zone = zone(&[
        ("x.test", "TXT", "v=spf1 mx a ip6:2001:db8::/32 -all"),
        ("x.test", "MX", "mx1.test"),
        ("x.test", "MX", "mx2.test"),
        ("x.test", "MX", "mx3.test"),
        ("mx1.test", "A", "192.0.2.1"),
        ("mx2.test", "A", "192.0.2.2"),
        ("mx3.test", "A", "192.0.2.3"),
    ]);
    assert_eq!(result(&zone, "2001:db8::1", "a@x.test"), "pass");
}

#[test]
fn a_local_part_that_is_not_ascii_matches_no_macro() {
    let zone = zone(&[
        ("x.test", "TXT", "v=spf1 exists:%{l}.x.test a:x.test -all"),
        ("\u{e9}.x.test", "A", "127.0.0.2"),
        ("x.test", "A", "192.0.2.1"),
    ]);
    assert_eq!(result(&zone, "192.0.2.9", "\u{e9}@x.test"), "fail");
    assert_eq!(result(&zone, "192.0.2.1", "\u{e9}@x.test"), "pass", "only that term does not match");
}

#[test]
fn a_version_that_is_another_is_none_and_two_records_are_an_error() {
    for (texts, expected) in [
        (&["v=spf10 -all"][..], "none"),
        (&["v=spf1"], "neutral"),
        (&["V=SPF1 -all"], "fail"),
        (&["v=spf1 -all", "google-verification=x"], "fail"),
        (&["v=spf1 -all", "V=spf1 +all"], "permerror"),
    ] {
        let lines: Vec<(&str, &str, &str)> = texts.iter().map(|text| ("x.test", "TXT", *text)).collect();
        assert_eq!(result(&zone(&lines), "192.0.2.1", "a@x.test"), expected, "{texts:?}");
    }
}

#[test]
fn syntax_is_looked_at_behind_a_match_too() {
    for (record, expected) in [
        ("v=spf1 +all bogus", "permerror"),
        ("v=spf1 +all unknown=%{x}", "permerror"),
        ("v=spf1 +all unknown=%{d}", "pass"),
        ("v=spf1 +all ra=postmaster rp=100", "pass"),
        ("v=spf1 ip4:192.0.2.1/33", "permerror"),
        ("v=spf1 ip4:192.0.2.1/032", "permerror"),
        ("v=spf1 a/24//64/", "permerror"),
        ("v=spf1 a//129", "permerror"),
        ("v=spf1 include:", "permerror"),
        ("v=spf1 exists:x", "permerror"),
        ("v=spf1 redirect=a.test redirect=b.test", "permerror"),
    ] {
        assert_eq!(
            result(&zone(&[("x.test", "TXT", record)]), "192.0.2.1", "a@x.test"),
            expected,
            "{record}"
        );
    }
}
