//! DNS messages as far as the server needs them (RFC 1035 §4): a question is read, an answer is written.

/// Kinds of records by their numbers.
pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const TLSA: u16 = 52;

/// Response codes.
pub const NO_ERROR: u8 = 0;
pub const SERVER_FAILURE: u8 = 2;
pub const NO_NAME: u8 = 3;
pub const REFUSED: u8 = 5;

/// What a resolver asks.
#[derive(Debug, Clone)]
pub struct Query {
    pub id: u16,
    /// In lower case, without a dot at the end.
    pub name: String,
    pub kind: u16,
    /// The name as it was asked, on the wire: resolvers look whether its letters come back as they were.
    pub name_octets: Vec<u8>,
    /// How long an answer over UDP may be.
    pub udp_bytes_max: usize,
}

/// A record to answer with.
#[derive(Debug, Clone)]
pub struct Record {
    pub name: String,
    pub kind: u16,
    pub seconds: u32,
    pub data: Vec<u8>,
}

/// Reads a query; none of what is no query with one question.
pub fn read(octets: &[u8]) -> Option<Query> {
    let number = |at: usize| Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?));
    if number(4)? != 1 || octets.get(2)? & 0x80 != 0 {
        return None;
    }
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*octets.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(octets.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let name_octets = octets.get(12..at)?.to_vec();
    let kind = number(at)?;
    at += 4;
    // The OPT record of EDNS has an empty name, its class is the size (RFC 6891 §6.1.2).
    let has_edns = number(10)? > 0 && octets.get(at) == Some(&0) && number(at + 1) == Some(41);
    let udp_bytes_max = if has_edns { usize::from(number(at + 3)?).max(512) } else { 512 };
    Some(Query { id: number(0)?, name: labels.join("."), kind, name_octets, udp_bytes_max })
}

/// Says that the answer was validated (AD, RFC 4035 §3.2.3).
pub fn mark_authentic(octets: &mut [u8]) {
    octets[3] |= 0x20;
}

/// Writes an answer.
pub fn write(query: &Query, code: u8, truncated: bool, answers: &[Record], authority: &[Record]) -> Vec<u8> {
    let mut octets = query.id.to_be_bytes().to_vec();
    octets.extend([0x84 | u8::from(truncated) << 1, 0x80 | code]);
    let counts = [1, answers.len(), authority.len(), 0];
    octets.extend(
        counts.into_iter().flat_map(|count| u16::try_from(count).expect("few records").to_be_bytes()),
    );
    octets.extend(&query.name_octets);
    octets.extend(query.kind.to_be_bytes());
    octets.extend(1_u16.to_be_bytes());
    for record in answers.iter().chain(authority) {
        if record.name == query.name {
            // A pointer to the question, so that its letters come back as they were asked.
            octets.extend([0xc0, 12]);
        } else {
            octets.extend(name(&record.name));
        }
        octets.extend(record.kind.to_be_bytes());
        octets.extend(1_u16.to_be_bytes());
        octets.extend(record.seconds.to_be_bytes());
        octets.extend(u16::try_from(record.data.len()).expect("at most 64 KiB").to_be_bytes());
        octets.extend(&record.data);
    }
    octets
}

/// A name on the wire.
pub fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).expect("a short label"));
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// The data of a TXT record: strings of at most 255 octets.
pub fn text(text: &[u8]) -> Vec<u8> {
    text_of(&text.chunks(255).collect::<Vec<_>>())
}

/// The data of a TXT record of these strings; one that is empty where there is none.
pub fn text_of(strings: &[&[u8]]) -> Vec<u8> {
    let mut octets = Vec::new();
    for string in strings {
        octets.push(u8::try_from(string.len()).expect("at most 255"));
        octets.extend_from_slice(string);
    }
    if octets.is_empty() {
        octets.push(0);
    }
    octets
}
