//! A server, its DNS and a forger, and what becomes of what he sends.

use std::fs;
use std::process::Command;

use support::client::{Client, stuffed};
use support::dns_server::DnsServer;
use support::server::{Server, program};
use support::signer::Signer;

/// What the forger's server is.
pub(crate) const FORGER: &str = "198.51.100.9";

/// A server, its DNS, and the forger's key.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) dns: DnsServer,
    pub(crate) signer: Signer,
}

/// One message and its envelope.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) ehlo: String,
    pub(crate) reverse_path: String,
    pub(crate) data: Vec<u8>,
}

impl Mail {
    /// What the forger sends, in an envelope of his own domain.
    pub(crate) fn new(data: impl Into<Vec<u8>>) -> Self {
        Self {
            ehlo: "mx.evil.example".to_owned(),
            reverse_path: "a@evil.example".to_owned(),
            data: data.into(),
        }
    }

    pub(crate) fn with_ehlo(self, ehlo: &str) -> Self {
        Self { ehlo: ehlo.to_owned(), ..self }
    }

    pub(crate) fn with_path(self, reverse_path: &str) -> Self {
        Self { reverse_path: reverse_path.to_owned(), ..self }
    }
}

/// How mail data travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Data,
    /// In segments of so many octets.
    Segments(usize),
    /// In chunks of so many octets.
    Chunks(usize),
    /// As one chunk, in segments of so many octets.
    ChunkInSegments(usize),
}

impl World {
    pub(crate) fn new() -> Self {
        let (dns, signer) = (DnsServer::start(), Signer::ed25519());
        dns.txt("evil.example", format!("v=spf1 ip4:{FORGER} -all"))
            .txt("mx.evil.example", format!("v=spf1 ip4:{FORGER} -all"))
            .txt("any.evil.example", format!("v=spf1 ip4:{FORGER} -all"))
            .txt("s._domainkey.evil.example", signer.record())
            .txt("_dmarc.evil.example", "v=DMARC1; p=none")
            .txt("bank.example", "v=spf1 ip4:192.0.2.1 -all")
            .txt("s._domainkey.bank.example", Signer::ed25519().record())
            .txt("_dmarc.bank.example", "v=DMARC1; p=reject");
        let config = format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients.txt\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_from = [\"127.0.0.1\"]\n\
             [[sink]]\nkind = \"maildir\"\npath = \"mail\"\nline_endings = \"crlf\"\n\
             [shards]\ncpus = [0]\nbuffers = 64\nbuffer_size = \"16KiB\"\nblock_memory = \"17MiB\"\n\
             [limits]\nmessage_size_max = \"16MiB\"\n\
             [dns]\nservers = [\"{}\"]\n[auth]\n",
            dns.address()
        );
        let server = Server::start_with_files(&config, &[("recipients.txt", "known@example.org\n")]);
        Self { server, dns, signer }
    }

    /// A client of this address that waits for the end of its mail data; or what kept it from that.
    pub(crate) fn begin(&self, address: &str, mail: &Mail) -> Result<Client, String> {
        let mut client = Client::connect(self.server.address());
        client.send(format!("PROXY TCP4 {address} 192.0.2.254 4321 25\r\n").as_bytes());
        client.expect("220");
        let parameter = if mail.reverse_path.is_ascii() { "" } else { " SMTPUTF8" };
        for command in [
            format!("EHLO {}", mail.ehlo),
            format!("MAIL FROM:<{}>{parameter}", mail.reverse_path),
            "RCPT TO:<known@example.org>".to_owned(),
        ] {
            client.send(format!("{command}\r\n").as_bytes());
            let reply = client.reply();
            if !reply.starts_with("250") {
                return Err(reply);
            }
        }
        Ok(client)
    }

