//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2: `esmtp-param`).

use super::dsn;
use super::extension::{Extension, ExtensionSet};
use crate::mail::envelope::{BodyType, Notify, Ret};

/// What the parameters of a MAIL command say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MailParameters<'a> {
    /// SIZE= (RFC 1870), saturated.
    pub(super) size: Option<u64>,
    /// BODY= (RFC 6152, RFC 3030).
    pub(super) body: Option<BodyType>,
    /// SMTPUTF8 (RFC 6531).
    pub(super) smtputf8: bool,
    /// RET= (RFC 3461 §4.3).
    pub(super) ret: Option<Ret>,
    /// ENVID= (RFC 3461 §4.4), as sent.
    pub(super) envid: Option<&'a [u8]>,
    /// REQUIRETLS (RFC 8689).
    pub(super) requiretls: bool,
}

/// What the parameters of a RCPT command say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct RcptParameters<'a> {
    /// NOTIFY= (RFC 3461 §4.1).
    pub(super) notify: Option<Notify>,
    /// ORCPT= (RFC 3461 §4.2, RFC 6533 §3), as sent.
    pub(super) orcpt: Option<&'a [u8]>,
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

/// One row a parameter: its keyword, the extensions any of which brings it, and what it does. None: a bad
/// value.
type Row<P> = (&'static [u8], &'static [Extension], P);
type SetMail = for<'a> fn(&mut MailParameters<'a>, Option<&'a [u8]>, ExtensionSet) -> Option<()>;
type SetRcpt = for<'a> fn(&mut RcptParameters<'a>, Option<&'a [u8]>) -> Option<()>;

const MAIL: [Row<SetMail>; 6] = [
    (b"SIZE", &[Extension::Size], |parameters, value, _| parameters.set_size(value)),
    (b"BODY", &[Extension::EightBitMime, Extension::BinaryMime], |parameters, value, offered| {
        parameters.set_body(value, offered)
    }),
    (b"SMTPUTF8", &[Extension::SmtpUtf8], |parameters, value, _| set_flag(&mut parameters.smtputf8, value)),
    (b"RET", &[Extension::Dsn], |parameters, value, _| set_once(&mut parameters.ret, dsn::ret(value?)?)),
    (b"ENVID", &[Extension::Dsn], |parameters, value, _| {
        set_once(&mut parameters.envid, dsn::envid(value?)?)
    }),
    (b"REQUIRETLS", &[Extension::RequireTls], |parameters, value, _| {
        set_flag(&mut parameters.requiretls, value)
    }),
];

const RCPT: [Row<SetRcpt>; 2] = [
    (b"NOTIFY", &[Extension::Dsn], |parameters, value| {
        set_once(&mut parameters.notify, dsn::notify(value?)?)
    }),
    (b"ORCPT", &[Extension::Dsn], |parameters, value| set_once(&mut parameters.orcpt, dsn::orcpt(value?)?)),
];

/// Reads the parameters after the path of MAIL.
pub(super) fn parse_mail(text: &[u8], offered: ExtensionSet) -> Result<MailParameters<'_>, ParameterError> {
    let mut parameters = MailParameters::default();
    for parameter in split(text)? {
        let (keyword, value) = parse(parameter, false)?;
        let set = find(&MAIL, keyword, offered)?;
        set(&mut parameters, value, offered).ok_or(ParameterError::Value)?;
    }
    Ok(parameters)
}

/// Reads the parameters after the path of RCPT. With SMTPUTF8 a value may be UTF-8 (RFC 6533 §3).
pub(super) fn parse_rcpt(
    text: &[u8],
    offered: ExtensionSet,
    smtputf8: bool,
) -> Result<RcptParameters<'_>, ParameterError> {
    let mut parameters = RcptParameters::default();
    for parameter in split(text)? {
        let (keyword, value) = parse(parameter, smtputf8)?;
        let set = find(&RCPT, keyword, offered)?;
        set(&mut parameters, value).ok_or(ParameterError::Value)?;
    }
    Ok(parameters)
}

/// Whether the argument of VRFY ends with the parameter SMTPUTF8 (RFC 6531 §3.1).
pub(super) fn ends_with_smtputf8(argument: &[u8]) -> bool {
    let mut words = argument.rsplit(|octet| matches!(octet, b' ' | b'\t'));
    words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"SMTPUTF8")) && words.next().is_some()
}

