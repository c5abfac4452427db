//! `kind = "discard"`: messages are counted and dropped.

use super::facts::SinkFacts;

/// It has no settings.
pub(super) struct Discard;

impl SinkFacts for Discard {
    fn summary(&self) -> String {
        "discard (not durable)".to_owned()
    }

    /// It runs on the shards.
    fn workers(&self, _configured: usize) -> usize {
        0
    }

    fn reads_mail_data(&self) -> bool {
        false
    }
}
