//! The table of commands, and a command line read with it (RFC 5321 §4.1).
//!
//! A command borrows from its line; nothing is allocated. What it means in which state is `session`'s matter.

use super::reply::{self, Reply};

/// A command with its argument, in the syntax that can be told without knowing the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO and the client's name (§4.1.1.1).
    Ehlo(&'a [u8]),
    /// HELO and the client's name (§4.1.1.1).
    Helo(&'a [u8]),
    /// MAIL and what follows `FROM:` (§4.1.1.2).
    Mail(&'a [u8]),
    /// RCPT and what follows `TO:` (§4.1.1.3).
    Rcpt(&'a [u8]),
    /// DATA (§4.1.1.4).
    Data,
    /// RSET (§4.1.1.5).
    Rset,
    /// VRFY; nobody is told who exists (§4.1.1.6, §7.3).
    Vrfy,
    /// HELP (§4.1.1.8).
    Help,
    /// NOOP (§4.1.1.9).
    Noop,
    /// QUIT (§4.1.1.10).
    Quit,
}

impl Command<'_> {
    /// Whether it brings no transaction further. So many of them in a session are enough.
    pub const fn is_idle(self) -> bool {
        match self {
            Self::Ehlo(_) | Self::Helo(_) | Self::Rset | Self::Vrfy | Self::Help | Self::Noop => true,
            Self::Mail(_) | Self::Rcpt(_) | Self::Data | Self::Quit => false,
        }
    }
}

/// What a client did wrong in a command. Each has exactly one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// An LF without CR before it.
    BareLf,
    /// A CR without LF behind it.
    BareCr,
    /// Longer than the limit (§4.5.3.1.4).
    LineTooLong,
    /// Longer than what is read to find its end.
    LineEndless,
    /// Nothing but white space.
    EmptyLine,
    /// NUL, another control, or an octet over 127 outside an address.
    BadOctet,
    /// A verb that we do not know (§4.2.4).
    Unrecognized,
    /// A verb that we know and do not offer (§4.2.4).
    NotImplemented,
    /// EHLO or HELO without a name.
    NameMissing,
    /// An argument of a command that takes none.
    ArgumentNotAllowed,
    /// No argument of a command that needs one.
    ArgumentMissing,
    /// MAIL without `FROM:`.
    MailSyntax,
    /// RCPT without `TO:`.
    RcptSyntax,
    /// The path of MAIL is none.
    BadReversePath,
    /// The path of RCPT is none.
    BadForwardPath,
    /// An octet over 127 in an address, without SMTPUTF8 (RFC 6531 §3.5).
    AddressNotAscii,
    /// A parameter's syntax or value (§4.1.1.11).
    BadParameter,
    /// A parameter that we do not know (§4.1.1.11).
    UnknownParameter,
    /// SIZE= over the limit (RFC 1870 §6.1).
    TooLarge,
    /// MAIL, RCPT or DATA before EHLO or HELO (§4.1.4).
    NoEhlo,
    /// MAIL inside a transaction, which stands (§4.1.4).
    NestedMail,
    /// RCPT or DATA outside a transaction (§4.1.4).
    NoMail,
    /// DATA when no RCPT was accepted (§3.3).
    NoRecipients,
    /// RCPT past the limit; those before it stand (§4.5.3.1.10).
    TooManyRecipients,
    /// Anything but QUIT from a client greeted with 554 (§3.1).
    TurnedAway,
}

impl CommandError {
    /// Its reply.
    pub const fn reply(self) -> Reply {
        match self {
            Self::BareLf | Self::BareCr => reply::BARE_LINE_END,
            Self::LineTooLong | Self::LineEndless => reply::LINE_TOO_LONG,
            Self::EmptyLine => reply::EMPTY_LINE,
            Self::BadOctet => reply::BAD_OCTET,
            Self::Unrecognized => reply::UNRECOGNIZED,
            Self::NotImplemented => reply::NOT_IMPLEMENTED,
            Self::NameMissing => reply::NO_NAME,
            Self::ArgumentNotAllowed => reply::NO_ARGUMENT_ALLOWED,
            Self::ArgumentMissing => reply::ARGUMENT_MISSING,
            Self::MailSyntax => reply::MAIL_SYNTAX,
            Self::RcptSyntax => reply::RCPT_SYNTAX,
            Self::BadReversePath => reply::BAD_REVERSE_PATH,
            Self::BadForwardPath => reply::BAD_FORWARD_PATH,
            Self::AddressNotAscii => reply::ADDRESS_NOT_ASCII,
            Self::BadParameter => reply::BAD_PARAMETER,
            Self::UnknownParameter => reply::UNKNOWN_PARAMETER,
            Self::TooLarge => reply::TOO_LARGE,
            Self::NoEhlo => reply::NO_EHLO,
            Self::NestedMail => reply::NESTED_MAIL,
            Self::NoMail => reply::NO_MAIL,
            Self::NoRecipients => reply::NO_RECIPIENTS,
            Self::TooManyRecipients => reply::TOO_MANY_RECIPIENTS,
            Self::TurnedAway => reply::TURNED_AWAY,
        }
    }

    /// Whether we lost step with the client, so that what follows must not be taken for commands.
    pub const fn closes(self) -> bool {
        matches!(self, Self::BareLf | Self::BareCr | Self::LineEndless)
    }
}

/// What may follow a verb.
#[derive(Clone, Copy)]
enum Argument {
    /// Nothing.
    None,
    /// Anything, or nothing.
    Optional,
    /// An address or a part of one.
    Address,
    /// The client's name.
    Name,
    /// This word, then a path and parameters; without the word, this error.
    Path(&'static [u8], CommandError),
    /// Whatever it is, the command is not offered.
    NotOffered,
}

struct Row {
    verb: &'static [u8],
    argument: Argument,
    command: for<'a> fn(&'a [u8]) -> Command<'a>,
}

const fn row(verb: &'static str, argument: Argument, command: for<'a> fn(&'a [u8]) -> Command<'a>) -> Row {
    Row { verb: verb.as_bytes(), argument, command }
}

/// The commands, the frequent ones first.
const TABLE: [Row; 15] = [
    row("RCPT", Argument::Path(b"TO:", CommandError::RcptSyntax), |path| Command::Rcpt(path)),
    row("MAIL", Argument::Path(b"FROM:", CommandError::MailSyntax), |path| Command::Mail(path)),
    row("DATA", Argument::None, |_| Command::Data),
    row("EHLO", Argument::Name, |name| Command::Ehlo(name)),
    row("QUIT", Argument::None, |_| Command::Quit),
    row("RSET", Argument::None, |_| Command::Rset),
    row("HELO", Argument::Name, |name| Command::Helo(name)),
    row("NOOP", Argument::Optional, |_| Command::Noop),
    row("VRFY", Argument::Address, |_| Command::Vrfy),
    row("HELP", Argument::Optional, |_| Command::Help),
    // Known, so 502 (§4.2.4). STARTTLS (RFC 3207) until it is offered.
    row("STARTTLS", Argument::NotOffered, |_| Command::Noop),
    row("AUTH", Argument::NotOffered, |_| Command::Noop),
    row("EXPN", Argument::NotOffered, |_| Command::Noop),
    row("ETRN", Argument::NotOffered, |_| Command::Noop),
    row("TURN", Argument::NotOffered, |_| Command::Noop),
];

/// Reads a command line, given without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
    check_octets(line)?;
    let line = trim_end(line);
    if line.is_empty() {
        return Err(CommandError::EmptyLine);
    }
    let verb_end = line.iter().position(|octet| is_space(*octet)).unwrap_or(line.len());
    let (verb, argument) = line.split_at_checked(verb_end).unwrap_or((line, b""));
    let argument = trim_start(argument);
    if !verb.is_ascii() {
        return Err(CommandError::BadOctet);
    }
    let known = TABLE.iter().find(|row| row.verb.eq_ignore_ascii_case(verb));
    let row = known.ok_or(CommandError::Unrecognized)?;
    let argument = check_argument(row.argument, argument)?;
    Ok((row.command)(argument))
}

/// Whether a first line is that of another protocol, brought here by a browser or a server-side request: a line of HTTP
/// or a header field.
pub fn is_foreign(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 3] = [b"GET ", b"POST ", b"CONNECT "];
    let begins =
        |method: &&[u8]| line.get(..method.len()).is_some_and(|start| start.eq_ignore_ascii_case(method));
    let name_end = line.iter().position(|octet| !(b'!'..=b'~').contains(octet) || *octet == b':');
    let is_field = name_end.is_some_and(|end| end > 0 && line.get(end) == Some(&b':'));
    is_field || METHODS.iter().any(|method| begins(method))
}

