//! Lists of addresses in the DNS (RFC 5782), of bad clients and of good ones.
//!
//! A list answers with addresses of 127.0.0.0/8. What is outside of that, and the answers by which lists say
//! that they are not willing to answer (127.255.255.0/24, and 127.0.0.1, which no list may use), are faults
//! of the list and list nobody: a list whose domain was sold lists the whole world, and one that is over its
//! quota must not refuse all mail. Such a list is switched off until it answers to its test entries as it
//! should.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dns::{Answer, Asking, Failure, Kind, Name, Question};

/// One list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Where it is asked.
    pub zone: Name,
    /// Which answers count.
    pub answers: Vec<AnswerRange>,
    /// What a listing adds to the score; negative for a list of good clients.
    pub weight: i32,
    /// What replies and logs show. A zone may hold a customer's key.
    pub name: Box<str>,
    /// Which clients it knows.
    pub families: Families,
}

/// Which clients a list knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// Clients over IPv4 and IPv6.
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Answers of a list: a range for each octet, or addresses from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerRange {
    /// `127.0.0-255.1-3`: each octet from here to there.
    Octets([(u8, u8); 4]),
    /// `127.0.0.2-127.0.0.254`.
    Addresses(Ipv4Addr, Ipv4Addr),
}

/// What a list says of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// It is listed.
    Listed,
    /// It is not, or not so that it counts.
    NotListed,
    /// It could not be found out; the list counts nothing for this client.
    Failed(Failure),
    /// The answer is none that a list gives: the list is to be switched off.
    Broken(Ipv4Addr),
}

impl AnswerRange {
    /// What counts where nothing is configured: 127.0.0.2 to 127.0.0.254.
    pub const DEFAULT: Self = Self::Addresses(Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 254));

    /// Reads `127.0.0.2`, `127.0.0.2-11`, `127.0.0-255.1-3` or `127.0.0.2-127.0.0.254`. The error is for the
    /// operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no range of answers; write for example \"127.0.0.2\", \"127.0.0.2-11\" or \"127.0.0-255.1-3\""
            )
        };
        let addresses = text.split_once('-').map(|(first, last)| (first.parse(), last.parse()));
        let range = if let Some((Ok(first), Ok(last))) = addresses {
            Self::Addresses(first, last)
        } else {
            let octets: Option<Vec<_>> = text.split('.').map(octet_range).collect();
            Self::Octets(octets.and_then(|octets| octets.try_into().ok()).ok_or_else(wrong)?)
        };
        let (first, last) = range.ends();
        if first > last {
            return Err(format!("{text:?} ends before it begins"));
        }
        if [first, last].iter().any(|end| !end.is_loopback()) {
            return Err(format!("{text:?}: lists answer with addresses of 127.0.0.0/8"));
        }
        Ok(range)
    }

    fn ends(self) -> (Ipv4Addr, Ipv4Addr) {
        match self {
            Self::Octets(octets) => {
                (octets.map(|(first, _)| first).into(), octets.map(|(_, last)| last).into())
            }
            Self::Addresses(first, last) => (first, last),
        }
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        match self {
            Self::Octets(octets) => {
                let fits = |((first, last), octet): ((u8, u8), u8)| (first..=last).contains(&octet);
                octets.into_iter().zip(address.octets()).all(fits)
            }
            Self::Addresses(first, last) => (first..=last).contains(&address),
        }
    }
}

/// `7` or `1-3`.
fn octet_range(text: &str) -> Option<(u8, u8)> {
    let octet = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|octet| octet.is_ascii_digit()));
    match text.split_once('-') {
        Some((first, last)) => Some((octet(first)?, octet(last)?)).filter(|(first, last)| first <= last),
        None => octet(text).map(|octet| (octet, octet)),
    }
}

impl List {
    /// The question about a client; none where the list does not know its family, or the name is too long.
    pub fn question(&self, client: IpAddr) -> Option<Question> {
        let client = client.to_canonical();
        let knows = match self.families {
            Families::Both => true,
            Families::V4 => client.is_ipv4(),
            Families::V6 => client.is_ipv6(),
        };
        Name::in_list(client, &self.zone).filter(|_| knows).map(|name| Question::new(Kind::A, name))
    }

    /// What it says of a client; none as long as the answer is not there.
    pub fn look(&self, client: IpAddr, asking: &mut Asking<'_>) -> Option<Listing> {
        match self.question(client) {
            Some(question) => asking.ask(&question).map(|answer| self.read(&answer)),
            None => Some(Listing::NotListed),
        }
    }

