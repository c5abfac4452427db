//! Domains, mailboxes and path templates as they are written in the operator's files. Pure functions; every
//! error is the text that the operator reads.

use std::net::IpAddr;

use crate::config::invisible;
use crate::limits::{DOMAIN_BYTES_MAX, PATH_BYTES_MAX};
use crate::mail::a_label::to_a_labels;
use crate::mail::domain::DomainPattern;
use crate::mail::local_part;

/// Octets of one label of a domain (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Files of ringmx itself in a store begin so (`sink::maildir`).
const OWN_FILES: &str = ".ringmx";

/// Octets of one name in a file system (NAME_MAX).
const NAME_BYTES_MAX: usize = 255;

/// A domain in lower case as A-labels, one trailing dot dropped.
pub(super) fn domain(text: &str) -> Result<String, String> {
    // Some of them vanish in what IDNA maps a domain to (UTS 46), so the domain would be another one than it
    // looks like.
    if let Some((_, odd)) = invisible::find(text) {
        return Err(format!("{text:?} is not a domain: it holds {}", invisible::fault(odd)));
    }
    if is_address(text) {
        return Err(format!("{text:?} is an IP address; a name is needed here, such as \"mx1.example.org\""));
    }
    let labels = to_a_labels(text)
        .ok_or_else(|| format!("{text:?} is not a domain: a label is not one in Unicode (RFC 5890)"))?;
    let bare = labels.strip_suffix('.').unwrap_or(&labels);
    if bare.is_empty() {
        return Err(format!("{text:?} is not a domain: it has no labels"));
    }
    if bare.len() > DOMAIN_BYTES_MAX {
        return Err(format!("{text:?} is not a domain: it is over {DOMAIN_BYTES_MAX} octets"));
    }
    for label in bare.split('.') {
        if let Some(why) = label_fault(label) {
            return Err(format!("{text:?} is not a domain: {why}"));
        }
    }
    // No top-level domain is a number, so that addresses and names can be told apart (RFC 3696 §2).
    if bare.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit())) {
        return Err(format!("{text:?} is not a domain: its last label is a number, as in an IP address"));
    }
    Ok(bare.to_ascii_lowercase())
}

/// Whether a text is an IP address, be it written as an address literal (RFC 5321 §4.1.3).
fn is_address(text: &str) -> bool {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let tag = inside.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    tag.map_or(inside, |tag| &inside[tag.len()..]).parse::<IpAddr>().is_ok()
}

