//! The header section as a milter is told of it.

use super::code::command;
use super::packet;

/// Fields that are told one by one. Each may cost a round trip, and nobody needs more: what comes after them
/// is told as body.
const FIELDS_MAX: usize = 4096;

/// Octets of a name; no line may have more (RFC 5322 §2.1.1).
const NAME_BYTES_MAX: usize = 998;

/// Appends a packet for each field of a header section, if there is an output, and gives what comes after
/// them: nothing after an empty line that ends the section; else all from the first line on that is no field.
/// So do Sendmail and Postfix: the body begins there, and a milter is told every octet.
///
/// `keeps_space`: a space after the colon is part of the value. Else one is left out, as Sendmail does. Lines
/// of a value end with LF, as those servers have it.
pub(super) fn push_fields<'a>(
    header: &'a [u8],
    keeps_space: bool,
    mut output: Option<&mut Vec<u8>>,
) -> &'a [u8] {
    let mut rest = header;
    for _ in 0..FIELDS_MAX {
        if let Some(body) = rest.strip_prefix(b"\r\n") {
            return body;
        }
        let (whole, after) = split_field(rest);
        let Some((name, value)) = name_and_value(whole) else { return rest };
        let value = if keeps_space { value } else { value.strip_prefix(b" ").unwrap_or(value) };
        if let Some(output) = output.as_deref_mut() {
            packet::push(output, command::FIELD, |data| {
                packet::push_text(data, name);
                push_lines(value, data);
            });
        }
        rest = after;
    }
    rest
}

/// A line with those that continue it, without its last CRLF; and what comes after that.
fn split_field(octets: &[u8]) -> (&[u8], &[u8]) {
    for at in memchr::memmem::find_iter(octets, b"\r\n") {
        let (before, after) = octets.split_at_checked(at).unwrap_or_default();
        let after = after.get(2..).unwrap_or_default();
        if !after.starts_with(b" ") && !after.starts_with(b"\t") {
            return (before, after);
        }
    }
    (octets, b"")
}

/// The name of a field and what stands after its colon; nothing where these octets are no field.
fn name_and_value(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', field)?;
    let (name, value) = field.split_at_checked(colon)?;
    let blanks = name.iter().rev().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    let name = name.get(..colon - blanks)?;
    let is_good =
        (1..=NAME_BYTES_MAX).contains(&name.len()) && name.iter().all(|octet| matches!(octet, b'!'..=b'~'));
    is_good.then_some((name, value.get(1..)?))
}

/// Appends a value with LF for CRLF, and its NUL. A NUL in it would end it: it becomes `?`.
fn push_lines(value: &[u8], data: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
        let (line, after) = rest.split_at_checked(at).unwrap_or_default();
        data.extend(line.iter().map(|octet| if *octet == 0 { b'?' } else { *octet }));
        data.push(b'\n');
        rest = after.get(2..).unwrap_or_default();
    }
    packet::push_text(data, rest);
}
