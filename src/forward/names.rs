//! The thread that asks the system for the addresses of next hops that are named. It waits for the system's
//! resolver; nobody else does.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};

/// Questions on their way, and answers: one a connection that is made.
pub const QUESTIONS_MAX: usize = 4096;

/// Whose address is asked for.
#[derive(Debug)]
pub struct Asked {
    /// Of the question.
    pub number: u64,
    /// Of whoever asks.
    pub slot: usize,
    /// The name.
    pub host: String,
    /// The port of the address.
    pub port: u16,
}

/// The addresses of a name; why there are none.
#[derive(Debug)]
pub struct Answered {
    /// Of the question.
    pub number: u64,
    /// Of whoever asked.
    pub slot: usize,
    /// In the order of the system (RFC 6724).
    pub addresses: Result<Vec<SocketAddr>, String>,
}

/// Runs until nobody is left to ask.
pub fn run(consumer: &Consumer, questions: &Receiver<Asked>, answers: &Sender<Answered>) {
    loop {
        match questions.take() {
            Waiting::Item(Asked { number, slot, host, port }) => {
                let addresses = match (host.as_str(), port).to_socket_addrs() {
                    Ok(found) => Ok(found.collect::<Vec<_>>()).and_then(|found| {
                        if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
                    }),
                    Err(error) => Err(format!("the address of {host} cannot be found: {error}")),
                };
                answers.answer(Answered { number, slot, addresses });
                answers.ring_if_parked();
            }
            Waiting::Nothing => consumer.sleep(None, || questions.is_empty()),
            Waiting::Ended => return,
        }
    }
}
