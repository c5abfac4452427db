//! Whether the domain of a reverse-path can take an answer: one that does not exist, or says that it takes no
//! mail (a null MX, RFC 7505), cannot.

use crate::dns::{Answer, Asking, Kind, Name, Question, Records};

/// What is known of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderDomain {
    /// Nothing speaks against it.
    Fine,
    /// There is no such domain: `550 5.1.8`.
    Unknown,
    /// It takes no mail: `550 5.7.27` (RFC 7505 §4.2).
    TakesNoMail,
    /// It could not be found out.
    Failed,
}

/// What is known of this domain; none as long as the answer is not there.
pub fn look(domain: &Name, asking: &mut Asking<'_>) -> Option<SenderDomain> {
    let answer = asking.ask(&Question::new(Kind::Mx, domain.clone()))?;
    Some(match &*answer {
        Answer::NoName => SenderDomain::Unknown,
        Answer::Failed(_) => SenderDomain::Failed,
        // One null MX, and nothing beside it (§3).
        Answer::Records(Records::Mx(exchangers)) if matches!(exchangers.as_slice(), [(_, None)]) => {
            SenderDomain::TakesNoMail
        }
        Answer::Records(_) | Answer::NoRecords => SenderDomain::Fine,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Failure;
    use crate::dns::asking::tests::Zone;

    #[test]
    fn a_domain_that_can_take_no_answer_is_known() {
        let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
        let mx = |exchangers: Vec<(u16, Option<Name>)>| Answer::Records(Records::Mx(exchangers));
        for (answer, expected) in [
            (Answer::NoName, SenderDomain::Unknown),
            (Answer::NoRecords, SenderDomain::Fine),
            (Answer::Failed(Failure::TimedOut), SenderDomain::Failed),
            (mx(vec![(0, None)]), SenderDomain::TakesNoMail),
            (mx(vec![(10, None)]), SenderDomain::TakesNoMail),
            (mx(vec![(0, None), (10, Some(name("mx.test")))]), SenderDomain::Fine),
            (mx(vec![(10, Some(name("mx.test")))]), SenderDomain::Fine),
        ] {
            let zone = Zone::default().with(Question::new(Kind::Mx, name("x.test")), answer.clone());
            assert_eq!(zone.run(|asking| look(&name("x.test"), asking)).0, Some(expected), "{answer:?}");
        }
    }
}
