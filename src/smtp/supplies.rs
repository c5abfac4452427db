//! What a shard supplies to the session that it works on, so that a connection that waits owns none of it.

use std::sync::Arc;

use super::run::Run;
use crate::limits::HANDOFF_MESSAGES_MAX;
use crate::mail::envelope::Envelope;
use crate::mail::envelope_budget::EnvelopeBudget;

/// Envelopes kept for the next transactions; what connections and messages hold comes on top.
const SPARES_MAX: usize = HANDOFF_MESSAGES_MAX;

/// Memory that one session after another uses.
#[derive(Debug, Default)]
pub struct Supplies {
    /// Where a session puts mail data that does not stand in the input as it is to be stored
    /// ([`Step::Insert`](super::session::Step::Insert)).
    pub run: Run,
    /// Empty envelopes. `<= SPARES_MAX`
    envelopes: Vec<Box<Envelope>>,
    /// What all envelopes share; none where they may take what they want.
    budget: Option<Arc<EnvelopeBudget>>,
}

impl Supplies {
    /// With envelopes that share this budget.
    pub fn within(budget: &Arc<EnvelopeBudget>) -> Self {
        Self { budget: Some(Arc::clone(budget)), ..Self::default() }
    }

    /// An empty envelope, for a transaction.
    pub fn take_envelope(&mut self) -> Box<Envelope> {
        self.envelopes.pop().unwrap_or_else(|| match &self.budget {
            Some(budget) => Box::new(Envelope::within(budget)),
            None => Box::default(),
        })
    }

    /// Keeps an envelope for another transaction.
    pub fn keep_envelope(&mut self, mut envelope: Box<Envelope>) {
        if self.envelopes.len() < SPARES_MAX {
            envelope.clear();
            self.envelopes.push(envelope);
        }
    }
}
