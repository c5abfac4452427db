//! What a file of a maildir holds: trace information of final delivery in front of what was received.

use memchr::{memchr_iter, memchr2};

use super::name::Size;
use crate::buffer::{NotWhole, Whole};
use crate::handoff::message::Message;
use crate::mail::envelope::{BodyType, Envelope, Mailbox};
use crate::smtp::trace;

/// The octets of all files of one message that are the same for every recipient.
pub(super) enum Common<'a> {
    /// As received: `Received:` and the mail data.
    AsReceived {
        received: &'a [u8],
        data: Whole<'a>,
        /// Line ends that are an LF alone.
        bare_lf_count: u64,
    },
    /// With LF for CRLF.
    Converted {
        octets: Vec<u8>,
        /// As many as were received.
        bytes_as_crlf: u64,
    },
}

impl<'a> Common<'a> {
    /// The octets to store; `to_lf` asks for LF where that can be converted back.
    pub(super) fn new(message: &'a Message, to_lf: bool) -> Result<Self, NotWhole> {
        let (received, data) = (message.received.as_slice(), message.data.whole()?);
        let is_converted = to_lf && is_convertible(&message.envelope);
        if let Some(octets) = is_converted.then(|| convert(received, data)).flatten() {
            return Ok(Self::Converted { octets, bytes_as_crlf: received.len() as u64 + data.bytes() });
        }
        Ok(Self::AsReceived { received, data, bare_lf_count: bare_lf_count(received, data) })
    }

    /// Whether line ends are LF.
    fn is_lf(&self) -> bool {
        matches!(self, Self::Converted { .. })
    }

    /// The size of a file that begins with these fields.
    pub(super) fn size(&self, head: &[u8]) -> Size {
        let head_bytes = head.len() as u64;
        match self {
            Self::AsReceived { received, data, bare_lf_count } => {
                let bytes = head_bytes + received.len() as u64 + data.bytes();
                Size { bytes, bytes_as_crlf: bytes + bare_lf_count }
            }
            Self::Converted { octets, bytes_as_crlf } => {
                let head_as_crlf = head_bytes + memchr_iter(b'\n', head).count() as u64;
                Size { bytes: head_bytes + octets.len() as u64, bytes_as_crlf: head_as_crlf + bytes_as_crlf }
            }
        }
    }

    /// Appends the octets as slices.
    pub(super) fn push_slices<'s>(&'s self, slices: &mut Vec<&'s [u8]>) {
        match self {
            Self::AsReceived { received, data, .. } => {
                slices.push(received);
                slices.extend(data.pieces());
            }
            Self::Converted { octets, .. } => slices.push(octets),
        }
    }

    /// The fields above them in the file of these recipients, in the same line ends: all of them, or who got
    /// a blind copy could not be told any more.
    pub(super) fn head(&self, envelope: &Envelope, recipients: &[Mailbox<'_>]) -> Vec<u8> {
        let end: &[u8] = if self.is_lf() { b"\n" } else { b"\r\n" };
        let mut head = Vec::new();
        let recipients = recipients.iter().map(|recipient| recipient.whole);
        trace::delivery_fields(&mut head, envelope.reverse_path(), recipients, end);
        head
    }
}

/// Whether CRLF may become LF: the mail data is lines, and each of them ends in CRLF.
fn is_convertible(envelope: &Envelope) -> bool {
    match envelope.body {
        BodyType::SevenBit | BodyType::EightBitMime => !envelope.bare_line_ends,
        BodyType::BinaryMime => false,
    }
}

/// Line ends that are an LF alone.
fn bare_lf_count(received: &[u8], data: Whole<'_>) -> u64 {
    let (mut count, mut before) = (0, b'\0');
    for piece in std::iter::once(received).chain(data.pieces()) {
        for at in memchr_iter(b'\n', piece) {
            let previous = at.checked_sub(1).map_or(before, |previous| piece[previous]);
            count += u64::from(previous != b'\r');
        }
        before = piece.last().copied().unwrap_or(before);
    }
    count
}

/// Received: and the mail data with LF for CRLF. None when there is a CR or an LF that is no part of a CRLF
/// after all: what cannot be converted back is not converted, whatever the envelope says.
fn convert(received: &[u8], data: Whole<'_>) -> Option<Vec<u8>> {
    let bytes = data.bytes().try_into().unwrap_or(0_usize);
    let mut out = Vec::with_capacity(received.len().saturating_add(bytes));
    let mut after_cr = false;
    for mut rest in std::iter::once(received).chain(data.pieces()) {
        if after_cr {
            let Some((first, others)) = rest.split_first() else { continue };
            if *first != b'\n' {
                return None;
            }
            out.push(b'\n');
            after_cr = false;
            rest = others;
        }
        while let Some(at) = memchr2(b'\r', b'\n', rest) {
            let (line, end) = rest.split_at(at);
            out.extend_from_slice(line);
            match end {
                [b'\r', b'\n', others @ ..] => {
                    out.push(b'\n');
                    rest = others;
                }
                [b'\r'] => {
                    after_cr = true;
                    rest = &[];
                }
                _ => return None,
            }
        }
        out.extend_from_slice(rest);
    }
    (!after_cr).then_some(out)
}
