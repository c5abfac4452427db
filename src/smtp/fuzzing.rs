//! What holds for every input of the private modules: claims that fuzz targets (`tests/fuzz`) and the
//! property tests below share. Each compares with a naive reference that reads a byte at a time, and panics
//! where they differ.

mod front;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use self::front::{check_proxy_header, check_xclient};
use super::command::{self, LineError, Verb};
use super::extension::ExtensionSet;
use super::input::Input;
use super::line::{Line, LineReader};
use super::mail_data::{InMailData, MailData};
use super::parameter;
use super::path::{self, Path, PathError};
use super::supplies::Supplies;
use crate::limits::{DOMAIN_BYTES_MAX, LINE_SWALLOW_BYTES_MAX, PATH_BYTES_MAX};
use crate::smtp::settings::BareLineEnd;

/// A command line without its CRLF: what is read of it does not depend on case and white space that mean
/// nothing.
pub fn check_command(line: &[u8]) {
    let _ = command::is_foreign_protocol(line);
    let read = command::parse(line);
    let control =
        line.iter().find(|octet| octet.is_ascii_control() && **octet != b'\t').map(|octet| *octet == b'\r');
    match control {
        Some(true) => assert_eq!(read, Err(LineError::BareCr)),
        Some(false) => assert_eq!(read, Err(LineError::Octet)),
        None => assert_ne!(read, Err(LineError::BareCr)),
    }
    let read = match read {
        Ok(read) => read,
        Err(LineError::Unrecognized) => return assert!(line.is_ascii(), "a foreign octet is told"),
        Err(LineError::BareCr | LineError::Octet | LineError::Argument) => return,
    };
    let argument = read.argument;
    let is_space = |octet: Option<&u8>| octet.is_some_and(|octet| matches!(octet, b' ' | b'\t'));
    assert!(!is_space(argument.first()) && !is_space(argument.last()), "white space is no argument");
    let takes_foreign = matches!(read.verb, Verb::Mail | Verb::Rcpt | Verb::Vrfy);
    assert!(line.is_ascii() || takes_foreign, "foreign octets stand in addresses only");
    let verb: Vec<u8> = line.iter().copied().take_while(|octet| !is_space(Some(octet))).collect();
    for (verb, between, after) in [
        (verb.to_ascii_uppercase(), &b" "[..], &b""[..]),
        (verb.to_ascii_lowercase(), b"\t ", b" \t"),
        (verb, b"  ", b" "),
    ] {
        let again = [&verb, between, argument, after].concat();
        assert_eq!(command::parse(&again), Ok(read), "{}", again.escape_ascii());
    }
    for (verb, keyword) in [(Verb::Mail, &b"FROM:"[..]), (Verb::Rcpt, b"TO:")] {
        if read.verb == verb {
            command::after_keyword(argument, keyword).into_iter().for_each(check_path);
        }
    }
}

/// The argument of MAIL or RCPT after `FROM:` or `TO:`: the path is what the reference reads, its form of the
/// mailbox is read as itself, and the parameters do no harm.
pub fn check_path(text: &[u8]) {
    let shown = || text.escape_ascii().to_string();
    let read = match path::parse(text, false) {
        Ok((path, rest)) => {
            assert!(text.ends_with(rest), "what follows is the text's end: {}", shown());
            let _ = parameter::parse_mail(rest, ExtensionSet::all());
            let _ = parameter::parse_rcpt(rest, ExtensionSet::all(), true);
            assert!(text.len() - rest.len() <= PATH_BYTES_MAX, "a path is bounded: {}", shown());
            Some((spelled(&path), rest))
        }
        Err(PathError::NotAscii) => return assert!(!text.is_ascii(), "all of it is ASCII: {}", shown()),
        Err(PathError::Syntax) => None,
    };
    if let Some((Some((local_part, domain)), _)) = &read
        && !domain.is_empty()
    {
        assert!(
            !local_part.is_empty() && [local_part, domain].iter().all(|part| part.is_ascii()),
            "{}",
            shown()
        );
        assert!(!local_part.iter().chain(domain).any(u8::is_ascii_control), "{}", shown());
        let again = [b"<", &**local_part, b"@", domain, b">"].concat();
        let (path, rest) = path::parse(&again, false).unwrap_or_else(|_| panic!("{}", again.escape_ascii()));
        assert_eq!((spelled(&path), rest), (Some((local_part.clone(), domain.clone())), &b""[..]));
    }
    if text.is_ascii() {
        assert_eq!(read, naive_path(text), "{}", shown());
    }
}

