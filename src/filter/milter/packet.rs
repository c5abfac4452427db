//! Packets: a length of four octets, a command or reply of one, data.

use super::fault::Fault;

/// Octets of data that a packet has at most, unless more were agreed upon.
pub(super) const DATA_BYTES_MAX: usize = 65_535;

/// Octets of the length.
const LENGTH_BYTES: usize = 4;

/// Octets of the longest packet of a milter, without its length. Nothing that a milter may say here is longer
/// than what libmilter sends to a server that agreed to nothing.
const PACKET_BYTES_MAX: u32 = 1 + 65_535;

/// Memory of a packet that is kept for the next one.
const KEPT_BYTES: usize = 4096;

/// What a server says (`SMFIC_`).
pub(super) mod command {
    pub(in super::super) const ABORT: u8 = b'A';
    pub(in super::super) const BODY: u8 = b'B';
    pub(in super::super) const CONNECT: u8 = b'C';
    pub(in super::super) const MACROS: u8 = b'D';
    /// `SMFIC_BODYEOB`: the end of the message.
    pub(in super::super) const END: u8 = b'E';
    pub(in super::super) const HELO: u8 = b'H';
    /// `SMFIC_QUIT_NC`: this SMTP connection is over, and another one is told on the same connection.
    pub(in super::super) const QUIT_NEW_CONNECTION: u8 = b'K';
    pub(in super::super) const FIELD: u8 = b'L';
    pub(in super::super) const MAIL: u8 = b'M';
    /// `SMFIC_EOH`.
    pub(in super::super) const END_OF_HEADER: u8 = b'N';
    /// `SMFIC_OPTNEG`, which is also its reply.
    pub(in super::super) const NEGOTIATE: u8 = b'O';
    pub(in super::super) const QUIT: u8 = b'Q';
    pub(in super::super) const RECIPIENT: u8 = b'R';
    pub(in super::super) const DATA: u8 = b'T';
}

/// What a milter says (`SMFIR_`).
pub(super) mod reply {
    pub(in super::super) const ADD_RECIPIENT_WITH_PARAMETERS: u8 = b'2';
    pub(in super::super) const SHUTDOWN: u8 = b'4';
    pub(in super::super) const ADD_RECIPIENT: u8 = b'+';
    pub(in super::super) const DELETE_RECIPIENT: u8 = b'-';
    pub(in super::super) const ACCEPT: u8 = b'a';
    pub(in super::super) const REPLACE_BODY: u8 = b'b';
    pub(in super::super) const CONTINUE: u8 = b'c';
    pub(in super::super) const DISCARD: u8 = b'd';
    pub(in super::super) const CHANGE_SENDER: u8 = b'e';
    pub(in super::super) const CONNECTION_FAILURE: u8 = b'f';
    pub(in super::super) const ADD_FIELD: u8 = b'h';
    pub(in super::super) const INSERT_FIELD: u8 = b'i';
    pub(in super::super) const CHANGE_FIELD: u8 = b'm';
    pub(in super::super) const PROGRESS: u8 = b'p';
    pub(in super::super) const QUARANTINE: u8 = b'q';
    pub(in super::super) const REJECT: u8 = b'r';
    pub(in super::super) const SKIP: u8 = b's';
    pub(in super::super) const TEMPORARY_FAILURE: u8 = b't';
    pub(in super::super) const REPLY_CODE: u8 = b'y';
}

/// A whole packet of a milter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) code: u8,
    pub(super) data: &'a [u8],
}

/// Puts packets together, however they arrive.
#[derive(Debug, Default)]
pub(super) struct PacketReader {
    /// What has come of a packet, with its length.
    octets: Vec<u8>,
    /// It was lent, and the next one begins anew.
    is_lent: bool,
}

impl PacketReader {
    /// Consumes octets up to the end of a packet, and lends that; none when all input is consumed before.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Packet<'_>>, Fault> {
        if std::mem::take(&mut self.is_lent) {
            self.octets.clear();
            self.octets.shrink_to(KEPT_BYTES);
        }
        self.take(input, LENGTH_BYTES);
        let Some(length) = self.octets.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        if length == 0 || length > PACKET_BYTES_MAX {
            return Err(Fault::Length(length));
        }
        let whole = LENGTH_BYTES + length as usize;
        self.take(input, whole);
        if self.octets.len() < whole {
            return Ok(None);
        }
        self.is_lent = true;
        let packet = self.octets.get(LENGTH_BYTES..).and_then(<[u8]>::split_first);
        Ok(packet.map(|(code, data)| Packet { code: *code, data }))
    }

    /// Whether no packet has begun and is not at its end.
    pub(super) fn is_between(&self) -> bool {
        self.is_lent || self.octets.is_empty()
    }

    /// Takes input until so many octets are there.
    fn take(&mut self, input: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.octets.len()).min(input.len());
        if let Some((taken, rest)) = input.split_at_checked(missing) {
            self.octets.extend_from_slice(taken);
            *input = rest;
        }
    }
}

/// Appends a packet whose data is written. Data that is too long is cut, and ends with NUL.
pub(super) fn push(output: &mut Vec<u8>, code: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = output.len();
    output.extend_from_slice(&[0; LENGTH_BYTES]);
    output.push(code);
    let data = output.len();
    write(output);
    if output.len() - data > DATA_BYTES_MAX {
        output.truncate(data + DATA_BYTES_MAX - 1);
        output.push(0);
    }
    let length = u32::try_from(output.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    if let Some(place) = output.get_mut(start..start + LENGTH_BYTES) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a chunk of the body, which may be as long as was agreed upon.
pub(super) fn push_chunk(output: &mut Vec<u8>, chunk: &[u8]) {
    let length = u32::try_from(1 + chunk.len()).unwrap_or(u32::MAX);
    output.extend_from_slice(&length.to_be_bytes());
    output.push(command::BODY);
    output.extend_from_slice(chunk);
}

/// Appends a text and the NUL that ends it. A NUL in it would end it before: it becomes `?`.
pub(super) fn push_text(output: &mut Vec<u8>, text: &[u8]) {
    output.extend(text.iter().map(|octet| if *octet == 0 { b'?' } else { *octet }));
    output.push(0);
}

/// A packet among others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framed<'a> {
    /// With its length.
    pub(super) whole: &'a [u8],
    pub(super) code: u8,
    pub(super) data: &'a [u8],
}

/// The packet that these octets begin with.
pub(super) fn first(octets: &[u8]) -> Option<Framed<'_>> {
    let (length, rest) = octets.split_first_chunk::<LENGTH_BYTES>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (code, data) = rest.get(..length)?.split_first()?;
    Some(Framed { whole: octets.get(..LENGTH_BYTES + length)?, code: *code, data })
}

/// The text that data begins with, and what comes after its NUL.
pub(super) fn split_text(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, data)?;
    Some((data.get(..end)?, data.get(end + 1..)?))
}
