//! The table of commands, and command lines read into commands (RFC 5321 §4.1.1).

use super::reply::{self, Reply};

/// What is true of a command, whoever asks. All that a session does with every command it reads here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// How it is served.
    verb: Verb,
    /// Its word, in upper case.
    pub(super) word: &'static str,
    argument: Argument,
    text: Text,
    /// Whether a client has to wait for its reply.
    pub(super) group: Group,
    /// What bounds how often it may come.
    pub(super) budget: Budget,
    /// Whether it may come in plaintext where TLS is required (RFC 3207 §4).
    pub(super) before_tls: bool,
    /// Whether it may come before EHLO or HELO. What needs a transaction is refused for the lack of that.
    pub(super) before_hello: bool,
    /// What the client sends after it.
    pub(super) next: Next,
}

impl Row {
    /// Whether it is all that a program says which looks whether this server is alive.
    pub(super) fn is_of_a_health_check(&self) -> bool {
        matches!(self.verb, Verb::Ehlo | Verb::Helo | Verb::Quit | Verb::Says(reply::OK))
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

/// Which octets an argument may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// ASCII only.
    Ascii,
    /// Any over 127, too, because it is an address; its reader says what is wrong with them.
    Address,
}

/// Whether a client has to wait for the reply before it sends anything else (RFC 2920 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// It has to.
    Ends,
    /// It need not.
    Stays,
}

/// What bounds how often a command may come in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    /// It brings nothing forward, and counts as idle each time.
    Idle,
    /// It brings mail forward or ends the session. One that does not is a 5yz, or its handler counts it as
    /// idle.
    Progress,
}

/// What a client sends after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another command.
    Command,
    /// Mail data, after the reply. A client that does not wait for the reply sends it to whoever answers.
    MailData,
    /// A chunk, at once: octets that are no commands, whatever comes of the line.
    Chunk,
}

