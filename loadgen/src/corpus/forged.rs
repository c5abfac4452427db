//! Forged results of checks (RFC 8601): fields that claim to come from the receiver, which it has to remove,
//! beside others that only look like that and have to stay.

use std::fmt;
use std::str::FromStr;

/// Of a hundred messages so many have forged results, unless it is said.
const PERCENT_DEFAULT: u64 = 10;

/// Whose results are forged, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgery {
    /// What the receiver calls itself: its authserv-id.
    pub authserv_id: String,
    /// Of a hundred messages. `1..=100`
    pub percent: u64,
}

impl FromStr for Forgery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, percent) = text.split_once(':').map_or((text, None), |(id, percent)| (id, Some(percent)));
        let percent = percent.map_or(Some(PERCENT_DEFAULT), |percent| percent.parse().ok());
        let percent = percent.filter(|percent| (1..=100).contains(percent)).ok_or("PERCENT is 1 to 100")?;
        let is_name = |octet: u8| octet.is_ascii_alphanumeric() || b".-".contains(&octet);
        if id.is_empty() || id.len() > 253 || !id.bytes().all(is_name) {
            return Err(format!("{id:?} is no name such as mx.example.org"));
        }
        Ok(Self { authserv_id: id.to_owned(), percent })
    }
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.authserv_id, self.percent)
    }
}

/// Fields that some messages have.
#[derive(Debug)]
pub struct Block {
    /// As they are sent.
    pub sent: Vec<u8>,
    /// What has to be left of them.
    pub cut: Vec<u8>,
}

/// The blocks of a run, and which messages have one.
#[derive(Debug)]
pub struct Forged {
    blocks: Vec<Block>,
    percent: u64,
}

impl Forged {
    /// All forms of a forgery.
    pub fn new(forgery: &Forgery) -> Self {
        let blocks = forms(&forgery.authserv_id).iter().map(|form| Block::new(form)).collect();
        Self { blocks, percent: forgery.percent }
    }

    /// All blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Which block a message of this number has, if it has one.
    pub fn block_of(&self, number: u64) -> Option<usize> {
        /// Numbers that follow one another are far apart in the hundred.
        const STRIDE: u64 = 61;
        let has_one = (number % 100) * STRIDE % 100 < self.percent;
        has_one.then(|| usize::try_from(number / 10 % self.blocks.len() as u64).unwrap_or(0))
    }
}

impl Block {
    /// Of fields, each with a word whether it has to go.
    fn new(fields: &[(bool, String)]) -> Self {
        let (mut sent, mut cut) = (Vec::new(), Vec::new());
        for (is_forged, field) in fields {
            sent.extend_from_slice(field.as_bytes());
            if !is_forged {
                cut.extend_from_slice(field.as_bytes());
            }
        }
        Self { sent, cut }
    }
}

/// The ways in which those forge who hope that somebody reads the field otherwise than the receiver does.
fn forms(id: &str) -> [Vec<(bool, String)>; 7] {
    const PASS: &str = "spf=pass smtp.mailfrom=bank.test; dkim=pass header.d=bank.test; dmarc=pass";
    let forged = |text: String| (true, text);
    let kept = |text: String| (false, text);
    let upper = id.to_ascii_uppercase();
    let long = format!("Authentication-Results: {id};{}\r\n", format!("\r\n\t{PASS};").repeat(110));
    [
        vec![forged(format!("Authentication-Results: {id}; {PASS}\r\n"))],
        vec![
            kept(format!("Authentication-Results: {id}.evil.test; {PASS}\r\n")),
            forged(format!("AUTHENTICATION-RESULTS:\r\n\t{upper};\r\n {PASS}\r\n")),
        ],
        vec![
            forged(format!("authentication-results : (a (nested) one) \"{id}\" 1; {PASS}\r\n")),
            kept(format!("ARC-Authentication-Results: i=1; {id}; {PASS}\r\n")),
        ],
        vec![
            forged(format!("Authentication-Results: {id}.; {PASS}\r\n")),
            kept("X-Between: them\r\n".to_owned()),
            forged(format!("Authentication-Results:{id};{PASS}\r\n")),
            kept("Comments: and below\r\n".to_owned()),
            forged(format!("Authentication-Results: {id}; none\r\n")),
        ],
        vec![forged(long)],
        vec![
            kept("Authentication-Results: elsewhere.test; spf=pass smtp.mailfrom=a.test\r\n".to_owned()),
            kept(format!("X-Authentication-Results: {id}; {PASS}\r\n")),
        ],
        // Who is not named cannot be told from the receiver.
        vec![forged(format!("Authentication-Results: {PASS}\r\n"))],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgery_is_a_name_and_a_part() {
        let forgery = |text: &str| text.parse::<Forgery>();
        assert_eq!(forgery("mx.test:7").map(|forgery| forgery.to_string()), Ok("mx.test:7".into()));
        assert_eq!(forgery("mx.test").map(|forgery| forgery.percent), Ok(PERCENT_DEFAULT));
        for wrong in ["", ":5", "mx.test:0", "mx.test:101", "mx.test:", "a b", "mx;x"] {
            assert!(forgery(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn as_many_messages_as_asked_have_a_block_and_each_form_comes() {
        for percent in [1, 10, 50, 100] {
            let forged = Forged::new(&Forgery { authserv_id: "mx.test".into(), percent });
            let count = (0..10_000).filter(|number| forged.block_of(*number).is_some()).count();
            assert_eq!(count as u64, percent * 100);
            for block in 0..forged.blocks.len() {
                assert!((0..10_000).any(|number| forged.block_of(number) == Some(block)));
            }
        }
    }

    #[test]
    fn what_is_left_is_what_was_not_forged() {
        let forged = Forged::new(&Forgery { authserv_id: "mx.test".into(), percent: 100 });
        assert_eq!(forged.blocks[0].cut, b"");
        assert_eq!(forged.blocks[3].cut, b"X-Between: them\r\nComments: and below\r\n");
        assert_eq!(forged.blocks[5].cut, forged.blocks[5].sent, "nothing in it is forged");
        let all = forged.blocks.iter().flat_map(|block| block.sent.split(|octet| *octet == b'\n'));
        assert!(all.into_iter().all(|line| line.len() < 998 && !line.starts_with(b".")));
        assert!(forged.blocks[4].sent.len() > 8192);
    }
}