    /// What an answer says.
    pub fn read(&self, answer: &Answer) -> Listing {
        match answer {
            Answer::NoName | Answer::NoRecords => Listing::NotListed,
            Answer::Failed(failure) => Listing::Failed(*failure),
            Answer::Records(_) => {
                if let Some(fault) = answer.v4().iter().find(|address| is_fault(**address)) {
                    return Listing::Broken(*fault);
                }
                let counts = |address: &Ipv4Addr| self.answers.iter().any(|range| range.contains(*address));
                if answer.v4().iter().any(counts) { Listing::Listed } else { Listing::NotListed }
            }
        }
    }

    /// The questions about its test entries: one that is listed, one that is not (RFC 5782 §5).
    pub fn test_questions(&self) -> Option<[Question; 2]> {
        let entries: [IpAddr; 2] = match self.families {
            Families::Both | Families::V4 => [Ipv4Addr::new(127, 0, 0, 2).into(), Ipv4Addr::LOCALHOST.into()],
            // ::ffff:7f00:2 and ::ffff:7f00:1, which are asked for as IPv6 addresses.
            Families::V6 => [test_entry_v6(2), test_entry_v6(1)],
        };
        let question = |entry| Some(Question::new(Kind::A, name_of_entry(entry, &self.zone)?));
        let [listed, unlisted] = entries.map(question);
        Some([listed?, unlisted?])
    }

    /// Whether the list works, by the answers about its test entries; the error says what is wrong with it.
    pub fn examine(listed: &Answer, unlisted: &Answer) -> Result<(), ListFault> {
        if let Some(fault) =
            [listed, unlisted].iter().flat_map(|answer| answer.v4()).find(|one| is_fault(**one))
        {
            return Err(ListFault::Odd(*fault));
        }
        match (listed, unlisted) {
            (Answer::Failed(failure), _) | (_, Answer::Failed(failure)) => Err(ListFault::Silent(*failure)),
            (_, Answer::Records(_)) => Err(ListFault::ListsEverybody),
            (Answer::NoName | Answer::NoRecords, _) => Err(ListFault::ListsNobody),
            (Answer::Records(_), Answer::NoName | Answer::NoRecords) => Ok(()),
        }
    }
}

fn test_entry_v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, last).into()
}

/// As [`Name::in_list`], but a mapped address stays an IPv6 address.
fn name_of_entry(entry: IpAddr, zone: &Name) -> Option<Name> {
    let IpAddr::V6(v6) = entry else { return Name::in_list(entry, zone) };
    let nibbles: Vec<String> =
        (0..32).map(|nibble| format!("{:x}", (v6.to_bits() >> (4 * nibble)) & 0xf)).collect();
    let mut text = nibbles.join(".").into_bytes();
    text.push(b'.');
    text.extend_from_slice(zone.octets());
    Name::new(&text)
}

/// Whether no list lists by this address.
fn is_fault(address: Ipv4Addr) -> bool {
    let [first, second, third, fourth] = address.octets();
    match (first, second, third, fourth) {
        (127, 255, 255, _) => true,
        (127, 0, 0, last) => last < 2 || last == 255,
        (127, ..) => false,
        _ => true,
    }
}

/// Why a list is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFault {
    /// Its test entry is not listed.
    ListsNobody,
    /// What must not be listed is.
    ListsEverybody,
    /// It answers with this address, which is no answer of a list.
    Odd(Ipv4Addr),
    /// It does not answer.
    Silent(Failure),
}

