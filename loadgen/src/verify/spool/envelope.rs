//! The envelope of a record: as much of it as a ledger can be compared with.

use super::encoding::{u32_at, u64_at};

/// See the file's head.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Forward-paths.
    pub recipients: Vec<Option<Vec<u8>>>,
    /// Octets of the trace information in front of the mail data.
    pub trace_bytes: Option<u64>,
    /// Octets and checksum of the file in which the content goes on.
    pub continued: Option<(u64, u32)>,
}

impl Envelope {
    /// Reads the fields of an envelope.
    pub fn parse(mut fields: &[u8]) -> Result<Self, &'static str> {
        const RECIPIENT: u16 = 7;
        const TRACE_BYTES: u16 = 11;
        const REQUIRETLS: u16 = 0x8011;
        const CONTINUED: u16 = 0x8012;
        const MUST_BE_KNOWN: u16 = 0x8000;
        const CUT_OFF: &str = "a field of its envelope is cut off";
        let mut envelope = Self::default();
        while !fields.is_empty() {
            let (head, rest) = fields.split_at_checked(6).ok_or(CUT_OFF)?;
            let tag = u16::from_le_bytes([head[0], head[1]]);
            let length = usize::try_from(u32_at(head, 2)).map_err(|_| CUT_OFF)?;
            let (value, rest) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
            match tag {
                RECIPIENT => envelope.recipients.push(Some(value.to_vec())),
                TRACE_BYTES => {
                    let octets = value.try_into().map_err(|_| "its trace length has not 8 octets")?;
                    envelope.trace_bytes = Some(u64::from_le_bytes(octets));
                }
                CONTINUED if value.len() == 12 => {
                    envelope.continued = Some((u64_at(value, 0), u32_at(value, 8)));
                }
                REQUIRETLS => {}
                MUST_BE_KNOWN.. => return Err("its envelope has a field that must be understood"),
                _ => {}
            }
            fields = rest;
        }
        if envelope.recipients.is_empty() {
            return Err("its envelope has no recipient");
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_that_is_cut_off_is_not_taken_for_whole() {
        let field = |tag: u16, value: &[u8]| {
            [&tag.to_le_bytes()[..], &u32::try_from(value.len()).expect("small").to_le_bytes(), value]
                .concat()
        };
        let whole =
            [field(7, b"a@b"), field(99, b"?"), field(11, &40u64.to_le_bytes()), field(7, b"c@d")].concat();
        let envelope = Envelope::parse(&whole).expect("whole");
        assert_eq!(envelope.recipients, [Some(b"a@b".to_vec()), Some(b"c@d".to_vec())]);
        assert_eq!(envelope.trace_bytes, Some(40));
        assert!(Envelope::parse(&whole[..whole.len() - 1]).is_err());
        assert!(Envelope::parse(&field(0x8001, b"")).is_err());
        assert!(Envelope::parse(b"").is_err());
        let rest = [field(0x8012, &[9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]), whole].concat();
        assert_eq!(Envelope::parse(&rest).expect("whole").continued, Some((9, 3)));
        assert!(Envelope::parse(&field(0x8012, b"short")).is_err());
    }
}
