//! Nothing but the true CRLF.CRLF ends mail data (the class of CVE-2023-51764, 51765 and 51766).
//!
//! Between two messages stands every sequence of line-end variants, dots, NULs, blanks and text up to a
//! length; the octets arrive in every way. What is stored is what a naive server says, which reads a byte at
//! a time and knows nothing of ours.

use ringmx::smtp::settings::{BareLineEnd, Pipelining, Settings};

use support::exchange::{Exchange, settings};

/// What a sequence is made of.
const SYMBOLS: [&[u8]; 7] = [b"\r", b"\n", b"\r\n", b".", b"\0", b" ", b"x"];

/// Symbols of the sequences that arrive whole, byte by byte, and split at each place.
const SYMBOLS_MAX: u32 = 4;

/// Symbols of the sequences that arrive cut at every set of places.
const SYMBOLS_CUT_MAX: u32 = 3;

const OPEN: &[u8] =
    b"EHLO client.test\r\nMAIL FROM:<good@client.test>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";

/// What an attacker wants to have taken for a message of its own.
const HIDDEN: &[u8] =
    b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nhidden\r\n.\r\nQUIT\r\n";

const POLICIES: [(BareLineEnd, BareLineEnd); 4] = [
    (BareLineEnd::Reject, BareLineEnd::Reject),
    (BareLineEnd::Normalize, BareLineEnd::Normalize),
    (BareLineEnd::Normalize, BareLineEnd::Reject),
    (BareLineEnd::Reject, BareLineEnd::Normalize),
];

/// A stored message: reverse-path and mail data.
type Message = (String, Vec<u8>);

/// A server as RFC 5321 tells it, which knows only the commands of these tests and reads a byte at a time.
#[derive(Default)]
struct Naive {
    /// The octets of the command line or of the mail data so far.
    text: Vec<u8>,
    in_data: bool,
    reverse_path: Option<String>,
    has_recipient: bool,
    closed: bool,
    stored: Vec<Message>,
}

impl Naive {
    fn take(&mut self, octet: u8, (bare_lf, bare_cr): (BareLineEnd, BareLineEnd)) {
        self.text.push(octet);
        if self.in_data {
            // The DATA line's CRLF is the first two octets of `text`: the mail data begins at a line start
            // (§4.1.1.4).
            if self.text.ends_with(b"\r\n.\r\n") {
                let text = std::mem::take(&mut self.text);
                let data = mail_data(&text[..text.len() - 3], bare_lf, bare_cr);
                self.in_data = false;
                let reverse_path = self.reverse_path.take().expect("a transaction");
                self.stored.extend(data.map(|data| (reverse_path, data)));
            }
        } else if octet == b'\n' {
            let line = std::mem::take(&mut self.text);
            self.command(&line);
        }
    }

    fn command(&mut self, line: &[u8]) {
        // A bare CR or LF in a command closes (§2.3.8).
        let Some(line) = line.strip_suffix(b"\r\n").filter(|line| !line.contains(&b'\r')) else {
            self.closed = true;
            return;
        };
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(' ');
        match line {
            "RCPT TO:<b@example.org>" if self.reverse_path.is_some() => self.has_recipient = true,
            "DATA" if self.reverse_path.is_some() && self.has_recipient => {
                self.in_data = true;
                self.text = b"\r\n".to_vec();
            }
            "QUIT" => self.closed = true,
            _ => {
                if let Some(path) = line.strip_prefix("MAIL FROM:<").and_then(|rest| rest.strip_suffix('>'))
                    && self.reverse_path.is_none()
                {
                    self.reverse_path = Some(path.into());
                    self.has_recipient = false;
                }
            }
        }
    }
}

/// The stored form of the lines, which begin with the CRLF of the DATA line; `None` when a bare CR or LF, or
/// a line that is a dot but for its NULs, refuses them.
fn mail_data(lines: &[u8], bare_lf: BareLineEnd, bare_cr: BareLineEnd) -> Option<Vec<u8>> {
    // Whoever drops NUL would find the end in such a line.
    let is_dot_but_for_nul =
        |line: &[u8]| line.contains(&0) && line.iter().filter(|octet| **octet != 0).eq([&b'.']);
    if lines.split(|octet| matches!(octet, b'\r' | b'\n')).any(is_dot_but_for_nul) {
        return None;
    }
    let mut stored = Vec::new();
    let mut at = 2;
    while at < lines.len() {
        let octet = lines[at];
        let after_crlf = lines[..at].ends_with(b"\r\n");
        at += 1;
        match octet {
            // Transparency (§4.5.2): only after a true line end.
            b'.' if after_crlf => {}
            b'\r' if lines.get(at) == Some(&b'\n') => {
                at += 1;
                stored.extend(b"\r\n");
            }
            b'\r' if bare_cr == BareLineEnd::Reject => return None,
            b'\n' if bare_lf == BareLineEnd::Reject => return None,
            b'\r' | b'\n' => stored.extend(b"\r\n"),
            _ => stored.push(octet),
        }
    }
    Some(stored)
}

/// What the naive server stores of the octets.
fn expected(octets: &[u8], policy: (BareLineEnd, BareLineEnd)) -> Vec<Message> {
    let mut server = Naive::default();
    for octet in octets {
        if !server.closed {
            server.take(*octet, policy);
        }
    }
    server.stored
}

