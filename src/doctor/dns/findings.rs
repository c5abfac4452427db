//! What the checks of the DNS have in common: findings of several subjects, and what is said of all.

use super::super::finding::{Finding, Severity};
use crate::dns::Name;

/// What `check` gives of each; none where one of them gives none. All of them are run before: they ask.
pub(super) fn of_each<T, R>(items: &[T], check: impl FnMut(&T) -> Option<R>) -> Option<Vec<R>> {
    let told: Vec<Option<R>> = items.iter().map(check).collect();
    told.into_iter().collect()
}

/// Of findings about several subjects those that say the same are one.
pub(super) fn grouped(found: Vec<(String, Finding)>) -> Vec<Finding> {
    let mut groups: Vec<(String, Finding)> = Vec::new();
    for (subject, finding) in found {
        let same = groups.iter_mut().find(|(_, known)| {
            (known.severity, &known.value, &known.why) == (finding.severity, &finding.value, &finding.why)
        });
        match same {
            Some((subjects, known)) => {
                *subjects = format!("{subjects}, {subject}");
                known.cure.extend(finding.cure);
            }
            None => groups.push((subject, finding)),
        }
    }
    let with_subject = |(subjects, finding): (String, Finding)| {
        let value = format!("{subjects}: {}", finding.value);
        Finding { value, ..finding }
    };
    groups.into_iter().map(with_subject).collect()
}

/// That nobody says what is to be known.
pub(super) fn unanswered(name: &Name) -> Finding {
    Finding::new(
        Severity::Hint,
        format!("no answer for {name}"),
        "It could not be found out: a name server of that domain, or the one that we ask, fails.",
    )
}

/// A line for the zone, which is somebody else's to change.
pub(super) fn zone_line(record: &str) -> String {
    format!("# in the zone: {record}")
}

/// Things with commas between them.
pub(super) fn listed<T: ToString>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_of_several_is_said_once() {
        let finding = |value: &str, cure: &str| Finding::new(Severity::Hint, value, "why").cure(cure);
        let found = [("a.test", "none", "1"), ("b.test", "other", "2"), ("c.test", "none", "3")];
        let found = found.map(|(subject, value, cure)| (subject.to_owned(), finding(value, cure)));
        let groups = grouped(found.into());
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].value, "a.test, c.test: none");
        assert_eq!(groups[0].cure, ["1", "3"]);
        assert_eq!(groups[1].value, "b.test: other");
    }
}
