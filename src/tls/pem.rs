//! PEM files of certificates and keys (RFC 7468): read leniently, because they come through editors and
//! `cat`; and what is wrong with one.
//!
//! Files are as they come: a BOM, white space around lines, and an end line without a line end before the
//! next section change nothing. The errors are the texts that the operator reads.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::file;

/// No chain and no key is so large.
const FILE_BYTES_MAX: usize = 1 << 20;

const BOM: &str = "\u{feff}";

const CERTIFICATE: &str = "CERTIFICATE";

/// PKCS #8, PKCS #1 and SEC 1.
const KEYS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The certificates of a file in its order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = PemFile::read(path)?;
    let wanted = file.sections.iter().filter(|section| section.label == CERTIFICATE);
    let found = wanted
        .map(|section| CertificateDer::from_pem_slice(section.whole()?).map_err(|_| section.damaged()))
        .collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err(file.no_certificate(path)) } else { Ok(found) }
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let file = PemFile::read(path)?;
    if file.sections.iter().any(Section::is_encrypted) {
        let path = path.display();
        return Err(format!(
            "the key is encrypted with a passphrase, and ringmx cannot be asked for one: `openssl pkey -in {path} -out \
             {path}.plain` writes it without; only the user that runs ringmx should be able to read that"
        ));
    }
    match file.sections.iter().find(|section| KEYS.contains(&section.label.as_str())) {
        Some(section) => PrivateKeyDer::from_pem_slice(section.whole()?).map_err(|_| section.damaged()),
        None => Err(file.no_key(path)),
    }
}

/// From a line `-----BEGIN label-----` to its end line.
struct Section {
    label: String,
    /// Counted from 1.
    line: usize,
    /// With its first and its last line.
    text: String,
    is_whole: bool,
}

impl Section {
    fn whole(&self) -> Result<&[u8], String> {
        let Self { label, line, text, is_whole } = self;
        if *is_whole {
            return Ok(text.as_bytes());
        }
        Err(format!(
            "the file is cut off: `-----BEGIN {label}-----` in line {line} has no `-----END {label}-----`; copy it again, whole"
        ))
    }

    fn damaged(&self) -> String {
        let Self { label, line, .. } = self;
        format!(
            "`-----BEGIN {label}-----` in line {line}: what follows is not base64; copy the file again, unaltered"
        )
    }

    fn is_encrypted(&self) -> bool {
        self.label == ENCRYPTED
            || (KEYS.contains(&self.label.as_str())
                && self.text.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED")))
    }
}

struct PemFile {
    octets: Vec<u8>,
    sections: Vec<Section>,
}

impl PemFile {
    fn read(path: &Path) -> Result<Self, String> {
        let octets = file::read(path, FILE_BYTES_MAX).map_err(|error| file::unreadable(&error))?;
        if octets.starts_with(b"\xff\xfe") || octets.starts_with(b"\xfe\xff") {
            return Err("the file is UTF-16; save it as ASCII, for instance with `iconv -f UTF-16 -t ASCII`"
                .to_owned());
        }
        let sections = sections(&String::from_utf8_lossy(&octets));
        Ok(Self { octets, sections })
    }

    fn holds(&self, labels: &[&str]) -> bool {
        self.sections.iter().any(|section| labels.contains(&section.label.as_str()))
    }

    fn no_certificate(&self, path: &Path) -> String {
        let path = path.display();
        if self.holds(&KEYS) || self.holds(&[ENCRYPTED]) {
            return "this is a private key and no certificate: `chain` and `key` are swapped, or `chain` names the wrong file".to_owned();
        }
        if self.holds(&["TRUSTED CERTIFICATE"]) {
            return format!(
                "this is a certificate in a form of OpenSSL's own; `openssl x509 -in {path} -out {path}.pem` converts it"
            );
        }
        if self.holds(&["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"]) {
            return "this is a request for a certificate; name the file with what the authority answered"
                .to_owned();
        }
        if X509Certificate::from_der(&self.octets).is_ok() {
            return format!(
                "this is DER, not PEM; `openssl x509 -inform DER -in {path} -out {path}.pem` converts it"
            );
        }
        self.nothing_wanted(path, CERTIFICATE)
    }

