//! What a session has to do, said naively: replies read line by line, mail data in three passes, and a walk
//! through a whole session that tells from the replies alone what the client's octets were. Shared by the
//! property tests and `tests/fuzz`.

use std::net::IpAddr;
use std::time::Duration;

use ringmx::limits::REPLY_LINE_BYTES_MAX;
use ringmx::mail::network::Network;
use ringmx::mail::outcome::TryAgain;
use ringmx::smtp::settings::{BareLineEnd, ChunkLineEnd, Settings};

use super::exchange::{Exchange, Seen, Trouble, settings};

/// The replies as lists of lines; fails on a line that is none.
pub fn replies(seen: &Seen) -> Vec<Vec<String>> {
    let text = std::str::from_utf8(&seen.replies).expect("replies are ASCII");
    let mut replies = Vec::new();
    let mut lines = Vec::new();
    for line in text.split_inclusive("\r\n") {
        assert!(line.len() <= REPLY_LINE_BYTES_MAX, "too long: {line:?}");
        let line = line.strip_suffix("\r\n").expect("every reply ends with CRLF");
        assert!(line.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "not printable: {line:?}");
        let (code, rest) = line.split_at(3);
        assert!(code.parse().is_ok_and(|code: u16| (200..600).contains(&code)), "no code: {line:?}");
        assert!(lines.first().is_none_or(|first: &String| first.starts_with(code)), "another code: {line:?}");
        lines.push(line.to_string());
        if rest.starts_with('-') {
            continue;
        }
        assert!(rest.starts_with(' '), "no separator: {line:?}");
        replies.push(std::mem::take(&mut lines));
    }
    assert!(lines.is_empty(), "a reply without its last line");
    replies
}

/// Mail data as RFC 5321 tells it, in three passes, each obviously right.
#[derive(Debug, PartialEq, Eq)]
pub struct Naive {
    /// As it has to be stored.
    pub stored: Vec<u8>,
    /// Whether a bare CR or LF, or a line that is a dot but for its NULs, has to be refused.
    pub has_bare: bool,
    /// Octets up to and with the end of the mail data.
    pub consumed: usize,
}

/// What is to be stored of the octets behind a DATA line; `None` when their end has not come.
pub fn naive(octets: &[u8], bare_lf: BareLineEnd, bare_cr: BareLineEnd) -> Option<Naive> {
    // The DATA line ended with CRLF, so the mail data begins at a line start (§4.1.1.4).
    let text = [b"\r\n", octets].concat();
    let end = text.windows(5).position(|five| five == b"\r\n.\r\n")?;
    let consumed = end + 5 - 2;
    let lines = &text[..end + 2];
    // Transparency (§4.5.2).
    let mut plain = Vec::new();
    for (index, octet) in lines.iter().enumerate() {
        if !(*octet == b'.' && lines[..index].ends_with(b"\r\n")) {
            plain.push(*octet);
        }
    }
    // Bare CR and LF (§2.3.8).
    let mut has_bare = false;
    let mut stored = Vec::new();
    for (index, octet) in plain.iter().enumerate() {
        let is_bare_lf = *octet == b'\n' && index.checked_sub(1).is_none_or(|before| plain[before] != b'\r');
        let is_bare_cr = *octet == b'\r' && plain.get(index + 1) != Some(&b'\n');
        has_bare |=
            is_bare_lf && bare_lf == BareLineEnd::Reject || is_bare_cr && bare_cr == BareLineEnd::Reject;
        if is_bare_lf || is_bare_cr { stored.extend(b"\r\n") } else { stored.push(*octet) }
    }
    // A dot that has only NULs for company.
    let is_dot_but_for_nul =
        |line: &[u8]| line.contains(&0) && line.iter().filter(|octet| **octet != 0).eq([&b'.']);
    has_bare |= lines.split(|octet| matches!(octet, b'\r' | b'\n')).any(is_dot_but_for_nul);
    stored.drain(..2);
    Some(Naive { stored, has_bare, consumed })
}

