//! Where the mail of a domain goes by its MX records (RFC 5321 §5.1, RFC 7505): the rules, over answers of
//! the DNS. No socket and no clock.

use std::net::IpAddr;
use std::sync::Arc;

use super::sought::{Exchanger, Found};
use crate::dns::{Answer, Asking, Failure, Kind, Name, Question, Records};

/// Exchangers of a domain whose addresses are asked for, the best ones.
const EXCHANGERS_MAX: usize = 5;

/// Addresses of an exchanger that are tried, of IPv6 and of IPv4 each.
const ADDRESSES_MAX: usize = 2;

/// Questions that one search has out at most.
pub const QUESTIONS_MAX: usize = 2 * EXCHANGERS_MAX;

/// The servers of a domain, the best first, as far as answers are there; why there are none now. None as long
/// as answers are missing.
///
/// `ours` is our own name: it and what is no better than it is left out. `lot` puts exchangers of the same
/// preference into an order.
pub fn find(
    domain: &Name,
    ours: Option<&Name>,
    lot: impl Fn(&Name) -> u64,
    asking: &mut Asking<'_>,
) -> Option<Result<Found, String>> {
    let answer = asking.ask(&Question::new(Kind::Mx, domain.clone()))?;
    let mut all = match &*answer {
        Answer::Records(Records::Mx(all)) => {
            let named = all.iter().filter_map(|(preference, name)| Some((*preference, name.as_ref()?)));
            let named: Vec<(u16, &Name)> = named.collect();
            if named.is_empty() {
                return Some(Ok(Found::NoMail(format!("5.1.10 {domain} takes no mail (null MX)"))));
            }
            named
        }
        // The domain itself, as if it had an MX record of its own.
        Answer::NoRecords | Answer::Records(_) => vec![(0, domain)],
        // An operator has named it: this is somebody's mistake of today, as a zone that is gone for an hour
        // or a name server that does not know it, and no mail is given up for it.
        Answer::NoName => return Some(Err(format!("there is no domain {domain} in the DNS"))),
        Answer::Failed(failure) => {
            return Some(Err(format!("the MX of {domain} cannot be found: {}", why(*failure))));
        }
    };
    let is_ours = |name: &Name| ours == Some(name);
    if let Some(limit) = all.iter().filter(|(_, name)| is_ours(name)).map(|(preference, _)| *preference).min()
    {
        all.retain(|(preference, _)| *preference < limit);
        if all.is_empty() {
            return Some(Err(format!("mail loop: the best MX of {domain} is this server")));
        }
    }
    all.sort_by_cached_key(|(preference, name)| (*preference, lot(name)));
    let mut names: Vec<(u16, &Name)> = Vec::new();
    for (preference, name) in all {
        if names.len() < EXCHANGERS_MAX && names.iter().all(|(_, known)| *known != name) {
            names.push((preference, name));
        }
    }
    addresses(domain, &names, matches!(*answer, Answer::NoRecords), asking)
}

/// The addresses of these exchangers, in their order.
fn addresses(
    domain: &Name,
    names: &[(u16, &Name)],
    is_implicit: bool,
    asking: &mut Asking<'_>,
) -> Option<Result<Found, String>> {
    let mut answers = Vec::new();
    // All are asked for at once.
    for (preference, name) in names {
        let mut ask = |kind| asking.ask(&Question::new(kind, (*name).clone()));
        answers.push(((*preference, name), ask(Kind::Aaaa), ask(Kind::A)));
    }
    let mut servers = Vec::new();
    let mut failed = None;
    for ((preference, name), v6, v4) in answers {
        let (v6, v4) = (v6?, v4?);
        for answer in [&v6, &v4] {
            if let Answer::Failed(failure) = **answer {
                failed = Some(failure);
            }
        }
        let v6 = v6.v6().iter().copied().take(ADDRESSES_MAX).map(IpAddr::V6);
        let v4 = v4.v4().iter().copied().take(ADDRESSES_MAX).map(IpAddr::V4);
        let name: Arc<str> = name.to_string().into();
        let server = |address| Exchanger { name: Arc::clone(&name), address, preference };
        servers.extend(v6.chain(v4).map(server));
    }
    if !servers.is_empty() {
        return Some(Ok(Found::Exchangers(servers)));
    }
    match failed {
        Some(failure) => Some(Err(format!("no address of an MX of {domain} can be found: {}", why(failure)))),
        None if is_implicit => Some(Err(format!("{domain} has neither an MX nor an address"))),
        None => Some(Err(format!("no MX of {domain} has an address"))),
    }
}

