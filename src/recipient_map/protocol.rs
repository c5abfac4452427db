//! The socketmap protocol (socketmap_table(5) of Postfix): a question and a reply, each a netstring.

/// Octets of a reply that are read; usual ones have ten.
pub(super) const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Digits of the length of a netstring.
const DIGITS_MAX: usize = 6;

/// What a map says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// `OK`: it has it. What it has does not matter.
    Found,
    /// `NOTFOUND`.
    NotFound,
    /// `TEMP`, `TIMEOUT` or `PERM`, with its reason.
    Trouble(String),
}

/// How far a reply has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Some of it is missing.
    More,
    /// It is whole.
    Whole(Reply),
    /// It is no reply, and nothing after it can be one.
    Garbage,
}

/// `NAME key` as a netstring.
pub(super) fn question(name: &str, key: &[u8]) -> Vec<u8> {
    let length = name.len() + 1 + key.len();
    [length.to_string().as_bytes(), b":", name.as_bytes(), b" ", key, b","].concat()
}

/// Reads a reply of all octets that came since the question. Nothing may follow it.
pub(super) fn read(octets: &[u8]) -> Read {
    let digits = octets.iter().take_while(|octet| octet.is_ascii_digit()).count();
    if digits > DIGITS_MAX {
        return Read::Garbage;
    }
    let (number, rest) = octets.split_at_checked(digits).unwrap_or_default();
    let rest = match rest.split_first() {
        None => return Read::More,
        Some((b':', rest)) if digits > 0 => rest,
        Some(_) => return Read::Garbage,
    };
    let length = number.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    if length > REPLY_BYTES_MAX || rest.len() > length + 1 {
        return Read::Garbage;
    }
    match rest.split_at_checked(length) {
        None | Some((_, [])) => Read::More,
        Some((reply, b",")) => understand(reply).map_or(Read::Garbage, Read::Whole),
        Some(_) => Read::Garbage,
    }
}

fn understand(reply: &[u8]) -> Option<Reply> {
    let word = reply.split(|octet| *octet == b' ').next().unwrap_or_default();
    match word {
        b"OK" => Some(Reply::Found),
        b"NOTFOUND" => Some(Reply::NotFound),
        b"TEMP" | b"TIMEOUT" | b"PERM" => Some(Reply::Trouble(String::from_utf8_lossy(reply).into_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_netstring_of_name_and_key() {
        assert_eq!(question("m", b"a@x.test"), b"10:m a@x.test,");
    }

    #[test]
    fn replies_are_what_they_are_wherever_they_are_cut() {
        let trouble = |why: &str| Reply::Trouble(why.to_owned());
        for (octets, reply) in [
            (&b"5:OK ok,"[..], Reply::Found),
            (b"2:OK,", Reply::Found),
            (b"9:NOTFOUND ,", Reply::NotFound),
            (b"8:NOTFOUND,", Reply::NotFound),
            (b"9:TEMP down,", trouble("TEMP down")),
            (b"8:TIMEOUT ,", trouble("TIMEOUT ")),
            (b"6:PERM x,", trouble("PERM x")),
        ] {
            for cut in 0..octets.len() {
                assert_eq!(read(&octets[..cut]), Read::More, "{cut} of {octets:?}");
            }
            assert_eq!(read(octets), Read::Whole(reply));
            assert_eq!(read(&[octets, b"5:OK ok,"].concat()), Read::Garbage, "nobody asked for more");
        }
    }

    #[test]
    fn what_is_no_reply_is_garbage_and_never_a_yes() {
        for octets in [
            &b"x"[..],
            b":",
            b",",
            b"OK",
            b"5:OKAY!,",
            b"0:,",
            b"3:OK ;",
            b"1234567",
            b"99999:",
            b"4:okay,",
            b"-1:",
            b" 2:OK,",
            b"\0",
        ] {
            assert_eq!(read(octets), Read::Garbage, "{octets:?}");
        }
    }
}
