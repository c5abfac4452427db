//! The DNS for a command that may wait: a lookup thread of its own, and checks that run until their answers
//! are there. Nothing of this serves mail; a shard never waits (`src/shard/answers.rs`).

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::answer::{Answer, Failure};
use super::asking::Asking;
use super::lookup;
use super::question::Question;
use crate::handoff::channel::{Consumer, Receiver, Sender};
use crate::handoff::lookup::{Answered, Asked};

/// Questions on their way at a time; more have failed.
const QUESTIONS_MAX: usize = 1024;

/// A lookup thread and what it has answered. The thread ends when this is dropped.
#[derive(Debug)]
pub struct ByHand {
    consumer: Consumer,
    answered: Receiver<Answered>,
    /// To the lookup thread; none where nobody is asked.
    ask: Option<Sender<Asked>>,
    known: HashMap<Question, Arc<Answer>>,
    out: HashSet<Question>,
}

impl ByHand {
    /// A way to these name servers.
    pub fn start(servers: Vec<SocketAddr>) -> io::Result<Self> {
        let consumer = Consumer::new()?;
        let (to_us, answered) = consumer.channel(QUESTIONS_MAX);
        let thread = Consumer::new()?;
        let (ask, asked) = thread.channel(QUESTIONS_MAX);
        let run = move || {
            // What goes wrong there shows as questions without answers.
            let _ = lookup::run(&thread, &asked, vec![to_us], &servers, || {});
        };
        std::thread::Builder::new().name("ringmx-dns".to_owned()).spawn(run)?;
        Ok(Self::with(consumer, answered, Some(ask)))
    }

    /// A way to nobody: each question has failed at once ([`Failure::Overload`]), as on a server where
    /// nothing is configured that asks.
    pub fn that_asks_nobody() -> io::Result<Self> {
        let consumer = Consumer::new()?;
        let (_, answered) = consumer.channel(1);
        Ok(Self::with(consumer, answered, None))
    }

    fn with(consumer: Consumer, answered: Receiver<Answered>, ask: Option<Sender<Asked>>) -> Self {
        Self { consumer, answered, ask, known: HashMap::new(), out: HashSet::new() }
    }

    /// The result of a check. What it misses is asked, all at once, and the check is run again when something
    /// came home. At the deadline what is still missing has failed ([`Failure::TimedOut`]): no check waits
    /// for ever. None only where the check gives none although it misses nothing.
    pub fn run<T>(
        &mut self,
        deadline: Instant,
        mut check: impl FnMut(&mut Asking<'_>) -> Option<T>,
    ) -> Option<T> {
        loop {
            let mut known = |question: &Question| self.known.get(question).cloned();
            let mut asking = Asking::new(&mut known);
            if let Some(result) = check(&mut asking) {
                return Some(result);
            }
            let missing = asking.missing();
            let left = deadline.saturating_duration_since(Instant::now());
            if missing.is_empty() || left.is_zero() {
                return self.end(check);
            }
            // What cannot be asked has failed already: the check goes on with that.
            let mut waits = true;
            for question in missing {
                waits &= self.ask(question);
            }
            if waits {
                let answered = &self.answered;
                self.consumer.sleep(Some(left), || answered.is_empty());
            }
            while let Some(Answered { question, answer, .. }) = self.answered.next() {
                self.out.remove(&question);
                self.known.insert(question, answer);
            }
        }
    }

    /// Runs a check that waits for nothing more.
    fn end<T>(&self, check: impl FnOnce(&mut Asking<'_>) -> Option<T>) -> Option<T> {
        let mut known = |question: &Question| {
            let answer = self.known.get(question).cloned();
            Some(answer.unwrap_or_else(|| Arc::new(Answer::Failed(Failure::TimedOut))))
        };
        check(&mut Asking::new(&mut known))
    }

    /// Sends a question, unless it is out already. False where it cannot be sent, and has failed.
    fn ask(&mut self, question: Question) -> bool {
        if self.out.contains(&question) {
            return true;
        }
        let asked = Asked { shard: 0, question: question.clone() };
        if let Some(Ok(())) = self.ask.as_ref().map(|ask| ask.send_and_ring(asked)) {
            self.out.insert(question)
        } else {
            self.known.insert(question, Arc::new(Answer::Failed(Failure::Overload)));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Kind, Name};
    use std::time::Duration;

    fn question(name: &str) -> Question {
        Question::new(Kind::Txt, Name::new(name.as_bytes()).expect("a name"))
    }

    #[test]
    fn where_nobody_is_asked_each_question_has_failed_at_once() {
        let mut dns = ByHand::that_asks_nobody().expect("a bell");
        let far = Instant::now() + Duration::from_hours(1);
        let answers = dns.run(far, |asking| {
            let first = asking.ask(&question("a.test"))?;
            Some((first, asking.ask(&question("b.test"))?))
        });
        let failed = || Arc::new(Answer::Failed(Failure::Overload));
        assert_eq!(answers, Some((failed(), failed())));
    }

    #[test]
    fn at_the_deadline_what_is_missing_has_failed() {
        // Nobody listens there.
        let mut dns = ByHand::start(vec!["127.0.0.1:9".parse().expect("an address")]).expect("a thread");
        let answer = dns.run(Instant::now(), |asking| asking.ask(&question("a.test")));
        assert_eq!(answer, Some(Arc::new(Answer::Failed(Failure::TimedOut))));
    }
}
