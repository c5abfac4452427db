//! Reads maildirs at any depth below a folder: what lies in `new` and `cur` is mail, what lies in `tmp` is
//! not yet.

use std::fs::{self, DirEntry};
use std::path::Path;

use super::findings::{Findings, Stored};

/// The field that names the recipient of a copy.
const DELIVERED_TO: &[u8] = b"Delivered-To:";

/// Hands every message to the findings.
pub fn read(root: &Path, findings: &mut Findings) -> Result<(), String> {
    let is_mail = root.file_name().is_some_and(|name| name == "new" || name == "cur");
    let failed = |error| format!("reading {}: {error}", root.display());
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            read(&entry.path(), findings)?;
        } else if is_mail && kind.is_file() {
            read_message(&entry, findings)?;
        }
    }
    Ok(())
}

fn read_message(entry: &DirEntry, findings: &mut Findings) -> Result<(), String> {
    let path = entry.path();
    let content = fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    let told = size_in_name(&entry.file_name().to_string_lossy());
    let complaint = match told {
        Some(Ok(size)) if size == content.len() as u64 => None,
        None => None,
        Some(Ok(size)) => Some(format!("{} octets, and the file name says {size}", content.len())),
        Some(Err(())) => Some("the S= in the file name is no number".into()),
    };
    findings.take(Stored {
        place: &path.display(),
        content: &content,
        lf_allowed: true,
        recipients: recipients_of(&content),
        mail_data_at: None,
        complaint,
    });
    Ok(())
}

/// What `,S=` in the name says, up to the next `,` or the `:` of the flags.
fn size_in_name(name: &str) -> Option<Result<u64, ()>> {
    let (_, rest) = name.split_once(",S=")?;
    let end = rest.find([',', ':']).unwrap_or(rest.len());
    Some(rest[..end].parse().map_err(|_| ()))
}

/// The values of the first `Delivered-To:` in the header and of those directly below it: recipients who share
/// a maildir share a copy. Further down they are the sender's. Without any, one recipient who is not known.
fn recipients_of(content: &[u8]) -> Vec<Option<Vec<u8>>> {
    let lines = content.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_end);
    let header = lines.take_while(|line| !line.is_empty());
    let values = header.map(|line| line.strip_prefix(DELIVERED_TO).map(<[u8]>::trim_ascii));
    let first = values.skip_while(Option::is_none);
    let recipients: Vec<_> =
        first.take_while(Option::is_some).map(|value| value.map(<[u8]>::to_vec)).collect();
    if recipients.is_empty() { vec![None] } else { recipients }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_read_out_of_the_name() {
        assert_eq!(size_in_name("1.M2P3Q4.host,S=512"), Some(Ok(512)));
        assert_eq!(size_in_name("1.host,S=7,W=8:2,S"), Some(Ok(7)));
        assert_eq!(size_in_name("1.host,S=x"), Some(Err(())));
        assert_eq!(size_in_name("1.host:2,S"), None);
    }

    #[test]
    fn the_recipients_are_read_out_of_the_header() {
        let one = |text: &str| Some(text.as_bytes().to_vec());
        let mail = b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nDelivered-To: e@f\r\nReceived: x\r\nDelivered-To: g@h\r\n\r\n";
        assert_eq!(recipients_of(mail), [one("c@d"), one("e@f")]);
        assert_eq!(recipients_of(b"Delivered-To: c@d\n\nDelivered-To: e@f\n"), [one("c@d")]);
        assert_eq!(recipients_of(b"Subject: x\n\nDelivered-To: c@d\n"), [None]);
    }
}
