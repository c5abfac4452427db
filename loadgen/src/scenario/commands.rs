//! The commands that a run's sessions say, made once.

use super::pattern::Pattern;

/// The name in EHLO.
const CLIENT_NAME: &str = "loadgen.test";

/// Octets of commands that a flood sends at a time.
const FLOOD_BYTES: usize = 64 * 1024;

/// Commands with their CRLF.
#[derive(Debug, Clone)]
pub struct Commands {
    /// EHLO.
    pub ehlo: Vec<u8>,
    /// HELO, for servers that do not know EHLO.
    pub helo: Vec<u8>,
    /// MAIL.
    pub mail: Vec<u8>,
    /// RCPT, one a recipient; never empty.
    pub recipients: Vec<Vec<u8>>,
    /// What RCPT is made of in place of `recipients`, as often, where each one names another mailbox.
    pub varied: Option<Pattern>,
    /// The first RCPT many times over.
    pub flood: Vec<u8>,
    /// MAIL and every RCPT.
    pub envelope: Vec<u8>,
    /// MAIL, every RCPT and DATA.
    pub group: Vec<u8>,
}

impl Commands {
    /// DATA.
    pub const DATA: &'static [u8] = b"DATA\r\n";
    /// Mail data that is nothing but its end. RFC 2920 §3.1 has a client send it when DATA was accepted
    /// although no recipient was.
    pub const EMPTY_MAIL_DATA: &'static [u8] = b".\r\n";
    /// STARTTLS.
    pub const STARTTLS: &'static [u8] = b"STARTTLS\r\n";
    /// RSET.
    pub const RSET: &'static [u8] = b"RSET\r\n";
    /// QUIT.
    pub const QUIT: &'static [u8] = b"QUIT\r\n";

    /// Commands of a transaction from one reverse-path to as many forward-paths; `parameters` are those of
    /// MAIL, each after a space.
    pub fn new(reverse_path: &str, parameters: &str, forward_paths: &[String]) -> Self {
        assert!(!forward_paths.is_empty(), "a transaction has a recipient");
        let mail = format!("MAIL FROM:<{reverse_path}>{parameters}\r\n").into_bytes();
        let recipients: Vec<_> =
            forward_paths.iter().map(|path| format!("RCPT TO:<{path}>\r\n").into_bytes()).collect();
        let envelope = [&mail[..], &recipients.concat()].concat();
        let flood = recipients[0].repeat(FLOOD_BYTES / recipients[0].len());
        let group = [&envelope[..], Self::DATA].concat();
        let [ehlo, helo] = ["EHLO", "HELO"].map(|verb| format!("{verb} {CLIENT_NAME}\r\n").into_bytes());
        Self { ehlo, helo, mail, recipients, varied: None, flood, envelope, group }
    }

    /// The same with a number in each forward-path, if the mailbox has a place for one.
    #[must_use]
    pub fn with_numbers(self, mailbox: &str) -> Self {
        let pattern = Pattern::new(mailbox);
        Self { varied: pattern.varies().then_some(pattern), ..self }
    }

    /// Appends the RCPT of this index of a transaction with this number, if RCPT varies.
    pub fn write_varied(&self, number: u64, index: usize, octets: &mut Vec<u8>) -> bool {
        let Some(pattern) = &self.varied else { return false };
        pattern.write_rcpt(number.wrapping_mul(self.recipients.len() as u64) + index as u64, octets);
        true
    }
}

/// Forward-paths of `count` recipients: the mailbox itself, then `local-part+2@domain` and so on.
pub fn forward_paths(mailbox: &str, count: usize) -> Vec<String> {
    let (local_part, domain) = mailbox.rsplit_once('@').unwrap_or((mailbox, "loadgen.test"));
    let numbered = (2..=count).map(|number| format!("{local_part}+{number}@{domain}"));
    std::iter::once(mailbox.to_owned()).chain(numbered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_group_is_its_commands_in_order() {
        let commands = Commands::new("a@x.test", "", &forward_paths("b@y.test", 3));
        assert_eq!(
            String::from_utf8_lossy(&commands.group),
            "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<b+2@y.test>\r\nRCPT TO:<b+3@y.test>\r\nDATA\r\n"
        );
        assert_eq!(commands.recipients.len(), 3);
    }
}
