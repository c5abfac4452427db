//! What the rest of the program asks of a kind of sink before it is open. Each kind answers in its own file.

use std::path::Path;

/// The answers of one kind, with its settings.
pub trait SinkFacts {
    /// What it is and where, in a few words for the operator.
    fn summary(&self) -> String;

    /// The directory that it stores in, on whose file system spill files lie. `None` where it stores in none.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// The threads that store, of so many that are configured.
    fn workers(&self, configured: usize) -> usize;

    /// The io_uring rings of so many workers.
    fn rings(&self, _workers: usize) -> usize {
        0
    }

    /// The most files that so many workers have open at a time. A few that each process has are not counted.
    fn open_files(&self, _workers: usize) -> usize {
        0
    }

    /// Octets of the files that it cannot do without, whatever the mail. `None` where it has no such files.
    fn file_bytes(&self) -> Option<u64> {
        None
    }

    /// Whether it reads mail data: else nothing of a message need be kept.
    fn reads_mail_data(&self) -> bool {
        true
    }

    /// Whether mail data reaches its reader octet for octet, also where it is no lines.
    fn keeps_octets(&self) -> bool {
        true
    }

    /// Whether it writes past the page cache, through memory of its own.
    fn writes_directly(&self) -> bool {
        false
    }

    /// Octets that a worker makes of the mail data of one batch, where messages have this size at most.
    fn converted_bytes(&self, _message_bytes_max: u64) -> u64 {
        0
    }

    /// Whether recipients have mailboxes of their own in the store, so that it may have no place for one.
    fn has_mailboxes(&self) -> bool {
        false
    }

    /// Whether mailboxes are made for recipients whom nobody names.
    fn creates_mailboxes(&self) -> bool {
        false
    }
}