/// Local-part and domain of a mailbox, as they go into the envelope. None for `<>`; `<postmaster>` has no
/// domain.
type Spelled = Option<(Vec<u8>, Vec<u8>)>;

fn spelled(path: &Path<'_>) -> Spelled {
    let (mut local_part, mut domain) = (Vec::new(), Vec::new());
    match path {
        Path::Null => return None,
        Path::Postmaster => return Some((b"postmaster".to_vec(), Vec::new())),
        Path::Mailbox(mailbox) => {
            mailbox.push_local_part(&mut local_part);
            mailbox.push_domain(&mut domain);
        }
    }
    Some((local_part, domain))
}

/// A path read octet by octet from the left, as the grammar of RFC 5321 §4.1.2 has it.
fn naive_path(text: &[u8]) -> Option<(Spelled, &[u8])> {
    let mut rest = text;
    let take = |rest: &mut &[u8], octet: u8| {
        let found = rest.first() == Some(&octet);
        *rest = rest.get(usize::from(found)..).unwrap_or_default();
        found.then_some(())
    };
    take(&mut rest, b'<')?;
    if rest.first() == Some(&b'>') {
        return Some((None, rest.get(1..)?));
    }
    if rest.get(..11).is_some_and(|start| start.eq_ignore_ascii_case(b"postmaster>")) {
        return Some((Some((b"postmaster".to_vec(), Vec::new())), rest.get(11..)?));
    }
    let up_to = |rest: &mut &[u8], ends: &[u8]| {
        let part: Vec<u8> = rest.iter().copied().take_while(|octet| !ends.contains(octet)).collect();
        *rest = rest.get(part.len()..).unwrap_or_default();
        part
    };
    // The source route.
    let mut more = rest.first() == Some(&b'@');
    while more {
        take(&mut rest, b'@')?;
        naive_domain(&up_to(&mut rest, b",:"))?;
        more = take(&mut rest, b',').is_some();
        if !more {
            take(&mut rest, b':')?;
        }
    }
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(octet);
    let mut local_part = Vec::new();
    if take(&mut rest, b'"').is_some() {
        loop {
            let (&octet, behind) = rest.split_first()?;
            rest = behind;
            match octet {
                b'"' => break,
                b'\\' => {
                    local_part.push(*rest.first()?);
                    rest = rest.get(1..)?;
                }
                _ => local_part.push(octet),
            }
        }
        if !local_part.iter().all(|octet| (b' '..=b'~').contains(octet)) {
            return None;
        }
        if local_part.is_empty() || !local_part.iter().all(plain) {
            let escape =
                |octet: &u8| if b"\\\"".contains(octet) { vec![b'\\', *octet] } else { vec![*octet] };
            local_part = [vec![b'"'], local_part.iter().flat_map(escape).collect(), vec![b'"']].concat();
        }
    } else {
        local_part = up_to(&mut rest, b"@");
        if local_part.is_empty() || !local_part.iter().all(plain) {
            return None;
        }
    }
    take(&mut rest, b'@')?;
    let domain = naive_domain(&up_to(&mut rest, b">"))?;
    take(&mut rest, b'>')?;
    (text.len() - rest.len() <= PATH_BYTES_MAX).then_some((Some((local_part, domain)), rest))
}

fn naive_domain(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    if let Some(literal) = text.strip_prefix('[') {
        let literal = literal.strip_suffix(']')?;
        match literal.strip_prefix("ipv6:") {
            Some(address) => _ = address.parse::<Ipv6Addr>().ok()?,
            None => _ = literal.parse::<Ipv4Addr>().ok()?,
        }
        return Some(text.into_bytes());
    }
    let domain = text.strip_suffix('.').unwrap_or(&text);
    // After a dot, and at the beginning, a label has to follow.
    let mut after_dot = true;
    for octet in domain.bytes() {
        match octet {
            b'.' if after_dot => return None,
            b'.' => after_dot = true,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => after_dot = false,
            _ => return None,
        }
    }
    (!after_dot && domain.len() <= DOMAIN_BYTES_MAX).then(|| domain.as_bytes().to_vec())
}

/// What a line reader says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Line(Vec<u8>),
    BareLf,
    TooLong,
    Endless,
}