    /// What the last word on this message is.
    pub(crate) fn send(&self, address: &str, mail: &Mail, way: Way) -> String {
        let mut client = match self.begin(address, mail) {
            Ok(client) => client,
            Err(reply) => return reply,
        };
        match way {
            Way::Data | Way::Segments(_) => {
                client.command("DATA", "354");
                let octets = stuffed(&mail.data);
                let bytes = if let Way::Segments(bytes) = way { bytes } else { octets.len() };
                octets.chunks(bytes).for_each(|segment| client.send(segment));
            }
            Way::ChunkInSegments(bytes) => {
                client.send(format!("BDAT {} LAST\r\n", mail.data.len()).as_bytes());
                mail.data.chunks(bytes).for_each(|segment| client.send(segment));
            }
            Way::Chunks(bytes) => {
                for chunk in mail.data.chunks(bytes) {
                    client.send(format!("BDAT {}\r\n", chunk.len()).as_bytes());
                    client.send(chunk);
                    client.expect("250");
                }
                client.send(b"BDAT 0 LAST\r\n");
            }
        }
        client.reply()
    }

    /// Whether some of a message is in a file without a name.
    pub(crate) fn has_spill_file(&self) -> bool {
        let open = fs::read_dir(format!("/proc/{}/fd", self.server.id())).expect("its open files");
        let mut links = open.filter_map(|entry| fs::read_link(entry.expect("entry").path()).ok());
        links.any(|link| link.to_string_lossy().ends_with("(deleted)"))
    }

    /// The one message that is stored, without `Return-Path:` and `Delivered-To:`; it is removed.
    pub(crate) fn take_stored(&self) -> Option<Vec<u8>> {
        let folder = self.server.folder().join("mail/new");
        let mut files: Vec<_> =
            fs::read_dir(folder).ok()?.map(|entry| entry.expect("entry").path()).collect();
        let file = files.pop()?;
        assert!(files.is_empty(), "one message at a time");
        let octets = fs::read(&file).expect("a message");
        fs::remove_file(file).expect("removed");
        let mut lines = octets.split_inclusive(|octet| *octet == b'\n');
        let above: usize = lines.by_ref().take(2).map(<[u8]>::len).sum();
        assert!(octets.starts_with(b"Return-Path: <"));
        Some(octets[above..].to_vec())
    }

    /// Sends a message and looks at what was stored and what explains it. Gives our results, or the refusal.
    pub(crate) fn judge(&self, address: &str, mail: &Mail) -> Result<Results, String> {
        let reply = self.send(address, mail, Way::Data);
        let stored = self.take_stored();
        assert_eq!(reply.starts_with("250"), stored.is_some(), "{reply}: {mail:?}");
        let Some(stored) = stored else {
            // Who is not even taken at MAIL has no message that could be explained.
            if reply.starts_with("550 5.7.1") {
                let (_, explained) = self.explain(address, mail);
                assert_eq!(explained.trim_end(), reply.trim_end(), "{mail:?}");
            }
            return Err(reply);
        };
        let results = Results::on_top_of(&stored);
        // What a file of a message holds are lines, and what the command line holds is text.
        if is_lines(&mail.data) {
            let (field, explained) = self.explain(address, mail);
            assert!(explained.starts_with("250"), "{explained}: {mail:?}");
            assert_eq!(field, results.value, "{mail:?}");
        }
        Ok(results)
    }

    /// Our field and the reply, as `ringmx explain` has them.
    fn explain(&self, address: &str, mail: &Mail) -> (String, String) {
        let file = self.server.folder().join("message.eml");
        fs::write(&file, &mail.data).expect("written");
        let output = Command::new(program())
            .args(["explain", "--json", "--client", address, "--ehlo", &mail.ehlo])
            .args(["--from", &mail.reverse_path, "--rcpt", "known@example.org", "--config"])
            .arg(self.server.folder().join("ringmx.toml"))
            .arg("--message")
            .arg(&file)
            .output()
            .expect("ringmx runs");
        let json = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "{json}{}", String::from_utf8_lossy(&output.stderr));
        (member(&json, "authentication_results"), member(&json, "reply"))
    }
}

/// Whether each line ends in CRLF.
fn is_lines(octets: &[u8]) -> bool {
    let without = String::from_utf8_lossy(octets).replace("\r\n", "");
    octets.ends_with(b"\r\n") && !without.contains(['\r', '\n'])
}

