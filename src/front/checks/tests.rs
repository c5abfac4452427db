//! Checks over answers given by hand, in any order.

use std::sync::Arc;

use super::*;
use crate::dns::asking::tests::Zone;
use crate::dns::{Answer, Failure, Kind, Question, Records};
use crate::front::dnsbl::{AnswerRange, Families, ListFault};
use crate::front::networks::Networks;
use crate::mail::domain::{DomainPattern, DomainPatterns};
use crate::mail::network::Network;

const CLIENT: &str = "192.0.2.1";

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

fn a(text: &str) -> Question {
    Question::new(Kind::A, name(text))
}

fn addresses(last: u8) -> Answer {
    Answer::Records(Records::A(vec![[127, 0, 0, last].into()]))
}

fn list(zone: &str, weight: i32) -> List {
    List {
        zone: name(zone),
        answers: vec![AnswerRange::DEFAULT],
        weight,
        name: format!("List {zone}").into(),
        families: Families::Both,
    }
}

/// A zone in which lists of these names work, and those of the second list the client.
fn zone(lists: &[&str], listing: &[&str]) -> Zone {
    let works = |zone: Zone, list: &&str| zone.with(a(&format!("2.0.0.127.{list}")), addresses(2));
    let zone = lists.iter().fold(Zone::default(), works);
    listing.iter().fold(zone, |zone, list| zone.with(a(&format!("1.2.0.192.{list}")), addresses(4)))
}

fn rule(network: &str, ehlo: &[&str], action: Action, text: Option<&str>) -> Rule {
    let networks = Networks::new([Network::parse(network).expect("a network")]);
    let pattern = |name: &&str| DomainPattern::Exact((*name).to_owned());
    Rule {
        networks: Some(Arc::new(networks)),
        ehlo: DomainPatterns::new(&ehlo.iter().map(pattern).collect::<Vec<_>>()),
        reverse_path: DomainPatterns::default(),
        action,
        text: text.map(Into::into),
    }
}

fn subject<'a>(ehlo: &'a str, reverse_path: &'a str) -> Subject<'a> {
    Subject {
        client: CLIENT.parse().expect("an address"),
        asked_as: CLIENT.parse().expect("an address"),
        is_proven: false,
        ehlo: ehlo.as_bytes(),
        reverse_path: reverse_path.as_bytes(),
    }
}

struct Case {
    checks: Checks,
    now: Instant,
    news: Vec<News>,
}

impl Case {
    fn new(rules: CheckRules) -> Self {
        let now = Instant::now();
        Self { checks: Checks::new(rules, now), now, news: Vec::new() }
    }

    fn judge(&mut self, zone: &Zone, subject: &Subject<'_>) -> Ruling {
        let Self { checks, now, news } = self;
        zone.run(|asking| checks.judge(subject, None, asking, *now, news)).0.expect("all is answered")
    }

    fn score(&mut self, zone: &Zone) -> Score {
        let Self { checks, now, news } = self;
        let client = CLIENT.parse().expect("an address");
        zone.run(|asking| checks.score(client, asking, *now, news)).0.expect("all is answered")
    }
}

#[test]
fn a_client_is_refused_by_its_score_in_the_name_of_the_list_that_weighs_most() {
    let rules = CheckRules {
        lists: vec![list("good.test", -1), list("mild.test", 1), list("bad.test", 3)],
        thresholds: Thresholds { refuse: Some(3), drop: Some(4) },
        ..CheckRules::default()
    };
    let all = ["good.test", "mild.test", "bad.test"];
    let (fine, client) = (Ruling::default(), subject("x", "a@x.test"));
    for (listing, total) in [(&all[..], 3), (&all[1..2], 1), (&all[..2], 0), (&all[1..], 4), (&all[..0], 0)] {
        let mut case = Case::new(rules.clone());
        let score = case.score(&zone(&all, listing));
        assert_eq!((score.total(), case.checks.drops(&score).is_some()), (total, total == 4), "{listing:?}");
        let ruling = case.judge(&zone(&all, listing), &client);
        if total < 3 {
            assert_eq!(Ruling { score: None, ..ruling }, fine, "{listing:?}");
            continue;
        }
        let Some(Refusal::Listed(Some(place))) = ruling.refusal else { panic!("{ruling:?}") };
        assert_eq!(&*case.checks.words()[place], "The client is listed by List bad.test");
        let mut case = Case::new(CheckRules { score_warns: true, ..rules.clone() });
        let ruling = case.judge(&zone(&all, listing), &client);
        assert_eq!((ruling.refusal, ruling.warnings), (None, vec![Refusal::Listed(Some(place))]));
        assert_eq!(case.checks.drops(&score), None);
    }
}

