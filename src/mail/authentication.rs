//! What was found of who vouches for a message and of what is in it, as stores and readers of theirs have
//! it.

/// What was found, and what it means for whoever reads the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    /// The results as a JSON object; empty where nothing was checked.
    pub results: String,
    /// The message is suspicious: the policy of its author's domain says so, nobody can vouch for it, or a
    /// content filter says so.
    pub is_suspicious: bool,
    /// What content filters found: JSON objects with commas between them, in the order in which the filters
    /// were asked; empty where none was.
    pub filters: String,
}

impl Authentication {
    /// The mark of a message that is suspicious.
    pub const SUSPICIOUS: &'static str = "quarantine";

    /// Nothing was checked.
    pub fn clear(&mut self) {
        self.results.clear();
        self.is_suspicious = false;
        self.filters.clear();
    }
}
