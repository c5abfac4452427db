//! Names of macros, and sets of them. Names are Sendmail's.

/// All that can be told.
const ALL: [&str; 15] = [
    "j",
    "{daemon_name}",
    "v",
    "_",
    "{client_addr}",
    "{client_name}",
    "{client_port}",
    "{client_ptr}",
    "{tls_version}",
    "{cipher}",
    "i",
    "{mail_addr}",
    "{mail_host}",
    "{rcpt_addr}",
    "{rcpt_host}",
];

/// A set of names that can be told: bit N is that of `ALL[N]`. So a milter that asks for a name often, or for
/// many that nobody knows, is told no more than others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MacroNames(u16);

impl MacroNames {
    /// Those of a milter's list, with blanks or commas between them. It may write a name of more than one
    /// letter with or without braces.
    pub(super) fn of_list(list: &[u8]) -> Self {
        let names = list.split(|octet| matches!(octet, b' ' | b',' | b'\t'));
        Self(names.fold(0, |set, name| set | bit(|known| is_same(known, name))))
    }

    /// These.
    pub(super) fn of(names: &[&str]) -> Self {
        Self(names.iter().fold(0, |set, name| set | bit(|known| known == *name)))
    }

    /// In the order of the table.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        (0..).zip(ALL).filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| name)
    }
}

/// The bit of the name that is meant; none of a name that is unknown.
fn bit(is_meant: impl Fn(&str) -> bool) -> u16 {
    ALL.iter().position(|known| is_meant(known)).map_or(0, |at| 1 << at)
}

fn is_same(known: &str, name: &[u8]) -> bool {
    known.as_bytes() == name || known.trim_matches(['{', '}']).as_bytes() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(list: &str) -> String {
        MacroNames::of_list(list.as_bytes()).names().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_has_each_name_once() {
        assert_eq!(told("i j,i\t{i} i"), "j i");
        assert_eq!(told(&"rcpt_host {rcpt_host} nothing ".repeat(2000)), "{rcpt_host}");
        assert_eq!(told(""), "");
        assert_eq!(told(", ,  unknown {j"), "");
        assert_eq!(told(&ALL.join(" ")), ALL.join(" "));
        assert_eq!(MacroNames::of(&["i", "_"]), MacroNames::of_list(b"i _"));
    }
}