#[test]
fn a_list_that_fails_its_test_entries_counts_nothing_and_is_told_of_once() {
    let rules = CheckRules {
        lists: vec![list("bad.test", 3)],
        thresholds: Thresholds { refuse: Some(1), drop: None },
        ..CheckRules::default()
    };
    let everybody = zone(&["bad.test"], &["bad.test"]).with(a("1.0.0.127.bad.test"), addresses(2));
    let nobody = zone(&[], &["bad.test"]);
    let quota = zone(&["bad.test"], &[]).with(a("1.2.0.192.bad.test"), addresses(255));
    let odd = ListFault::Odd([127, 0, 0, 255].into());
    let failed = Answer::Failed(Failure::TimedOut);
    let silent = zone(&[], &["bad.test"]).with(a("1.0.0.127.bad.test"), failed);
    for (zone_, fault) in [
        (everybody, ListFault::ListsEverybody),
        (nobody, ListFault::ListsNobody),
        (quota, odd),
        (silent, ListFault::Silent(Failure::TimedOut)),
    ] {
        let mut case = Case::new(rules.clone());
        assert_eq!(case.score(&zone_).total(), 0);
        assert_eq!(case.score(&zone_).total(), 0);
        let expected = News { list: "List bad.test".into(), fault: Some(fault) };
        assert_eq!(case.news, [expected]);
        assert_eq!(case.checks.lists().collect::<Vec<_>>(), [("List bad.test", false)]);
        // It is right again, and that is seen after a minute, by the first client.
        let right = zone(&["bad.test"], &["bad.test"]);
        assert_eq!(case.score(&right).total(), 0);
        case.now += Duration::from_secs(61);
        assert_eq!(case.score(&right).total(), 3);
        assert_eq!(case.news.pop().map(|news| news.fault), Some(None));
    }
}

#[test]
fn a_list_that_is_wrong_about_clients_only_is_left_alone_for_longer_each_time_and_told_of_once() {
    let mut case = Case::new(CheckRules { lists: vec![list("bad.test", 3)], ..CheckRules::default() });
    let odd = zone(&["bad.test"], &[]).with(a("1.2.0.192.bad.test"), addresses(255));
    let is_used = |case: &Case| case.checks.lists().any(|(_, is_used)| is_used);
    let mut minutes = 1;
    for _ in 0..7 {
        assert_eq!(case.score(&odd).total(), 0);
        assert!(!is_used(&case));
        case.now += Duration::from_secs(60 * minutes - 1);
        let right = zone(&["bad.test"], &["bad.test"]);
        assert_eq!(case.score(&right).total(), 0, "{minutes} minutes");
        case.now += Duration::from_secs(2);
        minutes = (2 * minutes).min(60);
    }
    let is_told = |news: &News| news.fault.is_some();
    assert_eq!(case.news.drain(..).map(|news| is_told(&news)).collect::<Vec<_>>(), [true]);
    // Its test entries were right all the time; now it is about clients, too.
    assert_eq!(case.score(&zone(&["bad.test"], &["bad.test"])).total(), 3);
    assert_eq!(case.news.drain(..).map(|news| is_told(&news)).collect::<Vec<_>>(), [false]);
    assert!(is_used(&case));
    // A list that was right for an hour is given a minute again.
    case.now += Duration::from_secs(3601);
    assert_eq!(case.score(&odd).total(), 0);
    case.now += Duration::from_secs(61);
    assert_eq!(case.score(&zone(&["bad.test"], &["bad.test"])).total(), 3);
}

#[test]
fn a_question_that_was_not_sent_does_not_switch_a_list_off() {
    let mut case = Case::new(CheckRules { lists: vec![list("bad.test", 3)], ..CheckRules::default() });
    let overload = || Answer::Failed(Failure::Overload);
    let busy = zone(&[], &[])
        .with(a("2.0.0.127.bad.test"), overload())
        .with(a("1.0.0.127.bad.test"), overload())
        .with(a("1.2.0.192.bad.test"), overload());
    assert_eq!(case.score(&busy).total(), 0);
    assert!(case.news.is_empty());
    assert_eq!(case.score(&zone(&["bad.test"], &["bad.test"])).total(), 3);
}

#[test]
fn access_rules_come_before_all_other_checks_and_ask_nobody() {
    let rules = CheckRules {
        access: vec![
            rule("192.0.2.0/24", &["friend.test"], Action::Trust, None),
            rule("192.0.2.0/24", &["tried.test"], Action::Warn, Some("warned")),
            rule("192.0.2.0/25", &["foe.test"], Action::Drop, Some("Go away")),
            rule("198.51.100.0/24", &[], Action::Drop, None),
            rule("203.0.113.0/24", &[], Action::Trust, None),
        ],
        lists: vec![list("bad.test", 3)],
        thresholds: Thresholds { refuse: Some(3), drop: None },
        greeting_delay: Duration::from_secs(3),
        ..CheckRules::default()
    };
    let mut case = Case::new(rules);
    let listed = zone(&["bad.test"], &["bad.test"]);
    let trusted = case.judge(&listed, &subject("Friend.TEST.", "a@x.test"));
    assert_eq!((trusted.trusts_client, trusted.refusal), (true, None));
    let Some(Refusal::Rule(Some(place))) = case.judge(&listed, &subject("foe.test", "")).refusal else {
        panic!("it is refused by the rule")
    };
    assert_eq!(&*case.checks.words()[place], "Go away");
    let warned = case.judge(&listed, &subject("tried.test", "a@x.test"));
    assert!(matches!(warned.refusal, Some(Refusal::Listed(_))) && warned.warnings.len() == 1, "{warned:?}");
    let enter = |client: &str| case.checks.enter(client.parse().expect("an address"));
    assert_eq!(enter(CLIENT), Entry::Served);
    assert_eq!(enter("198.51.100.9"), Entry::Refused(Refusal::Rule(None)));
    assert_eq!(enter("203.0.113.9"), Entry::Trusted);
    let delays = [false, true].map(|is_proven| case.checks.greeting_delay(is_proven));
    assert_eq!(delays, [Duration::from_secs(3), Duration::ZERO]);
}