/// What ours stores of the pieces.
fn stored<'a>(pieces: impl Iterator<Item = &'a [u8]>, policy: (BareLineEnd, BareLineEnd)) -> Vec<Message> {
    let mut settings = Settings { bare_lf: policy.0, bare_cr: policy.1, ..settings() };
    // An attacker who does not wait for 354 is turned away by default; here nothing but the end of mail data
    // protects us.
    settings.gate.pipelining = Pipelining::Tolerate;
    let mut exchange = Exchange::new(settings);
    pieces.filter(|piece| !piece.is_empty()).for_each(|piece| exchange.receive(piece));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    exchange.seen.stored.into_iter().map(|stored| (text(&stored.reverse_path), stored.data)).collect()
}

/// Every sequence of up to `count` symbols.
fn sequences(count: u32) -> impl Iterator<Item = Vec<u8>> {
    let base = SYMBOLS.len();
    (0..=count).flat_map(move |length| {
        (0..base.pow(length)).map(move |number| {
            (0..length).flat_map(|place| SYMBOLS[number / base.pow(place) % base]).copied().collect()
        })
    })
}

/// A session in which `sequence` stands between a first message's text and what would be a second one.
fn attack(text: &[u8], sequence: &[u8]) -> (Vec<u8>, usize) {
    let start = OPEN.len() + text.len();
    ([OPEN, text, sequence, HIDDEN, b"\r\n.\r\nQUIT\r\n"].concat(), start)
}

fn check(octets: &[u8], cuts: &[usize], policy: (BareLineEnd, BareLineEnd), expected: &[Message]) {
    let edges = || [0].into_iter().chain(cuts.iter().copied()).chain([octets.len()]);
    let pieces = edges().zip(edges().skip(1)).map(|(start, end)| &octets[start..end]);
    let stored = stored(pieces, policy);
    let shown = || format!("{} cut at {cuts:?} under {policy:?}", octets[OPEN.len()..].escape_ascii());
    assert_eq!(stored, expected, "{}", shown());
}

/// The claim itself, beside the comparison: an evil message is stored only where a true end stood before it.
fn check_claim(octets: &[u8], start: usize, expected: &[Message]) {
    let hidden = octets.len() - HIDDEN.len() - b"\r\n.\r\nQUIT\r\n".len();
    let before = &octets[OPEN.len() - 2..hidden];
    let true_end = before.windows(5).any(|five| five == b"\r\n.\r\n");
    let accepted = expected.iter().any(|(reverse_path, _)| reverse_path == "evil@client.test");
    assert!(true_end || !accepted, "{} hides a message", octets[start..].escape_ascii());
}

#[test]
fn a_hidden_message_is_never_accepted() {
    for text in [&b""[..], b"text"] {
        for sequence in sequences(SYMBOLS_MAX).filter(|sequence| sequence.contains(&b'.')) {
            let (octets, start) = attack(text, &sequence);
            for policy in POLICIES {
                let expected = expected(&octets, policy);
                check_claim(&octets, start, &expected);
                check(&octets, &[], policy, &expected);
                // Where the sequence begins and ends, and in between.
                for cut in start..=start + sequence.len() {
                    check(&octets, &[cut], policy, &expected);
                }
            }
            for policy in &POLICIES[..2] {
                let bytewise: Vec<_> = (start - 1..=start + sequence.len() + 1).collect();
                check(&octets, &bytewise, *policy, &expected(&octets, *policy));
            }
        }
    }
}

#[test]
fn no_segmentation_makes_an_end() {
    for text in [&b""[..], b"text"] {
        for sequence in sequences(SYMBOLS_CUT_MAX).filter(|sequence| sequence.contains(&b'.')) {
            let (octets, start) = attack(text, &sequence);
            for policy in &POLICIES[..2] {
                let expected = expected(&octets, *policy);
                // Each bit of the mask is a cut after an octet of the sequence.
                for mask in 0_u32..1 << (sequence.len() + 1) {
                    let cuts: Vec<_> = (0..=sequence.len())
                        .filter(|bit| mask >> bit & 1 == 1)
                        .map(|bit| start + bit)
                        .collect();
                    check(&octets, &cuts, *policy, &expected);
                }
            }
        }
    }
}

/// The sequences of the reports, spelled out, after text and as its first line.
#[test]
fn the_published_sequences_hide_nothing() {
    const PUBLISHED: [&[u8]; 18] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\n.\r",
        b"\r.\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\0\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\r\n.\n\r\n",
        b"\r\n\x1a.\r\n",
        b"\r\n .\r\n",
        b"\r\n. \r\n",
        b"\x85.\x85",
    ];
    for text in [&b""[..], b"text", b"text\r\n"] {
        for sequence in PUBLISHED {
            let (octets, _) = attack(text, sequence);
            let bytewise: Vec<_> = (1..octets.len()).collect();
            for policy in POLICIES {
                // `CRLF` of the text and a sequence that begins with a dot would make a true end; none begins
                // so.
                let expected = expected(&octets, policy);
                assert!(expected.len() <= 1 && expected.iter().all(|(from, _)| from == "good@client.test"));
                check(&octets, &[], policy, &expected);
                check(&octets, &bytewise, policy, &expected);
            }
        }
    }
}

/// The reference does see the true end, or the tests above would prove nothing.
#[test]
fn the_true_end_separates_two_messages() {
    let (octets, _) = attack(b"text", b"\r\n.\r\n");
    let messages = [
        ("good@client.test".into(), b"text\r\n".to_vec()),
        ("evil@client.test".into(), b"hidden\r\n".to_vec()),
    ];
    for policy in POLICIES {
        assert_eq!(expected(&octets, policy), messages);
        for cut in 1..octets.len() {
            check(&octets, &[cut], policy, &messages);
        }
    }
}
