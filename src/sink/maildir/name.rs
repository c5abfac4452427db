//! Names in a maildir store: where a recipient's maildir is, and what a file in it is called. No octet of a
//! client becomes part of a path without passing through [`encode`].

use std::fmt;
use std::time::SystemTime;

use crate::mail::caseless::comparable;
use crate::mail::envelope::Mailbox;
use crate::timestamp;

/// The longest name of a directory entry (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;

/// The longest path of a maildir below the root: with a folder's name it is opened in one call (`PATH_MAX`,
/// with its NUL).
const PATH_BYTES_MAX: usize = 4096 - "/tmp".len() - 1;

/// Every file of ours in a store begins so. No maildir does.
const OWN_FILES: &str = ".ringmx";

/// Octets of the encoded host that go into names of files; what is before and after them takes at most 104,
/// which leaves 24 for the flags that a reader of mail appends (`:2,` and a letter each).
const HOST_BYTES_MAX: usize = 127;

/// Where maildirs are below the root: path components with `{domain}` and `{local}` in them.
#[derive(Debug, Clone)]
pub(super) struct Template {
    components: Vec<Component>,
    /// Whether local-parts that differ in case are different recipients.
    case_sensitive: bool,
}

/// The name of one directory: a text, and fields with the text after each.
#[derive(Debug, Clone)]
struct Component {
    before: String,
    fields: Vec<(Field, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Domain,
    LocalPart,
}

/// Why the sink cannot name a directory for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoName {
    /// Longer than names of files, or the path than paths, can be.
    TooLong,
    /// It begins as our own files do.
    OwnFile,
    /// Empty, `.` or `..`.
    NotOne,
}

impl fmt::Display for NoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {NAME_BYTES_MAX} octets"),
            Self::OwnFile => write!(f, "one that begins as ringmx's own files do (`{OWN_FILES}`)"),
            Self::NotOne => f.write_str("empty, `.` or `..`"),
        }
    }
}

impl Template {
    /// Reads a template; the error says what is wrong with it. Unless local-parts are compared octet for
    /// octet, `Anna` and `anna` are one recipient and have one maildir, named by their comparable spelling
    /// (`mail::caseless`).
    pub(super) fn parse(template: &str, case_sensitive: bool) -> Result<Self, String> {
        if template.is_empty() {
            return Ok(Self { components: Vec::new(), case_sensitive });
        }
        template
            .split('/')
            .map(Component::parse)
            .collect::<Result<_, _>>()
            .map(|components| Self { components, case_sensitive })
    }

    /// Directories between the root and a maildir.
    pub(super) fn depth(&self) -> usize {
        self.components.len()
    }

    /// The maildir of a recipient, below the root. Different recipients of one template never share it unless
    /// the template leaves out what they differ in. Postmaster is one recipient in any case (RFC 5321
    /// §4.5.1).
    pub(super) fn directory(&self, recipient: Mailbox<'_>) -> Result<String, NoName> {
        let mut path = String::new();
        for component in &self.components {
            let name = component.name(recipient, self.case_sensitive);
            if matches!(&*name, "" | "." | "..") {
                return Err(NoName::NotOne);
            }
            if name.starts_with(OWN_FILES) {
                return Err(NoName::OwnFile);
            }
            if name.len() > NAME_BYTES_MAX {
                return Err(NoName::TooLong);
            }
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&name);
        }
        if path.len() > PATH_BYTES_MAX { Err(NoName::TooLong) } else { Ok(path) }
    }
}