fn find<P: Copy>(rows: &[Row<P>], keyword: &[u8], offered: ExtensionSet) -> Result<P, ParameterError> {
    let brought = |by: &[Extension]| by.iter().any(|extension| offered.offers(*extension));
    let row = rows.iter().find(|(name, by, _)| brought(by) && name.eq_ignore_ascii_case(keyword));
    row.map(|(_, _, set)| *set).ok_or(ParameterError::Unknown)
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn set_flag(flag: &mut bool, value: Option<&[u8]>) -> Option<()> {
    (value.is_none() && !std::mem::replace(flag, true)).then_some(())
}

impl MailParameters<'_> {
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

    fn set_body(&mut self, value: Option<&[u8]>, offered: ExtensionSet) -> Option<()> {
        const VALUES: [(&[u8], BodyType, Extension); 3] = [
            (b"7BIT", BodyType::SevenBit, Extension::EightBitMime),
            (b"8BITMIME", BodyType::EightBitMime, Extension::EightBitMime),
            (b"BINARYMIME", BodyType::BinaryMime, Extension::BinaryMime),
        ];
        let value = value?;
        let known = |row: &&(&[u8], BodyType, Extension)| row.0.eq_ignore_ascii_case(value);
        let (_, body, by) = VALUES.iter().find(known)?;
        // 7BIT is a value whichever extension brings the parameter.
        let fits = offered.offers(*by) || *body == BodyType::SevenBit;
        (fits && self.body.replace(*body).is_none()).then_some(())
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
fn parse(parameter: &[u8], utf8: bool) -> Result<(&[u8], Option<&[u8]>), ParameterError> {
    let (keyword, value) = match memchr::memchr(b'=', parameter) {
        Some(at) => (parameter.get(..at).unwrap_or_default(), parameter.get(at + 1..)),
        None => (parameter, None),
    };
    let first = keyword.first().is_some_and(u8::is_ascii_alphanumeric);
    let keyword_fits = first && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    let value_fits = value.is_none_or(|value| {
        let fits = |octet: &u8| matches!(octet, b'!'..=b'<' | b'>'..=b'~') || utf8 && !octet.is_ascii();
        !value.is_empty() && value.iter().all(fits) && std::str::from_utf8(value).is_ok()
    });
    if keyword_fits && value_fits { Ok((keyword, value)) } else { Err(ParameterError::Syntax) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> Result<MailParameters<'_>, ParameterError> {
        parse_mail(text.as_bytes(), ExtensionSet::all())
    }

    #[test]
    fn good_parameters_are_read() {
        let expected = MailParameters {
            size: Some(1000),
            body: Some(BodyType::EightBitMime),
            ..MailParameters::default()
        };
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
        let rcpt = |text| parse_rcpt(text, ExtensionSet::all(), false);
        assert_eq!(rcpt(b" NOTIFY=NEVER NOTIFY=NEVER"), Err(ParameterError::Value));
        assert_eq!(rcpt(b" RET=FULL"), Err(ParameterError::Unknown));
        assert_eq!(rcpt(b" "), Ok(RcptParameters::default()));
    }

    #[test]
    fn a_parameter_of_an_extension_that_is_off_is_unknown() {
        let none = ExtensionSet::all().without(Extension::Size).without(Extension::Dsn);
        assert_eq!(parse_mail(b" SIZE=1", none), Err(ParameterError::Unknown));
        assert_eq!(parse_rcpt(b" NOTIFY=NEVER", none, false), Err(ParameterError::Unknown));
        let text_only = ExtensionSet::all().without(Extension::BinaryMime);
        assert_eq!(parse_mail(b" BODY=BINARYMIME", text_only), Err(ParameterError::Value));
        let binary_only = ExtensionSet::all().without(Extension::EightBitMime);
        assert!(parse_mail(b" BODY=BINARYMIME", binary_only).is_ok());
        assert_eq!(parse_mail(b" BODY=8BITMIME", binary_only), Err(ParameterError::Value));
    }

    #[test]
    fn every_extension_brings_its_parameters() {
        let all = mail(" SMTPUTF8 RET=hdrs ENVID=a+2Bb REQUIRETLS BODY=BinaryMime").expect("good");
        assert!(all.smtputf8 && all.requiretls);
        assert_eq!(
            (all.ret, all.envid, all.body),
            (Some(Ret::Headers), Some(&b"a+2Bb"[..]), Some(BodyType::BinaryMime))
        );
        for bad in
            [" SMTPUTF8=1", " SMTPUTF8 SMTPUTF8", " REQUIRETLS=1", " RET", " RET=FULL RET=FULL", " ENVID"]
        {
            assert_eq!(mail(bad), Err(ParameterError::Value), "{bad}");
        }
        let orcpt = "ORCPT=utf-8;caf\u{e9}@x.test";
        let text = format!(" {orcpt}");
        assert!(parse_rcpt(text.as_bytes(), ExtensionSet::all(), true).is_ok());
        assert_eq!(parse_rcpt(text.as_bytes(), ExtensionSet::all(), false), Err(ParameterError::Syntax));
        assert_eq!(parse_rcpt(b" ORCPT=utf-8;\xe9", ExtensionSet::all(), true), Err(ParameterError::Syntax));
    }
}
