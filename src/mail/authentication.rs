//! What was found of who vouches for a message, as stores and readers of theirs have it.

/// What was found, and what it means for whoever reads the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    /// The results as a JSON object; empty where nothing was checked.
    pub results: String,
    /// The message is suspicious: the policy of its author's domain says so, or nobody can vouch for it.
    pub is_suspicious: bool,
}

impl Authentication {
    /// The mark of a message that is suspicious.
    pub const SUSPICIOUS: &'static str = "quarantine";

    /// Nothing was checked.
    pub fn clear(&mut self) {
        self.results.clear();
        self.is_suspicious = false;
    }
}