/// Controls are in no command. Octets over 127 are looked at where they stand: an address may hold them.
fn check_octets(line: &[u8]) -> Result<(), CommandError> {
    if memchr::memchr(b'\r', line).is_some() {
        return Err(CommandError::BareCr);
    }
    let is_bad = |octet: &u8| octet.is_ascii_control() && *octet != b'\t';
    if line.iter().any(is_bad) { Err(CommandError::BadOctet) } else { Ok(()) }
}

fn check_argument(expected: Argument, argument: &[u8]) -> Result<&[u8], CommandError> {
    let is_ascii = argument.is_ascii();
    match expected {
        Argument::NotOffered => Err(CommandError::NotImplemented),
        Argument::Address if !is_ascii => Err(CommandError::AddressNotAscii),
        Argument::None | Argument::Optional | Argument::Name if !is_ascii => Err(CommandError::BadOctet),
        Argument::None if !argument.is_empty() => Err(CommandError::ArgumentNotAllowed),
        Argument::Name if argument.is_empty() => Err(CommandError::NameMissing),
        Argument::Address if argument.is_empty() => Err(CommandError::ArgumentMissing),
        Argument::Path(word, otherwise) => match argument.split_at_checked(word.len()) {
            Some((start, path)) if start.eq_ignore_ascii_case(word) => Ok(path),
            Some(_) | None => Err(otherwise),
        },
        Argument::None | Argument::Optional | Argument::Name | Argument::Address => Ok(argument),
    }
}