/// Makes the verbs, and the table of all commands: those that the session handles, so that each verb has one
/// row and no other, and those that do nothing and have one reply, which stands in place of a verb.
macro_rules! commands {
    (
        handled { $($(#[doc = $doc:literal])+ $verb:ident { $($field:ident: $value:expr,)+ })+ }
        said { $($reply:ident { $($said_field:ident: $said_value:expr,)+ })+ }
    ) => {
        /// A verb that the session handles, or what is said instead.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Verb {
            $($(#[doc = $doc])+ $verb,)+
            /// There is nothing to do, and this is the reply.
            Says(Reply),
        }

        /// One row a command.
        const COMMANDS: &[Row] = &[
            $(Row { verb: Verb::$verb, $($field: $value,)+ },)+
            $(Row { verb: Verb::Says(reply::$reply), $($said_field: $said_value,)+ },)+
        ];
    };
}

#[rustfmt::skip]
commands! {
    handled {
        /// MAIL (RFC 5321 §4.1.1.2).
        Mail {
            word: "MAIL", argument: Argument::Free, text: Text::Address, group: Group::Stays, budget: Budget::Progress,
            before_tls: false, before_hello: false, next: Next::Command,
        }
        /// RCPT (§4.1.1.3).
        Rcpt {
            word: "RCPT", argument: Argument::Free, text: Text::Address, group: Group::Stays, budget: Budget::Progress,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        /// DATA (§4.1.1.4).
        Data {
            word: "DATA", argument: Argument::None, text: Text::Ascii, group: Group::Ends, budget: Budget::Progress,
            before_tls: false, before_hello: true, next: Next::MailData,
        }
        /// BDAT (RFC 3030 §2). Its handler knows where a chunk ends that must not come, and sees all.
        Bdat {
            word: "BDAT", argument: Argument::Free, text: Text::Ascii, group: Group::Stays, budget: Budget::Progress,
            before_tls: true, before_hello: true, next: Next::Chunk,
        }
        /// EHLO (§4.1.1.1).
        Ehlo {
            word: "EHLO", argument: Argument::Free, text: Text::Ascii, group: Group::Ends, budget: Budget::Idle,
            before_tls: true, before_hello: true, next: Next::Command,
        }
        /// HELO (§4.1.1.1).
        Helo {
            word: "HELO", argument: Argument::Free, text: Text::Ascii, group: Group::Ends, budget: Budget::Idle,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        /// QUIT (§4.1.1.10). Nothing after it is ever read.
        Quit {
            word: "QUIT", argument: Argument::None, text: Text::Ascii, group: Group::Stays, budget: Budget::Progress,
            before_tls: true, before_hello: true, next: Next::Command,
        }
        /// RSET (§4.1.1.5).
        Rset {
            word: "RSET", argument: Argument::None, text: Text::Ascii, group: Group::Stays, budget: Budget::Idle,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        /// VRFY (§4.1.1.6).
        Vrfy {
            word: "VRFY", argument: Argument::Free, text: Text::Address, group: Group::Ends, budget: Budget::Idle,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        /// A trusted front says whom it speaks for.
        Xclient {
            word: "XCLIENT", argument: Argument::Free, text: Text::Ascii, group: Group::Ends, budget: Budget::Idle,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        /// STARTTLS (RFC 3207).
        StartTls {
            word: "STARTTLS", argument: Argument::None, text: Text::Ascii, group: Group::Ends, budget: Budget::Progress,
            before_tls: true, before_hello: true, next: Next::Command,
        }
    }
    said {
        // NOOP (§4.1.1.9).
        OK {
            word: "NOOP", argument: Argument::Free, text: Text::Ascii, group: Group::Ends, budget: Budget::Idle,
            before_tls: true, before_hello: true, next: Next::Command,
        }
        // HELP (§4.1.1.8).
        HELP {
            word: "HELP", argument: Argument::Free, text: Text::Ascii, group: Group::Stays, budget: Budget::Idle,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        // Known, and not implemented here.
        NOT_IMPLEMENTED {
            word: "EXPN", argument: Argument::Free, text: Text::Ascii, group: Group::Ends, budget: Budget::Progress,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        NOT_IMPLEMENTED {
            word: "ETRN", argument: Argument::Free, text: Text::Ascii, group: Group::Ends, budget: Budget::Progress,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        NOT_IMPLEMENTED {
            word: "TURN", argument: Argument::Free, text: Text::Ascii, group: Group::Ends, budget: Budget::Progress,
            before_tls: false, before_hello: true, next: Next::Command,
        }
        NOT_IMPLEMENTED {
            word: "AUTH", argument: Argument::Free, text: Text::Ascii, group: Group::Ends, budget: Budget::Progress,
            before_tls: false, before_hello: true, next: Next::Command,
        }
    }
}

/// How many commands there are.
pub(super) const COUNT: usize = COMMANDS.len();

/// The words of all commands, in the order of their numbers.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|row| row.word)
}

const _: () = {
    let mut row = 0;
    while row < COMMANDS.len() {
        let word = COMMANDS[row].word.as_bytes();
        let mut octet = 0;
        while octet < word.len() {
            assert!(word[octet].is_ascii_uppercase(), "`can_begin` knows how words begin");
            octet += 1;
        }
        let mut other = 0;
        while other < row {
            assert!(!word.eq_ignore_ascii_case(COMMANDS[other].word.as_bytes()), "a word is one command");
            other += 1;
        }
        row += 1;
    }
};

/// A command line, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command<'a> {
    /// What it is.
    pub(super) verb: Verb,
    /// What is true of it.
    pub(super) row: &'static Row,
    /// The number of its row, for counting.
    pub(super) number: usize,
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
    /// An argument where there may not be one.
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
    let (word, argument) = split_word(line);
    let Some((number, row)) = find(word) else {
        return Err(if foreign { LineError::Octet } else { LineError::Unrecognized });
    };
    if foreign && row.text == Text::Ascii {
        return Err(LineError::Octet);
    }
    let argument = trim_start(argument);
    if row.argument == Argument::None && !argument.is_empty() {
        return Err(LineError::Argument);
    }
    Ok(Command { verb: row.verb, row, number, argument })
}

/// The command that a line is meant as, also where it is refused for its argument or for an octet in it.
pub(super) fn meant(line: &[u8]) -> Option<&'static Row> {
    find(split_word(line).0).map(|(_, row)| row)
}

/// Whether a line that cannot be read, or only its beginning, seems to announce a chunk: octets follow that
/// are no commands, and how many is not known.
pub(super) fn announces_chunk(line: impl Iterator<Item = u8> + Clone) -> bool {
    COMMANDS.iter().filter(|row| row.next == Next::Chunk).any(|row| {
        let mut octets = line.clone();
        row.word.bytes().all(|letter| octets.next().is_some_and(|octet| octet.eq_ignore_ascii_case(&letter)))
    })
}

fn find(word: &[u8]) -> Option<(usize, &'static Row)> {
    COMMANDS.iter().enumerate().find(|(_, row)| row.word.as_bytes().eq_ignore_ascii_case(word))
}

/// The word that a line begins with, and the rest.
fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    line.split_at(line.iter().position(|octet| is_space(*octet)).unwrap_or(line.len()))
}

/// Whether a line begins with an octet that no command begins with, or may be an empty one. Requests of other
/// protocols begin with digits, punctuation, controls or octets over 127 (Redis, JSON, TLS), and so do folded
/// header fields, with white space.
pub(super) fn can_begin(octet: u8) -> bool {
    octet.is_ascii_alphabetic() || matches!(octet, b'\r' | b'\n')
}

/// Whether a line before the first EHLO or HELO shows that this is no SMTP client: a request or an answer of
/// another protocol, or a header field (a browser or a proxy that was talked into sending here).
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

/// `PUT /x HTTP/1.1`, whatever its first word: a request line ends with the version of its protocol (HTTP,
/// SIP, RTSP, ICAP); a status line begins with it.
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

/// What follows `FROM:` or `TO:` in the argument of MAIL or RCPT; a space may stand after the colon.
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
