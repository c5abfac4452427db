//! XCLIENT (Postfix's XCLIENT_README): a trusted front says on whose behalf it speaks SMTP.
//!
//! Whether the front may be believed is not judged here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::command;
use crate::limits::EHLO_NAME_BYTES_MAX;

/// The EHLO keyword with the attributes that may be sent.
pub(super) const KEYWORD: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// What the front said. A part of which it said nothing stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// ADDR; the unspecified address where the front does not know it.
    pub(super) address: Option<IpAddr>,
    /// PORT; 0 where the front does not know it.
    pub(super) port: Option<u16>,
    /// HELO; none also where the client has not said it.
    pub(super) helo: Option<Box<[u8]>>,
    /// PROTO: whether it is ESMTP.
    pub(super) is_esmtp: Option<bool>,
}

/// An attribute that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadAttribute;

/// Reads the argument of XCLIENT: `name=value`, with white space between them; values in xtext (RFC 3461 §4).
pub(super) fn parse(argument: &[u8]) -> Result<Attributes, BadAttribute> {
    let mut attributes = Attributes::default();
    let words = argument.split(|octet| command::is_space(*octet)).filter(|word| !word.is_empty());
    let mut any = false;
    for word in words {
        any = true;
        let equals = word.iter().position(|octet| *octet == b'=').ok_or(BadAttribute)?;
        let (name, value) = word.split_at(equals);
        let value = decode_xtext(value.get(1..).unwrap_or_default()).ok_or(BadAttribute)?;
        attributes.take(&name.to_ascii_uppercase(), &value)?;
    }
    if any { Ok(attributes) } else { Err(BadAttribute) }
}

impl Attributes {
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadAttribute> {
        let known =
            !value.eq_ignore_ascii_case(b"[UNAVAILABLE]") && !value.eq_ignore_ascii_case(b"[TEMPUNAVAIL]");
        if value.is_empty() {
            return Err(BadAttribute);
        }
        match name {
            b"ADDR" if known => self.address = Some(address(value)?),
            b"ADDR" => self.address = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            b"PORT" if known => self.port = Some(port(value)?),
            b"PORT" => self.port = Some(0),
            b"HELO" if known => {
                if !value.iter().all(u8::is_ascii_graphic) {
                    return Err(BadAttribute);
                }
                self.helo = Some(value.get(..EHLO_NAME_BYTES_MAX).unwrap_or(value).into());
            }
            b"HELO" => self.helo = None,
            b"PROTO" if value.eq_ignore_ascii_case(b"SMTP") => self.is_esmtp = Some(false),
            b"PROTO" if value.eq_ignore_ascii_case(b"ESMTP") => self.is_esmtp = Some(true),
            b"DESTADDR" if known => drop(address(value)?),
            b"DESTPORT" if known => drop(port(value)?),
            // These are understood, but ringmx makes nothing of them.
            b"NAME" | b"LOGIN" | b"DESTADDR" | b"DESTPORT" => {}
            _ => return Err(BadAttribute),
        }
        Ok(())
    }
}

/// `192.0.2.1` or `IPV6:2001:db8::1`; the prefix may be missing, as some fronts leave it away.
fn address(value: &[u8]) -> Result<IpAddr, BadAttribute> {
    let text = std::str::from_utf8(value).map_err(|_| BadAttribute)?;
    match text.split_at_checked(5) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("IPV6:") => {
            rest.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| BadAttribute)
        }
        _ => text.parse().map_err(|_| BadAttribute),
    }
}

fn port(value: &[u8]) -> Result<u16, BadAttribute> {
    let text = std::str::from_utf8(value).map_err(|_| BadAttribute)?;
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(BadAttribute)
}

/// RFC 3461 §4: `+` and two upper-case hexadecimal digits stand for an octet. Postfix takes lower-case ones,
/// too.
fn decode_xtext(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(octet) = rest.next() {
        if octet != b'+' {
            octets.push(octet);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        octets.push(digit()? << 4 | digit()?);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_attributes_are_understood() {
        let all =
            b"NAME=spike.example ADDR=168.100.189.2 PORT=4321 PROTO=esmtp HELO=spike+2Eexample LOGIN=a+40b \
                    DESTADDR=IPV6:::1 DESTPORT=25";
        let attributes = parse(all).expect("good");
        assert_eq!(attributes.address, Some(IpAddr::from([168, 100, 189, 2])));
        assert_eq!((attributes.port, attributes.is_esmtp), (Some(4321), Some(true)));
        assert_eq!(attributes.helo, Some(b"spike.example".as_slice().into()));
        let v6 = parse(b"addr=IPv6:2001:db8::1").expect("good");
        assert_eq!(v6.address, Some("2001:db8::1".parse().expect("an address")));
        assert_eq!((v6.port, v6.helo, v6.is_esmtp), (None, None, None));
    }

    #[test]
    fn what_the_front_does_not_know_is_unknown() {
        let attributes =
            parse(b"NAME=[TEMPUNAVAIL] ADDR=[unavailable] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]");
        let attributes = attributes.expect("good");
        assert_eq!(attributes.address, Some(IpAddr::from([0, 0, 0, 0])));
        assert_eq!((attributes.port, attributes.helo), (Some(0), None));
    }

    #[test]
    fn bad_attributes_are_told() {
        for bad in [
            &b""[..],
            b"ADDR",
            b"ADDR=",
            b"ADDR=x",
            b"ADDR=192.0.2.1.5",
            b"PORT=65536",
            b"PORT=+31+2B",
            b"PORT=-1",
            b"PROTO=LMTP",
            b"HELO=a+20b",
            b"HELO=a+0D+0Ab",
            b"HELO=a+2",
            b"HELO=a+XY",
            b"SHOE=43",
            b"DESTPORT=x",
        ] {
            assert_eq!(parse(bad), Err(BadAttribute), "{}", bad.escape_ascii());
        }
    }
}
