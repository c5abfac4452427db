//! What a shard does with answers of the DNS: whoever waits for them goes on, and lists are examined before
//! anybody waits.

use super::Shard;
use super::order::Service;
use super::table::Key;
use crate::dns::Asking;
use crate::ring::Ring;

/// Connections whose checks go on in one turn: each costs some microseconds.
const WOKEN_MAX: usize = 128;

/// Nobody waits for an answer: the key of no connection.
const NOBODY: u64 = u64::MAX;

impl<R: Ring> Shard<R> {
    /// Asks lists for their test entries before the first client needs to know whether they work.
    pub(super) fn examine_lists(&mut self, service: &Service) {
        let context = &mut self.context;
        let (now, mut news) = (context.turn.now, Vec::new());
        if let Some(listening) = service.listeners.first() {
            let checks = &listening.front.checks;
            let examine = |asking: &mut Asking<'_>| checks.examine_lists(asking, now, &mut news);
            let (_, must_ring) = context.answers.run_check(NOBODY, now, examine);
            context.ring_if(must_ring);
        }
        context.tell_news(&news);
    }

    /// What the DNS says, and what it has not said in time.
    pub(super) fn take_answers(&mut self) {
        let Self { context, connections, .. } = self;
        let now = context.turn.now;
        while let Some(answered) = context.inbox.answers.next() {
            context.answers.handle_answer(answered, now);
        }
        // Many may wait for one answer; those that are left have the next turn.
        let woken = context.answers.take_woken(now, WOKEN_MAX);
        for waiter in &woken {
            connections.touch(Key::from_word(*waiter), |one| one.handle_answers(context));
        }
        context.answers.give_back(woken);
    }
}
