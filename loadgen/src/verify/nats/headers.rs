//! The headers of a message: a line with the version, then a line each as in HTTP.

/// The first line of all headers, before a status if there is one.
const VERSION: &[u8] = b"NATS/1.0";

/// Headers, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// A status in place of an answer, for instance 503: nobody listens there.
    pub status: Option<&'a str>,
    fields: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Headers<'a> {
    /// Reads them; a message without headers has no octets of them.
    pub fn parse(octets: &'a [u8]) -> Result<Self, &'static str> {
        if octets.is_empty() {
            return Ok(Self::default());
        }
        let rest = octets.strip_prefix(VERSION).ok_or("its headers are of an unknown version")?;
        let text = rest.strip_suffix(b"\r\n\r\n").ok_or("its headers have no end")?;
        let mut lines = text.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_end);
        let status = str::from_utf8(lines.next().unwrap_or_default()).map_err(|_| "its status is no text")?;
        let status = status.split_ascii_whitespace().next();
        let mut fields = Vec::new();
        for line in lines {
            let colon = line.iter().position(|octet| *octet == b':').ok_or("a header has no colon")?;
            let name = str::from_utf8(&line[..colon]).map_err(|_| "the name of a header is no text")?;
            fields.push((name, line[colon + 1..].trim_ascii()));
        }
        Ok(Self { status, fields })
    }

    /// The value of a header that stands there once.
    pub fn one(&self, name: &str) -> Result<Option<&'a [u8]>, String> {
        let mut values = self.fields.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value);
        let value = values.next();
        if values.next().is_some() { Err(format!("it has {name} twice")) } else { Ok(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_told_from_what_is_none() {
        let octets =
            b"NATS/1.0\r\nNats-Msg-Id: 7\r\nRingmx-Envelope:{\"a\":\"b:c\"}\r\nTwice: 1\r\nTwice: 2\r\n\r\n";
        let headers = Headers::parse(octets).expect("headers");
        assert_eq!(headers.status, None);
        assert_eq!(headers.one("Nats-Msg-Id"), Ok(Some(&b"7"[..])));
        assert_eq!(headers.one("Ringmx-Envelope"), Ok(Some(&b"{\"a\":\"b:c\"}"[..])));
        assert_eq!(headers.one("Ringmx-Object"), Ok(None));
        assert!(headers.one("Twice").is_err());
        let status = Headers::parse(b"NATS/1.0 503 No Responders\r\n\r\n").expect("headers");
        assert_eq!(status.status, Some("503"));
        assert_eq!(Headers::parse(b""), Ok(Headers::default()));
        for wrong in [&b"NATS/2\r\n\r\n"[..], b"NATS/1.0\r\na: b\r\n", b"NATS/1.0\r\nab\r\n\r\n"] {
            assert!(Headers::parse(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }
}
