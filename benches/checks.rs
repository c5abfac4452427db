//! What the checks of a client cost while the DNS has nothing new to say: ten lists whose answers are known,
//! an access list of 100,000 networks, the ruling of a transaction.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ringmx::dns::{Answer, Kind, Name, Question, Records};
use ringmx::front::access::{Action, Rule};
use ringmx::front::checks::{CheckRules, Checks, Subject};
use ringmx::front::dnsbl::{AnswerRange, Families, List};
use ringmx::front::networks::Networks;
use ringmx::front::score::Thresholds;
use ringmx::handoff::lookup::Answered;
use ringmx::mail::domain::DomainPatterns;
use ringmx::mail::network::Network;
use ringmx::shard::answers::{Answers, Checked};

const LISTS: usize = 10;

/// Clients whose answers are known.
const CLIENTS: u32 = 1000;

fn zone(number: usize) -> Name {
    Name::new(format!("list{number}.dnsbl.example").as_bytes()).expect("a name")
}

fn client(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0xc633_0000 + number))
}

fn rules() -> CheckRules {
    let list = |number| List {
        zone: zone(number),
        answers: vec![AnswerRange::DEFAULT],
        weight: 1,
        name: format!("List {number}").into(),
        families: Families::Both,
    };
    CheckRules {
        lists: (0..LISTS).map(list).collect(),
        thresholds: Thresholds { refuse: Some(3), drop: None },
        ..CheckRules::default()
    }
}

/// Answers of lists that work and list none of the clients.
fn answers(now: Instant) -> Answers {
    let mut answers = Answers::new(0, None, Arc::default());
    let mut arrive = |name: Name, answer: Answer| {
        let (question, answer) = (Question::new(Kind::A, name), Arc::new(answer));
        answers.handle_answer(Answered { question, answer, lifetime: Duration::from_hours(1) }, now);
    };
    for number in 0..LISTS {
        let entry = |last| Name::in_list([127, 0, 0, last].into(), &zone(number)).expect("a name");
        arrive(entry(2), Answer::Records(Records::A(vec![Ipv4Addr::new(127, 0, 0, 2)])));
        arrive(entry(1), Answer::NoName);
        for one in 0..CLIENTS {
            arrive(Name::in_list(client(one), &zone(number)).expect("a name"), Answer::NoName);
        }
    }
    answers
}

fn checks(criterion: &mut Criterion) {
    let now = Instant::now();
    let (checks, mut answers) = (Checks::new(rules(), now), answers(now));
    let mut number = 0;
    let mut next = move || {
        number = (number + 7) % CLIENTS;
        client(number)
    };
    let mut group = criterion.benchmark_group("checks of a client");
    group.bench_function("ten lists whose answers are known", |bench| {
        bench.iter(|| {
            let (client, mut news) = (next(), Vec::new());
            let (checked, _) =
                answers.run_check(1, now, |asking| checks.score(client, asking, now, &mut news));
            assert!(matches!(checked, Checked::Done(_)));
        });
    });
    let score = answers.run_check(1, now, |asking| checks.score(client(1), asking, now, &mut Vec::new())).0;
    let Checked::Done(score) = score else { panic!("all is known") };
    let subject = Subject {
        client: client(1),
        asked_as: client(1),
        is_proven: false,
        ehlo: b"mx.client.example",
        reverse_path: b"a@client.example",
    };
    group.bench_function("the ruling of a transaction, score known", |bench| {
        bench.iter(|| {
            let mut news = Vec::new();
            let judge = |asking: &mut ringmx::dns::Asking<'_>| {
                checks.judge(black_box(&subject), Some(&score), asking, now, &mut news)
            };
            black_box(answers.run_check(1, now, judge))
        });
    });
    let networks = (0..100_000_u32).map(|number| {
        let first = Ipv4Addr::from_bits(0x0100_0000 + number * 1024);
        Network::parse(&format!("{first}/24")).expect("a network")
    });
    let rule = Rule {
        networks: Some(Arc::new(Networks::new(networks))),
        ehlo: DomainPatterns::default(),
        reverse_path: DomainPatterns::default(),
        action: Action::Refuse,
        text: None,
    };
    let access = Checks::new(CheckRules { access: vec![rule], ..CheckRules::default() }, now);
    let mut state = 1_u32;
    group.bench_function("an access list of 100,000 networks", |bench| {
        bench.iter(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            black_box(access.enter(IpAddr::V4(Ipv4Addr::from_bits(state))))
        });
    });
    group.finish();
}

criterion_group!(benches, checks);
criterion_main!(benches);
