//! What a check asks: it looks for answers, and what is not known yet is noted.
//!
//! A check is a function that runs from its start each time, over the answers that are there. As long as it
//! gives none, whoever runs it asks all that was noted at once, and runs it again when answers came. What is
//! noted beside a result was asked ahead, and is not needed any more.

use std::sync::Arc;

use super::answer::Answer;
use super::question::Question;

/// One run of a check.
pub struct Asking<'a> {
    known: &'a mut dyn FnMut(&Question) -> Option<Arc<Answer>>,
    missing: Vec<Question>,
}

impl<'a> Asking<'a> {
    /// A run over what `known` gives.
    pub fn new(known: &'a mut dyn FnMut(&Question) -> Option<Arc<Answer>>) -> Self {
        Self { known, missing: Vec::new() }
    }

    /// The answer to a question; none as long as it is not known, which is noted.
    pub fn ask(&mut self, question: &Question) -> Option<Arc<Answer>> {
        let answer = (self.known)(question);
        if answer.is_none() && !self.missing.contains(question) {
            self.missing.push(question.clone());
        }
        answer
    }

    /// What was asked and is not known, in the order of the questions.
    pub fn missing(self) -> Vec<Question> {
        self.missing
    }

    /// Whether something is not known.
    pub fn misses_something(&self) -> bool {
        !self.missing.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Answers by hand.
    #[derive(Default)]
    pub(crate) struct Zone(HashMap<Question, Arc<Answer>>);

    impl Zone {
        pub(crate) fn with(mut self, question: Question, answer: Answer) -> Self {
            self.0.insert(question, Arc::new(answer));
            self
        }

        /// What it has; `NoName` where that is nothing.
        pub(crate) fn answer(&self, question: &Question) -> Arc<Answer> {
            self.0.get(question).cloned().unwrap_or_else(|| Arc::new(Answer::NoName))
        }

        /// The result of a check, once all that it asks is answered: with `NoName` where the zone has
        /// nothing. Answers come one at a time, the last asked first, and the check is run for each.
        pub(crate) fn run<T>(&self, check: impl FnMut(&mut Asking<'_>) -> T) -> (T, usize) {
            self.run_in_order(|count| count - 1, check)
        }

        /// The same, where `next` picks which of so many questions is answered.
        pub(crate) fn run_in_order<T>(
            &self,
            mut next: impl FnMut(usize) -> usize,
            mut check: impl FnMut(&mut Asking<'_>) -> T,
        ) -> (T, usize) {
            let (mut known, mut asked) = (HashMap::<Question, Arc<Answer>>::new(), 0);
            loop {
                let mut look = |question: &Question| known.get(question).cloned();
                let mut asking = Asking::new(&mut look);
                let result = check(&mut asking);
                let mut missing = asking.missing();
                if missing.is_empty() {
                    return (result, asked);
                }
                let question = missing.remove(next(missing.len()));
                asked += 1;
                assert!(asked < 1000, "a check that asks without an end");
                let answer = self.answer(&question);
                known.insert(question, answer);
            }
        }
    }
}
