//! Packets: a length of four octets, a command or reply of one, data.

use super::code::command;
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

    /// Memory that it holds, in octets.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.octets.capacity()
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
