//! Odd but legal mail data passes the session to the octet, whatever it looks like and however it arrives.

use std::fmt::Write as _;

use support::exchange::{Exchange, settings};

/// Mail data and what is odd about it. Each is empty or ends with CRLF, and has no CR or LF but in CRLF: DATA
/// can carry nothing else (RFC 5321 §4.1.1.4).
type Odd = (String, Vec<u8>);

const HEADER: &str =
    "From: a@client.test\r\nTo: b@example.org\r\nSubject: odd\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n";

/// Messages longer than this do not arrive byte by byte.
const BYTEWISE_BYTES_MAX: usize = 20_000;

fn corpus() -> Vec<Odd> {
    let mut corpus = Vec::new();
    forms(&mut corpus);
    dots(&mut corpus);
    octets(&mut corpus);
    lines(&mut corpus);
    header_fields(&mut corpus);
    bodies(&mut corpus);
    corpus
}

fn push(corpus: &mut Vec<Odd>, name: impl Into<String>, parts: &[&[u8]]) {
    corpus.push((name.into(), parts.concat()));
}

/// How much of a message there is.
fn forms(corpus: &mut Vec<Odd>) {
    push(corpus, "nothing", &[]);
    push(corpus, "one empty line", &[b"\r\n"]);
    push(corpus, "two empty lines", &[b"\r\n\r\n"]);
    push(corpus, "a thousand empty lines", &[&b"\r\n".repeat(1000)]);
    push(corpus, "one octet", &[b"x\r\n"]);
    push(corpus, "one space", &[b" \r\n"]);
    push(corpus, "one NUL", &[b"\0\r\n"]);
    push(corpus, "header without empty line", &[HEADER.as_bytes()]);
    push(corpus, "header and empty line", &[HEADER.as_bytes(), b"\r\n"]);
    push(corpus, "no header", &[b"\r\nbody\r\n"]);
    push(corpus, "text that is no header", &[b"this is no header\r\nnor is this\r\n"]);
    push(corpus, "first line continues nothing", &[b"\tfolded\r\n", HEADER.as_bytes(), b"\r\nbody\r\n"]);
    push(corpus, "empty lines at the end", &[HEADER.as_bytes(), b"\r\nbody\r\n\r\n\r\n\r\n"]);
    push(corpus, "white space lines", &[HEADER.as_bytes(), b"\r\n \r\n\t\r\n  \t \r\n"]);
}

/// Dots at the beginnings of lines, where transparency works.
fn dots(corpus: &mut Vec<Odd>) {
    push(corpus, "one dot", &[b".\r\n"]);
    push(corpus, "two dots", &[b"..\r\n"]);
    push(corpus, "a dot and a space", &[b". \r\n"]);
    push(corpus, "a space and a dot", &[b" .\r\n"]);
    push(corpus, "a hundred lines of one dot", &[&b".\r\n".repeat(100)]);
    push(corpus, "a long line of dots", &[&b".".repeat(5000), b"\r\n"]);
    let mut stairs = Vec::new();
    for count in 0..100 {
        stairs.extend(b".".repeat(count));
        stairs.extend(b"\r\n");
    }
    push(corpus, "stairs of dots", &[&stairs]);
    push(corpus, "dots around empty lines", &[b"\r\n.\r\n\r\n..\r\n\r\n...\r\n\r\n"]);
    push(corpus, "every line begins with a dot", &[&b".text\r\n".repeat(50)]);
    push(corpus, "every line ends with a dot", &[&b"text.\r\n".repeat(50)]);
    push(
        corpus,
        "what looks like commands",
        &[b".\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n.\r\nQUIT\r\n"],
    );
    push(corpus, "dots behind long lines", &[&[b"x".repeat(997), b"\r\n.\r\n".to_vec()].concat().repeat(20)]);
    // A dot and a line end at each place around the width of a vector.
    for offset in 0..=66 {
        push(
            corpus,
            format!("a dot line behind {offset} octets"),
            &[&b"x".repeat(offset), b"\r\n.\r\n..x\r\n"],
        );
    }
}

