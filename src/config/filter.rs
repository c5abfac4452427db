//! `[[filter]]`: programs that are asked about a message before the 250.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Fallback;
use super::file;
use super::recipient_map::{MapAddress, hosts, unix};
use super::section::Section;
use super::units::{GIB, KIB, MIB};
use crate::front::checks::ReverseDnsUse;

/// More programs one after the other are no use, and a client waits for all of them.
const FILTERS_MAX: usize = 8;

/// It is a label of metrics and a word of log lines.
const NAME_BYTES_MAX: usize = 32;

const CONNECTIONS_DEFAULT: usize = 100;

const CONNECTIONS_MAX: usize = 1000;

/// Octets of the name of settings, which an operator writes.
const SETTINGS_ID_BYTES_MAX: usize = 100;

/// Octets of a password, which stands in each request.
const PASSWORD_BYTES_MAX: usize = 1000;

/// RFC 5321 §4.5.3.2.6: a client waits ten minutes for the reply to the end of the mail data. Four of them
/// may be the store's.
const TIMEOUTS_MAX: Duration = Duration::from_mins(5);

/// The same where a next hop has four minutes for a message, too.
const TIMEOUTS_MAX_BEFORE_NEXT_HOPS: Duration = Duration::from_mins(1);

/// The port of rspamd's normal worker.
const RSPAMD_PORT: u16 = 11333;

const URL_FORM: &str = "write \"http://HOST:PORT\", or \"unix:PATH\"";

const SOCKET_FORM: &str = "write \"unix:PATH\", or \"inet:PORT@HOST\"";

/// A program that is asked about messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its name in the log and in metrics, which no other has: `a` to `z`, digits, `-` and `_`.
    pub name: String,
    /// What it is, and where.
    pub kind: FilterKind,
    /// About whose messages it is not asked.
    pub skip: FilterSkip,
    /// Octets of the largest message that it is asked about, with the fields that ringmx writes in front.
    pub bytes_max: u64,
    /// How long a message may take: from the shard, with the wait for a connection, to the answer.
    pub timeout: Duration,
    /// What becomes of a message about which it gives no answer.
    pub on_failure: FilterFailure,
    /// Connections to it at a time.
    pub connections_max: usize,
    /// Whether its header fields stand in front of the mail data.
    pub add_fields: bool,
}

/// What a filter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterKind {
    /// rspamd, or what speaks as its normal worker does.
    Rspamd(RspamdPlace),
    /// A milter.
    Milter(MilterPlace),
}

/// Where an rspamd is, and what it is told besides a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RspamdPlace {
    /// Who is asked.
    pub address: MapAddress,
    /// What stands in the `Host` field of a request.
    pub host: String,
    /// The name of the settings that it goes by: printable ASCII without spaces.
    pub settings_id: Option<String>,
    /// The file of the password that it wants, which [`read_password`] reads.
    pub password_file: Option<PathBuf>,
    text: String,
}

/// Where a milter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MilterPlace {
    /// Who is asked.
    pub address: MapAddress,
    text: String,
}

/// About whose messages a filter is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterSkip {
    /// Those of clients that an `[[access]]` rule trusts.
    Trusted,
    /// It is asked about all.
    Nobody,
}

/// What becomes of a message about which a filter gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterFailure {
    /// The client is asked to come again.
    Tempfail,
    /// It goes on as if the filter had passed it.
    Accept,
}

impl FilterKind {
    /// The word for it, as in the file.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Rspamd(_) => "rspamd",
            Self::Milter(_) => "milter",
        }
    }

    /// Who is asked.
    pub fn address(&self) -> &MapAddress {
        match self {
            Self::Rspamd(place) => &place.address,
            Self::Milter(place) => &place.address,
        }
    }

    /// Where that is, as the file has it.
    pub fn place(&self) -> &str {
        match self {
            Self::Rspamd(place) => &place.text,
            Self::Milter(place) => &place.text,
        }
    }

    /// The key that says where it is.
    pub const fn place_key(&self) -> &'static str {
        match self {
            Self::Rspamd(_) => "url",
            Self::Milter(_) => "socket",
        }
    }
}