const fn is_space(octet: u8) -> bool {
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
    fn a_command_is_read_in_any_case_and_with_white_space_behind_it() {
        assert_eq!(parse(b"ehlo client.test \t"), Ok(Command::Ehlo(b"client.test")));
        assert_eq!(parse(b"MAIL FROM:<a@b>"), Ok(Command::Mail(b"<a@b>")));
        assert_eq!(parse(b"Mail  from: <a@b> SIZE=1 "), Ok(Command::Mail(b" <a@b> SIZE=1")));
        assert_eq!(parse(b"DATA "), Ok(Command::Data));
        assert_eq!(parse(b"NOOP what ever"), Ok(Command::Noop));
    }

    #[test]
    fn each_mistake_has_its_error() {
        let cases: [(&[u8], CommandError); 17] = [
            (b"", CommandError::EmptyLine),
            (b" \t", CommandError::EmptyLine),
            (b" NOOP", CommandError::Unrecognized),
            (b"NOOPS", CommandError::Unrecognized),
            (b"MAILFROM:<a@b>", CommandError::Unrecognized),
            (b"NOOP\r", CommandError::BareCr),
            (b"NO\0OP", CommandError::BadOctet),
            (b"NOOP \xc3\xa9", CommandError::BadOctet),
            (b"EHLO \xc3\xa9", CommandError::BadOctet),
            (b"\xffNOOP", CommandError::BadOctet),
            (b"EHLO", CommandError::NameMissing),
            (b"HELO ", CommandError::NameMissing),
            (b"DATA now", CommandError::ArgumentNotAllowed),
            (b"MAIL", CommandError::MailSyntax),
            (b"RCPT FROM:<a@b>", CommandError::RcptSyntax),
            (b"AUTH PLAIN", CommandError::NotImplemented),
            (b"VRFY \xc3\xa9", CommandError::AddressNotAscii),
        ];
        for (line, error) in cases {
            assert_eq!(parse(line), Err(error), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn lines_of_http_and_header_fields_are_foreign() {
        for line in [&b"GET / HTTP/1.1"[..], b"post /x", b"CONNECT a:25", b"Host: a", b"Subject:x"] {
            assert!(is_foreign(line), "{}", line.escape_ascii());
        }
        for line in [&b"EHLO a"[..], b"MAIL FROM:<a@b>", b"GETS", b"", b":x", b"NOOP a:b"] {
            assert!(!is_foreign(line), "{}", line.escape_ascii());
        }
    }
}
