//! What a server offers in its reply to EHLO or LHLO (RFC 5321 §4.1.1.1).

/// What a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offers {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// CHUNKING (RFC 3030 §2).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030 §3).
    pub binarymime: bool,
    /// 8BITMIME (RFC 6152).
    pub eightbitmime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhancedstatuscodes: bool,
    /// SIZE (RFC 1870).
    pub size: bool,
    /// The most octets that SIZE says a message may have; none where it says nothing of it.
    pub size_max: Option<u64>,
    /// XCLIENT with these attributes; none where it is not offered.
    pub xclient: Option<XclientAttributes>,
    /// RCPTMAX of LIMITS: recipients of a transaction (RFC 9422).
    pub recipients_max: Option<u64>,
    /// MAILMAX of LIMITS: transactions of a session (RFC 9422).
    pub transactions_max: Option<u64>,
}

/// Which attributes of XCLIENT a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XclientAttributes {
    /// `NAME`
    pub name: bool,
    /// `ADDR`
    pub addr: bool,
    /// `PORT`
    pub port: bool,
    /// `HELO`
    pub helo: bool,
    /// `PROTO`
    pub proto: bool,
}

impl Offers {
    /// Whether a transaction that was made for the other offers can be said as it is.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        Self { xclient: None, ..*self } == Self { xclient: None, ..*other }
    }

    /// Notes a line of the reply, after its code. What is not known is passed over, and so is a value that is
    /// none.
    pub(super) fn note(&mut self, line: &[u8]) {
        let mut words = line.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty());
        let Some(keyword) = words.next() else { return };
        let is = |known: &str| keyword.eq_ignore_ascii_case(known.as_bytes());
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("CHUNKING") {
            self.chunking = true;
        } else if is("BINARYMIME") {
            self.binarymime = true;
        } else if is("8BITMIME") {
            self.eightbitmime = true;
        } else if is("SMTPUTF8") {
            self.smtputf8 = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("STARTTLS") {
            self.starttls = true;
        } else if is("REQUIRETLS") {
            self.requiretls = true;
        } else if is("ENHANCEDSTATUSCODES") {
            self.enhancedstatuscodes = true;
        } else if is("SIZE") {
            self.size = true;
            // 0 says that there is no limit (RFC 1870 §4).
            self.size_max = words.next().and_then(number).filter(|most| *most > 0);
        } else if is("LIMITS") {
            words.for_each(|word| self.note_limit(word));
        } else if is("XCLIENT") {
            let attributes = self.xclient.get_or_insert_default();
            words.for_each(|word| attributes.note(word));
        }
    }

    /// One limit, `NAME=VALUE` (RFC 9422 §4). 0 would allow nothing and is none.
    fn note_limit(&mut self, word: &[u8]) {
        let Some(equals) = memchr::memchr(b'=', word) else { return };
        let (name, value) = word.split_at(equals);
        let value = value.get(1..).and_then(number).filter(|most| *most > 0);
        if name.eq_ignore_ascii_case(b"RCPTMAX") {
            self.recipients_max = value;
        } else if name.eq_ignore_ascii_case(b"MAILMAX") {
            self.transactions_max = value;
        }
    }
}

impl XclientAttributes {
    fn note(&mut self, word: &[u8]) {
        let Self { name, addr, port, helo, proto } = self;
        for (known, field) in
            [("NAME", name), ("ADDR", addr), ("PORT", port), ("HELO", helo), ("PROTO", proto)]
        {
            *field |= word.eq_ignore_ascii_case(known.as_bytes());
        }
    }
}

/// A number of digits and nothing else; one past 64 bits is saturated.
fn number(digits: &[u8]) -> Option<u64> {
    let fits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| {
        digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Offers {
        let mut offers = Offers::default();
        for line in lines {
            offers.note(line.as_bytes());
        }
        offers
    }

    #[test]
    fn keywords_are_known_in_any_case() {
        let all = of(&[
            "PIPELINING",
            "chunking",
            "BinaryMime",
            "8bitmime",
            "SMTPUTF8",
            "DSN",
            "STARTTLS",
            "REQUIRETLS",
            "ENHANCEDSTATUSCODES",
            "SIZE 1000",
            "XCLIENT NAME ADDR port PROTO HELO LOGIN",
            "LIMITS rcptmax=50 MAILMAX=7",
        ]);
        let expected = Offers {
            pipelining: true,
            chunking: true,
            binarymime: true,
            eightbitmime: true,
            smtputf8: true,
            dsn: true,
            starttls: true,
            requiretls: true,
            enhancedstatuscodes: true,
            size: true,
            size_max: Some(1000),
            xclient: Some(XclientAttributes { name: true, addr: true, port: true, helo: true, proto: true }),
            recipients_max: Some(50),
            transactions_max: Some(7),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        assert_eq!(
            of(&[
                "",
                " ",
                "AUTH PLAIN",
                "PIPELINING-X",
                "HELP",
                "LIMITS",
                "LIMITS RCPTMAX",
                "LIMITS RCPTMAX=x MAILMAX=0 RCPTDOMAINMAX=1"
            ]),
            Offers::default()
        );
        let size = |line| of(&[line]).size_max;
        assert_eq!((size("SIZE"), size("SIZE 0"), size("SIZE x"), size("SIZE -1")), (None, None, None, None));
        assert_eq!(size("SIZE 99999999999999999999999"), Some(u64::MAX));
        assert_eq!(of(&["XCLIENT"]).xclient, Some(XclientAttributes::default()));
    }
}