/// The password in a file, which is its first line. It is read before the server gives up files.
///
/// # Errors
/// What is wrong with the file, in words about `password_file`.
pub fn read_password(path: &Path) -> Result<String, String> {
    // A longer first line is seen to be too long; what comes after it is not looked at.
    let octets = file::read_start(path, PASSWORD_BYTES_MAX + 2)
        .map_err(|error| format!("{}: {}", path.display(), file::unreadable(&error)))?;
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let fits = (1..=PASSWORD_BYTES_MAX).contains(&line.len());
    match String::from_utf8(line.to_vec()) {
        Ok(password) if fits && password.bytes().all(|octet| octet.is_ascii_graphic()) => Ok(password),
        Ok(_) | Err(_) => Err(format!(
            "{}: the first line is no password: it has 1 to {PASSWORD_BYTES_MAX} printable ASCII letters, digits or signs",
            path.display()
        )),
    }
}

/// Reads all tables, in the order in which the filters are asked. `reverse_dns`: what clients are called is
/// asked for.
pub(super) fn read(
    root: &mut Section<'_>,
    is_before_next_hops: bool,
    reverse_dns: ReverseDnsUse,
) -> Vec<Filter> {
    let sections = root.tables(
        "filter",
        "A program that is asked about each message before it is accepted, such as rspamd; as many of these tables as wanted, asked in their order.",
    );
    let mut filters: Vec<Filter> = Vec::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        section.is_for(format!("[[filter]] {}", index + 1));
        if index == FILTERS_MAX {
            section.problem("kind", format!("more than {FILTERS_MAX} filters are asked about no message"));
        }
        filters.extend(one(section, &filters));
    }
    let sum: Duration = filters.iter().map(|filter| filter.timeout).sum();
    let (sum_max, others) = if is_before_next_hops {
        (TIMEOUTS_MAX_BEFORE_NEXT_HOPS, ", the next hop and the spool have four minutes each")
    } else {
        (TIMEOUTS_MAX, "")
    };
    if sum > sum_max {
        let text = format!(
            "the times of all filters come to {} s{others}, and SMTP clients give up after ten minutes (RFC 5321 §4.5.3.2.6) or \
             sooner: lower them to {} s together",
            sum.as_secs(),
            sum_max.as_secs()
        );
        root.warn("filter", text);
    }
    let is_rspamd = |filter: &Filter| matches!(filter.kind, FilterKind::Rspamd(_));
    if reverse_dns == ReverseDnsUse::Off && filters.iter().any(is_rspamd) {
        let text = "rspamd is told no client's name by its address, because `[early] reverse_dns` is off, and by its own rules counts \
                    that against every client; write reverse_dns = \"mark\" there";
        root.warn("filter", text.to_owned());
    }
    filters
}

/// What kind a table is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Rspamd,
    Milter,
}

/// The keys that only one kind has.
const FOREIGN: [(&str, Word, &str); 4] = [
    ("url", Word::Rspamd, "rspamd"),
    ("settings_id", Word::Rspamd, "rspamd"),
    ("password_file", Word::Rspamd, "rspamd"),
    ("socket", Word::Milter, "milter"),
];

/// The keys of both kinds are read whatever the kind, so that a misplaced key is told from an unknown one.
fn one(mut section: Section<'_>, before: &[Filter]) -> Option<Filter> {
    section.needs_restart_but(&[]);
    let name = section.text(
        "name",
        "1 to 32 of a to z, 0 to 9, - and _",
        Fallback::Computed { example: "\"rspamd\"", default: "its kind" },
        "Its name in the log and in metrics; each has another one.",
        name,
    );
    let word = section.choice_or(
        "kind",
        &[("rspamd", Word::Rspamd), ("milter", Word::Milter)],
        Fallback::Required { example: "\"rspamd\"" },
        "What it speaks: the HTTP protocol of rspamd, or the milter protocol of sendmail and Postfix.",
    );
    let rspamd = rspamd(&mut section);
    let milter = milter(&mut section);
    let add_fields = section.boolean(
        "add_fields",
        true,
        "Whether the header fields that it adds stand in front of the mail data. Nothing else of a message is ever changed.",
    );
    let skip = section.choice(
        "skip",
        &[("trusted", FilterSkip::Trusted), ("nobody", FilterSkip::Nobody)],
        "Whose messages it is not asked about: `trusted`, those of clients that `[[access]]` trusts.",
    );
    let bytes_max = section.size(
        "bytes_max",
        50 * MIB,
        KIB..=2 * GIB,
        "It is not asked about a larger message, counted with the fields that ringmx writes in front. Such a message goes on.",
    );
    let timeout = section.duration(
        "timeout",
        Duration::from_secs(30),
        Duration::from_millis(100)..=TIMEOUTS_MAX,
        "How long it may take for a message, with the wait for a connection.",
    );
    let on_failure = section.choice(
        "on_failure",
        &[("tempfail", FilterFailure::Tempfail), ("accept", FilterFailure::Accept)],
        "What becomes of a message where it is not there, too slow, or makes no sense: `tempfail` has the client come again (451), `accept` takes the message unchecked.",
    );
    let connections_max = section.integer(
        "connections_max",
        CONNECTIONS_DEFAULT,
        1..=CONNECTIONS_MAX,
        "Connections to it, and so messages that it looks at, at a time.",
    );
    if let Some(word) = word {
        rules(&mut section, word);
    }
    let kind = match word {
        Some(Word::Rspamd) => rspamd.map(FilterKind::Rspamd),
        Some(Word::Milter) => milter.map(FilterKind::Milter),
        None => None,
    };
    let name = match (name, word) {
        (Some(name), _) => name,
        (None, Some(Word::Rspamd)) => "rspamd".to_owned(),
        (None, Some(Word::Milter) | None) => "milter".to_owned(),
    };
    let is_known = word.is_some() && !section.faulty("name");
    if is_known && before.iter().any(|other| other.name == name) {
        let text = format!("another filter has the name {name:?}; give this one a `name` of its own");
        section.problem("name", text);
    }
    section.finish();
    let kind = kind?;
    Some(Filter { name, kind, skip, bytes_max, timeout, on_failure, connections_max, add_fields })
}

