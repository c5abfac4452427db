//! What crosses between a shard and the threads that ask the DNS.

use std::sync::Arc;
use std::time::Duration;

use crate::dns::{Answer, Question};

/// A question on its way out.
#[derive(Debug)]
pub struct Asked {
    /// The shard that asks.
    pub shard: u16,
    /// What it asks.
    pub question: Question,
}

/// An answer on its way home.
#[derive(Debug)]
pub struct Answered {
    /// What was asked.
    pub question: Question,
    /// What is known of it. Shared by all that know it.
    pub answer: Arc<Answer>,
    /// How long that holds.
    pub lifetime: Duration,
}
