//! Messages that somebody else wrote: a folder of `.eml` files or an mbox, read once and put into the form
//! that SMTP carries (lines that end in CRLF, no other CR or LF).

use std::path::Path;
use std::{fs, io};

/// Octets of all messages together: they stay in memory.
const BYTES_MAX: usize = 1 << 30;

/// The texts found there, in order of name or place. Never empty.
pub fn read(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let wrong = |error: io::Error| format!("reading {}: {error}", path.display());
    let raw = if fs::metadata(path).map_err(wrong)?.is_dir() {
        read_folder(path).map_err(wrong)?
    } else {
        split_mbox(&fs::read(path).map_err(wrong)?)
    };
    let texts: Vec<Vec<u8>> =
        raw.iter().map(|message| normalize(message)).filter(|text| !text.is_empty()).collect();
    let bytes: usize = texts.iter().map(Vec::len).sum();
    match (texts.is_empty(), bytes > BYTES_MAX) {
        (true, _) => Err(format!("{} has no .eml file, and no message", path.display())),
        (_, true) => Err(format!("{} has more than 1 GiB of mail", path.display())),
        (false, false) => Ok(texts),
    }
}

fn read_folder(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml")));
    paths.sort();
    paths.iter().map(fs::read).collect()
}

/// Messages begin at a line "From " at the start or after an empty line; `>From ` in them loses its `>`
/// (mboxrd).
fn split_mbox(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut behind_empty = true;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let quoted = line.iter().take_while(|octet| **octet == b'>').count();
        let from = line[quoted..].starts_with(b"From ");
        if from && quoted == 0 && behind_empty {
            messages.push(Vec::new());
        } else if let Some(message) = messages.last_mut() {
            message.extend_from_slice(&line[usize::from(from && quoted > 0)..]);
        }
        behind_empty = line.trim_ascii_end().is_empty();
    }
    messages
}

/// Line ends become CRLF, bare CR and NUL go. So does Message-ID, because each message that is sent gets its
/// own.
fn normalize(message: &[u8]) -> Vec<u8> {
    const MESSAGE_ID: &[u8] = b"message-id:";
    let mut text = Vec::with_capacity(message.len() + message.len() / 32);
    let (mut header, mut dropping) = (true, false);
    for line in message.split(|octet| *octet == b'\n') {
        let content: Vec<u8> = line.iter().filter(|octet| !b"\r\0".contains(octet)).copied().collect();
        header &= !content.is_empty();
        let folded = content.first().is_some_and(|octet| b" \t".contains(octet));
        let named = content.get(..MESSAGE_ID.len()).is_some_and(|name| name.eq_ignore_ascii_case(MESSAGE_ID));
        dropping = header && (named || (dropping && folded));
        if !dropping {
            text.extend_from_slice(&content);
            text.extend_from_slice(b"\r\n");
        }
    }
    // The empty rest after the last line end was taken for a line.
    if message.ends_with(b"\n") {
        text.truncate(text.len() - 2);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbox_is_its_messages() {
        let mbox = b"From a Mon\nMessage-ID: <1>\n folded\nSubject: x\n\n>From here\n.dot\n\nFrom b Mon\nSubject: y\n\nFrom z\n";
        let texts: Vec<Vec<u8>> = split_mbox(mbox).iter().map(|message| normalize(message)).collect();
        assert_eq!(texts.len(), 3);
        assert_eq!(texts[0], b"Subject: x\r\n\r\nFrom here\r\n.dot\r\n\r\n");
        assert_eq!(texts[1], b"Subject: y\r\n\r\n");
    }

    #[test]
    fn a_folder_is_its_eml_files() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(read(folder.path()).is_err());
        fs::write(folder.path().join("b.eml"), "Subject: b\r\n\r\nlast line").expect("written");
        fs::write(folder.path().join("a.EML"), "Subject: a\r\r\n\n").expect("written");
        fs::write(folder.path().join("c.txt"), "no").expect("written");
        let texts = read(folder.path()).expect("messages");
        assert_eq!(texts, [&b"Subject: a\r\n\r\n"[..], b"Subject: b\r\n\r\nlast line\r\n"]);
    }
}