    fn no_key(&self, path: &Path) -> String {
        let path = path.display();
        if self.holds(&[CERTIFICATE]) {
            return "this is a certificate and no private key: `chain` and `key` are swapped, or `key` names the wrong file".to_owned();
        }
        if self.holds(&["OPENSSH PRIVATE KEY"]) {
            return "this is a key of OpenSSH; make one for TLS, and a certificate for it".to_owned();
        }
        // PKCS #12 begins as PKCS #8 does, but for its version, which is 3.
        let is_pkcs12 =
            self.octets.iter().take(8).copied().collect::<Vec<_>>().windows(3).any(|part| part == [2, 1, 3]);
        if !is_pkcs12 && PrivateKeyDer::try_from(self.octets.as_slice()).is_ok() {
            return format!(
                "this is DER, not PEM; `openssl pkey -inform DER -in {path} -out {path}.pem` converts it"
            );
        }
        self.nothing_wanted(path, "PRIVATE KEY")
    }

    fn nothing_wanted(&self, path: std::path::Display<'_>, label: &str) -> String {
        let found: Vec<String> = self.sections.iter().map(|section| format!("`{}`", section.label)).collect();
        if self.octets.iter().all(u8::is_ascii_whitespace) {
            return format!("the file is empty; it should hold `-----BEGIN {label}-----`");
        }
        if !found.is_empty() {
            return format!("the file holds no `-----BEGIN {label}-----`, only {}", found.join(", "));
        }
        // A sequence of ASN.1 that is neither: most likely PKCS #12.
        if self.octets.first() == Some(&0x30) {
            return format!(
                "the file is binary; if it is PKCS #12, `openssl pkcs12 -in {path} -nodes -out {path}.pem` makes the PEM file that is needed"
            );
        }
        format!("the file holds no `-----BEGIN {label}-----`; a PEM file is needed")
    }
}

/// The sections of a text, whatever their labels. One that meets the next one, or the end, is not whole.
fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut is_open = false;
    for (index, line) in text.replace("\r\n", "\n").split(['\n', '\r']).enumerate() {
        for part in parts(line) {
            let part = part.trim_matches(|c: char| c.is_whitespace() || BOM.contains(c));
            let label = |kind| part.strip_prefix(kind).and_then(|rest| rest.strip_suffix("-----"));
            if let Some(label) = label("-----BEGIN ") {
                let text = format!("{part}\n");
                sections.push(Section { label: label.to_owned(), line: index + 1, text, is_whole: false });
                is_open = true;
            } else if is_open && let Some(section) = sections.last_mut() {
                section.text.push_str(part);
                section.text.push('\n');
                if label("-----END ") == Some(section.label.as_str()) {
                    section.is_whole = true;
                    is_open = false;
                }
            }
        }
    }
    sections
}

