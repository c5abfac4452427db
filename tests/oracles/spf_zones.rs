//! Random zones with SPF records, and who sends from them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringmx::dns::{Answer, Failure, Kind, Name, Question, Records};
use serde_json::{Value, json};
use support::load::Random;

/// A zone and a sender.
pub struct Case {
    pub zone: Zone,
    pub client: IpAddr,
    pub helo: &'static str,
    /// Empty for the null reverse-path.
    pub from: String,
}

/// What there is in the DNS.
#[derive(Default)]
pub struct Zone(BTreeMap<String, Host>);

/// What a name has.
#[derive(Default)]
struct Host {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    exchangers: Vec<(u16, String)>,
    names: Vec<String>,
    /// Strings of Latin-1.
    texts: Vec<Vec<String>>,
    alias: Option<&'static str>,
    /// Nobody answers when asked for these.
    silent: Vec<Kind>,
}

const KINDS: &[Kind] = &[Kind::A, Kind::Aaaa, Kind::Mx, Kind::Ptr, Kind::Txt];

const CLIENTS: &[&str] =
    &["192.0.2.1", "192.0.2.130", "198.51.100.7", "2001:db8::1", "2001:db8:1::2", "::ffff:192.0.2.1"];

const V4: &[&str] = &["192.0.2.1", "192.0.2.2", "192.0.2.130", "198.51.100.7", "203.0.113.9"];

const V6: &[&str] = &["2001:db8::1", "2001:db8::2", "2001:db8:1::2", "2001:db8:ffff::"];

const DOMAINS: &[&str] = &["x.test", "a.test", "b.test", "s.x.test"];

/// Names with addresses; some of them are what macros come to.
const HOSTS: &[&str] = &[
    "h1.test",
    "h2.test",
    "h3.test",
    "mx1.x.test",
    "mx2.x.test",
    "user.x.test",
    "a.b.x.test",
    "b.a.x.test",
    "postmaster.x.test",
    "user%40x.test.x.test",
    "192.0.2.1.x.test",
    "1.2.0.192.in-addr.x.test",
    "unknown.x.test",
    "in-addr.x.test",
    "mx.x.test",
    "20.x.test",
    "test.x.test",
    "empty.test",
];

const LOCAL_PARTS: &[&str] = &["user", "user", "a-b", "a+b", "o'x", "A.B", "", "%{d}"];

const HELOS: &[&str] = &["mx.x.test", "h1.test", "a.test", "localhost", "[192.0.2.1]"];

/// Domain-specs, good and bad.
const SPECS: &[&str] = &[
    "h1.test",
    "h2.test",
    "H3.Test.",
    "user.x.test",
    "mx1.x.test",
    "x.test",
    "a.test",
    "b.test",
    "s.x.test",
    "gone.test",
    "gone.x.test",
    "empty.test",
    "%{d}",
    "%{D}",
    "%{o}",
    "%{h}",
    "%{p}",
    "%{p2}",
    "%{d1}.x.test",
    "%{l}.x.test",
    "%{L}.x.test",
    "%{l-}.x.test",
    "%{lr-}.x.test",
    "%{l1r+-}.x.test",
    "%{s}.x.test",
    "%{S}.x.test",
    "%{i}.x.test",
    "%{ir}.%{v}.x.test",
    "%{ir}.%{v}._spf.%{d2}",
    "%{v}.x.test",
    "%{p}.x.test",
    "%{dr}",
    "%{d9r.}.test",
    "%{d03}",
    "%%.x.test",
    "%_.x.test",
    "x.%-",
    "a%%%{d}",
    "%{l}%{l}%{l}.%{d}.x.test",
    "a..test",
    "a..%{d}",
    "1.2.3.4",
    "h1",
    "h1.1",
    "h1.1-2",
    "h1.-x",
    "%{d}.",
    "%{d}x",
    "%%{d}",
    "%{x}.test",
    "%{d",
    "%(d).test",
    "%{d0}",
    "%{dx}.test",
    "%{d-r}.test",
    "%{c}.test",
    "%.test",
    "h1.test,",
    "h\u{1}.test",
    "\u{e9}.test",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test",
    "%{s}.%{s}.%{s}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.%{i}.x.test",
];

