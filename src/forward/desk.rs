//! Where operators ask: takes a line, has the engine do it, waits for what came of it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::operations::{Asked, Operation};
use crate::handoff::channel::Sender;

/// Operations that the engine has not taken.
pub const OPERATIONS_MAX: usize = 64;

const STOPPING: &str = "the forwarder is stopping, and does nothing more";

/// The way to the engine.
#[derive(Debug)]
pub struct Desk {
    asked: Mutex<Sender<Asked>>,
}

impl Desk {
    pub(super) fn new(asked: Sender<Asked>) -> Self {
        Self { asked: Mutex::new(asked) }
    }

    /// Does what a line says ([`Operation::parse`]); why it was not begun, or is not durable, otherwise. The
    /// text is that of a [`Done`](super::operations::Done).
    pub async fn ask(&self, line: &str) -> Result<String, String> {
        let operation = Operation::parse(line)?;
        let (tell, told) = oneshot::channel();
        self.send(Asked { operation, tell })?;
        let outcome = told.await.map_err(|_| STOPPING.to_owned())?;
        outcome.map(|done| done.to_string())
    }

    fn send(&self, asked: Asked) -> Result<(), String> {
        let sender = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.send_and_ring(asked) {
            Ok(()) => Ok(()),
            Err(_) => Err(format!(
                "{OPERATIONS_MAX} operations wait already, or the forwarder is stopping: ask again"
            )),
        }
    }
}
