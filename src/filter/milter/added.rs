//! Header fields that a milter adds, made so that each is one field and nothing else.

use super::fault::Fault;

/// Fields that a milter may add to a message.
const FIELDS_MAX: usize = 100;

/// Octets of all of them.
const BYTES_MAX: usize = 64 * 1024;

/// Octets of a name: what a line has room for (RFC 5322 §2.1.1).
const NAME_BYTES_MAX: usize = 76;

/// Where a field goes among those that were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Top,
    Below,
}

/// The fields of one message, from the top.
#[derive(Debug, Default)]
pub(super) struct Added {
    fields: Vec<Vec<u8>>,
    bytes: usize,
}

impl Added {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a field. `has_space`: what stands between colon and value is part of the value.
    pub(super) fn add(
        &mut self,
        place: Place,
        name: &[u8],
        value: &[u8],
        has_space: bool,
    ) -> Result<(), Fault> {
        let is_good = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.iter().all(|octet| matches!(octet, b'!'..=b'~') && *octet != b':');
        if !is_good {
            return Err(Fault::FieldName);
        }
        let mut field = [name, b":"].concat();
        push_value(value, has_space, &mut field);
        self.bytes += field.len();
        if self.fields.len() == FIELDS_MAX || self.bytes > BYTES_MAX {
            return Err(Fault::TooMuchAdded);
        }
        let at = if place == Place::Top { 0 } else { self.fields.len() };
        self.fields.insert(at, field);
        Ok(())
    }

    /// All of them, each with its CRLF; then there are none.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let all = self.fields.concat();
        self.clear();
        all
    }
}

/// Appends a value and the CRLF after it. Lines of it end with LF or CRLF. One that does not begin with a
/// blank would be a field of its own, or the end of the header section: it is folded, and lines without
/// anything to see are left out. Controls become `?`.
fn push_value(value: &[u8], has_space: bool, field: &mut Vec<u8>) {
    let lines = value.split(|octet| matches!(octet, b'\n' | b'\r'));
    let mut is_first = true;
    for line in lines {
        let line = line.trim_ascii_end();
        let is_blank = line.is_empty();
        if std::mem::take(&mut is_first) {
            if !has_space && !is_blank {
                field.push(b' ');
            }
        } else if is_blank {
            continue;
        } else {
            field.extend_from_slice(b"\r\n");
            if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                field.push(b'\t');
            }
        }
        field.extend(line.iter().map(|octet| match octet {
            0..=8 | 10..=31 | 127 => b'?',
            _ => *octet,
        }));
    }
    field.extend_from_slice(b"\r\n");
}
