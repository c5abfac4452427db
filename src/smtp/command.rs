//! The table of commands, and command lines read into commands (RFC 5321 §4.1.1).

/// A verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Help,
    StartTls,
    /// A trusted front says whom it speaks for.
    Xclient,
    /// Known, and not implemented here: `502`.
    NotImplemented,
}

impl Verb {
    /// Whether a client has to wait for the reply before it sends anything else (RFC 2920 §3.1). DATA is looked at by its
    /// handler, nothing behind QUIT is ever read, and a chunk follows its BDAT.
    pub(super) fn ends_command_group(self) -> bool {
        match self {
            Self::Ehlo
            | Self::Helo
            | Self::Data
            | Self::Noop
            | Self::Vrfy
            | Self::StartTls
            | Self::Xclient
            | Self::NotImplemented => true,
            Self::Mail | Self::Rcpt | Self::Bdat | Self::Rset | Self::Help | Self::Quit => false,
        }
    }
}

/// Whether a command takes an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    /// It must not have one.
    None,
    /// It may, or its handler looks for itself.
    Free,
}

/// One row a command.
const COMMANDS: [(&[u8], Verb, Argument); 17] = [
    (b"MAIL", Verb::Mail, Argument::Free),
    (b"RCPT", Verb::Rcpt, Argument::Free),
    (b"DATA", Verb::Data, Argument::None),
    (b"BDAT", Verb::Bdat, Argument::Free),
    (b"EHLO", Verb::Ehlo, Argument::Free),
    (b"HELO", Verb::Helo, Argument::Free),
    (b"QUIT", Verb::Quit, Argument::None),
    (b"RSET", Verb::Rset, Argument::None),
    (b"NOOP", Verb::Noop, Argument::Free),
    (b"VRFY", Verb::Vrfy, Argument::Free),
    (b"HELP", Verb::Help, Argument::Free),
    (b"XCLIENT", Verb::Xclient, Argument::Free),
    (b"EXPN", Verb::NotImplemented, Argument::Free),
    (b"ETRN", Verb::NotImplemented, Argument::Free),
    (b"TURN", Verb::NotImplemented, Argument::Free),
    (b"AUTH", Verb::NotImplemented, Argument::Free),
    (b"STARTTLS", Verb::StartTls, Argument::None),
];

/// A command line, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command<'a> {
    /// What it is.
    pub(super) verb: Verb,
    /// What follows the verb, without white space around it.
    pub(super) argument: &'a [u8],
}

/// What is wrong with a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineError {
    /// A control character, or a foreign octet where no address is.
    Octet,
    /// A CR inside the line.
    BareCr,
    /// No command of ours.
    Unrecognized,
    /// An argument where none may be.
    Argument,
}

/// Reads a command line without its CRLF.
pub(super) fn parse(line: &[u8]) -> Result<Command<'_>, LineError> {
    let mut foreign = false;
    for &octet in line {
        match octet {
            b'\r' => return Err(LineError::BareCr),
            0x00..=0x08 | 0x0a..=0x1f | 0x7f => return Err(LineError::Octet),
            0x80.. => foreign = true,
            b'\t' | b' '..=b'~' => {}
        }
    }
    let line = trim_end(line);
    let verb_end = line.iter().position(|octet| is_space(*octet)).unwrap_or(line.len());
    let (verb, argument) = line.split_at(verb_end);
    let argument = trim_start(argument);
    let row = COMMANDS.iter().find(|(name, _, _)| name.eq_ignore_ascii_case(verb));
    let Some((_, verb, takes)) = row else {
        return Err(if foreign { LineError::Octet } else { LineError::Unrecognized });
    };
    // Only an address may hold foreign octets; its reader says what is wrong with them.
    if foreign && !matches!(verb, Verb::Mail | Verb::Rcpt | Verb::Vrfy) {
        return Err(LineError::Octet);
    }
    if *takes == Argument::None && !argument.is_empty() {
        return Err(LineError::Argument);
    }
    Ok(Command { verb: *verb, argument })
}

/// Whether a line that cannot be read is a BDAT.
pub(super) fn is_bdat(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}

/// Whether a line begins with an octet that no command begins with, or may be an empty one. Requests of other protocols begin with
/// digits, punctuation, controls or octets over 127 (Redis, JSON, TLS), and so do folded header fields, with white space.
pub(super) fn can_begin(octet: u8) -> bool {
    octet.is_ascii_alphabetic() || matches!(octet, b'\r' | b'\n')
}