/// Where lines end that may be DATA, EHLO or HELO, perhaps after octets of a chunk: a client waits for the
/// answer there (RFC 2920 §3.1), and what it sends without waiting is a matter of the dialogues.
pub fn waiting_lines(octets: &[u8]) -> Vec<usize> {
    const VERBS: [&[u8]; 3] = [b"DATA", b"EHLO", b"HELO"];
    let mut end = 0;
    let mut ends = Vec::new();
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        end += line.len();
        let is_verb = |four: &[u8]| VERBS.iter().any(|verb| four.eq_ignore_ascii_case(verb));
        if line.windows(4).any(is_verb) {
            ends.push(end);
        }
    }
    ends
}

/// Something that happens in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    /// The client sends.
    Send(Vec<u8>),
    /// What follows arrives later.
    Split,
    /// Time passes.
    Wait(Duration),
    /// The client closes its half.
    EndOfInput,
    /// The server stops.
    ShutDown,
    /// The next question or message has this answer.
    Trouble(Trouble),
    /// The next client that a front names has too many connections.
    TooMany,
}

/// Octets as a list of operations: ESC and a letter are one (see `tests/fuzz/README.md`), everything else is
/// sent.
fn operations(octets: &[u8]) -> Vec<Operation> {
    const ESCAPE: u8 = 0x1b;
    let mut operations = Vec::new();
    let mut sent = Vec::new();
    let mut octets = octets.iter().copied();
    while let Some(octet) = octets.next() {
        if octet != ESCAPE {
            sent.push(octet);
            continue;
        }
        let operation = match octets.next() {
            Some(b'|') => Operation::Split,
            Some(b'w') => Operation::Wait(Duration::from_secs(2 * u64::from(octets.next().unwrap_or(0)))),
            Some(b'e') => Operation::EndOfInput,
            Some(b's') => Operation::ShutDown,
            Some(b'o') => Operation::Trouble(Trouble::TryAgain(TryAgain::Overload)),
            Some(b'l') => Operation::Trouble(Trouble::TryAgain(TryAgain::Local)),
            Some(b'n') => Operation::Trouble(Trouble::TryAgain(TryAgain::NoSpace)),
            Some(b'r') => Operation::Trouble(Trouble::Refused),
            Some(b'u') => Operation::Trouble(Trouble::Unknown),
            Some(b't') => Operation::TooMany,
            Some(other) => {
                sent.push(other);
                continue;
            }
            None => break,
        };
        operations.push(Operation::Send(std::mem::take(&mut sent)));
        operations.push(operation);
    }
    operations.push(Operation::Send(sent));
    operations.retain(|operation| !matches!(operation, Operation::Send(sent) if sent.is_empty()));
    operations
}

/// The client is a front that is believed (XCLIENT).
pub const IS_FRONT: u8 = 16;

/// Settings that an octet chooses.
fn chosen(bits: u8) -> Settings {
    let policy = |bit: u8| if bits & bit == 0 { BareLineEnd::Reject } else { BareLineEnd::Normalize };
    let mut settings = Settings { bare_lf: policy(1), bare_cr: policy(2), ..settings() };
    if bits & 4 != 0 {
        settings.limits.recipients_max = 3;
        settings.limits.line_bytes_max = 512;
        settings.limits.message_size_max = 400;
    }
    if bits & 8 != 0 {
        settings.limits.errors_max = u32::MAX;
        settings.limits.idle_commands_max = u32::MAX;
    }
    if bits & IS_FRONT != 0 {
        settings.gate.xclient_from = vec![Network::parse("127.0.0.0/8").expect("a network")];
    }
    settings
}

/// How the octets that a client sends in one go arrive.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    AsTold,
    Whole,
    Bytewise,
}

