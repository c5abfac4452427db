//! Rules that do not hold everywhere yet: each exception has a bound that only falls, and goes when the rule
//! holds there.

use std::collections::BTreeMap;

/// Compares what was found with the rule and its exceptions; each is a place and a number.
///
/// A place over the rule needs an exception that allows as much. An exception that allows more than there is
/// has to be lowered, so that nothing grows back; a tenth more is left to small edits.
pub(super) fn hold(rule: &str, most: usize, exceptions: &[(&str, usize)], found: &BTreeMap<String, usize>) {
    let mut wrong = Vec::new();
    for (place, number) in found.iter().filter(|(_, number)| **number > most) {
        match exceptions.iter().find(|(name, _)| name == place) {
            None => wrong.push(format!("{place}: {number}, and at most {most} are allowed")),
            Some((_, bound)) if number > bound => {
                wrong.push(format!("{place}: {number}, which is more than the {bound} of its exception"));
            }
            Some(_) => println!("{rule}: {place} has {number}, not yet {most}"),
        }
    }
    for (place, bound) in exceptions {
        let number = found.get(*place).copied().unwrap_or(0);
        if number <= most {
            wrong.push(format!("{place}: the rule holds there now; take its exception away"));
        } else if number + bound / 10 < *bound {
            wrong.push(format!("{place}: its exception allows {bound} and there are {number}; lower it"));
        }
    }
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}
