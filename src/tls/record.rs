//! Where records of TLS begin and end (RFC 8446 §5.1). What is in them is the library's.

/// Octets of a record's header (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// How many octets more make the record whole that has `begun`. At least 1.
pub(super) fn missing_octets(begun: &[u8]) -> usize {
    record_bytes(begun).unwrap_or(RECORD_HEADER_BYTES).saturating_sub(begun.len()).max(1)
}

/// How many octets whole records have, from the start on.
pub(super) fn whole_records(octets: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(bytes) = octets.get(whole..).and_then(record_bytes)
        && bytes <= octets.len() - whole
    {
        whole += bytes;
    }
    whole
}

/// How many octets a record has with its header; none when the header is not whole.
fn record_bytes(octets: &[u8]) -> Option<usize> {
    let [_, _, _, high, low] = octets.first_chunk::<RECORD_HEADER_BYTES>()?;
    Some(RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])))
}