fn run(settings: Settings, operations: &[Operation], arrival: Arrival) -> Seen {
    let mut exchange = Exchange::new(settings);
    let ends = waiting_lines(&sent(operations));
    let mut received = 0;
    let mut receive = |exchange: &mut Exchange, mut octets: &[u8]| {
        while !octets.is_empty() {
            let most = ends.iter().find(|end| **end > received).map_or(octets.len(), |end| end - received);
            let (piece, behind) = octets.split_at(most.min(octets.len()));
            exchange.receive(piece);
            received += piece.len();
            octets = behind;
        }
    };
    let mut pending = Vec::new();
    for operation in operations {
        if let Operation::Send(sent) = operation {
            pending.extend_from_slice(sent);
        }
        match arrival {
            Arrival::Whole if matches!(operation, Operation::Send(_) | Operation::Split) => continue,
            Arrival::AsTold | Arrival::Whole => receive(&mut exchange, &pending),
            Arrival::Bytewise => pending.chunks(1).for_each(|octet| receive(&mut exchange, octet)),
        }
        pending.clear();
        if exchange.seen.closed {
            break;
        }
        match operation {
            Operation::Send(_) | Operation::Split => {}
            Operation::Wait(time) => exchange.wait(*time),
            Operation::EndOfInput => exchange.end_input(),
            Operation::ShutDown => exchange.shut_down(),
            Operation::Trouble(trouble) => exchange.trouble = Some(*trouble),
            Operation::TooMany => exchange.too_many = true,
        }
    }
    receive(&mut exchange, &pending);
    exchange.seen
}

/// All that the client sends.
fn sent(operations: &[Operation]) -> Vec<u8> {
    let mut all = Vec::new();
    for operation in operations {
        if let Operation::Send(sent) = operation {
            all.extend_from_slice(sent);
        }
    }
    all
}

/// All that is claimed of a session. The first octet chooses settings, the others are operations.
pub fn check_session(input: &[u8]) {
    let Some((&bits, octets)) = input.split_first() else { return };
    let operations = operations(octets);
    let seen = run(chosen(bits), &operations, Arrival::AsTold);
    for arrival in [Arrival::Whole, Arrival::Bytewise] {
        assert_eq!(run(chosen(bits), &operations, arrival), seen, "{arrival:?}");
    }
    walk(&chosen(bits), &sent(&operations), &seen);
}

/// Goes through what the client sent with the replies at hand: one reply a command in order, mail data where
/// a 354 was, a stored message where a 250 followed, nothing else, and nothing behind the reply that closes.
fn walk(settings: &Settings, sent: &[u8], seen: &Seen) {
    let replies = replies(seen);
    let mut replies = replies.iter().map(|lines| lines.last().map_or("", String::as_str)).peekable();
    let mut stored = seen.stored.iter();
    let mut chunks = Vec::new();
    let mut rest = sent;
    // Whom a front named last; none when that is not plain.
    let mut client = Some(IpAddr::from([127, 0, 0, 1]));
    assert!(replies.next().is_some_and(|reply| reply.starts_with("220 ")), "the greeting comes first");
    loop {
        // 421 can come at any time, for a reason outside of what was sent.
        if replies.peek().is_some_and(|reply| reply.starts_with("421 ")) {
            replies.next();
            assert!(seen.closed, "421 closes");
            break;
        }
        let Some((line, behind)) = command_line(rest, settings.limits.line_bytes_max) else { break };
        let chunk = chunk_bytes(line).filter(|_| line.len() <= settings.limits.line_bytes_max);
        if chunk.is_some_and(|bytes| bytes > behind.len()) {
            // The reply comes behind the chunk, or it closes.
            assert!(replies.next().is_none_or(|_| seen.closed), "a reply before the end of its chunk");
            break;
        }
        let Some(reply) = replies.next() else {
            assert!(seen.closed, "no reply to {}", line.escape_ascii());
            break;
        };
        let (chunk, behind) = behind.split_at(chunk.unwrap_or(0));
        rest = behind;
        if reply.starts_with("250 2.1.0") {
            chunks.clear();
        }
        chunks.extend_from_slice(chunk);
        if reply.contains("queued as") {
            let stored = stored.next().expect("250 is said of a stored message");
            assert_eq!(stored.data, chunks);
            assert!(client.is_none_or(|client| client == stored.client.address.ip()), "{client:?}");
        }
        let whole = line.strip_suffix(b"\r\n");
        let is_short = line.len() <= settings.limits.line_bytes_max;
        if whole.is_none_or(|line| is_short && line.contains(&b'\r')) {
            // Another error may stand before the CR.
            assert!(reply.starts_with("500 5.5.2"), "{reply} to {}", line.escape_ascii());
            if seen.closed && replies.peek().is_none() {
                break;
            }
            assert!(whole.is_some(), "a bare LF closes");
        } else if reply.starts_with("221 ") {
            assert!(
                seen.closed && whole.is_some_and(|line| line[..4].eq_ignore_ascii_case(b"QUIT")),
                "{reply}"
            );
            break;
        } else if reply.starts_with("220 ") {
            assert!(!settings.gate.xclient_from.is_empty(), "only a front begins anew");
            client = named_client(line, client);
        } else if reply.starts_with("354 ") {
            assert!(whole.is_some_and(|line| line[..4].eq_ignore_ascii_case(b"DATA")), "{reply}");
            let Some(data) = naive(rest, settings.bare_lf, settings.bare_cr) else {
                check_no_end(&mut replies);
                break;
            };
            let Some(reply) = replies.next() else {
                assert!(seen.closed, "no reply to mail data");
                break;
            };
            let too_large = data.stored.len() as u64 > settings.limits.message_size_max;
            match reply.split(' ').take(2).collect::<Vec<_>>()[..] {
                ["250", "2.0.0"] => {
                    assert!(!data.has_bare && !too_large, "{reply}");
                    let stored = stored.next().expect("250 is said of a stored message");
                    assert_eq!(stored.data, data.stored);
                    assert!(client.is_none_or(|client| client == stored.client.address.ip()), "{client:?}");
                }
                ["550", "5.5.2"] => assert!(data.has_bare, "{reply}"),
                ["552", "5.3.4"] => assert!(too_large || data.has_bare, "{reply}"),
                ["554", "5.4.6"] => assert!(has_many_trace_fields(&data.stored), "{reply}"),
                // The sink's answers.
                ["550", "5.1.3"] | ["451" | "452", _] => assert!(!data.has_bare && !too_large, "{reply}"),
                ["421", _] => {
                    assert!(seen.closed, "421 closes");
                    break;
                }
                _ => panic!("{reply} to mail data"),
            }
            rest = rest.get(data.consumed..).unwrap_or_default();
        }
    }
    assert_eq!(replies.next(), None, "a reply too many");
    assert_eq!(stored.next(), None, "a message that nobody was told of");
}

