//! The page's Content-Security-Policy: nothing but its own style and script runs, and it speaks to nobody but
//! the server that it came from.
//!
//! The hashes are computed from the embedded file, so they cannot be of another one.

use std::sync::OnceLock;

use data_encoding::BASE64;
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

use super::PAGE;

/// The value of the header `Content-Security-Policy`.
pub fn content_security_policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            source(inside("<script>", "</script>")),
            source(inside("<style>", "</style>"))
        )
    })
}

/// What stands between these tags, of which the page has one pair.
fn inside(open: &str, close: &str) -> &'static str {
    PAGE.split_once(open).and_then(|(_, after)| after.split_once(close)).map_or("", |(inside, _)| inside)
}

/// The one text that may run, by its hash.
fn source(text: &str) -> String {
    // The hash of a cipher suite is the only SHA-256 that rustls shows, and no other crate is needed.
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else { return "'none'".to_owned() };
    let hash = suite.common.hash_provider.hash(text.as_bytes());
    format!("'sha256-{}'", BASE64.encode(hash.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// SHA-256 by another program.
    fn sha256sum(text: &str) -> Vec<u8> {
        let mut program = Command::new("sha256sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sha256sum of coreutils");
        program.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
        let output = program.wait_with_output().expect("its output").stdout;
        let hex = String::from_utf8(output).expect("text");
        data_encoding::HEXLOWER
            .decode(hex.split_whitespace().next().expect("a hash").as_bytes())
            .expect("hex")
    }

    #[test]
    fn the_hashes_are_those_of_the_file() {
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<style").count(), 1);
        for (open, close, directive) in
            [("<script>", "</script>", "script-src"), ("<style>", "</style>", "style-src")]
        {
            let text = inside(open, close);
            assert!(text.len() > 1000 && !text.contains("<!--{"), "what is filled in has no hash");
            let hash = BASE64.encode(&sha256sum(text));
            let policy = content_security_policy();
            assert!(policy.contains(&format!("{directive} 'sha256-{hash}';")), "{policy}");
        }
    }

    #[test]
    fn nothing_in_the_page_needs_what_the_policy_forbids() {
        assert!(content_security_policy().starts_with("default-src 'none'; "));
        assert!(!content_security_policy().contains("unsafe"));
        let lower = PAGE.to_ascii_lowercase();
        for forbidden in
            ["style=\"", " onclick", " onload", " onerror", "src=\"", "@import", "url(", "javascript:"]
        {
            assert!(!lower.contains(forbidden), "{forbidden}");
        }
        // Names of namespaces are no addresses.
        let addresses = lower.replace("http://www.w3.org/2000/svg", "");
        assert!(!addresses.contains("http:") && !addresses.contains("https:") && !addresses.contains("\"//"));
    }
}