/// Whether a line before the first EHLO or HELO shows that this is no SMTP client: a request or an answer of another protocol, or a
/// header field (a browser or a proxy that was talked into sending here).
pub(super) fn is_foreign_protocol(line: &[u8]) -> bool {
    const STARTS: [&[u8]; 4] = [b"GET ", b"POST ", b"CONNECT ", b"SSH-"];
    let start =
        |start: &&[u8]| line.get(..start.len()).is_some_and(|octets| octets.eq_ignore_ascii_case(start));
    STARTS.iter().any(start) || is_field(line) || names_protocol(line)
}

/// A header field: a name and a colon, between which white space may stand (RFC 5322 §4.5).
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|octet| *octet == b':') else { return false };
    let name = trim_end(line.get(..colon).unwrap_or_default());
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// `PUT /x HTTP/1.1`, whatever its first word: a request line ends with the version of its protocol (HTTP, SIP, RTSP, ICAP); a status
/// line begins with it.
fn names_protocol(line: &[u8]) -> bool {
    let mut words = line.split(|octet| is_space(*octet)).filter(|word| !word.is_empty());
    let (first, second) = (words.next(), words.next());
    let last = words.next_back();
    let is_status = second.is_some() && first.is_some_and(is_protocol_version);
    is_status || last.is_some_and(is_protocol_version)
}

/// Letters, `/`, a digit, such as `HTTP/1.1`.
fn is_protocol_version(word: &[u8]) -> bool {
    let Some(slash) = word.iter().position(|octet| *octet == b'/') else { return false };
    let (name, version) = word.split_at(slash);
    let is_name = name.len() >= 2 && name.iter().all(u8::is_ascii_alphabetic);
    let is_digit_or_dot = |octet: &u8| octet.is_ascii_digit() || *octet == b'.';
    is_name && version.get(1).is_some_and(u8::is_ascii_digit) && version.iter().skip(1).all(is_digit_or_dot)
}

/// What follows `FROM:` or `TO:` in the argument of MAIL or RCPT; a space may stand behind the colon.
pub(super) fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = argument.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| trim_start(rest))
}

pub(super) fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|octet| !is_space(*octet)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|octet| !is_space(*octet)).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_found_in_any_case_and_white_space_ignored() {
        let command = parse(b"mAiL  From:<a@b> \t").expect("a command");
        assert_eq!((command.verb, command.argument), (Verb::Mail, &b"From:<a@b>"[..]));
        assert_eq!(parse(b"DATA  ").map(|command| command.verb), Ok(Verb::Data));
        assert_eq!(after_keyword(b"FROM: <a@b>", b"from:"), Some(&b"<a@b>"[..]));
        assert_eq!(after_keyword(b"FROM", b"from:"), None);
    }

    #[test]
    fn bad_lines_are_told_apart() {
        for (line, error) in [
            (&b""[..], LineError::Unrecognized),
            (b"MAILFROM:<a@b>", LineError::Unrecognized),
            (b"DATA x", LineError::Argument),
            (b"NOOP\0", LineError::Octet),
            (b"NOOP \x7f", LineError::Octet),
            (b"EHLO \xc3\xa9", LineError::Octet),
            (b"NO\rOP", LineError::BareCr),
        ] {
            assert_eq!(parse(line), Err(error), "{line:?}");
        }
        assert!(parse(b"MAIL FROM:<\xc3\xa9@b>").is_ok(), "the path reader answers");
    }

    #[test]
    fn other_protocols_are_known_by_a_line() {
        for line in [
            &b"GET / HTTP/1.1"[..],
            b"post /x",
            b"CONNECT a:25",
            b"PUT /x HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"EHLO /x HTTP/1.1",
            b"INVITE sip:a@b.test SIP/2.0",
            b"DESCRIBE rtsp://a/b RTSP/1.0",
            b"OPTIONS icap://a/b ICAP/1.0",
            b"HTTP/1.1 200 OK",
            b"SSH-2.0-OpenSSH_9.9",
            b"ssh-1.99",
            b"Host: x",
            b"Content-Type: text/plain",
            b"Subject : x",
            b"X-Y:",
        ] {
            assert!(is_foreign_protocol(line), "{line:?}");
        }
        for line in [
            &b"EHLO a.test"[..],
            b"EHLO HTTP/1.1",
            b"MAIL FROM:<a@b>",
            b"MAIL FROM: <a@b> SIZE=1/2",
            b"RCPT TO:<a/b@c/1>",
            b"GETX",
            b"EHLO [IPv6:::1]",
            b"NOOP and/or 1/2",
            b"HELP x /1",
            b"",
        ] {
            assert!(!is_foreign_protocol(line), "{line:?}");
        }
        assert!(b"aZ\r\n".iter().all(|octet| can_begin(*octet)));
        assert!(b"*{<$0 \t\0\x16\x80".iter().all(|octet| !can_begin(*octet)));
    }
}
