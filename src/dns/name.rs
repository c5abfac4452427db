//! Domain names as questions and answers hold them.

use std::fmt;
use std::net::IpAddr;

/// A name has at most so many octets in text (RFC 1035 §2.3.4: 255 on the wire).
pub const NAME_BYTES_MAX: usize = 253;

/// A label has at most so many octets (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// A domain name: labels with dots between them, ASCII letters in lower case, no dot at the end. Labels may
/// hold any octet but a dot, because what a domain's owner puts into a record comes in here, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The name that this text means; none where it is no name: empty, or with a label that is empty or too
    /// long.
    pub fn new(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let labels_fit =
            text.split(|octet| *octet == b'.').all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()));
        (labels_fit && text.len() <= NAME_BYTES_MAX).then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The name that PTR records of an address have: `1.2.0.192.in-addr.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).
    pub fn reverse(address: IpAddr) -> Self {
        let suffix = match address.to_canonical() {
            IpAddr::V4(_) => "in-addr.arpa",
            IpAddr::V6(_) => "ip6.arpa",
        };
        Self(format!("{}.{suffix}", ReversedAddress(address)).into_bytes().into())
    }

    /// The name that a list of addresses has an entry of this one at: `1.2.0.192.zone` (RFC 5782 §2.1, §2.4);
    /// none where it is too long.
    pub fn in_list(address: IpAddr, zone: &Name) -> Option<Self> {
        // Each client is asked about by every list: put together by hand, and its labels are known to be
        // good.
        let mut text = Vec::with_capacity(REVERSED_BYTES_MAX + zone.0.len());
        push_reversed(&mut text, address);
        text.extend_from_slice(&zone.0);
        (text.len() <= NAME_BYTES_MAX).then(|| Self(text.into_boxed_slice()))
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Its labels, from the left.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|octet| *octet == b'.')
    }

    /// The name without its first label; none of one that has a single label.
    pub fn parent(&self) -> Option<Self> {
        let dot = self.0.iter().position(|octet| *octet == b'.')?;
        self.0.get(dot + 1..).map(|rest| Self(rest.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// 32 nibbles, each with a dot.
const REVERSED_BYTES_MAX: usize = 64;

/// Appends what [`ReversedAddress`] shows, and a dot.
fn push_reversed(text: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for octet in address.octets().into_iter().rev() {
                let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
                let zeros = usize::from(octet < 100) + usize::from(octet < 10);
                text.extend_from_slice(digits.get(zeros..).unwrap_or_default());
                text.push(b'.');
            }
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 0xf, octet >> 4]);
            for nibble in nibbles {
                text.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
                text.push(b'.');
            }
        }
    }
}

/// The labels of an address, the last one first: octets of IPv4, nibbles of IPv6.
struct ReversedAddress(IpAddr);

impl fmt::Display for ReversedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(address) => {
                let [first, second, third, fourth] = address.octets();
                write!(f, "{fourth}.{third}.{second}.{first}")
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (0..32).try_for_each(|nibble| {
                    let dot = if nibble == 0 { "" } else { "." };
                    write!(f, "{dot}{:x}", (bits >> (4 * nibble)) & 0xf)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).expect("a name")
    }

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(name("Example.ORG."), name("example.org"));
        assert_eq!(name("_dmarc.x.test").labels().collect::<Vec<_>>(), [&b"_dmarc"[..], b"x", b"test"]);
        assert_eq!(name("a.b.c").parent(), Some(name("b.c")));
        assert_eq!(name("c").parent(), None);
        assert_eq!(name("a\u{e9}.test").to_string(), "a\\xc3\\xa9.test");
    }

    #[test]
    fn what_is_no_name_is_none() {
        let long_label = format!("{}.test", "a".repeat(64));
        let long = vec!["a".repeat(63); 4].join(".");
        for text in ["", ".", "..", "a..b", ".a", "a..", &long_label, &long] {
            assert_eq!(Name::new(text.as_bytes()), None, "{text:?}");
        }
        assert!(Name::new(&long.as_bytes()[..253]).is_some());
    }

    #[test]
    fn addresses_are_turned_round() {
        let reverse = |text: &str| Name::reverse(text.parse().expect("an address"));
        assert_eq!(reverse("192.0.2.1"), name("1.2.0.192.in-addr.arpa"));
        assert_eq!(reverse("::ffff:192.0.2.1"), name("1.2.0.192.in-addr.arpa"));
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(reverse("2001:db8::1"), name(v6));
        let listed = Name::in_list("2001:db8::1".parse().expect("an address"), &name("list.test"));
        assert_eq!(listed, Some(name(&v6.replace("ip6.arpa", "list.test"))));
        for text in ["0.0.0.0", "255.10.100.9", "::", "2001:db8::abcd:ef01", "198.51.100.99"] {
            let address: IpAddr = text.parse().expect("an address");
            let shown = name(&format!("{}.list.test", ReversedAddress(address)));
            assert_eq!(Name::in_list(address, &name("list.test")), Some(shown));
        }
        let long = name(&vec!["a".repeat(63); 3].join("."));
        assert_eq!(Name::in_list("2001:db8::1".parse().expect("an address"), &long), None);
    }
}
