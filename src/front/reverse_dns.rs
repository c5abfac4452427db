//! The name of a client by its address: one that PTR records give and that leads back to the address (RFC
//! 8601 §2.7.3).

use std::net::IpAddr;

use crate::dns::{Answer, Asking, Kind, Name, Question};

/// PTR records that are followed; who has more has them to make work.
const NAMES_MAX: usize = 5;

/// What is known of a client's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReverseDns {
    /// This name leads back to the address.
    Confirmed(Name),
    /// There is no name, or none leads back.
    None,
    /// It could not be found out.
    Failed,
}

impl ReverseDns {
    /// The confirmed name, if it may stand in a header field: its owner chose it, and it has letters, digits,
    /// hyphens, underscores and dots only.
    pub fn plain_name(&self) -> Option<&Name> {
        let Self::Confirmed(name) = self else { return None };
        let fits = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
        Some(name).filter(|name| name.octets().iter().all(fits))
    }
}

/// The name of this client; none as long as an answer is not there.
pub fn look(client: IpAddr, asking: &mut Asking<'_>) -> Option<ReverseDns> {
    let names = asking.ask(&Question::new(Kind::Ptr, Name::reverse(client)))?;
    let names = match &*names {
        Answer::Records(crate::dns::Records::Ptr(names)) => names.iter().take(NAMES_MAX).cloned().collect(),
        Answer::Failed(_) => return Some(ReverseDns::Failed),
        Answer::Records(_) | Answer::NoRecords | Answer::NoName => Vec::new(),
    };
    let kind = if client.to_canonical().is_ipv4() { Kind::A } else { Kind::Aaaa };
    // All are asked for at once.
    let answers: Vec<_> = names.iter().map(|name| asking.ask(&Question::new(kind, name.clone()))).collect();
    let mut failed = false;
    for (name, answer) in names.iter().zip(answers) {
        let answer = answer?;
        failed |= matches!(*answer, Answer::Failed(_));
        if holds(&answer, client) {
            return Some(ReverseDns::Confirmed(name.clone()));
        }
    }
    Some(if failed { ReverseDns::Failed } else { ReverseDns::None })
}

fn holds(answer: &Answer, client: IpAddr) -> bool {
    match client.to_canonical() {
        IpAddr::V4(client) => answer.v4().contains(&client),
        IpAddr::V6(client) => answer.v6().contains(&client),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::asking::tests::Zone;
    use crate::dns::{Failure, Records};

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).expect("a name")
    }

    fn pointers(client: &str, names: &[&str]) -> Zone {
        let question = Question::new(Kind::Ptr, Name::reverse(client.parse().expect("an address")));
        Zone::default()
            .with(question, Answer::Records(Records::Ptr(names.iter().map(|text| name(text)).collect())))
    }

    fn a(zone: Zone, text: &str, address: [u8; 4]) -> Zone {
        zone.with(Question::new(Kind::A, name(text)), Answer::Records(Records::A(vec![address.into()])))
    }

    fn of(zone: &Zone, client: &str) -> ReverseDns {
        zone.run(|asking| look(client.parse().expect("an address"), asking)).0.expect("all is answered")
    }

    #[test]
    fn a_name_that_leads_back_is_the_clients() {
        let zone = a(pointers("192.0.2.1", &["liar.test", "mx.test"]), "mx.test", [192, 0, 2, 1]);
        let zone = a(zone, "liar.test", [198, 51, 100, 1]);
        assert_eq!(of(&zone, "192.0.2.1"), ReverseDns::Confirmed(name("mx.test")));
        assert_eq!(of(&zone, "::ffff:192.0.2.1"), ReverseDns::Confirmed(name("mx.test")));
        assert_eq!(of(&zone, "192.0.2.2"), ReverseDns::None);
    }

    #[test]
    fn an_ipv6_client_is_led_back_to_by_ipv6() {
        let address = "2001:db8::1".parse().expect("an address");
        let zone = a(pointers("2001:db8::1", &["mx.test"]), "mx.test", [192, 0, 2, 1]);
        assert_eq!(of(&zone, "2001:db8::1"), ReverseDns::None);
        let answer = Answer::Records(Records::Aaaa(vec![address]));
        let zone = zone.with(Question::new(Kind::Aaaa, name("mx.test")), answer);
        assert_eq!(of(&zone, "2001:db8::1"), ReverseDns::Confirmed(name("mx.test")));
    }

    #[test]
    fn a_failure_is_no_proof_that_there_is_no_name() {
        let failed = || Answer::Failed(Failure::Server);
        let zone =
            pointers("192.0.2.1", &["mx.test"]).with(Question::new(Kind::A, name("mx.test")), failed());
        assert_eq!(of(&zone, "192.0.2.1"), ReverseDns::Failed);
        let question = Question::new(Kind::Ptr, Name::reverse([192, 0, 2, 1].into()));
        assert_eq!(of(&Zone::default().with(question, failed()), "192.0.2.1"), ReverseDns::Failed);
    }

    #[test]
    fn no_more_than_a_few_names_are_followed() {
        let names: Vec<String> = (0..100).map(|number| format!("n{number}.test")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let zone = pointers("192.0.2.1", &names);
        let (_, asked) = zone.run(|asking| look([192, 0, 2, 1].into(), asking));
        assert_eq!(asked, 1 + NAMES_MAX);
    }
}
