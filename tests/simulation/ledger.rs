//! A sink of the simulation that keeps what it is given, by the first recipient.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ringmx::handoff::message::Message;
use ringmx::mail::outcome::Outcome;
use ringmx::sink::Sink;

/// A message as it was stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What stands in front of the mail data.
    pub received: Vec<u8>,
    pub data: Vec<u8>,
    /// What was found of who vouches for it.
    pub results: String,
    pub is_suspicious: bool,
}

/// See the module.
#[derive(Default, Clone)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Stored>>>);

impl Ledger {
    /// All that was stored.
    pub fn all(&self) -> BTreeMap<String, Stored> {
        self.0.lock().expect("one thread").clone()
    }
}

impl Sink for Ledger {
    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        let mut all = self.0.lock().expect("one thread");
        for message in batch {
            message.data.load().expect("the spill file can be read");
            let data = message.data.whole().expect("in memory").pieces().collect::<Vec<_>>().concat();
            let recipient = message.envelope.recipients().next().expect("a recipient").whole.to_vec();
            let stored = Stored {
                received: message.received.clone(),
                data,
                results: message.authentication.results.clone(),
                is_suspicious: message.authentication.is_suspicious,
            };
            let twice = all.insert(String::from_utf8(recipient).expect("ASCII"), stored);
            assert!(twice.is_none(), "a message is stored once");
            outcomes.push(Outcome::Stored);
        }
    }
}
