//! What the kinds of bots say: a table for each.

use fastrand::Rng;

use crate::scenario::bots::{Bots, Kind};

/// Something said, and what is waited for after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) words: Words,
    pub(super) awaits: Awaits,
}

/// What a bot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Nothing,
    Plain(&'static [u8]),
    /// EHLO or HELO with an argument that is none.
    BadGreeting,
    Mail,
    Rcpt,
    /// EHLO, MAIL and RCPT.
    EarlyGroup,
    /// RCPT a thousand times.
    Flood,
    /// The same again each time that it was taken.
    FloodForEver,
    /// What is sent in place of ClientHello.
    NoClientHello,
    /// An octet now and then.
    Drip,
}

/// What a bot waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    /// So many replies.
    Replies(u16),
    /// The end of the connection.
    End,
}

pub(super) const EHLO: &[u8] = b"EHLO bot.test\r\n";

const fn step(words: Words, replies: u16) -> Step {
    Step { words, awaits: Awaits::Replies(replies) }
}

const fn to_the_end(words: Words) -> Step {
    Step { words, awaits: Awaits::End }
}

const GREETING: Step = step(Words::Nothing, 1);
const SAY_EHLO: Step = step(Words::Plain(EHLO), 1);
const MAIL: Step = step(Words::Mail, 1);
const RCPT: Step = step(Words::Rcpt, 1);
const QUIT: Step = step(Words::Plain(b"QUIT\r\n"), 1);
const STARTTLS: Step = step(Words::Plain(b"STARTTLS\r\n"), 1);

/// What sessions of a kind say, in order.
pub(super) const fn script(kind: Kind) -> &'static [Step] {
    match kind {
        Kind::Refused => const { &[GREETING, SAY_EHLO, MAIL, RCPT, QUIT] },
        // The greeting, and a reply to each command.
        Kind::EarlyTalker => const { &[step(Words::EarlyGroup, 4)] },
        Kind::BadEhlo => const { &[GREETING, step(Words::BadGreeting, 1), MAIL, RCPT] },
        Kind::NoQuit => const { &[GREETING, SAY_EHLO, MAIL, RCPT] },
        Kind::RcptFlood => const { &[GREETING, SAY_EHLO, MAIL, step(Words::Flood, Bots::FLOOD)] },
        // Also where STARTTLS was refused: a bot does not look.
        Kind::BadTls => const { &[GREETING, SAY_EHLO, STARTTLS, to_the_end(Words::NoClientHello)] },
        Kind::Slowloris => const { &[GREETING, to_the_end(Words::Drip)] },
        Kind::NeverReads => const { &[GREETING, SAY_EHLO, MAIL, to_the_end(Words::FloodForEver)] },
        Kind::Silent => const { &[to_the_end(Words::Nothing)] },
    }
}

/// EHLO and HELO with arguments that are no name and no address literal (RFC 5321 §4.1.1.1, §4.1.3), and what
/// comes in their place.
pub(super) const fn bad_greeting(random: u64) -> &'static [u8] {
    match random % 8 {
        0 => b"EHLO\r\n",
        1 => b"EHLO [127.0.0.1\r\n",
        2 => b"EHLO -.-\r\n",
        3 => b"HELO 127.0.0.1 and more\r\n",
        4 => b"EHLO \xff\xfe\r\n",
        5 => b"EHLO a..b\r\n",
        6 => b"ehlo user@bot.test\r\n",
        _ => b"GET / HTTP/1.1\r\n",
    }
}

/// Appends what is no ClientHello (RFC 8446 §4.1.2, §5.1).
pub(super) fn write_no_client_hello(rng: &mut Rng, octets: &mut Vec<u8>) {
    /// A record of a handshake of 512 octets, which begins as a ClientHello of 508.
    const RECORD: &[u8] = &[22, 3, 1, 2, 0];
    const CLIENT_HELLO: &[u8] = &[1, 0, 1, 252, 3, 3];
    match rng.u8(..) % 5 {
        0 => {
            octets.extend_from_slice(RECORD);
            octets.extend(std::iter::repeat_with(|| rng.u8(..)).take(512));
        }
        // It stops in the middle.
        1 => octets.extend_from_slice(&[RECORD, CLIENT_HELLO].concat()),
        // A record of more octets than any may have.
        2 => octets.extend_from_slice(&[22, 3, 1, 255, 255, 1]),
        // An alert: the bot does not like what it has not seen.
        3 => octets.extend_from_slice(&[21, 3, 1, 0, 2, 2, 80]),
        _ => octets.extend_from_slice(EHLO),
    }
}