fn label_fault(label: &str) -> Option<String> {
    if label.is_empty() {
        return Some("a label is empty".to_owned());
    }
    if label.len() > LABEL_BYTES_MAX {
        return Some(format!("the label {label:?} is over {LABEL_BYTES_MAX} octets"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Some(format!("the label {label:?} begins or ends with a hyphen"));
    }
    let odd = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-' && *c != '_')?;
    Some(format!("{odd:?} is not a letter, digit, hyphen or underscore"))
}

/// A pattern as the operator writes it.
pub(super) fn text(pattern: &DomainPattern) -> String {
    match pattern {
        DomainPattern::Exact(domain) => format!("\"{domain}\""),
        DomainPattern::Below(above) => format!("\"*.{above}\""),
    }
}

/// `example.org` or `*.example.org`.
pub(super) fn pattern(text: &str) -> Result<DomainPattern, String> {
    if text == "*" {
        return Err(
            "\"*\" is no domain; leave `domains` out to accept any, on loopback listeners only".to_owned()
        );
    }
    match text.strip_prefix("*.") {
        Some(above) => domain(above).map(DomainPattern::Below),
        None if text.contains('*') => {
            Err(format!("{text:?}: a `*` stands alone in front, as in \"*.example.org\""))
        }
        None => domain(text).map(DomainPattern::Exact),
    }
}

/// Whether a local-part as it is written is meant to name many: a wildcard, a regular expression, a
/// placeholder. What stands in quotes is meant as it is.
pub(super) fn is_pattern(local_part: &str) -> bool {
    let has_letters = local_part.chars().any(char::is_alphanumeric);
    let is_like = local_part.starts_with(['%', '/', '^', '$']) || local_part.ends_with(['%', '$']);
    !local_part.starts_with('"') && (!has_letters || is_like || local_part.contains(['*', '[', '(', '{']))
}

/// `local-part@domain` in its two parts: needless quotes removed, the others in one spelling, the domain in
/// lower case.
pub(super) fn mailbox(text: &str) -> Result<(String, String), String> {
    mailbox_by(text, domain)
}

/// The same, where somebody else reads the domain.
pub(super) fn mailbox_by(
    text: &str,
    domain: impl FnOnce(&str) -> Result<String, String>,
) -> Result<(String, String), String> {
    // The path that names it on the wire has two angle brackets more (RFC 5321 §4.5.3.1.3).
    let too_long = || format!("{text:?} is not an address: it is over {} octets", PATH_BYTES_MAX - 2);
    if text.len() + 2 > PATH_BYTES_MAX {
        return Err(too_long());
    }
    let Some((local, domain_text)) = text.rsplit_once('@') else {
        return Err(format!("{text:?} is not an address: it has no `@domain`"));
    };
    if let Some((_, odd)) = invisible::find(local) {
        return Err(format!("{text:?} is not an address: it holds {}", invisible::fault(odd)));
    }
    let local = local_part(local).map_err(|why| format!("{text:?} is not an address: {why}"))?;
    let domain = domain(domain_text)?;
    if local.len() + "<@>".len() + domain.len() > PATH_BYTES_MAX {
        return Err(format!("{} with its domain as A-labels", too_long()));
    }
    Ok((local, domain))
}

/// Atext and dots as they are, also those that RFC 5321 §4.1.2 puts between atoms only; or a quoted string.
fn local_part(text: &str) -> Result<String, String> {
    let Some(quoted) = text.strip_prefix('"') else {
        return match text.chars().find(|c| !is_bare(*c)) {
            Some(odd) => Err(format!("its local-part holds {odd:?}")),
            None if text.is_empty() => Err("its local-part is empty".to_owned()),
            None => Ok(text.to_owned()),
        };
    };
    check_quoted(quoted)?;
    let mut spelled = Vec::new();
    local_part::push_spelled(text.as_bytes(), &mut spelled);
    String::from_utf8(spelled).map_err(|_| "its local-part is not UTF-8".to_owned())
}

/// What is wrong with a quoted string, given without its first quote.
fn check_quoted(quoted: &str) -> Result<(), String> {
    let mut rest = quoted.chars();
    loop {
        match rest.next() {
            Some('"') if rest.as_str().is_empty() => return Ok(()),
            Some('"') => return Err("there is text behind its closing quote".to_owned()),
            Some('\\') => match rest.next() {
                Some(c) if !c.is_control() => {}
                _ => return Err("its local-part has a backslash before nothing printable".to_owned()),
            },
            Some(c) if c.is_control() => return Err(format!("its local-part holds {c:?}")),
            Some(_) => {}
            None => return Err("its closing quote is missing".to_owned()),
        }
    }
}

/// Whether a character may stand in a local-part without quotes.
fn is_bare(c: char) -> bool {
    !c.is_control() && u8::try_from(c).map_or(true, local_part::is_bare)
}

/// A path template below a root: components of text, `{domain}` and `{local}`.
pub(super) fn template(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.starts_with('/') {
        return Err(format!("{text:?} begins with `/`; it is a path below `path`"));
    }
    for component in text.split('/') {
        match component {
            "" => return Err(format!("{text:?} has an empty component")),
            "." | ".." => {
                return Err(format!("{text:?} has the component {component:?}; it must stay below `path`"));
            }
            "new" | "cur" | "tmp" => {
                return Err(format!(
                    "{text:?} has the component {component:?}, a directory inside a maildir"
                ));
            }
            own if own.starts_with(OWN_FILES) => {
                return Err(format!(
                    "{text:?} has the component {component:?}, which begins as ringmx's own files in the store do"
                ));
            }
            _ => component_check(component).map_err(|why| format!("{text:?}: {why}"))?,
        }
    }
    Ok(text.to_owned())
}

fn component_check(component: &str) -> Result<(), String> {
    const PLACEHOLDERS: &str = "{domain} and {local}";
    if component.len() > NAME_BYTES_MAX {
        return Err(format!("a component is over {NAME_BYTES_MAX} octets"));
    }
    let mut rest = component;
    while let Some(at) = rest.find(['{', '}']) {
        let behind = &rest[at..];
        let Some(end) = behind.find('}').filter(|_| behind.starts_with('{')) else {
            return Err(format!("a brace without its partner; placeholders are {PLACEHOLDERS}"));
        };
        match &behind[..=end] {
            "{domain}" | "{local}" => {
                rest = &behind[end + 1..];
                let next = rest.find('{').map(|next| &rest[..next]);
                if next.is_some_and(|between| !between.chars().any(divides)) {
                    return Err(
                        "two recipients could share it; put `@` or `/` between the placeholders".to_owned()
                    );
                }
            }
            other => return Err(format!("{other:?} is not a placeholder; there are {PLACEHOLDERS}")),
        }
    }
    match component.chars().find(|c| c.is_control() || *c == '\\') {
        Some(odd) => Err(format!("it holds {odd:?}")),
        None => Ok(()),
    }
}

/// Whether a character between two placeholders tells where the first one ends. A character that can stand in
/// for an octet of their text does not.
fn divides(character: char) -> bool {
    !character.is_ascii_alphanumeric() && !"-_+=.%".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_accepts_what_is_below_it_and_not_itself() {
        let below = pattern("*.Example.ORG.").expect("good");
        assert_eq!(below, DomainPattern::Below("example.org".to_owned()));
        assert!(below.matches("a.example.org") && below.matches("a.b.example.org"));
        assert!(
            !below.matches("example.org")
                && !below.matches("anexample.org")
                && !below.matches(".example.org")
        );
        let exact = pattern("Example.org").expect("good");
        assert!(exact.matches("example.org") && !exact.matches("a.example.org"));
    }

    #[test]
    fn bad_domains_are_refused() {
        let long = "a".repeat(64);
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "-a.b",
            "a-.b",
            "a b",
            "a/b",
            "*.*.a",
            "a.*",
            "*",
            "b\u{fc}cher .de",
            "\u{fffd}.de",
            &long,
        ] {
            assert!(pattern(text).is_err(), "{text}");
        }
        assert_eq!(domain("Bücher.de."), Ok("xn--bcher-kva.de".to_owned()));
        assert_eq!(domain("_dmarc.XN--BCHER-KVA.example"), Ok("_dmarc.xn--bcher-kva.example".to_owned()));
    }

    #[test]
    fn needless_quotes_are_removed_and_needed_ones_stay() {
        let parts = |text| mailbox(text).map(|(local, domain)| format!("{local} {domain}"));
        assert_eq!(parts("Info@EXAMPLE.org").as_deref(), Ok("Info example.org"));
        assert_eq!(parts(r#""x"@d"#).as_deref(), Ok("x d"));
        assert_eq!(parts(r#""\x.y"@d"#).as_deref(), Ok("x.y d"));
        assert_eq!(parts(r#""a\ @\"b"@d"#).as_deref(), Ok(r#""a @\"b" d"#));
        assert_eq!(parts(r#"""@d"#).as_deref(), Ok(r#""" d"#));
        assert_eq!(parts("a..b.@d").as_deref(), Ok("a..b. d"));
        for text in
            ["a", "@d", "a@", "a b@d", "a@b@d", r#""a@d"#, r#""a"b@d"#, r#""a\"@d"#, "a@[192.0.2.1]", "a@*.d"]
        {
            assert!(mailbox(text).is_err(), "{text}");
        }
        assert!(mailbox(&format!("{}@d", "a".repeat(252))).is_ok());
        assert!(mailbox(&format!("{}@d", "a".repeat(253))).is_err());
    }

    #[test]
    fn a_template_stays_below_the_root() {
        for text in ["", "{domain}/{local}", "all", "{domain}", ".{local}/x", "mail-{domain}/u.{local}"] {
            assert_eq!(template(text).as_deref(), Ok(text));
        }
        for text in [
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            ".",
            "{user}",
            "{domain",
            "domain}",
            "{{local}}",
            "a\0b",
            "a\\b",
            "a/new",
        ] {
            assert!(template(text).is_err(), "{text}");
        }
    }
}
