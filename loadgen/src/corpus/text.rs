//! Text from a seed, in lines of words.

use std::fmt::Write as _;

/// Columns of a line of text; RFC 5322 §2.1.1 wants at most 78.
pub const TEXT_COLUMNS: usize = 76;

/// Every so many lines one begins with a dot, so that transparency is exercised.
const LINES_PER_DOT: usize = 20;

/// Appends `bytes` octets of text in lines that end in CRLF. `bytes >= 2`.
pub fn append_text(mail_data: &mut Vec<u8>, mut bytes: usize, seed: u64) {
    const CRLF: &[u8] = b"\r\n";
    let mut random = fastrand::Rng::with_seed(seed);
    let mut words = String::new();
    for number in 1.. {
        let mut line_bytes = bytes.min(TEXT_COLUMNS + CRLF.len());
        if bytes - line_bytes == 1 {
            // A line needs two octets for its end.
            line_bytes -= 1;
        }
        let columns = line_bytes - CRLF.len();
        words.clear();
        if number % LINES_PER_DOT == 0 && columns > 0 {
            words.push('.');
        }
        while words.len() < columns {
            let word = random.choice(WORDS).expect("there are words");
            let _ = write!(words, "{word} ");
        }
        mail_data.extend_from_slice(&words.as_bytes()[..columns]);
        mail_data.extend_from_slice(CRLF);
        bytes -= line_bytes;
        if bytes == 0 {
            return;
        }
    }
}

const WORDS: [&str; 32] = [
    "a",
    "and",
    "answer",
    "as",
    "before",
    "client",
    "domain",
    "every",
    "for",
    "greeting",
    "has",
    "in",
    "is",
    "it",
    "mail",
    "mailbox",
    "message",
    "not",
    "of",
    "one",
    "reply",
    "sent",
    "server",
    "session",
    "that",
    "the",
    "then",
    "this",
    "to",
    "transaction",
    "when",
    "with",
];