/// The client after an XCLIENT that was believed; none where its attributes are not plain.
fn named_client(line: &[u8], before: Option<IpAddr>) -> Option<IpAddr> {
    let line = std::str::from_utf8(line).expect("what is believed is ASCII");
    let mut words = line.split_ascii_whitespace();
    assert!(words.next().is_some_and(|verb| verb.eq_ignore_ascii_case("XCLIENT")), "220 to {line:?}");
    words.fold(before, |client, word| {
        let (name, value) = word.split_once('=').expect("attributes have values");
        if !name.eq_ignore_ascii_case("ADDR") {
            return client;
        }
        if value.starts_with('[') {
            return Some(IpAddr::from([0, 0, 0, 0]));
        }
        let value =
            value.get(5..).filter(|_| value.to_ascii_uppercase().starts_with("IPV6:")).unwrap_or(value);
        value.parse().ok().map(|address: IpAddr| address.to_canonical())
    })
}

/// Whether mail data may be that of a message in a loop (§6.3).
fn has_many_trace_fields(data: &[u8]) -> bool {
    data.windows(9).filter(|nine| nine.eq_ignore_ascii_case(b"Received:")).count() > 100
}

/// Mail data without an end: nothing follows but a 421.
fn check_no_end<'a>(replies: &mut impl Iterator<Item = &'a str>) {
    let reply = replies.next();
    assert!(reply.is_none_or(|reply| reply.starts_with("421 ")), "{reply:?} to mail data without end");
}

/// The octets that follow a BDAT line, if it is one with a size (RFC 3030 §2).
fn chunk_bytes(line: &[u8]) -> Option<usize> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    words.next().filter(|verb| verb.eq_ignore_ascii_case("BDAT") && line.starts_with(verb))?;
    let size = words.next().filter(|size| size.bytes().all(|octet| octet.is_ascii_digit()))?;
    usize::try_from(size.parse::<u64>().ok()?).ok()
}

/// The first command line with its line end, and what follows; past the limit only a CRLF ends it.
fn command_line(octets: &[u8], line_bytes_max: usize) -> Option<(&[u8], &[u8])> {
    let ends = |index: &usize| {
        let line = &octets[..=*index];
        line.ends_with(b"\r\n") || line.ends_with(b"\n") && line.len() <= line_bytes_max
    };
    let end = (0..octets.len()).find(ends)?;
    Some(octets.split_at(end + 1))
}

