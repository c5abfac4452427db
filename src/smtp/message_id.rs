//! `Message-ID:` of mail data, for the log: as the sender wrote it, whatever it wrote.
//!
//! It is looked for when a message is told of, or when its beginning leaves memory, and only where messages
//! have lines.

use crate::limits::{MESSAGE_ID_BYTES_MAX, MESSAGE_ID_WITHIN};

/// What a header section says in its first `Message-ID:` field (RFC 5322 §3.6.4), unfolded.
#[derive(Debug, Clone, Copy)]
pub struct MessageId {
    octets: [u8; MESSAGE_ID_BYTES_MAX],
    /// `<= MESSAGE_ID_BYTES_MAX`
    bytes: usize,
}

impl MessageId {
    /// Its octets, without white space around them; cut at `MESSAGE_ID_BYTES_MAX`. Escape them before they
    /// are shown.
    pub fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.bytes).unwrap_or_default().trim_ascii()
    }

    fn push(&mut self, octet: u8) {
        if let Some(place) = self.octets.get_mut(self.bytes) {
            *place = octet;
            self.bytes += 1;
        }
    }
}

/// Where in the header section we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a field name of which so many octets, from its first on, are those of the name that is looked for.
    Name(usize),
    /// In white space between the name and its colon (obsolete, RFC 5322 §4.5).
    Colon,
    /// In a line that is not looked for.
    Other,
    /// In what is looked for.
    Value,
    /// At the start of the line after it: it goes on where that begins with white space.
    Fold,
}

const NAME: &[u8] = b"message-id";

/// Looks for it in mail data in these pieces, but only in the first octets.
pub fn find<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<MessageId> {
    let mut id = MessageId { octets: [0; MESSAGE_ID_BYTES_MAX], bytes: 0 };
    let (mut at, mut left) = (At::Name(0), MESSAGE_ID_WITHIN);
    for piece in pieces {
        let mut rest = piece.get(..left).unwrap_or(piece);
        left -= rest.len();
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            at = match at {
                // The end of the header section.
                At::Name(0) if octet == b'\r' || octet == b'\n' => return None,
                At::Name(count) if NAME.get(count) == Some(&octet.to_ascii_lowercase()) => {
                    At::Name(count + 1)
                }
                At::Name(count) if count == NAME.len() && octet == b':' => At::Value,
                At::Name(count) if count == NAME.len() && matches!(octet, b' ' | b'\t') => At::Colon,
                At::Colon if octet == b':' => At::Value,
                At::Colon if matches!(octet, b' ' | b'\t') => At::Colon,
                At::Name(_) | At::Colon | At::Other if octet == b'\n' => At::Name(0),
                At::Name(_) | At::Colon | At::Other => {
                    let end = memchr::memchr(b'\n', rest).map(|lf| lf + 1);
                    rest = rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
                    end.map_or(At::Other, |_| At::Name(0))
                }
                At::Value if octet == b'\n' => At::Fold,
                At::Value if octet == b'\r' => At::Value,
                At::Fold if !matches!(octet, b' ' | b'\t') => return Some(id),
                At::Value | At::Fold => {
                    id.push(octet);
                    At::Value
                }
            };
        }
        if left == 0 {
            break;
        }
    }
    matches!(at, At::Value | At::Fold).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8]) -> Option<Vec<u8>> {
        let whole = find([text].into_iter()).map(|id| id.as_slice().to_vec());
        for at in 0..=text.len() {
            let (first, second) = text.split_at(at);
            let split = find([first, second].into_iter()).map(|id| id.as_slice().to_vec());
            assert_eq!(split, whole, "{}, split at {at}", text.escape_ascii());
        }
        whole
    }

    #[test]
    fn the_first_one_of_the_header_section_is_found() {
        for (text, expected) in [
            (&b"Message-ID: <a@x.test>\r\n\r\n"[..], Some(&b"<a@x.test>"[..])),
            (b"Subject: x\r\nMESSAGE-id:<a@x.test>\r\nMessage-ID: <b>\r\n\r\n", Some(b"<a@x.test>")),
            (
                b"Subject: x\r\nMessage-ID : \r\n <a@x.test>\r\n\t(x)\r\nTo: y\r\n\r\n",
                Some(b"<a@x.test>\t(x)"),
            ),
            (b"Message-ID: cut here", Some(b"cut here")),
            (b"Message-ID: <a\x01\xff>\n\n", Some(b"<a\x01\xff>")),
            (b"Message-ID:\r\n\r\n", Some(b"")),
            (b"Message-IDs: <a>\r\nX-Message-ID: <b>\r\nMessage-I: <c>\r\n Message-ID: <d>\r\n\r\n", None),
            (b"Subject: x\r\n\r\nMessage-ID: <a@x.test>\r\n", None),
            (b"\r\nMessage-ID: <a@x.test>\r\n", None),
            (b"", None),
        ] {
            assert_eq!(found(text).as_deref(), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn neither_a_long_one_nor_a_long_header_section_costs_more_than_the_bounds() {
        let long = [&b"Message-ID: <"[..], &vec![b'x'; 100_000]].concat();
        let id = find([long.as_slice()].into_iter()).expect("found");
        assert!(id.as_slice().len() < MESSAGE_ID_BYTES_MAX && id.as_slice().starts_with(b"<xxx"));
        let late = [&b"X: y\r\n".repeat(MESSAGE_ID_WITHIN / 6 + 1)[..], b"Message-ID: <a>\r\n"].concat();
        assert!(find([late.as_slice()].into_iter()).is_none());
    }
}
