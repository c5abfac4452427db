//! Whether somebody vouched for the domain of a reverse-path, by the results that the receiver stored with
//! the message.

use serde_json::Value;

/// Whether SPF passed for this domain of the reverse-path, or DMARC for an author of the same domain.
/// `results` are those of the spool (docs/spool.md); what cannot be read vouches for nobody.
pub(super) fn is_vouched_for(domain: &[u8], results: &str) -> bool {
    let Ok(results) = serde_json::from_str::<Value>(results) else { return false };
    let word = |place: &str| results.pointer(place).and_then(Value::as_str).unwrap_or_default();
    let is_domain = |found: &str| !domain.is_empty() && found.as_bytes().eq_ignore_ascii_case(domain);
    let by_spf = word("/spf/mailfrom/result") == "pass" && is_domain(word("/spf/mailfrom/domain"));
    let authors = results.pointer("/from/domains").and_then(Value::as_array);
    let is_author = match authors.map(Vec::as_slice) {
        Some([author]) => is_domain(author.as_str().unwrap_or_default()),
        Some(_) | None => false,
    };
    by_spf || word("/dmarc/result") == "pass" && is_author
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(spf: (&str, &str), dmarc: &str, authors: &str) -> String {
        let (result, domain) = spf;
        format!(
            "{{\"version\":1,\"spf\":{{\"helo\":{{\"result\":\"pass\",\"domain\":\"x.test\"}},\
             \"mailfrom\":{{\"result\":\"{result}\",\"domain\":\"{domain}\",\"mechanism\":null,\"problem\":null}}}},\
             \"dkim\":[{{\"result\":\"pass\",\"domain\":\"x.test\"}}],\"arc\":{{\"result\":\"pass\"}},\
             \"from\":{{\"domains\":[{authors}],\"problem\":null}},\"dmarc\":{{\"result\":\"{dmarc}\"}}}}"
        )
    }

    #[test]
    fn only_spf_or_dmarc_of_the_same_domain_vouches() {
        for (spf, dmarc, authors, expected) in [
            (("pass", "x.test"), "none", "", true),
            (("pass", "X.Test"), "none", "", true),
            (("pass", "y.test"), "none", "", false),
            (("softfail", "x.test"), "none", "\"x.test\"", false),
            (("fail", "x.test"), "pass", "\"x.test\"", true),
            (("fail", "x.test"), "pass", "\"y.test\"", false),
            (("fail", "x.test"), "pass", "\"x.test\",\"y.test\"", false),
            (("fail", "x.test"), "fail", "\"x.test\"", false),
            // A name that looks like a result.
            (("fail", "x.test\\\",\\\"result\\\":\\\"pass"), "none", "", false),
        ] {
            let text = results(spf, dmarc, authors);
            assert_eq!(is_vouched_for(b"x.test", &text), expected, "{text}");
        }
        assert!(!is_vouched_for(b"", &results(("pass", ""), "none", "")));
        for broken in ["", "{", "[]", "\"pass\"", "{\"spf\":{\"mailfrom\":\"pass\"}}"] {
            assert!(!is_vouched_for(b"x.test", broken));
        }
    }
}