/// Command lines: the reference sees the same, and where the octets are split changes nothing.
pub fn check_lines(octets: &[u8], sizes: &[usize], line_bytes_max: usize) {
    let expected = naive_lines(octets, line_bytes_max);
    for sizes in [&[usize::MAX], &[1], sizes] {
        let mut reader = LineReader::default();
        let mut said = Vec::new();
        let mut supplies = Supplies::default();
        'pieces: for piece in pieces(octets, sizes) {
            let mut input = Input::new(piece, &mut supplies);
            loop {
                let one = match reader.next(&mut input, line_bytes_max) {
                    Line::Incomplete => {
                        assert!(input.rest().is_empty(), "all input is consumed");
                        break;
                    }
                    Line::InPlace { text, count } => {
                        let line = text.to_vec();
                        input.consume(count);
                        Said::Line(line)
                    }
                    Line::Carried(line) => Said::Line(line),
                    Line::TooLong => Said::TooLong,
                    Line::BareLf => Said::BareLf,
                    Line::Endless => Said::Endless,
                };
                let over = matches!(one, Said::BareLf | Said::Endless);
                said.push(one);
                if over {
                    break 'pieces;
                }
            }
        }
        assert_eq!(said, expected, "in pieces of {sizes:?}");
    }
}

fn naive_lines(octets: &[u8], line_bytes_max: usize) -> Vec<Said> {
    let mut said = Vec::new();
    let mut line = Vec::new();
    for octet in octets {
        line.push(*octet);
        let fits = line.len() <= line_bytes_max;
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            said.push(if fits { Said::Line(std::mem::take(&mut line)) } else { Said::TooLong });
            line.clear();
        } else if fits && *octet == b'\n' {
            said.push(Said::BareLf);
            return said;
        } else if line.len() >= LINE_SWALLOW_BYTES_MAX {
            said.push(Said::Endless);
            return said;
        }
    }
    said
}

/// The mail data of DATA: its end, what is stored and what is refused are what the reference says, wherever
/// it is split.
pub fn check_mail_data(octets: &[u8], sizes: &[usize], bare_lf: BareLineEnd, bare_cr: BareLineEnd) {
    let expected = naive_mail_data(octets, bare_lf, bare_cr);
    for sizes in [&[usize::MAX], &[1], sizes] {
        let received = receive(octets, sizes, bare_lf, bare_cr);
        assert_eq!(received, expected, "{} in pieces of {sizes:?}", octets.escape_ascii());
    }
}

/// Up to the end: what is stored, None for what is refused; and how many octets that took.
type Ended = Option<(Option<Vec<u8>>, usize)>;

fn receive(octets: &[u8], sizes: &[usize], bare_lf: BareLineEnd, bare_cr: BareLineEnd) -> Ended {
    let mut data = MailData::new(bare_lf, bare_cr);
    let (mut stored, mut bare, mut consumed, mut supplies) = (Vec::new(), false, 0, Supplies::default());
    for piece in pieces(octets, sizes) {
        let mut input = Input::new(piece, &mut supplies);
        loop {
            let before = input.position;
            match data.advance(&mut input) {
                InMailData::Data(range) => {
                    assert!(!range.is_empty() && range.end <= input.position && before <= range.start);
                    stored.extend_from_slice(piece.get(range).expect("inside the piece"));
                }
                InMailData::Insert => stored.extend_from_slice(input.supplies.run.octets()),
                InMailData::Bare => bare = true,
                InMailData::NeedInput => break,
                InMailData::End => {
                    return Some(((!bare).then_some(stored), consumed + input.position));
                }
            }
            // At most two octets are added where a CR and an LF stand alone.
            assert!(stored.len() <= 2 * (consumed + input.position) + 2, "what is stored is bounded");
        }
        assert!(input.rest().is_empty(), "all input is consumed");
        consumed += piece.len();
    }
    None
}

fn naive_mail_data(octets: &[u8], bare_lf: BareLineEnd, bare_cr: BareLineEnd) -> Ended {
    // The CRLF of the DATA line is the first line end.
    let mut text = b"\r\n".to_vec();
    let end = octets.iter().position(|octet| {
        text.push(*octet);
        text.ends_with(b"\r\n.\r\n")
    })?;
    text.truncate(text.len() - b".\r\n".len());
    let (mut stored, mut bare) = (Vec::new(), false);
    for (at, octet) in text.iter().enumerate().skip(2) {
        let before = |octets: &[u8]| text.get(..at).is_some_and(|start| start.ends_with(octets));
        match octet {
            b'.' if before(b"\r\n") => {}
            b'\n' if before(b"\r") => stored.push(b'\n'),
            b'\r' if text.get(at + 1) == Some(&b'\n') => stored.push(b'\r'),
            // A dot that transparency removes may stand between a CRLF and a bare CR or LF.
            b'\n' | b'\r' => {
                bare |= (if *octet == b'\n' { bare_lf } else { bare_cr }) == BareLineEnd::Reject;
                stored.extend(b"\r\n");
            }
            _ => stored.push(*octet),
        }
    }
    Some(((!bare).then_some(stored), end + 1))
}

