//! The file of recipients: one address or `@domain` a line.

/// One line of the file of recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientEntry {
    /// `local-part@domain`: local-part as written with needless quotes removed, domain as lower-case A-label.
    Mailbox {
        /// Case kept.
        local_part: String,
        /// Lower-case A-label.
        domain: String,
    },
    /// `@domain`: every local-part of it.
    CatchAll(String),
}