const NETWORKS: &[&str] = &[
    "ip4:192.0.2.1",
    "ip4:192.0.2.0/24",
    "ip4:192.0.2.128/25",
    "ip4:198.51.100.7/32",
    "ip4:0.0.0.0/0",
    "ip6:2001:db8::1",
    "ip6:2001:db8::/32",
    "ip6:2001:DB8:1::/48",
    "ip6:::/0",
    "ip6:::ffff:192.0.2.1",
    "ip4:192.0.2.1/33",
    "ip4:192.0.2.1/08",
    "ip4:192.0.2.1/",
    "ip4:192.0.2.1//24",
    "ip4:192.0.2",
    "ip4:192.0.2.256",
    "ip4:192.0.2.01",
    "ip4",
    "ip4:",
    "ip6:2001:db8::1/129",
    "ip6:2001:db8:::1",
    "ip6:192.0.2.1",
    "ip4:2001:db8::1",
];

/// What stands in records, or is taken for something that does.
const ODD_TERMS: &[&str] = &[
    "all",
    "-all",
    "~all",
    "?all",
    "ALL",
    "all:x.test",
    "all/24",
    "x=y",
    "x=%{d}",
    "x=%{q}",
    "x=%",
    "x=",
    "ra=postmaster",
    "op=auth",
    "default=pass",
    "1x=y",
    "=y",
    "bogus",
    "bogus:x.test",
    "mail:x.test",
    "+redirect=a.test",
    "-x=y",
    "a:",
    "mx:",
    "ptr:",
    "ptr/24",
    "exists",
    "include",
    "include:",
    "redirect=",
    "exp=",
    "a/",
    "a/33",
    "a//129",
    "a//64/24",
    "a/024",
    "mx/24/24",
    "--all",
    "ptr:x.test/24",
    "192.0.2.1",
    "ipv4:192.0.2.1",
    "\t",
    "all\r",
];

const EXPLANATIONS: &[&str] = &[
    "no",
    "See http://x.test/?s=%{S}&i=%{C}",
    "%{i} %{d} %{o} %{l} %{h} %{v} %{c} %{r} %{t} %% %_ %-",
    "%{p} %{ir} %{d1} %{l1r-}",
    "%{x}",
    "100%",
    "%{d",
    "\u{e9}",
];

fn pick<'a>(random: &mut Random, all: &[&'a str]) -> &'a str {
    let index = usize::try_from(random.below(all.len() as u64)).expect("an index");
    all[index]
}