#[test]
fn a_sender_without_a_domain_or_a_client_without_a_name_is_refused_where_that_is_wanted() {
    let sender = Question::new(Kind::Mx, name("x.test"));
    let null_mx = || Answer::Records(Records::Mx(vec![(0, None)]));
    let pointer = Question::new(Kind::Ptr, Name::reverse(CLIENT.parse().expect("an address")));
    let named = Zone::default()
        .with(pointer.clone(), Answer::Records(Records::Ptr(vec![name("mx.test")])))
        .with(a("mx.test"), Answer::Records(Records::A(vec![[192, 0, 2, 1].into()])));
    let failed =
        |question: &Question| Zone::default().with(question.clone(), Answer::Failed(Failure::Server));
    let by_domain = |use_| CheckRules { sender_domain: use_, ..CheckRules::default() };
    let by_name = |use_| CheckRules { reverse_dns: use_, ..CheckRules::default() };
    let refuse = by_domain(SenderDomainUse::Refuse);
    let cases = [
        (refuse.clone(), Zone::default(), "a@x.test", Some(Refusal::NoSenderDomain)),
        (
            refuse.clone(),
            Zone::default().with(sender.clone(), null_mx()),
            "a@x.test",
            Some(Refusal::SenderTakesNoMail),
        ),
        (refuse.clone(), Zone::default().with(sender.clone(), Answer::NoRecords), "a@x.test", None),
        (refuse.clone(), failed(&sender), "a@x.test", None),
        (refuse.clone(), Zone::default(), "", None),
        (refuse, Zone::default(), "a@[192.0.2.1]", None),
        (by_domain(SenderDomainUse::Warn), Zone::default(), "a@x.test", None),
        (by_name(ReverseDnsUse::Refuse), Zone::default(), "", Some(Refusal::NoReverseName)),
        (by_name(ReverseDnsUse::Refuse), failed(&pointer), "", Some(Refusal::ReverseNameUnknown)),
        (by_name(ReverseDnsUse::Refuse), named, "", None),
        (by_name(ReverseDnsUse::Mark), Zone::default(), "", None),
    ];
    for (number, (rules, zone, reverse_path, expected)) in cases.into_iter().enumerate() {
        let ruling = Case::new(rules).judge(&zone, &subject("x", reverse_path));
        assert_eq!(ruling.refusal, expected, "case {number}");
    }
    let warned = |rules| Case::new(rules).judge(&Zone::default(), &subject("x", "a@x.test")).warnings;
    assert_eq!(warned(by_domain(SenderDomainUse::Warn)), [Refusal::NoSenderDomain]);
    assert_eq!(warned(by_name(ReverseDnsUse::Warn)), [Refusal::NoReverseName]);
}

#[test]
fn only_clients_that_are_not_known_are_greylisted_under_the_domain_that_vouches_for_them() {
    let spf = |text: &str| {
        let question = Question::new(Kind::Txt, name("x.test"));
        let text = Answer::Records(Records::Txt(vec![text.as_bytes().into()]));
        zone(&["bad.test"], &["bad.test"]).with(question, text)
    };
    let rules = CheckRules {
        lists: vec![list("bad.test", 1)],
        greylisting: Greylisting::Suspicious,
        ..CheckRules::default()
    };
    let judge = |zone: &Zone, subject: &Subject<'_>| Case::new(rules.clone()).judge(zone, subject).greylist;
    let client = CLIENT.parse().expect("an address");
    let pass = spf("v=spf1 ip4:192.0.2.0/24 -all");
    assert_eq!(judge(&pass, &subject("x", "a@X.test")), Some(Origin::Domain((*b"x.test").into())));
    assert_eq!(judge(&spf("v=spf1 -all"), &subject("x", "a@x.test")), Some(Origin::Client(client)));
    assert_eq!(judge(&pass, &subject("x", "")), Some(Origin::Client(client)), "at the end of the mail data");
    let of_helo = Some(Origin::Domain((*b"x.test").into()));
    assert_eq!(judge(&pass, &subject("X.test", "")), of_helo, "RFC 7208 §2.4");
    assert_eq!(judge(&pass, &Subject { is_proven: true, ..subject("x", "a@x.test") }), None);
    assert_eq!(
        judge(&zone(&["bad.test"], &[]), &subject("x", "a@x.test")),
        None,
        "nothing speaks against it"
    );
}