fn why(failure: Failure) -> &'static str {
    match failure {
        Failure::Server => "the name server failed",
        Failure::TimedOut => "the name servers do not answer",
        Failure::Unusable => "the answer is unusable",
        Failure::Overload => "too many questions are under way",
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::dns::asking::tests::Zone;

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).expect("a name")
    }

    fn v4(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    fn mx(all: &[(u16, &str)]) -> Answer {
        let record = |(preference, text): &(u16, &str)| (*preference, Name::new(text.as_bytes()));
        Answer::Records(Records::Mx(all.iter().map(record).collect()))
    }

    /// A zone with these exchangers of x.test; `aN.test` has the address N.
    fn zone(answer: Answer) -> Zone {
        (1..10).fold(Zone::default().with(Question::new(Kind::Mx, name("x.test")), answer), |zone, last| {
            let question = Question::new(Kind::A, name(&format!("a{last}.test")));
            zone.with(question, Answer::Records(Records::A(vec![v4(last)])))
        })
    }

    /// What is found; of servers the names, of all else the text.
    fn found(zone: &Zone, lot: impl Fn(&Name) -> u64) -> String {
        let ours = name("mx.our.test");
        match zone.run(|asking| find(&name("x.test"), Some(&ours), &lot, asking)).0 {
            Some(Ok(Found::Exchangers(all))) => {
                let all: Vec<String> = all.iter().map(|one| one.name.to_string()).collect();
                all.join(" ")
            }
            Some(Ok(Found::NoMail(why))) => format!("dead: {why}"),
            Some(Ok(Found::Addresses(_))) => panic!("nobody asked for that"),
            Some(Err(why)) => format!("later: {why}"),
            None => panic!("it gives nothing although all is answered"),
        }
    }

    #[test]
    fn exchangers_come_in_the_order_of_their_preference() {
        let all = mx(&[(30, "a1.test"), (10, "a2.test"), (20, "a3.test"), (40, "a2.test")]);
        assert_eq!(found(&zone(all), |_| 7), "a2.test a3.test a1.test");
        let equal = mx(&[(10, "a1.test"), (10, "a2.test"), (5, "a3.test")]);
        let by_number = |name: &Name| u64::from(name.octets()[1]);
        assert_eq!(found(&zone(equal.clone()), by_number), "a3.test a1.test a2.test");
        assert_eq!(found(&zone(equal), |name| !by_number(name)), "a3.test a2.test a1.test");
        let many: Vec<(u16, String)> = (1..10).map(|last| (last, format!("a{last}.test"))).collect();
        let many: Vec<(u16, &str)> = many.iter().map(|(last, text)| (*last, text.as_str())).collect();
        assert_eq!(found(&zone(mx(&many)), |_| 7), "a1.test a2.test a3.test a4.test a5.test");
    }

    #[test]
    fn we_and_what_is_no_better_are_left_out() {
        let all = mx(&[(10, "a1.test"), (20, "MX.our.test"), (20, "a2.test"), (30, "a3.test")]);
        assert_eq!(found(&zone(all), |_| 7), "a1.test");
        for best in [mx(&[(10, "mx.our.test"), (10, "a1.test"), (20, "a2.test")]), mx(&[(0, "mx.our.test")])]
        {
            assert_eq!(found(&zone(best), |_| 7), "later: mail loop: the best MX of x.test is this server");
        }
        let ours = name("x.test");
        let implicit = zone(Answer::NoRecords);
        let (found, _) = implicit.run(|asking| find(&name("x.test"), Some(&ours), |_| 7, asking));
        assert!(found.is_some_and(|found| found.is_err_and(|why| why.starts_with("mail loop"))));
    }

    #[test]
    fn a_null_mx_takes_no_mail_and_beside_others_it_is_nothing() {
        assert_eq!(
            found(&zone(mx(&[(0, "")])), |_| 7),
            "dead: 5.1.10 x.test takes no mail (null MX)",
            "and its address is not looked at"
        );
        assert_eq!(found(&zone(mx(&[(0, ""), (10, "a1.test")])), |_| 7), "a1.test");
    }

    #[test]
    fn a_domain_without_an_mx_is_its_own() {
        let address = Answer::Records(Records::A(vec![v4(99)]));
        let of_itself = |answer| Zone::default().with(Question::new(Kind::A, name("x.test")), answer);
        let question = || Question::new(Kind::Mx, name("x.test"));
        assert_eq!(found(&of_itself(address.clone()).with(question(), Answer::NoRecords), |_| 7), "x.test");
        // Not where there is an MX, though none that can be used.
        assert_eq!(
            found(&of_itself(address).with(question(), mx(&[(10, "none.test")])), |_| 7),
            "later: no MX of x.test has an address"
        );
        assert_eq!(
            found(&of_itself(Answer::NoRecords).with(question(), Answer::NoRecords), |_| 7),
            "later: x.test has neither an MX nor an address"
        );
        let failed = || Answer::Failed(Failure::TimedOut);
        assert_eq!(
            found(&of_itself(failed()).with(question(), Answer::NoRecords), |_| 7),
            "later: no address of an MX of x.test can be found: the name servers do not answer"
        );
    }

    #[test]
    fn what_the_dns_does_not_know_or_say_is_not_final() {
        assert_eq!(found(&Zone::default(), |_| 7), "later: there is no domain x.test in the DNS");
        for (failure, text) in [
            (Failure::TimedOut, "the name servers do not answer"),
            (Failure::Server, "the name server failed"),
        ] {
            let text = format!("later: the MX of x.test cannot be found: {text}");
            assert_eq!(found(&zone(Answer::Failed(failure)), |_| 7), text);
        }
        // One exchanger of which nothing is known is no reason not to go to the other.
        let half = zone(mx(&[(10, "b.test"), (20, "a1.test")]))
            .with(Question::new(Kind::A, name("b.test")), Answer::Failed(Failure::Server));
        assert_eq!(found(&half, |_| 7), "a1.test");
    }

    #[test]
    fn ipv6_comes_first_and_all_addresses_are_asked_for_at_once() {
        let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        let zone = zone(mx(&[(10, "a1.test"), (20, "a2.test")])).with(
            Question::new(Kind::Aaaa, name("a1.test")),
            Answer::Records(Records::Aaaa((1..5).map(v6).collect())),
        );
        let mut most = 0;
        let (found, _) = zone.run_in_order(
            |count| {
                most = most.max(count);
                0
            },
            |asking| find(&name("x.test"), None, |_| 7, asking),
        );
        let Some(Ok(Found::Exchangers(all))) = found else { panic!("{found:?}") };
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            ["a1.test [2001:db8::1]", "a1.test [2001:db8::2]", "a1.test [192.0.2.1]", "a2.test [192.0.2.2]"]
        );
        assert_eq!(most, 4);
    }
}