/// Whether it is one of so many times in a hundred.
fn is(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

impl Case {
    pub fn random(random: &mut Random) -> Self {
        let client: IpAddr = pick(random, CLIENTS).parse().expect("an address");
        let helo = pick(random, HELOS);
        let from = if is(random, 10) {
            String::new()
        } else {
            format!("{}@{}", pick(random, LOCAL_PARTS), pick(random, &DOMAINS[..3]))
        };
        Self { zone: Zone::random(client, random), client, helo, from }
    }

    /// 192.0.2.1 sends for this reverse-path, and the DNS has this: name, kind, value.
    pub fn of(from: &str, lines: &[(&str, &str, &str)]) -> Self {
        let client = CLIENTS[0].parse().expect("an address");
        Self { zone: Zone::of(lines), client, helo: HELOS[0], from: from.to_owned() }
    }

    /// Local-part and domain of the identity.
    pub fn identity(&self) -> (&str, &str) {
        self.from.rsplit_once('@').unwrap_or(("", self.helo))
    }

    pub fn to_json(&self) -> Value {
        json!({"zone": self.zone.to_json(), "client": self.client.to_string(), "helo": self.helo, "from": self.from})
    }
}

impl Zone {
    fn random(client: IpAddr, random: &mut Random) -> Self {
        let mut zone = Self::default();
        for domain in DOMAINS {
            let mut host = Host::random(random);
            let exchangers = if is(random, 5) { 8 + random.below(5) } else { random.below(4) };
            host.exchangers = (0..exchangers).map(|_| exchanger(random)).collect();
            host.texts = texts(random);
            zone.0.insert((*domain).to_owned(), host);
        }
        for name in HOSTS {
            let mut host = Host::random(random);
            if is(random, 4) {
                host = Host {
                    alias: Some(pick(random, &["h1.test", "gone.test", "x.test"])),
                    ..Host::default()
                };
            }
            if *name != "h1.test" || host.alias.is_none() {
                zone.0.insert((*name).to_owned(), host);
            }
        }
        zone.0.insert("empty.test".to_owned(), Host::default());
        for name in ["e1.test", "e2.x.test"] {
            let count = if is(random, 10) { 2 } else { 1 };
            let texts = (0..count).map(|_| vec![pick(random, EXPLANATIONS).to_owned()]).collect();
            zone.0.insert(name.to_owned(), Host { texts, ..Host::default() });
        }
        if is(random, 85) {
            let count = if is(random, 10) { 9 + random.below(4) } else { random.below(4) };
            let host = Host { names: (0..count).map(|_| exchanger(random).1).collect(), ..Host::default() };
            zone.0.insert(Name::reverse(client).to_string(), host);
        }
        for host in zone.0.values_mut() {
            host.silent = KINDS.iter().copied().filter(|_| random.below(100) == 0).collect();
        }
        zone
    }

    fn of(lines: &[(&str, &str, &str)]) -> Self {
        let mut zone = Self::default();
        for (name, kind, value) in lines {
            let host = zone.0.entry((*name).to_owned()).or_default();
            match *kind {
                "A" => host.v4.push(value.parse().expect("IPv4")),
                "MX" => {
                    let (preference, exchanger) = value.split_once(' ').expect("a preference");
                    host.exchangers.push((preference.parse().expect("a number"), exchanger.to_owned()));
                }
                "PTR" => host.names.push((*value).to_owned()),
                "TXT" => host.texts.push(vec![(*value).to_owned()]),
                "silent" => host.silent.extend(KINDS.iter().filter(|kind| word(**kind) == *value)),
                other => panic!("{other}"),
            }
        }
        zone
    }

    /// What the DNS answers.
    pub fn answer(&self, question: &Question) -> Answer {
        let mut name = question.name.to_string();
        // Aliases make no loop.
        loop {
            let Some(host) = self.0.get(&name) else { return Answer::NoName };
            if host.silent.contains(&question.kind) {
                return Answer::Failed(Failure::TimedOut);
            }
            match host.alias {
                Some(alias) => alias.clone_into(&mut name),
                None => return host.answer(question.kind),
            }
        }
    }

    fn to_json(&self) -> Value {
        let hosts = self.0.iter().map(|(name, host)| (name.clone(), host.to_json()));
        Value::Object(hosts.collect())
    }
}

impl Host {
    fn random(random: &mut Random) -> Self {
        let v4 = (0..random.below(3)).map(|_| pick(random, V4).parse().expect("IPv4")).collect();
        let v6 = (0..random.below(3)).map(|_| pick(random, V6).parse().expect("IPv6")).collect();
        Self { v4, v6, ..Self::default() }
    }

    fn answer(&self, kind: Kind) -> Answer {
        let name = |text: &String| Name::new(text.as_bytes()).expect("a name");
        let octets = |strings: &Vec<String>| {
            let octets = strings.iter().flat_map(|string| string.chars());
            octets.map(|octet| u8::try_from(u32::from(octet)).expect("Latin-1")).collect()
        };
        let records = match kind {
            Kind::A if !self.v4.is_empty() => Records::A(self.v4.clone()),
            Kind::Aaaa if !self.v6.is_empty() => Records::Aaaa(self.v6.clone()),
            Kind::Mx if !self.exchangers.is_empty() => {
                let exchangers = self.exchangers.iter();
                Records::Mx(exchangers.map(|(preference, text)| (*preference, Some(name(text)))).collect())
            }
            Kind::Ptr if !self.names.is_empty() => Records::Ptr(self.names.iter().map(name).collect()),
            Kind::Txt if !self.texts.is_empty() => Records::Txt(self.texts.iter().map(octets).collect()),
            Kind::A | Kind::Aaaa | Kind::Mx | Kind::Ptr | Kind::Txt | Kind::Tlsa => return Answer::NoRecords,
        };
        Answer::Records(records)
    }

    fn to_json(&self) -> Value {
        let silent: Vec<&str> = self.silent.iter().map(|kind| word(*kind)).collect();
        json!({
            "A": self.v4.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "AAAA": self.v6.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "MX": self.exchangers, "PTR": self.names, "TXT": self.texts,
            "cname": self.alias, "silent": silent,
        })
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::A => "A",
        Kind::Aaaa => "AAAA",
        Kind::Mx => "MX",
        Kind::Ptr => "PTR",
        Kind::Txt => "TXT",
        Kind::Tlsa => "TLSA",
    }
}

fn exchanger(random: &mut Random) -> (u16, String) {
    let names = &["h1.test", "h2.test", "mx1.x.test", "mx2.x.test", "x.test", "user.x.test", "gone.test"];
    let preference = u16::try_from(10 * random.below(4)).expect("small");
    (preference, pick(random, names).to_owned())
}

/// The texts of a domain: one record as a rule.
fn texts(random: &mut Random) -> Vec<Vec<String>> {
    let mut texts = Vec::new();
    if is(random, 10) {
        texts.push(vec![pick(random, &["v=spf10 -all", "other=x", "v=spf1-all", "spf1 -all"]).to_owned()]);
    }
    if is(random, 96) {
        texts.push(strings(record(random), random));
    }
    if is(random, 3) {
        texts.push(strings(record(random), random));
    }
    texts
}

/// One string, or two.
fn strings(text: String, random: &mut Random) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let at = usize::try_from(random.below(characters.len() as u64)).expect("an index");
    if is(random, 20) {
        vec![characters[..at].iter().collect(), characters[at..].iter().collect()]
    } else {
        vec![text]
    }
}