impl Component {
    fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "" | "." | "..") {
            return Err(format!("`{text}` is no name of a directory"));
        }
        if text.starts_with(OWN_FILES) {
            return Err(format!("`{text}` begins as files of ringmx itself do (`{OWN_FILES}`)"));
        }
        let mut parts = text.split('{');
        let before = parts.next().unwrap_or_default().to_owned();
        let mut fields: Vec<(Field, String)> = Vec::new();
        for part in parts {
            let (field, behind) = part.split_once('}').ok_or_else(|| format!("`{text}` lacks a `}}`"))?;
            let field = match field {
                "domain" => Field::Domain,
                "local" => Field::LocalPart,
                other => {
                    return Err(format!("`{{{other}}}` is unknown; there are `{{domain}}` and `{{local}}`"));
                }
            };
            if fields.last().is_some_and(|(_, between)| !divides(between)) {
                return Err(format!(
                    "two recipients could share a `{text}`; put `@` or `/` between the fields"
                ));
            }
            fields.push((field, behind.to_owned()));
        }
        Ok(Self { before, fields })
    }

    fn name(&self, recipient: Mailbox<'_>, case_sensitive: bool) -> String {
        let case_sensitive = case_sensitive && !recipient.is_postmaster();
        let mut name = self.before.clone();
        for (field, behind) in &self.fields {
            match field {
                Field::Domain => encode(&recipient.domain.to_ascii_lowercase(), &mut name),
                Field::LocalPart if case_sensitive => encode(recipient.local_part, &mut name),
                Field::LocalPart => encode(&comparable(recipient.local_part), &mut name),
            }
            name.push_str(behind);
        }
        name
    }
}

/// Whether a text between two fields tells where the first one ends: it holds an octet that [`encode`] never
/// writes.
fn divides(text: &str) -> bool {
    text.bytes().any(|octet| {
        let mut encoded = String::new();
        encode(&[b'x', octet], &mut encoded);
        octet != b'%' && encoded.len() > 2
    })
}

/// Appends text as part of a file name: injective, without separator, without a leading dot. Letters, digits,
/// `-`, `_`, `+`, `=` and dots that do not lead stay, every other octet becomes `%XX`.
fn encode(text: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for (index, octet) in text.iter().copied().enumerate() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'+' | b'=' => {
                out.push(char::from(octet));
            }
            b'.' if index > 0 => out.push('.'),
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(octet >> 4)]));
                out.push(char::from(HEX[usize::from(octet & 15)]));
            }
        }
    }
}

/// The host's part of file names: `/` and `:` as the maildir specification writes them, cut where the whole
/// would be too long. The cut costs nothing: on one host the parts before it are unique.
pub(super) fn host(hostname: &str) -> String {
    let mut host = hostname.replace('/', "\\057").replace(':', "\\072");
    let cut = (0..=HOST_BYTES_MAX.min(host.len())).rev().find(|at| host.is_char_boundary(*at));
    host.truncate(cut.unwrap_or_default());
    host
}

/// Octets of the longest name of a file on this host.
pub(super) fn file_bytes_max(host: &str) -> usize {
    // The year 2286 brings one digit more.
    let time = timestamp::from_micros(9_999_999_999_999_999);
    let size = Size { bytes: u64::MAX, bytes_as_crlf: u64::MAX };
    FileName { time, sequence: u64::MAX, shard: u16::MAX, host, size }.text().len()
}

/// The size of a file, as readers of mail want to know it without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Octets of the file (`S=`).
    pub(super) bytes: u64,
    /// What they would be if each line ended in CRLF (`W=`): the size that IMAP tells (RFC822.SIZE).
    pub(super) bytes_as_crlf: u64,
}

/// What makes the name of a file unique on this host, and its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileName<'a> {
    /// When the message was received.
    pub(super) time: SystemTime,
    /// Counts up over all workers of this process.
    pub(super) sequence: u64,
    /// The shard that received it.
    pub(super) shard: u16,
    /// From [`host`].
    pub(super) host: &'a str,
    pub(super) size: Size,
}

