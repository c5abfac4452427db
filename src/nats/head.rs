//! The message of the stream for one message of ours.

use std::fmt::Write as _;

use async_nats::HeaderMap;
use async_nats::header::HeaderValue;

/// What the stream knows a message again by.
pub(super) const ID: &str = "Nats-Msg-Id";

/// Another stream than this one does not take it.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

/// The envelope: the line of `spool show --envelope`.
const ENVELOPE: &str = "Ringmx-Envelope";

/// The object that has the content, where the payload is empty.
const OBJECT: &str = "Ringmx-Object";

/// Octets that a header has besides its fields: `NATS/1.0`, and two line ends.
const FRAME_BYTES: usize = 12;

/// Octets of a field besides its name and its value.
const FIELD_BYTES: usize = 4;

/// Subject and header of a message.
#[derive(Debug, Clone)]
pub struct Head {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    /// Octets that the header takes.
    bytes: usize,
}

impl Head {
    /// That of a message with this id, which goes to the partition of its first recipient, `local@domain`.
    /// `envelope` is JSON on one line.
    ///
    /// # Errors
    /// The envelope is no field of a header.
    pub fn new(
        (prefix, partitions): (&str, usize),
        stream: &str,
        id: &str,
        recipient: &[u8],
        envelope: &str,
    ) -> Result<Self, String> {
        let subject = format!("{prefix}.{}", partition(recipient, partitions));
        let mut head = Self { subject, headers: HeaderMap::new(), bytes: FRAME_BYTES };
        head.insert(ID, id)?;
        head.insert(EXPECTED_STREAM, stream)?;
        head.insert(ENVELOPE, &in_ascii(envelope))?;
        Ok(head)
    }

    /// The same for a message whose content is an object.
    ///
    /// # Errors
    /// That is no name.
    pub fn with_object(mut self, bucket: &str, name: &str) -> Result<Self, String> {
        self.insert(OBJECT, &format!("{bucket}/{name}"))?;
        Ok(self)
    }

    /// Octets of the header, which count against what a message may have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn insert(&mut self, name: &'static str, value: &str) -> Result<(), String> {
        let field: HeaderValue = value.parse().map_err(|error| format!("{name}: {error}"))?;
        self.bytes += name.len() + value.len() + FIELD_BYTES;
        self.headers.insert(name, field);
        Ok(())
    }
}

/// The same JSON in ASCII: clients differ in what else a header may hold.
fn in_ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            // It stands in a string. Writing to a String does not fail.
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units);
            let _ = units.iter().try_for_each(|unit| write!(text, "\\u{unit:04x}"));
        }
    }
    text
}

/// The partition of a recipient: the CRC-32C of `local@domain` in lower case (ASCII), modulo their number.
fn partition(recipient: &[u8], partitions: usize) -> u32 {
    let count = u32::try_from(partitions.max(1)).unwrap_or(1);
    crc32c::crc32c(&recipient.to_ascii_lowercase()) % count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_keeps_to_its_partition_and_all_are_used() {
        let of = |name: &str| partition(name.as_bytes(), 16);
        assert_eq!(of("u@example.test"), of("U@EXAMPLE.test"));
        let mut used = [false; 16];
        (0..500).for_each(|number| used[of(&format!("u{number}@example.test")) as usize] = true);
        assert_eq!(used, [true; 16]);
        assert_eq!(partition(b"u@example.test", 1), 0);
        // It is part of the contract with consumers.
        assert_eq!((of("u@example.test"), crc32c::crc32c(b"123456789")), (of("u@example.test"), 0xe306_9283));
    }

    #[test]
    fn an_envelope_is_the_same_json_in_ascii() {
        let json = r#"{"recipients":["ü@x.test","😀"],"text":"a\\u00e9\""}"#;
        let text = in_ascii(json);
        assert!(
            text.is_ascii() && text.contains(r"\u00fc@x.test") && text.contains(r"\ud83d\ude00"),
            "{text}"
        );
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&text), read(json));
    }

    #[test]
    fn a_head_says_how_large_it_is_and_lets_nothing_into_the_header() {
        let head = Head::new(("mail.default", 1), "MAIL", "id1", b"u@x.test", "{}").expect("a head");
        assert_eq!(head.subject, "mail.default.0");
        let text =
            "NATS/1.0\r\nNats-Msg-Id: id1\r\nNats-Expected-Stream: MAIL\r\nRingmx-Envelope: {}\r\n\r\n";
        assert_eq!(head.bytes(), text.len());
        let with = head.with_object("MAIL-large", "id1").expect("a name");
        assert_eq!(with.bytes(), text.len() + "Ringmx-Object: MAIL-large/id1\r\n".len());
        let broken = Head::new(("m", 1), "MAIL", "id1", b"u@x.test", "{\r\nOther: x}");
        assert!(broken.is_err());
    }
}