/// Octets that text rarely has.
fn octets(corpus: &mut Vec<Odd>) {
    let all: Vec<u8> = (0..=255).filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    push(corpus, "every octet but CR and LF", &[HEADER.as_bytes(), b"\r\n", &all, b"\r\n"]);
    let each: Vec<u8> = all.iter().flat_map(|octet| [*octet, b'\r', b'\n']).collect();
    push(corpus, "every octet on a line", &[&each]);
    push(corpus, "lines of NULs", &[&[b"\0".repeat(200), b"\r\n".to_vec()].concat().repeat(10)]);
    push(corpus, "NULs around dots", &[b"\0..\r\n.\0\r\n\0\r\n"]);
    push(corpus, "0xFF", &[&b"\xff".repeat(3000), b"\r\n"]);
    push(
        corpus,
        "UTF-8 in the header",
        &["Subject: \u{1f4e8} gr\u{fc}\u{df}e\r\n\r\n\u{20ac}\r\n".as_bytes()],
    );
    push(corpus, "broken UTF-8", &[b"Subject: \xc3\r\n\r\n\xe2\x82\r\n\xf0\x9f\x93\r\n"]);
    push(corpus, "UTF-16", &[b"\xff\xfeH\0i\0\r\n"]);
    push(corpus, "ISO-2022-JP", &[b"Subject: \x1b$B%F%9%H\x1b(B\r\n\r\n\x1b$B%F%9%H\x1b(B\r\n"]);
    push(corpus, "terminal controls", &[b"\x1b[2J\x1b]0;title\x07\x08\x7f\r\n"]);
    push(corpus, "other line ends of Unicode", &[b"a\x0bb\x0cc\x85d\xc2\x85e\xe2\x80\xa8f\xe2\x80\xa9g\r\n"]);
    push(corpus, "end of file of DOS", &[b"text\x1a\r\n\x1a\r\n"]);
}

/// Lengths of lines and how many there are.
fn lines(corpus: &mut Vec<Odd>) {
    for length in
        [78, 997, 998, 999, 1000, 1001, 4095, 4096, 4097, 16_383, 65_534, 65_535, 65_536, 65_537, 1_000_000]
    {
        push(corpus, format!("a line of {length} octets"), &[&b"l".repeat(length), b"\r\n"]);
    }
    push(corpus, "a header field of 70,000 octets", &[b"Subject: ", &b"s".repeat(70_000), b"\r\n\r\n"]);
    push(corpus, "100,000 lines", &[HEADER.as_bytes(), b"\r\n", &b"a line\r\n".repeat(100_000)]);
    push(corpus, "100,000 lines of one dot", &[&b".\r\n".repeat(100_000)]);
    let rising: Vec<u8> =
        (0..600).flat_map(|count| [b"r".repeat(count), b"\r\n".to_vec()].concat()).collect();
    push(corpus, "lines of every length", &[&rising]);
    push(corpus, "64 KiB", &[&b"0123456789abcdef\r\n".repeat(64 * 1024 / 18 + 1)]);
}

/// Header sections that parsers dislike.
fn header_fields(corpus: &mut Vec<Odd>) {
    let mut received = String::new();
    for hop in 0..30 {
        let _ = write!(
            received,
            "Received: from h{hop}.test (h{hop}.test [192.0.2.{hop}])\r\n\tby h{}.test\r\n \twith ESMTP id {hop};\r\n\t\t Mon, 1 Jan 2024 00:00:{hop:02} +0000\r\n",
            hop + 1
        );
    }
    push(corpus, "thirty folded Received fields", &[received.as_bytes(), HEADER.as_bytes(), b"\r\nbody\r\n"]);
    for (name, header) in [
        (
            "trace fields of others",
            "Return-Path: <x@y.test>\r\nDelivered-To: z@y.test\r\nReceived: by y.test\r\n",
        ),
        ("a field without a colon", "Subject\r\nFrom: a\r\n"),
        ("a field without a name", ": value\r\n"),
        ("a field without a value", "Subject:\r\n"),
        ("white space before the colon", "Subject : x\r\n"),
        ("only colons", ":::::\r\n"),
        ("folded to nothing", "Subject:\r\n \r\n\t\r\n x\r\n"),
        ("every field twice", "From: a\r\nFrom: b\r\nTo: c\r\nTo: d\r\nDate: never\r\nDate: ever\r\n"),
        ("names in odd cases", "fRoM: a\r\nSUBJECT: x\r\nmime-VERSION: 1.0\r\n"),
        ("an mbox line", "From someone Mon Jan  1 00:00:00 2024\r\n>From: x\r\nSubject: x\r\n"),
        ("Bcc", "Bcc: secret@example.org\r\nSubject: x\r\n"),
        ("comments and quotes", "From: \"a \\\" (b\" (c (d) \\) e) <a@b.test>\r\n"),
        ("addresses that are none", "From: <>\r\nTo: undisclosed-recipients:;\r\nCc: ,,,\r\n"),
        ("resent without its parts", "Resent-To: x\r\nResent-To: y\r\n"),
        ("encoded words that are broken", "Subject: =?utf-8?B?####?= =?x?Q\r\n"),
    ] {
        push(corpus, name, &[header.as_bytes(), b"\r\nbody\r\n"]);
    }
    let fields: String =
        (0..2000).fold(String::new(), |text, index| text + &format!("X-{index}: {index}\r\n"));
    push(corpus, "two thousand fields", &[fields.as_bytes(), b"\r\n"]);
}

