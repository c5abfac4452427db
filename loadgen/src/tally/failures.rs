//! What went wrong in a run: unexpected replies, lost connections, waits that took too long. Each kind is
//! there once, with its count.

/// Kinds of failures that are kept; a server may say something else each time. Others are only counted.
const KINDS_MAX: usize = 32;

/// Kinds that a report shows.
pub const SHOWN_MAX: usize = 5;

/// Failures of a thread, or of a whole run.
#[derive(Debug, Default)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// In the order in which they came first. `kinds.len() <= KINDS_MAX`
    kinds: Vec<Kind>,
}

/// Failures with the same words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The words of the first one.
    pub words: String,
    /// How many. `count >= 1`
    pub count: u64,
    /// Other numbers, names or ids stood in the server's words at times.
    pub varies: bool,
}

impl Failures {
    /// Counts one.
    pub fn add(&mut self, words: impl FnOnce() -> String) {
        self.count += 1;
        self.put(Kind { words: words(), count: 1, varies: false });
    }

    /// Those that are known by their words, the most frequent first; of equals the one that came first.
    pub fn kinds(&self) -> Vec<&Kind> {
        let mut kinds: Vec<&Kind> = self.kinds.iter().collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        kinds
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for kind in &other.kinds {
            self.put(kind.clone());
        }
    }

    fn put(&mut self, new: Kind) {
        if let Some(known) = self.kinds.iter_mut().find(|known| alike(&known.words, &new.words)) {
            known.count += new.count;
            known.varies |= new.varies || known.words != new.words;
        } else if self.kinds.len() < KINDS_MAX {
            self.kinds.push(new);
        }
    }
}

/// Whether both say the same, except for words with digits in what the server said: queue ids, times to wait,
/// addresses. The reply code and the enhanced status code, which stand before that, have to be equal.
fn alike(one: &str, two: &str) -> bool {
    if one == two {
        return true;
    }
    let (Some((before_one, said_one)), Some((before_two, said_two))) =
        (one.split_once('"'), two.split_once('"'))
    else {
        return false;
    };
    let (mut words_one, mut words_two) = (said_one.split(' '), said_two.split(' '));
    if before_one != before_two || words_one.next() != words_two.next() {
        return false;
    }
    let has_digit = |word: &str| word.bytes().any(|octet| octet.is_ascii_digit());
    loop {
        match (words_one.next(), words_two.next()) {
            (None, None) => return true,
            (Some(one), Some(two)) if one == two || (has_digit(one) && has_digit(two)) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failures: &Failures) -> Vec<(u64, &str, bool)> {
        failures.kinds().into_iter().map(|kind| (kind.count, kind.words.as_str(), kind.varies)).collect()
    }

    #[test]
    fn equal_failures_are_counted_over_all_threads() {
        let mut whole = Failures::default();
        for thread in 0..3 {
            let mut failures = Failures::default();
            for number in 0..3 {
                failures.add(|| format!("thread {thread}"));
                failures.add(|| "connect: refused".to_owned());
                assert_eq!(failures.count, 2 * (number + 1));
            }
            whole.merge(&failures);
        }
        assert_eq!(whole.count, 18);
        let expected = [
            (9, "connect: refused", false),
            (3, "thread 0", false),
            (3, "thread 1", false),
            (3, "thread 2", false),
        ];
        assert_eq!(told(&whole), expected);
    }

    #[test]
    fn numbers_and_ids_make_no_other_failure_and_codes_do() {
        let mut failures = Failures::default();
        for number in 0..1000 {
            failures.add(|| format!("RCPT: reply 450 \"4.2.0 <r+{number}@x.test>: greylisted, {number} s\""));
            failures.add(|| format!("mail data: reply 451 \"4.3.0 id 4F{number:X}0: queue full\""));
        }
        failures.add(|| "RCPT: reply 451 \"4.2.0 <r+1@x.test>: greylisted, 1 s\"".to_owned());
        failures.add(|| "RCPT: reply 450 \"4.7.1 <r+1@x.test>: greylisted, 1 s\"".to_owned());
        failures.add(|| "DATA: reply 450 \"4.2.0 <r+1@x.test>: greylisted, 1 s\"".to_owned());
        failures.add(|| "RCPT: reply 450 \"4.2.0 <r+1@x.test>: greylisted, 1 s more\"".to_owned());
        failures.add(|| "RCPT: reply 450 \"4.2.0 somebody: greylisted, 1 s\"".to_owned());
        let counts: Vec<(u64, bool)> = told(&failures).iter().map(|kind| (kind.0, kind.2)).collect();
        let one = (1, false);
        assert_eq!(counts, [(1000, true), (1000, true), one, one, one, one, one]);
    }

    #[test]
    fn a_server_that_says_something_else_each_time_is_bounded() {
        let letters =
            |number: u32| number.to_string().bytes().map(|digit| char::from(digit + 49)).collect::<String>();
        let mut failures = Failures::default();
        for number in 0..10_000 {
            failures.add(|| format!("RCPT: reply 450 \"4.2.0 {}\"", letters(number)));
        }
        assert_eq!((failures.count, failures.kinds().len()), (10_000, KINDS_MAX));
    }
}