/// A line, with its markers apart from each other and from all else: `cat` joins them where the first file
/// does not end with a line end, and some tools write a whole section on one line.
fn parts(line: &str) -> Vec<&str> {
    const DASHES: &str = "-----";
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(start) = [rest.find("-----BEGIN "), rest.find("-----END ")].into_iter().flatten().min() {
        let (before, marker) = rest.split_at(start);
        parts.push(before);
        let end = marker[DASHES.len()..].find(DASHES).map_or(marker.len(), |end| end + 2 * DASHES.len());
        let (marker, behind) = marker.split_at(end);
        parts.push(marker);
        rest = behind;
    }
    parts.push(rest);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::self_signed;

    struct Files(tempfile::TempDir);

    impl Files {
        fn write(&self, octets: impl AsRef<[u8]>) -> std::path::PathBuf {
            let path = self.0.path().join("file");
            std::fs::write(&path, octets).expect("written");
            path
        }

        #[track_caller]
        fn chain_error(&self, octets: impl AsRef<[u8]>) -> String {
            certificates(&self.write(octets)).expect_err("no certificate")
        }

        #[track_caller]
        fn key_error(&self, octets: impl AsRef<[u8]>) -> String {
            private_key(&self.write(octets)).expect_err("no key")
        }
    }

    fn files() -> (Files, String, String) {
        let made = self_signed::make(&["mx.test".to_owned()]).expect("made");
        (Files(tempfile::tempdir().expect("a folder")), made.chain, made.key)
    }

    #[test]
    fn what_editors_and_cat_do_to_a_file_changes_nothing() {
        let (files, chain, key) = files();
        let second = self_signed::make(&["ca.test".to_owned()]).expect("made").chain;
        let expected = certificates(&files.write(format!("{chain}{second}"))).expect("good");
        assert_eq!(expected.len(), 2);
        let indented = |text: &str| format!("   {}", text.replace('\n', " \r\n   "));
        for text in [
            format!("{BOM}{chain}{second}"),
            format!("{chain}{BOM}{second}"),
            format!("{}{second}", chain.trim_end()),
            format!("a comment, with \u{fc}\n{}\n{}", indented(&chain), indented(&second)),
            format!("{key}{chain}{second}"),
            format!("{chain}{second}").replace('\n', ""),
            format!("{chain}{second}").replace('\n', "\r"),
        ] {
            assert!(certificates(&files.write(&text)).as_ref() == Ok(&expected), "{text}");
        }
        for text in [format!("{BOM}{key}"), indented(&key), format!("{chain}{key}")] {
            private_key(&files.write(text)).expect("good");
        }
    }

    #[test]
    fn a_file_that_was_cut_says_where() {
        let (files, chain, key) = files();
        let cut = |text: &str| text[..text.len() / 2].to_owned();
        let why = "the file is cut off: `-----BEGIN CERTIFICATE-----` in line 1 has no `-----END CERTIFICATE-----`; ";
        assert!(files.chain_error(cut(&chain)).starts_with(why));
        // In the middle of a chain, and in the last line.
        assert!(files.chain_error(format!("{}\n{chain}", cut(&chain))).starts_with(why));
        assert!(files.chain_error(&chain[..chain.len() - 3]).starts_with(why));
        let second = files.chain_error(format!("{chain}{}", cut(&chain)));
        let line = chain.lines().count() + 1;
        assert!(second.contains(&format!("in line {line} has no")), "{second}");
        assert!(
            files
                .key_error(cut(&key))
                .starts_with("the file is cut off: `-----BEGIN PRIVATE KEY-----` in line 1")
        );
        let damaged = files.chain_error(chain.replacen("MII", "M\u{fc}I", 1));
        assert!(
            damaged.starts_with("`-----BEGIN CERTIFICATE-----` in line 1: what follows is not base64"),
            "{damaged}"
        );
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_told_by_what_it_is() {
        let (files, chain, key) = files();
        assert!(
            files
                .chain_error(&key)
                .starts_with("this is a private key and no certificate: `chain` and `key` are swapped")
        );
        assert!(
            files
                .key_error(&chain)
                .starts_with("this is a certificate and no private key: `chain` and `key` are swapped")
        );
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert!(files.key_error(encrypted).contains("`openssl pkey -in "));
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(files.key_error(old).starts_with("the key is encrypted"));
        assert!(files.chain_error("").starts_with("the file is empty"));
        assert!(files.chain_error("\n \n").starts_with("the file is empty"));
        let utf16: Vec<u8> = "\u{feff}x".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(files.chain_error(utf16).starts_with("the file is UTF-16"));
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).expect("good");
        assert!(files.chain_error(&der).starts_with("this is DER, not PEM; `openssl x509 "));
        let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("good");
        assert!(files.key_error(der.secret_der()).starts_with("this is DER, not PEM; `openssl pkey "));
        let pkcs12 = b"0\x82\x03\xf0\x02\x01\x030\x82\x03";
        assert!(files.key_error(pkcs12).starts_with("the file is binary; if it is PKCS #12"));
        assert!(files.chain_error(b"0\x82\x01\x02").starts_with("the file is binary; if it is PKCS #12"));
        let request = chain.replace("CERTIFICATE", "CERTIFICATE REQUEST");
        assert!(files.chain_error(request).starts_with("this is a request for a certificate"));
        let other = chain.replace("CERTIFICATE", "X509 CRL");
        assert_eq!(
            files.key_error(other),
            "the file holds no `-----BEGIN PRIVATE KEY-----`, only `X509 CRL`"
        );
    }
}