/// Bodies with structure.
fn bodies(corpus: &mut Vec<Odd>) {
    let mime =
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\".\"\r\n\r\n--.\r\n\r\n.\r\n--.--\r\n";
    push(corpus, "a boundary that is a dot", &[mime.as_bytes()]);
    push(
        corpus,
        "a part that never ends",
        &[b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n"],
    );
    push(
        corpus,
        "quoted-printable",
        &[HEADER.as_bytes(), b"\r\n=\r\n=2E\r\n.=\r\n=0D=0A.=0D=0A\r\nsoft =\r\n"],
    );
    push(corpus, "base64 in one line", &[HEADER.as_bytes(), b"\r\n", &b"QUJD".repeat(10_000), b"\r\n"]);
    push(corpus, "From_ in the body", &[HEADER.as_bytes(), b"\r\nFrom me\r\n>From me\r\n>>From me\r\n"]);
    push(corpus, "a signature", &[HEADER.as_bytes(), b"\r\ntext\r\n-- \r\nme\r\n"]);
    push(corpus, "yEnc", &[b"=ybegin line=128 size=4 name=x\r\n\x80\xff=@=}\r\n=yend\r\n"]);
    push(
        corpus,
        "a mixture",
        &[
            HEADER.as_bytes(),
            b"\r\n.\0\xff\r\n\r\n..\r\n",
            &b".".repeat(2000),
            b"\r\n \r\n",
            &b"\t.\r\n".repeat(9),
        ],
    );
    // The same numbers each time: an odd message that failed once can be looked at again.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for index in 0..20 {
        let mut message = Vec::new();
        while message.len() < 3000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 11 {
                0..=2 => message.extend(b"\r\n"),
                3 | 4 => message.push(b'.'),
                // A line of a dot and NULs would be refused.
                5 => message.extend(b"\0\x0e"),
                6 => message.extend(b"x".repeat(usize::try_from(state >> 57).expect("seven bits"))),
                _ => message.push(u8::try_from(state >> 56).expect("eight bits").clamp(14, 255)),
            }
        }
        push(corpus, format!("random text {index}"), &[&message, b"\r\n"]);
    }
}

/// Dots added where transparency asks for them (§4.5.2), and the end.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut sent = Vec::with_capacity(message.len() + 100);
    for (index, octet) in message.iter().enumerate() {
        if *octet == b'.' && (index == 0 || message[..index].ends_with(b"\r\n")) {
            sent.push(b'.');
        }
        sent.push(*octet);
    }
    sent.extend(b".\r\n");
    sent
}

const OPEN: &[u8] = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";

/// Sends the message in pieces of this size and compares.
fn pass(name: &str, message: &[u8], size: usize) {
    let mut exchange = Exchange::new(settings());
    exchange.receive(b"EHLO client.test\r\n");
    exchange.receive(OPEN);
    stuffed(message).chunks(size).for_each(|piece| exchange.receive(piece));
    // Another message follows unharmed.
    exchange.receive(OPEN);
    exchange.receive(b"next\r\n.\r\n");
    assert_eq!(exchange.seen.stored.len(), 2, "{name} in pieces of {size}");
    let stored = &exchange.seen.stored[0].data;
    let same = stored.iter().zip(message).take_while(|(stored, sent)| stored == sent).count();
    assert!(stored == message, "{name} in pieces of {size} differs at {same}");
    assert_eq!(exchange.seen.stored[1].data, b"next\r\n");
}

#[test]
fn odd_messages_pass_to_the_octet() {
    let corpus = corpus();
    assert!(corpus.len() >= 150, "{} messages", corpus.len());
    for (name, message) in &corpus {
        let legal = message.is_empty() || message.ends_with(b"\r\n");
        let text = message.split(|octet| *octet == b'\n');
        let bare = text
            .clone()
            .zip(text.skip(1))
            .any(|(line, _)| !line.ends_with(b"\r") || line[..line.len() - 1].contains(&b'\r'));
        assert!(legal && !bare, "{name} cannot be sent with DATA");
        for size in [usize::MAX, 65_536, 4096, 1460, 61] {
            pass(name, message, size);
        }
        if message.len() <= BYTEWISE_BYTES_MAX {
            for size in [1, 2, 3] {
                pass(name, message, size);
            }
        }
    }
}