impl FileName<'_> {
    /// `time.MusecPpidQseq_shard.host,S=size,W=size`
    pub(super) fn text(&self) -> String {
        let micros = timestamp::micros(self.time);
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let Self { sequence, shard, host, size: Size { bytes, bytes_as_crlf }, .. } = self;
        let process = std::process::id();
        format!("{seconds}.M{micros}P{process}Q{sequence}_{shard}.{host},S={bytes},W={bytes_as_crlf}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox<'a>(local_part: &'a [u8], domain: &'a [u8]) -> Mailbox<'a> {
        Mailbox { local_part, domain, whole: b"" }
    }

    #[test]
    fn a_recipient_has_a_directory() {
        let template = Template::parse("{domain}/{local}", true).expect("a template");
        for (local_part, domain, path) in [
            (&b"Jo.Do+x"[..], &b"Example.ORG"[..], Ok("example.org/Jo.Do+x")),
            (b".hidden", b"x.test", Ok("x.test/%2Ehidden")),
            (b"..", b"x.test", Ok("x.test/%2E.")),
            (b"\"a/../b\"", b"x.test", Ok("x.test/%22a%2F..%2Fb%22")),
            (b"a%2Fb", b"[IPv6:::1]", Ok("%5Bipv6%3A%3A%3A1%5D/a%252Fb")),
            (&[b'/'; 86], b"x.test", Err(NoName::TooLong)),
            (b"", b"x.test", Err(NoName::NotOne)),
        ] {
            assert_eq!(template.directory(mailbox(local_part, domain)), path.map(str::to_owned));
        }
        let flat = Template::parse("{local}@{domain}", true).expect("a template");
        assert_eq!(flat.directory(mailbox(b"a@b", b"X.test")), Ok("a%40b@x.test".to_owned()));
        let dotted = Template::parse(".{local}", true).expect("a template");
        assert_eq!(dotted.directory(mailbox(b"ringmx.lock", b"x.test")), Err(NoName::OwnFile));
        let root = Template::parse("", true).expect("a template");
        assert_eq!(root.directory(mailbox(b"a", b"x.test")), Ok(String::new()));
    }

    #[test]
    fn two_spellings_of_one_recipient_have_one_directory() {
        let lenient = Template::parse("{local}", false).expect("a template");
        for spelling in ["jos\u{e9}", "JOS\u{c9}", "jose\u{301}"] {
            let directory = lenient.directory(mailbox(spelling.as_bytes(), b"x.test"));
            assert_eq!(directory, Ok("jos%C3%A9".to_owned()), "{spelling:?}");
        }
        assert_eq!(lenient.directory(mailbox(b"ANNA", b"x.test")), Ok("anna".to_owned()));
        let strict = Template::parse("{local}", true).expect("a template");
        assert_eq!(strict.directory(mailbox("JOS\u{c9}".as_bytes(), b"x.test")), Ok("JOS%C3%89".to_owned()));
    }

    #[test]
    fn a_template_that_leads_out_or_is_not_injective_is_refused() {
        for template in [
            "/",
            "a//b",
            "../{local}",
            "{domain}-{local}",
            "{domain}{local}",
            "{local}%{domain}",
            "{user}",
            "{local",
            "a/.",
        ] {
            assert!(Template::parse(template, true).is_err(), "{template}");
        }
    }

    #[test]
    fn file_names_are_bounded() {
        assert_eq!(host("a/b:c"), "a\\057b\\072c");
        let name = FileName {
            time: timestamp::from_micros(1_700_000_000_000_042),
            sequence: 7,
            shard: 3,
            host: "mx",
            size: Size { bytes: 99, bytes_as_crlf: 103 },
        };
        assert_eq!(name.text(), format!("1700000000.M42P{}Q7_3.mx,S=99,W=103", std::process::id()));
        let host = host(&"ä".repeat(200));
        let size = Size { bytes: u64::MAX, bytes_as_crlf: u64::MAX };
        let long = FileName { sequence: u64::MAX, shard: u16::MAX, size, host: &host, ..name };
        assert!(long.text().len() + ":2,DFPRSTabcdefghijklmno".len() <= NAME_BYTES_MAX);
        assert!((long.text().len()..=NAME_BYTES_MAX).contains(&file_bytes_max(&host)));
    }

    proptest::proptest! {
        #[test]
        fn the_encoding_is_injective(a: Vec<u8>, b: Vec<u8>) {
            let (mut name_a, mut name_b) = (String::new(), String::new());
            encode(&a, &mut name_a);
            encode(&b, &mut name_b);
            proptest::prop_assert_eq!(a == b, name_a == name_b);
            proptest::prop_assert!(!name_a.starts_with('.') && !name_a.contains('/'));
        }
    }
}