/// The mail data of chunks: framed by lengths, so only bare CR and LF are to be looked for, in all of it.
pub fn naive_chunks(chunks: &[Vec<u8>], policy: ChunkLineEnd) -> (Vec<u8>, bool) {
    let all = chunks.concat();
    let mut has_bare = false;
    let mut stored = Vec::new();
    for (index, octet) in all.iter().enumerate() {
        let after_cr = index.checked_sub(1).is_some_and(|before| all[before] == b'\r');
        let before_lf = all.get(index + 1) == Some(&b'\n');
        let bare = *octet == b'\n' && !after_cr || *octet == b'\r' && !before_lf;
        has_bare |= bare;
        if bare && policy == ChunkLineEnd::Normalize { stored.extend(b"\r\n") } else { stored.push(*octet) }
    }
    (stored, has_bare)
}

/// The commands that send these chunks.
pub fn bdat(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let last = if index + 1 == chunks.len() { " LAST" } else { "" };
        octets.extend(format!("BDAT {}{last}\r\n", chunk.len()).bytes());
        octets.extend_from_slice(chunk);
    }
    octets
}

/// All that is claimed of chunks. Octet 0 chooses the policy and whether the message is BINARYMIME, octet 1
/// the size of the pieces that arrive; then each chunk, an octet for its length before it.
pub fn check_chunks(input: &[u8]) {
    let [bits, piece, rest @ ..] = input else { return };
    let policy = [ChunkLineEnd::Keep, ChunkLineEnd::Normalize, ChunkLineEnd::Reject][usize::from(bits % 3)];
    let mut chunks = Vec::new();
    let mut rest = rest;
    while let Some((length, behind)) = rest.split_first() {
        let (chunk, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        chunks.push(chunk.to_vec());
        rest = behind;
    }
    if !chunks.is_empty() {
        check_chunks_with(&chunks, policy, bits & 128 != 0, &[usize::from(*piece).max(1)]);
    }
}

/// These chunks, arriving in pieces of these sizes, are stored as the naive reader says, or refused once and
/// for all.
pub fn check_chunks_with(chunks: &[Vec<u8>], policy: ChunkLineEnd, binary: bool, sizes: &[usize]) {
    let mut exchange = Exchange::new(Settings { bdat_bare_lf: policy, ..settings() });
    let policy = if binary { ChunkLineEnd::Keep } else { policy };
    let body = if binary { " BODY=BINARYMIME" } else { "" };
    exchange.receive(b"EHLO client.test\r\n");
    let begin = format!("MAIL FROM:<a@x.test>{body}\r\nRCPT TO:<b@y.test>\r\n");
    let octets = [begin.as_bytes(), &bdat(chunks)].concat();
    let mut rest = &octets[..];
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        exchange.receive(piece);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    // The greeting, EHLO, MAIL and RCPT, and one for each chunk.
    let seen = exchange.seen;
    let replies = replies(&seen);
    // Empty chunks bring nothing forward: past the budget the session ends.
    if seen.closed {
        return;
    }
    assert_eq!(replies.len(), 4 + chunks.len());
    let reasons: Vec<&str> = replies[4..].iter().map(|lines| lines[0].as_str()).collect();
    let (stored, has_bare) = naive_chunks(chunks, policy);
    if has_bare && policy == ChunkLineEnd::Reject {
        assert!(seen.stored.is_empty());
        let bad = reasons.iter().position(|reason| reason.starts_with("550 5.5.2")).expect("one is refused");
        assert!(reasons[..bad].iter().all(|reason| reason.starts_with("250 2.0.0 Chunk")), "{reasons:?}");
        assert!(reasons[bad + 1..].iter().all(|reason| reason.starts_with("503 5.5.1")), "{reasons:?}");
        return;
    }
    assert!(reasons.last().is_some_and(|last| last.starts_with("250 2.0.0 Ok: queued as")), "{reasons:?}");
    assert_eq!(seen.stored[0].data.escape_ascii().to_string(), stored.escape_ascii().to_string());
    let bare = format!("bare={}", has_bare && policy == ChunkLineEnd::Keep);
    assert!(seen.stored[0].facts.contains(&bare));
}
