//! Mail for the simulation of authentication: signed and not, broken, with forged results, of any size around
//! the bound on header sections, and what hardly is mail. What it is is known, so that a test can tell what
//! has to become of it.

use ringmx::ring::simulated::World;

use crate::auth_zone::{DOMAINS, SELECTORS, domain, signer};

/// What a signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    Good,
    /// The body was changed afterwards.
    BrokenBody,
    /// It does not verify, or there is no key.
    Bad,
}

/// A message and what is to be known of it.
#[derive(Debug, Clone)]
pub struct Mail {
    pub octets: Vec<u8>,
    /// The domain in From:, where that is one field with one.
    pub author: Option<u64>,
    pub signature: Option<(u64, Seal)>,
    /// It has a bare LF, which only chunks can carry.
    pub needs_chunks: bool,
}

const FORGED: &str = "Authentication-Results: MX.test;\r\n dmarc=pass header.from=d3.from.test\r\n";
const DISGUISED: &str = "X-Note: hidden\nAuthentication-Results: mx.test; spf=pass\r\n";
const FOREIGN: &str = "Authentication-Results: other.test; spf=pass\r\n";
const MBOX: &str = "From root@host Thu Jan  1 00:00:00 1970\r\n";

impl Mail {
    /// Some message. `header_bytes_max`: the bound on header sections.
    pub fn new(world: &World, name: &str, header_bytes_max: usize) -> Self {
        let none = Self { octets: Vec::new(), author: None, signature: None, needs_chunks: false };
        match world.random(12) {
            0 => none,
            1 => Self { octets: text(world, name, header_bytes_max).into_bytes(), ..none },
            2 => {
                let octets = format!("\r\nonly a body {name}\r\n{FORGED}\r\n").into_bytes();
                Self { octets, ..none }
            }
            _ => Self::with_header(world, name, header_bytes_max),
        }
    }

    fn with_header(world: &World, name: &str, header_bytes_max: usize) -> Self {
        let author = world.random(DOMAINS);
        let of_author = format!("From: A <a@{}>\r\n", domain(author));
        let (from, author) = match world.random(8) {
            0 => (String::new(), None),
            1 => (format!("{of_author}From: b@d1.from.test\r\n"), None),
            2 => (format!("From: a@{}, b@from.test\r\n", domain(author)), None),
            _ => (of_author, Some(author)),
        };
        let mut header = format!("{from}To: b@y.test\r\nSubject: {name}\r\n");
        fill(world, &mut header, header_bytes_max);
        let has_body = world.random(10) > 0;
        let lines = world.random(if world.random(20) == 0 { 1500 } else { 40 });
        let mut body = String::new();
        for line in 0..lines * u64::from(has_body) {
            body.push_str(
                [".\r\n", "..dots\r\n", "a line of text \t of a mail\r\n", "\r\n"][random(world, 4)],
            );
            if line == 3 {
                body.push_str(FORGED);
            }
        }
        let (mut message, signature) = signed(world, author, &header, &body, has_body);
        if !has_body {
            message.truncate(message.find("\r\n\r\n").expect("an end") + 2);
        }
        let needs_chunks = insert_results(world, &mut message);
        if world.random(12) == 0 {
            message.insert_str(0, MBOX);
        }
        Self { octets: message.into_bytes(), author, signature, needs_chunks }
    }
}

/// Text without a header section, in which others might see one.
fn text(world: &World, name: &str, header_bytes_max: usize) -> String {
    let mut text = format!("just some text, {name}\r\nFrom: a@d3.from.test\r\n{FORGED}");
    fill(world, &mut text, header_bytes_max);
    if world.random(2) == 0 {
        text.push_str("\r\nmore\r\n");
    }
    text
}

/// Makes a header section longer: to around its bound, or far beyond.
fn fill(world: &World, header: &mut String, header_bytes_max: usize) {
    let wanted = match world.random(16) {
        // One more, one less and just as much, with the empty line, if nothing else is put in.
        0..=2 => header_bytes_max - 3 + random(world, 3),
        3 => random(world, 2 * header_bytes_max as u64),
        4 => header_bytes_max * 3,
        _ => return,
    };
    while header.len() < wanted {
        let missing = wanted - header.len();
        let value = if missing > 1000 { 900 } else { missing.saturating_sub("X-F: \r\n".len()) };
        header.extend(["X-F: ", &"f".repeat(value), "\r\n"]);
    }
}

fn signed(
    world: &World,
    author: Option<u64>,
    header: &str,
    body: &str,
    may_break_body: bool,
) -> (String, Option<(u64, Seal)>) {
    let plain = format!("{header}\r\n{body}");
    if world.random(3) == 0 {
        return (plain, None);
    }
    let of = if world.random(3) == 0 { world.random(DOMAINS) } else { author.unwrap_or(3) };
    let selector = SELECTORS[if world.random(2) == 0 { random(world, 4) } else { 1 }];
    // RSA costs a test program a lot.
    let message = signer(selector).sign(&domain(of), selector, &plain);
    let is_good = matches!(selector, "rsa" | "ed");
    match world.random(6) {
        0 if may_break_body => (format!("{message}changed\r\n"), Some((of, Seal::BrokenBody))),
        1 => (message.replacen("Subject: ", "Subject: re ", 1), Some((of, Seal::Bad))),
        _ => (message, Some((of, if is_good { Seal::Good } else { Seal::Bad }))),
    }
}

/// Puts results of others and forged ones between header fields. True if one holds a bare LF.
fn insert_results(world: &World, message: &mut String) -> bool {
    let mut has_bare_end = false;
    for _ in 0..world.random(4) {
        let end = message.find("\r\n\r\n").map_or(message.len(), |end| end + 2);
        let starts: Vec<usize> = std::iter::once(0)
            .chain(message[..end].match_indices("\r\n").map(|(at, _)| at + 2))
            .filter(|at| !message[*at..].starts_with(['\t', ' ']))
            .collect();
        let at = starts[random(world, starts.len() as u64)];
        let field = match world.random(6) {
            0..=2 => FORGED,
            3 | 4 => FOREIGN,
            _ => DISGUISED,
        };
        has_bare_end |= field == DISGUISED;
        message.insert_str(at, field);
    }
    has_bare_end
}

fn random(world: &World, bound: u64) -> usize {
    usize::try_from(world.random(bound)).expect("small")
}