impl std::fmt::Display for ListFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ListsNobody => f.write_str(
                "its test entry 127.0.0.2 is not listed; does the resolver reach it, does it still exist?",
            ),
            Self::ListsEverybody => {
                f.write_str("it lists 127.0.0.1, which no list may; it probably exists no more")
            }
            Self::Odd(address) => write!(
                f,
                "it answers {address}, which is no answer of a list; does it refuse this resolver or its quota?"
            ),
            Self::Silent(Failure::TimedOut) => f.write_str("it does not answer in time"),
            Self::Silent(_) => f.write_str("it does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Records;
    use crate::dns::asking::tests::Zone;

    fn list() -> List {
        List {
            zone: Name::new(b"list.test").expect("a name"),
            answers: vec![AnswerRange::parse("127.0.0.2-11").expect("a range")],
            weight: 3,
            name: "Test list".into(),
            families: Families::Both,
        }
    }

    fn addresses(addresses: &[[u8; 4]]) -> Answer {
        Answer::Records(Records::A(addresses.iter().map(|octets| Ipv4Addr::from(*octets)).collect()))
    }

    #[test]
    fn each_of_several_answers_is_matched() {
        for (answer, expected) in [
            (addresses(&[[127, 0, 0, 2]]), Listing::Listed),
            (addresses(&[[127, 0, 0, 12], [127, 0, 0, 11]]), Listing::Listed),
            (addresses(&[[127, 0, 0, 12]]), Listing::NotListed),
            (addresses(&[[127, 0, 1, 2]]), Listing::NotListed),
            (Answer::NoName, Listing::NotListed),
            (Answer::NoRecords, Listing::NotListed),
            (Answer::Failed(Failure::TimedOut), Listing::Failed(Failure::TimedOut)),
        ] {
            assert_eq!(list().read(&answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn what_is_no_answer_of_a_list_lists_nobody() {
        for fault in [
            [127, 255, 255, 252],
            [127, 255, 255, 254],
            [127, 255, 255, 255],
            [127, 0, 0, 1],
            [127, 0, 0, 255],
            [127, 0, 0, 0],
            [192, 0, 2, 1],
            [10, 0, 0, 2],
            [0, 0, 0, 0],
            [128, 0, 0, 2],
        ] {
            let broken = Listing::Broken(fault.into());
            assert_eq!(list().read(&addresses(&[fault])), broken);
            assert_eq!(list().read(&addresses(&[[127, 0, 0, 2], fault])), broken, "beside a good one, too");
        }
    }

    #[test]
    fn a_client_is_asked_for_under_its_reversed_address() {
        let question = |families, client: &str| {
            let list = List { families, ..list() };
            list.question(client.parse().expect("an address")).map(|question| question.name.to_string())
        };
        assert_eq!(question(Families::Both, "192.0.2.1").as_deref(), Some("1.2.0.192.list.test"));
        assert_eq!(question(Families::V4, "::ffff:192.0.2.1").as_deref(), Some("1.2.0.192.list.test"));
        assert_eq!(question(Families::Both, "2001:db8::1").map(|name| name.matches('.').count()), Some(33));
        assert_eq!(question(Families::V4, "2001:db8::1"), None);
        assert_eq!(question(Families::V6, "192.0.2.1"), None);
    }

    #[test]
    fn a_list_is_asked_once_and_not_for_clients_that_it_does_not_know() {
        let client = "192.0.2.1".parse().expect("an address");
        let question = list().question(client).expect("a question");
        let zone = Zone::default().with(question, addresses(&[[127, 0, 0, 4]]));
        assert_eq!(zone.run(|asking| list().look(client, asking)), (Some(Listing::Listed), 1));
        let v6 = List { families: Families::V6, ..list() };
        assert_eq!(zone.run(|asking| v6.look(client, asking)), (Some(Listing::NotListed), 0));
    }

    #[test]
    fn the_test_entries_tell_whether_a_list_works() {
        let listed = addresses(&[[127, 0, 0, 2]]);
        let not = Answer::NoName;
        assert_eq!(List::examine(&listed, &not), Ok(()));
        assert_eq!(List::examine(&not, &not), Err(ListFault::ListsNobody));
        assert_eq!(List::examine(&listed, &listed), Err(ListFault::ListsEverybody));
        let parked = addresses(&[[198, 51, 100, 7]]);
        assert_eq!(List::examine(&parked, &parked), Err(ListFault::Odd([198, 51, 100, 7].into())));
        let quota = addresses(&[[127, 255, 255, 254]]);
        assert_eq!(List::examine(&quota, &not), Err(ListFault::Odd([127, 255, 255, 254].into())));
        let silent = Answer::Failed(Failure::TimedOut);
        assert_eq!(List::examine(&silent, &not), Err(ListFault::Silent(Failure::TimedOut)));
        let [listed, unlisted] = list().test_questions().expect("questions");
        assert_eq!(listed.name.to_string(), "2.0.0.127.list.test");
        assert_eq!(unlisted.name.to_string(), "1.0.0.127.list.test");
        let v6 = List { families: Families::V6, ..list() };
        let [listed, _] = v6.test_questions().expect("questions");
        assert!(listed.name.to_string().starts_with("2.0.0.0.0.0.f.7.f.f.f.f.0."), "{listed}");
    }

    #[test]
    fn ranges_are_read_as_lists_document_them() {
        let contains = |range: &str, octets: [u8; 4]| {
            AnswerRange::parse(range).expect("a range").contains(Ipv4Addr::from(octets))
        };
        assert!(contains("127.0.0.2-11", [127, 0, 0, 11]) && !contains("127.0.0.2-11", [127, 0, 0, 12]));
        assert!(
            contains("127.0.0-255.1-3", [127, 0, 15, 3]) && !contains("127.0.0-255.1-3", [127, 0, 15, 4])
        );
        assert!(contains("127.0.0.2-127.0.1.9", [127, 0, 0, 200]) && !contains("127.0.0.2", [127, 0, 0, 3]));
        assert!(AnswerRange::DEFAULT.contains([127, 0, 0, 254].into()));
        for bad in [
            "",
            "127.0.0",
            "127.0.0.2-",
            "127.0.0.11-2",
            "127.0.0.9-127.0.0.2",
            "10.0.0.2",
            "127.0.0.2.3",
            "127.0.0.+2",
            "x",
        ] {
            assert!(AnswerRange::parse(bad).is_err(), "{bad}");
        }
    }
}
