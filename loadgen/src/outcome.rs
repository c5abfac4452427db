//! What a whole run came to.

use std::time::Duration;

use crate::tally::Tally;

/// See the file's head.
#[derive(Debug)]
pub struct Outcome {
    /// The sum over all threads.
    pub tally: Tally,
    /// From the start of the threads to the last message accepted.
    pub elapsed: Duration,
    /// CPU time of all load threads.
    pub cpu: Duration,
    /// It was cut short by a signal.
    pub interrupted: bool,
    /// What came of the run beside it.
    pub beside: Option<Box<Outcome>>,
}