/// Where rspamd is, and what is said to it.
fn rspamd(section: &mut Section<'_>) -> Option<RspamdPlace> {
    let base_dir = section.base_dir();
    let place = section.text(
        "url",
        "\"http://HOST:PORT\" or \"unix:PATH\"; HOST is an IP address, or localhost",
        Fallback::Depends { example: "\"http://127.0.0.1:11333\"", required: "for rspamd" },
        "Rspamd: where its normal worker listens; port 11333 where none is given.",
        |text| url(text, base_dir),
    );
    let settings_id = section.text(
        "settings_id",
        "printable ASCII without spaces, may be empty",
        Fallback::Value("\"\"".to_owned()),
        "Rspamd: the name of the settings that it goes by (Settings-ID); none where it is empty.",
        |text| {
            let fits = text.len() <= SETTINGS_ID_BYTES_MAX && text.bytes().all(|octet| octet.is_ascii_graphic());
            fits.then(|| text.to_owned()).ok_or_else(|| {
                format!("{text:?} is no name: it has at most {SETTINGS_ID_BYTES_MAX} ASCII letters, digits or signs")
            })
        },
    );
    let password_file = section.path(
        "password_file",
        Fallback::Computed { example: "\"rspamd.password\"", default: "no password" },
        "Rspamd: a file whose first line is the password that it wants. It is read once, at the start.",
    );
    let settings_id = settings_id.filter(|id| !id.is_empty());
    place.map(|(address, host, text)| RspamdPlace { address, host, settings_id, password_file, text })
}

/// Where a milter is.
fn milter(section: &mut Section<'_>) -> Option<MilterPlace> {
    let base_dir = section.base_dir();
    section.text(
        "socket",
        "\"unix:PATH\", \"inet:PORT@HOST\" or \"inet:HOST:PORT\"; HOST is an IP address, or localhost",
        Fallback::Depends { example: "\"unix:/run/opendkim/opendkim.sock\"", required: "for a milter" },
        "Milter: where it listens.",
        |text| socket(text, base_dir),
    )
}

/// What a kind says of the keys. One that means nothing to it is a slip, and is not ignored.
fn rules(section: &mut Section<'_>, word: Word) {
    for (key, _, owner) in FOREIGN.into_iter().filter(|(_, owner, _)| *owner != word) {
        if section.given(key) {
            section.problem(key, format!("this key is for a filter of kind \"{owner}\""));
        }
    }
    let (key, example) = match word {
        Word::Rspamd => ("url", "\"http://127.0.0.1:11333\""),
        Word::Milter => ("socket", "\"unix:/run/opendkim/opendkim.sock\""),
    };
    if !section.given(key) {
        section.problem(key, format!("missing; write for example {key} = {example}"));
    }
}

fn name(text: &str) -> Result<String, String> {
    let is_good = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_good);
    fits.then(|| text.to_owned()).ok_or_else(|| {
        format!("{text:?} is no name: it has 1 to {NAME_BYTES_MAX} of a to z, 0 to 9, - and _")
    })
}