fn record(random: &mut Random) -> String {
    let mut record = pick(random, &["v=spf1", "v=spf1", "v=spf1", "V=SPF1"]).to_owned();
    // With many terms it is seldom free of errors, with few it says little.
    for _ in 0..random.below(7) {
        record.push_str(if is(random, 4) { "  " } else { " " });
        record.push_str(&term(random));
    }
    if is(random, 50) {
        record.push(' ');
        record
            .push_str(pick(random, &["-all", "-all", "~all", "?all", "redirect=b.test", "redirect=a.test"]));
    }
    if is(random, 30) {
        record.push_str(pick(random, &[" exp=e1.test", " exp=e2.x.test", " exp=gone.test", " exp=e1.%{d1}"]));
    }
    if is(random, 3) {
        record.push(' ');
    }
    record
}

fn term(random: &mut Random) -> String {
    let qualifier = pick(random, &["", "", "", "-", "~", "?", "+"]);
    let kinds = &["a", "a", "mx", "mx", "ptr", "exists", "include", "include", "ip", "ip", "modifier", "odd"];
    let text = match pick(random, kinds) {
        "ip" => good_or_any(random, NETWORKS, 10),
        "odd" if is(random, 20) => return pick(random, ODD_TERMS).to_owned(),
        "modifier" if is(random, 20) => {
            format!("{}={}", pick(random, &["redirect", "exp", "Redirect"]), spec(random))
        }
        "odd" | "modifier" => pick(random, &["ip4:203.0.113.77", "x=y", "ip6:2001:db8:9::9"]).to_owned(),
        name @ ("a" | "mx") => {
            let target = if is(random, 40) { String::new() } else { format!(":{}", spec(random)) };
            format!("{name}{target}{}", pick(random, &["", "", "", "/24", "/24//64", "//32", "/0"]))
        }
        "ptr" if is(random, 50) => "ptr".to_owned(),
        // Few others have a record.
        "include" if is(random, 90) => format!("include:{}", pick(random, DOMAINS)),
        name => format!("{name}:{}", spec(random)),
    };
    let is_modifier = text.split([':', '/']).next().is_some_and(|name| name.contains('='));
    let text = if is(random, 3) && !is_modifier { text.to_ascii_uppercase() } else { text };
    if is_modifier { text } else { format!("{qualifier}{text}") }
}

/// Mostly one of the first, which are good.
fn good_or_any(random: &mut Random, all: &[&str], good: usize) -> String {
    let from = if is(random, 97) { &all[..good] } else { all };
    pick(random, from).to_owned()
}

fn spec(random: &mut Random) -> String {
    const GOOD: usize = 39;
    if is(random, 8) {
        format!("{}.{}", pick(random, &SPECS[..GOOD]), pick(random, &SPECS[..GOOD]))
    } else {
        good_or_any(random, SPECS, GOOD)
    }
}