/// A member of a JSON object that is a string; the last of this name.
fn member(json: &str, name: &str) -> String {
    let (_, after) = json.rsplit_once(&format!("\"{name}\":\"")).expect("the member");
    let (mut text, mut rest) = (String::new(), after.chars());
    loop {
        match rest.next().expect("its end") {
            '"' => return text,
            '\\' => match rest.next().expect("an escape") {
                'u' => {
                    let digits: String = rest.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).expect("digits");
                    text.push(char::from_u32(code).expect("a character"));
                }
                escaped => text.push(escaped),
            },
            plain => text.push(plain),
        }
    }
}

/// Our field of a stored message.
#[derive(Debug)]
pub(crate) struct Results {
    /// Its value on one line.
    pub(crate) value: String,
    /// Method and result of each.
    pub(crate) methods: Vec<(String, String)>,
    /// The author's domain, where one was judged.
    pub(crate) author: Option<String>,
}

impl Results {
    /// Reads them. There is one field of ours, and it is on top.
    pub(crate) fn on_top_of(stored: &[u8]) -> Self {
        let end = stored.windows(4).position(|four| four == b"\r\n\r\n").map_or(stored.len(), |at| at + 2);
        let header = String::from_utf8_lossy(&stored[..end]).into_owned();
        let rest = header.strip_prefix("Authentication-Results: mx.example.org;").expect("ours on top");
        let (mut value, mut bytes) = (String::new(), 0);
        for line in rest.split_inclusive("\r\n") {
            if bytes > 0 && !line.starts_with('\t') {
                break;
            }
            assert!(line.len() <= 998, "{line}");
            bytes += line.len();
            value.push_str(&line.trim_end_matches("\r\n").replacen('\t', " ", 1));
        }
        assert!(rest[bytes..].starts_with("Received: from "), "{header}");
        assert_eq!(claims(&rest.as_bytes()[bytes..]), 0, "{header}");
        let methods: Vec<_> = split_results(&value)
            .into_iter()
            .filter_map(|result| {
                let (method, result) = result.split_whitespace().next()?.split_once('=')?;
                Some((method.to_owned(), result.to_owned()))
            })
            .collect();
        let author = value.rsplit_once("header.from=").map(|(_, author)| author.trim().to_owned());
        Self { value: format!("mx.example.org;{value}"), methods, author }
    }

    /// The result of a method; the last where there are several.
    pub(crate) fn of(&self, method: &str) -> &str {
        self.methods.iter().rfind(|(name, _)| name == method).map_or("none", |(_, result)| result)
    }
}

/// Results without what comments and quotes hold, split at semicolons: as a reader does who knows RFC 8601.
fn split_results(value: &str) -> Vec<String> {
    let (mut results, mut depth, mut is_quoted) = (vec![String::new()], 0, false);
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if is_quoted || depth > 0 => drop(letters.next()),
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted && depth > 0 => depth -= 1,
            ';' if !is_quoted && depth == 0 => results.push(String::new()),
            _ if is_quoted || depth > 0 => {}
            plain => results.last_mut().expect("one").push(plain),
        }
    }
    assert!(depth == 0 && !is_quoted, "{value}");
    results
}

/// How many fields the most lenient reader finds that say they are by us: every CR and every LF ends a line,
/// and what is no letter or hyphen is no part of a name.
fn claims(header: &[u8]) -> usize {
    let text = String::from_utf8_lossy(header).replace("\r\n", "\n").replace('\r', "\n");
    let mut fields: Vec<String> = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        match fields.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
            Some(_) | None => fields.push(line.to_owned()),
        }
    }
    let is_ours = |field: &&String| {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        let name: String = name.chars().filter(|c| c.is_ascii_alphabetic() || *c == '-').collect();
        let value = value.to_ascii_lowercase();
        name.eq_ignore_ascii_case("Authentication-Results")
            && !value.trim_start().starts_with("other.example;")
    };
    fields.iter().filter(is_ours).count()
}