/// Address, `Host` field, and how it is written.
fn url(text: &str, base_dir: &Path) -> Result<(MapAddress, String, String), String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = unix(path, base_dir, URL_FORM)?;
        return Ok((MapAddress::Unix(path), "localhost".to_owned(), text.to_owned()));
    }
    if text.starts_with("https://") {
        return Err(format!("{text:?}: rspamd is asked without TLS, on this machine or near it; {URL_FORM}"));
    }
    let wrong = || format!("{text:?} is no place of an rspamd; {URL_FORM}");
    let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err(format!("{text:?} has more than a host and a port; {URL_FORM}"));
    }
    // A colon inside brackets is one of an IPv6 address.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port_number(port).ok_or_else(wrong)?),
        Some(_) | None => (rest, RSPAMD_PORT),
    };
    Ok((tcp(host, port)?, format!("{host}:{port}"), text.to_owned()))
}

/// As Postfix writes it, and as sendmail does.
fn socket(text: &str, base_dir: &Path) -> Result<MilterPlace, String> {
    let wrong = || format!("{text:?} is no place of a milter; {SOCKET_FORM}");
    let address = match text.split_once(':').ok_or_else(wrong)? {
        ("unix", path) => MapAddress::Unix(unix(path, base_dir, SOCKET_FORM)?),
        ("inet", rest) => {
            let at = rest.split_once('@').map(|(port, host)| (host, port));
            let (host, port) = at.or_else(|| rest.rsplit_once(':')).ok_or_else(wrong)?;
            tcp(host, port_number(port).ok_or_else(wrong)?)?
        }
        _ => return Err(wrong()),
    };
    Ok(MilterPlace { address, text: text.to_owned() })
}

fn tcp(host: &str, port: u16) -> Result<MapAddress, String> {
    Ok(MapAddress::Tcp(hosts(host)?.into_iter().map(|host| SocketAddr::new(host, port)).collect()))
}

fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0 && !text.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &MapAddress) -> String {
        match address {
            MapAddress::Unix(path) => path.display().to_string(),
            MapAddress::Tcp(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn an_rspamd_is_where_its_url_says() {
        let told = |text: &str| {
            url(text, Path::new("/etc")).map(|(address, host, _)| format!("{} as {host}", shown(&address)))
        };
        for (text, place) in [
            ("http://127.0.0.1:11333", "127.0.0.1:11333 as 127.0.0.1:11333"),
            ("http://10.0.0.9/", "10.0.0.9:11333 as 10.0.0.9:11333"),
            ("http://[::1]:8080/", "[::1]:8080 as [::1]:8080"),
            ("http://[::1]", "[::1]:11333 as [::1]:11333"),
            ("http://localhost:1", "127.0.0.1:1 [::1]:1 as localhost:1"),
            ("unix:/run/rspamd.sock", "/run/rspamd.sock as localhost"),
            ("unix:x", "/etc/x as localhost"),
        ] {
            assert_eq!(told(text).as_deref(), Ok(place));
        }
        for wrong in [
            "",
            "127.0.0.1:11333",
            "http://",
            "http://rspamd.test:11333",
            "http://127.0.0.1:0",
            "http://127.0.0.1:+5",
            "http://127.0.0.1:65536",
            "http://127.0.0.1:11333/checkv2",
            "http://a:b@127.0.0.1:11333",
            "http://127.0.0.1\r\n:11333",
            "https://127.0.0.1:11333",
            "unix:",
        ] {
            assert!(told(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_milter_is_where_postfix_or_sendmail_would_find_it() {
        let told = |text: &str| socket(text, Path::new("/etc")).map(|place| shown(&place.address));
        for (text, place) in [
            ("unix:/run/x.sock", "/run/x.sock"),
            ("inet:8891@127.0.0.1", "127.0.0.1:8891"),
            ("inet:8891@localhost", "127.0.0.1:8891 [::1]:8891"),
            ("inet:8891@::1", "[::1]:8891"),
            ("inet:[::1]:8891", "[::1]:8891"),
            ("inet:10.0.0.9:8891", "10.0.0.9:8891"),
        ] {
            assert_eq!(told(text).as_deref(), Ok(place));
        }
        for wrong in [
            "",
            "/run/x.sock",
            "unix:",
            "inet:8891",
            "inet:0@127.0.0.1",
            "inet:x@127.0.0.1",
            "inet:1@mx.test",
        ] {
            assert!(told(wrong).is_err(), "{wrong}");
        }
    }
}
