//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2: `esmtp-param`).

use super::envelope::BodyType;
use super::extension::{Extension, ExtensionSet};

/// What the parameters of a MAIL command say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MailParameters {
    /// SIZE= (RFC 1870), saturated.
    pub(super) size: Option<u64>,
    /// BODY= (RFC 6152).
    pub(super) body: Option<BodyType>,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParameterError {
    /// No space before it, or not of the form `keyword[=value]`.
    Syntax,
    /// Not offered.
    Unknown,
    /// Its value is not one, or it came twice.
    Value,
}

/// One row a parameter of MAIL: its keyword, the extension that brings it, and what it does.
type MailRow = (&'static [u8], Extension, fn(&mut MailParameters, Option<&[u8]>) -> Option<()>);

const MAIL: [MailRow; 2] = [
    (b"SIZE", Extension::Size, MailParameters::set_size),
    (b"BODY", Extension::EightBitMime, MailParameters::set_body),
];

/// Reads the parameters behind the path of MAIL.
pub(super) fn parse_mail(text: &[u8], offered: ExtensionSet) -> Result<MailParameters, ParameterError> {
    let mut parameters = MailParameters::default();
    for parameter in split(text)? {
        let (keyword, value) = parse(parameter)?;
        let known = |row: &&MailRow| offered.offers(row.1) && row.0.eq_ignore_ascii_case(keyword);
        let (_, _, set) = MAIL.iter().find(known).ok_or(ParameterError::Unknown)?;
        set(&mut parameters, value).ok_or(ParameterError::Value)?;
    }
    Ok(parameters)
}

/// Reads the parameters behind the path of RCPT. No extension that is offered brings one.
pub(super) fn parse_rcpt(text: &[u8]) -> Result<(), ParameterError> {
    match split(text)?.next() {
        None => Ok(()),
        Some(parameter) => parse(parameter).and(Err(ParameterError::Unknown)),
    }
}

impl MailParameters {
    fn set_size(&mut self, value: Option<&[u8]>) -> Option<()> {
        /// RFC 1870 §3: `1*20DIGIT`.
        const DIGITS_MAX: usize = 20;
        let digits =
            value.filter(|digits| (1..=DIGITS_MAX).contains(&digits.len()) && self.size.is_none())?;
        self.size = Some(digits.iter().try_fold(0_u64, |size, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            Some(size.saturating_mul(10).saturating_add(digit))
        })?);
        Some(())
    }

    fn set_body(&mut self, value: Option<&[u8]>) -> Option<()> {
        let body = match value? {
            value if value.eq_ignore_ascii_case(b"7BIT") => BodyType::SevenBit,
            value if value.eq_ignore_ascii_case(b"8BITMIME") => BodyType::EightBitMime,
            _ => return None,
        };
        self.body.replace(body).is_none().then_some(())
    }
}

/// The parameters, each of which a space must precede.
fn split(text: &[u8]) -> Result<impl Iterator<Item = &[u8]>, ParameterError> {
    if !text.is_empty() && !text.starts_with(b" ") && !text.starts_with(b"\t") {
        return Err(ParameterError::Syntax);
    }
    Ok(text.split(|octet| matches!(octet, b' ' | b'\t')).filter(|parameter| !parameter.is_empty()))
}

/// `keyword` or `keyword=value`.
fn parse(parameter: &[u8]) -> Result<(&[u8], Option<&[u8]>), ParameterError> {
    let (keyword, value) = match memchr::memchr(b'=', parameter) {
        Some(at) => (parameter.get(..at).unwrap_or_default(), parameter.get(at + 1..)),
        None => (parameter, None),
    };
    let first = keyword.first().is_some_and(u8::is_ascii_alphanumeric);
    let keyword_fits = first && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    let value_fits = value.is_none_or(|value| {
        !value.is_empty() && value.iter().all(|octet| matches!(octet, b'!'..=b'<' | b'>'..=b'~'))
    });
    if keyword_fits && value_fits { Ok((keyword, value)) } else { Err(ParameterError::Syntax) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> Result<MailParameters, ParameterError> {
        parse_mail(text.as_bytes(), ExtensionSet::all())
    }

    #[test]
    fn good_parameters_are_read() {
        let expected = MailParameters { size: Some(1000), body: Some(BodyType::EightBitMime) };
        assert_eq!(mail(" SIZE=1000 body=8bitmime"), Ok(expected));
        assert_eq!(mail("   "), Ok(MailParameters::default()));
        assert_eq!(mail(" SIZE=0").map(|parameters| parameters.size), Ok(Some(0)));
        assert_eq!(mail(" SIZE=99999999999999999999").map(|parameters| parameters.size), Ok(Some(u64::MAX)));
    }

    #[test]
    fn bad_parameters_are_told_apart() {
        for (text, error) in [
            ("SIZE=1", ParameterError::Syntax),
            (" =1", ParameterError::Syntax),
            (" SIZE==1", ParameterError::Syntax),
            (" SIZE=", ParameterError::Syntax),
            (" -X=1", ParameterError::Syntax),
            (" NOSUCH=1", ParameterError::Unknown),
            (" SIZE", ParameterError::Value),
            (" SIZE=1x", ParameterError::Value),
            (" SIZE=-1", ParameterError::Value),
            (" SIZE=1 SIZE=1", ParameterError::Value),
            (" SIZE=123456789012345678901", ParameterError::Value),
            (" BODY=9BIT", ParameterError::Value),
        ] {
            assert_eq!(mail(text), Err(error), "{text}");
        }
        assert_eq!(parse_rcpt(b" NOTIFY=NEVER"), Err(ParameterError::Unknown));
        assert_eq!(parse_rcpt(b" "), Ok(()));
    }

    #[test]
    fn a_parameter_of_an_extension_that_is_off_is_unknown() {
        let none = ExtensionSet::all().without(Extension::Size);
        assert_eq!(parse_mail(b" SIZE=1", none), Err(ParameterError::Unknown));
    }
}