/// The octets in pieces of these sizes, again and again; a size of 0 counts as 1.
fn pieces<'a>(octets: &'a [u8], sizes: &[usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = octets;
    let mut sizes = if sizes.is_empty() { vec![usize::MAX] } else { sizes.to_vec() }.into_iter().cycle();
    std::iter::from_fn(move || {
        let size = sizes.next().unwrap_or(1).max(1);
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARTS: [&str; 40] = [
        "<",
        ">",
        "@",
        ":",
        ",",
        ".",
        "\"",
        "\\",
        " ",
        "\t",
        "[",
        "]",
        "a",
        "B_c",
        "x-y",
        "%",
        "!",
        "postmaster",
        "<postmaster>",
        "example.org",
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "IPv6:",
        "192.0.2.1",
        "a@b",
        "<a@b>",
        "\"a b\"@c.d",
        "@one.test,@two.test:",
        "MAIL FROM:",
        "RCPT TO:",
        "DATA",
        "noop",
        "VRFY ",
        "SIZE=1",
        "\0",
        "\r",
        "\x7f",
        "\u{e9}",
        "(",
        ";",
    ];

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            20 => (0..PARTS.len()).prop_map(|index| PARTS[index].as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|octet| vec![octet]),
            1 => (0..260_usize).prop_map(|count| vec![b'x'; count]),
        ];
        prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
    }

    /// Paths that are right or nearly so.
    fn path() -> impl Strategy<Value = Vec<u8>> {
        let route = prop_oneof![4 => Just(""), 1 => Just("@one.test:"), 1 => Just("@one.test,@[192.0.2.1]:")];
        let local_part = prop_oneof![
            2 => "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~.-]{1,12}",
            2 => "\"([ !#-\\[\\]-~]|\\\\[ -~]){0,8}\"",
            1 => "[ -~]{0,6}",
        ];
        let domain = prop_oneof![3 => "[a-zA-Z0-9_-]{1,5}(\\.[a-z]{1,4}){0,3}\\.?", 1 => "\\[[0-9.]{7,9}\\]", 1 => "[ -~]{0,8}"];
        (route, local_part, domain, prop_oneof![3 => Just(""), 1 => Just(" SIZE=1 BODY=8BITMIME")]).prop_map(
            |(route, local_part, domain, rest)| format!("<{route}{local_part}@{domain}>{rest}").into_bytes(),
        )
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            5 => Just(b"\r\n".to_vec()),
            4 => Just(b".".to_vec()),
            2 => Just(b"\r".to_vec()),
            2 => Just(b"\n".to_vec()),
            3 => Just(b"text".to_vec()),
            1 => Just(b"\r\n.\r\n".to_vec()),
            1 => (0..90_usize).prop_map(|count| vec![b'x'; count]),
            1 => any::<u8>().prop_map(|octet| vec![octet]),
        ];
        prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1..40_usize, 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { ProptestConfig::default().cases.max(2000) },
            // Miri has no files to remember a failure in.
            failure_persistence: if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence },
            ..ProptestConfig::default()
        })]

        #[test]
        fn claims_on_commands_hold(line in text()) {
            check_command(&line);
        }

        #[test]
        fn claims_on_paths_hold(text in prop_oneof![text(), path()]) {
            check_path(&text);
            check_command(&[b"MAIL FROM:", &text[..]].concat());
        }

        #[test]
        fn claims_on_lines_hold(octets in octets(), sizes in sizes(), line_bytes_max in 4..80_usize) {
            check_lines(&octets, &sizes, line_bytes_max);
        }

        #[test]
        fn claims_on_mail_data_hold(octets in octets(), sizes in sizes(), lf: bool, cr: bool) {
            let policy = |normalize| if normalize { BareLineEnd::Normalize } else { BareLineEnd::Reject };
            check_mail_data(&octets, &sizes, policy(lf), policy(cr));
        }
    }
}
