//! Macros (RFC 7208 §7).

/// `%{d2r.}`: what stands within the braces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Macro<'a> {
    pub(super) letter: u8,
    /// Written as a capital: octets that a URL does not take are escaped.
    is_url: bool,
    /// So many parts from the right; all where it is none.
    parts: Option<usize>,
    is_reversed: bool,
    delimiters: &'a [u8],
}

impl<'a> Macro<'a> {
    /// Reads what stands within the braces.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let (letter, rest) = text.split_first()?;
        if !b"slodiphcrtv".contains(&letter.to_ascii_lowercase()) {
            return None;
        }
        let digits_end = rest.iter().position(|octet| !octet.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, rest) = rest.split_at_checked(digits_end)?;
        let parts = match digits {
            [] => None,
            // A number with hundreds of digits is more parts than there are.
            _ => Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX))
                .filter(|parts| *parts > 0),
        };
        if parts.is_none() && !digits.is_empty() {
            return None;
        }
        let reversed = rest.first().is_some_and(|octet| octet.eq_ignore_ascii_case(&b'r'));
        let delimiters = if reversed { rest.get(1..)? } else { rest };
        if !delimiters.iter().all(|octet| b".-+,/_=".contains(octet)) {
            return None;
        }
        Some(Self {
            letter: letter.to_ascii_lowercase(),
            is_url: letter.is_ascii_uppercase(),
            parts,
            is_reversed: reversed,
            delimiters: if delimiters.is_empty() { b"." } else { delimiters },
        })
    }

    /// The value of its letter, as it asks for it.
    fn apply(&self, value: &[u8], into: &mut Vec<u8>) {
        let mut parts: Vec<&[u8]> = value.split(|octet| self.delimiters.contains(octet)).collect();
        if self.is_reversed {
            parts.reverse();
        }
        let skipped = parts.len().saturating_sub(self.parts.unwrap_or(usize::MAX));
        for (index, part) in parts.into_iter().skip(skipped).enumerate() {
            if index > 0 {
                into.push(b'.');
            }
            if self.is_url { escape_into(part, into) } else { into.extend_from_slice(part) }
        }
    }
}

/// Escapes what RFC 3986 does not count as unreserved.
fn escape_into(part: &[u8], into: &mut Vec<u8>) {
    for octet in part {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(octet) {
            into.push(*octet);
        } else {
            into.extend_from_slice(format!("%{octet:02X}").as_bytes());
        }
    }
}

/// Where the macro ends whose octets after the `%` these are.
pub(super) fn macro_end(after: &[u8]) -> Option<usize> {
    match after.first()? {
        b'%' | b'_' | b'-' => Some(1),
        b'{' => {
            let end = after.iter().position(|octet| *octet == b'}')?;
            Macro::parse(after.get(1..end)?)?;
            Some(end + 1)
        }
        _ => None,
    }
}

/// Puts values in the place of macros. None as soon as one has no value: `value` gives those of letters. At
/// least `kept` octets from the right are there, of what is longer.
pub(super) fn expand<'v>(
    text: &[u8],
    kept: usize,
    mut value: impl FnMut(u8) -> Option<std::borrow::Cow<'v, [u8]>>,
) -> Option<Vec<u8>> {
    let mut expanded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((octet, after)) = rest.split_first() {
        if *octet != b'%' {
            expanded.push(*octet);
            rest = after;
            continue;
        }
        let end = macro_end(after)?;
        match after.first()? {
            b'%' => expanded.push(b'%'),
            b'_' => expanded.push(b' '),
            b'-' => expanded.extend_from_slice(b"%20"),
            _ => {
                let found = Macro::parse(after.get(1..end - 1)?)?;
                found.apply(&value(found.letter)?, &mut expanded);
            }
        }
        rest = after.get(end..)?;
        if expanded.len() / 2 > kept {
            expanded.drain(..expanded.len() - kept);
        }
    }
    Some(expanded)
}

/// Letters of the macros in a text.
pub(super) fn letters(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let starts = text.windows(3).enumerate().filter(|(_, window)| window.starts_with(b"%{"));
    // After `%%` a brace is a brace.
    starts
        .filter(|(at, _)| text.get(..*at).is_some_and(|before| percents(before).is_multiple_of(2)))
        .map(|(_, window)| window[2].to_ascii_lowercase())
}

fn percents(before: &[u8]) -> usize {
    before.iter().rev().take_while(|octet| **octet == b'%').count()
}
