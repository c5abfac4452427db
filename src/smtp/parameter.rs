//! MAIL and RCPT parameters (RFC 5321 §4.1.1.11).

use super::command::CommandError;
use super::envelope::BodyType;
use super::extension::{Extension, ExtensionSet};

/// What the parameters of MAIL said.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MailParameters {
    /// SIZE= in octets (RFC 1870), saturated.
    pub size: Option<u64>,
    /// BODY= (RFC 6152).
    pub body: Option<BodyType>,
}

struct Row {
    keyword: &'static [u8],
    /// The parameter is known only where this is offered.
    extension: Extension,
    /// Takes the value, if there is one.
    set: fn(&mut MailParameters, Option<&[u8]>) -> Result<(), CommandError>,
}

/// The parameters of MAIL.
const OF_MAIL: [Row; 2] = [
    Row { keyword: b"SIZE", extension: Extension::Size, set: set_size },
    Row { keyword: b"BODY", extension: Extension::EightBitMime, set: set_body },
];

/// Reads the parameters of MAIL, with the white space before each.
pub fn of_mail(text: &[u8], offered: ExtensionSet) -> Result<MailParameters, CommandError> {
    let mut parameters = MailParameters::default();
    for_each(text, |keyword, value| {
        let known = |row: &&Row| offered.contains(row.extension) && row.keyword.eq_ignore_ascii_case(keyword);
        let row = OF_MAIL.iter().find(known).ok_or(CommandError::UnknownParameter)?;
        (row.set)(&mut parameters, value)
    })?;
    Ok(parameters)
}

/// Reads the parameters of RCPT: none is offered.
pub fn of_rcpt(text: &[u8]) -> Result<(), CommandError> {
    for_each(text, |_, _| Err(CommandError::UnknownParameter))
}

/// Splits `SP keyword[=value]` repeated, and checks the syntax of each (§4.1.2 `esmtp-param`).
fn for_each(
    text: &[u8],
    mut handle: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    if !text.is_ascii() {
        return Err(CommandError::BadOctet);
    }
    for parameter in
        text.split(|octet| matches!(octet, b' ' | b'\t')).filter(|parameter| !parameter.is_empty())
    {
        let mut halves = parameter.splitn(2, |octet| *octet == b'=');
        let (keyword, value) = (halves.next().unwrap_or_default(), halves.next());
        let in_keyword = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
        let keyword_ok =
            keyword.first().is_some_and(u8::is_ascii_alphanumeric) && keyword.iter().all(in_keyword);
        let value_ok = value.is_none_or(|value| !value.is_empty() && !value.contains(&b'='));
        if !(keyword_ok && value_ok) {
            return Err(CommandError::BadParameter);
        }
        handle(keyword, value)?;
    }
    Ok(())
}

/// `size-value ::= 1*20DIGIT` (RFC 1870 §4), which 64 bits do not always hold.
fn set_size(parameters: &mut MailParameters, value: Option<&[u8]>) -> Result<(), CommandError> {
    let digits =
        value.filter(|value| value.iter().all(u8::is_ascii_digit)).ok_or(CommandError::BadParameter)?;
    let size = digits.iter().fold(0_u64, |size, digit| {
        size.saturating_mul(10).saturating_add(u64::from(digit.wrapping_sub(b'0')))
    });
    once(&mut parameters.size, size)
}

/// `BODY=7BIT | 8BITMIME` (RFC 6152 §2).
fn set_body(parameters: &mut MailParameters, value: Option<&[u8]>) -> Result<(), CommandError> {
    let body = match value {
        Some(value) if value.eq_ignore_ascii_case(b"7BIT") => BodyType::SevenBit,
        Some(value) if value.eq_ignore_ascii_case(b"8BITMIME") => BodyType::EightBitMime,
        Some(_) | None => return Err(CommandError::BadParameter),
    };
    once(&mut parameters.body, body)
}

/// A parameter is given at most once (§4.1.1.11).
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), CommandError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(CommandError::BadParameter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<MailParameters, CommandError> {
        of_mail(text, ExtensionSet::default())
    }

    #[test]
    fn parameters_are_read_in_any_order_and_case() {
        let expected = MailParameters { size: Some(12), body: Some(BodyType::EightBitMime) };
        assert_eq!(read(b" SIZE=12 BODY=8BITMIME"), Ok(expected));
        assert_eq!(read(b"\tbody=8bitmime  size=012 "), Ok(expected));
        assert_eq!(read(b""), Ok(MailParameters::default()));
    }

    #[test]
    fn a_size_of_many_digits_saturates() {
        assert_eq!(read(b" SIZE=99999999999999999999").map(|read| read.size), Ok(Some(u64::MAX)));
        assert_eq!(read(b" SIZE=18446744073709551616").map(|read| read.size), Ok(Some(u64::MAX)));
        assert_eq!(read(b" SIZE=0").map(|read| read.size), Ok(Some(0)));
    }

    #[test]
    fn bad_and_unknown_parameters_are_told_apart() {
        let bad = [
            "SIZE",
            "SIZE=",
            "SIZE=-1",
            "SIZE=1x",
            "SIZE=1=2",
            "SIZE=1 SIZE=1",
            "BODY",
            "BODY=BINARYMIME",
            "BODY=9BIT",
            "=x",
            "-A=1",
            "A_B=1",
            "SIZE = 1",
        ];
        for text in bad {
            assert_eq!(read(text.as_bytes()), Err(CommandError::BadParameter), "{text}");
        }
        for text in ["AUTH=<>", "SMTPUTF8", "X-Y=1"] {
            assert_eq!(read(text.as_bytes()), Err(CommandError::UnknownParameter), "{text}");
        }
        assert_eq!(of_rcpt(b" NOTIFY=NEVER"), Err(CommandError::UnknownParameter));
        let no_size = ExtensionSet::default().without(Extension::Size);
        assert_eq!(of_mail(b" SIZE=1", no_size), Err(CommandError::UnknownParameter));
    }
}
