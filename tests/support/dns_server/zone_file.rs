//! Zones as name servers read them (RFC 1035 §5), as far as tests write them: a record a line with its name
//! in it, `$ORIGIN`, comments, strings in quotes.

use super::DnsServer;

impl DnsServer {
    /// Adds the records of a zone. Lifetimes, and kinds that this server does not know, are passed over.
    pub fn load_zone(&self, text: &str) -> &Self {
        let mut origin = String::new();
        for line in text.lines() {
            let words = words(line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let [name, rest @ ..] = &words[..] else { continue };
            match *name {
                "$ORIGIN" => origin = rest.concat(),
                name if name.starts_with('$') => {}
                name => self.load_record(&whole(name, &origin), rest, &origin),
            }
        }
        self
    }

    fn load_record(&self, name: &str, words: &[&str], origin: &str) {
        let is_kind = |word: &&str| !word.bytes().all(|octet| octet.is_ascii_digit()) && *word != "IN";
        let at = words.iter().position(is_kind).unwrap_or_else(|| panic!("{name} has no record"));
        match &words[at..] {
            ["A" | "AAAA", address] => {
                self.address_of(name, address);
            }
            ["MX", preference, exchanger] => {
                let preference = preference.parse().expect("a preference");
                self.mx(name, preference, &whole(exchanger, origin));
            }
            ["CNAME", target] => {
                self.cname(name, &whole(target, origin));
            }
            ["TXT", strings @ ..] => {
                self.txt_strings(name, strings);
            }
            ["NS" | "SOA", ..] => {}
            other => panic!("{name}: what is {other:?}?"),
        }
    }
}

/// A name with its origin, unless it ends with a dot.
fn whole(name: &str, origin: &str) -> String {
    match name {
        "@" => origin.to_owned(),
        "." => name.to_owned(),
        name if name.ends_with('.') => name.trim_end_matches('.').to_owned(),
        name => format!("{name}.{}", origin.trim_end_matches('.')),
    }
}

/// What stands between blanks, up to a comment; blanks and semicolons in quotes are octets as any other.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), None::<String>, false);
    for octet in line.chars() {
        match octet {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ';' if !is_quoted => break,
            blank if blank.is_ascii_whitespace() && !is_quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}
