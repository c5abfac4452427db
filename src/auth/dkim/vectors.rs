//! The examples of the standards: RFC 6376 appendix A with its errata 3192 and 4926, RFC 8463 appendix A.

use super::key;
use super::signature::{Problem, Signature};
use super::verify::{BodyHash, PublicKey};
use crate::auth::header::Header;

/// RFC 6376 appendix A.2. Its errata say how many blanks stand in the body and before folded lines.
pub(in crate::auth) const OF_6376: &str = "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r
      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r
      h=Received : From : To : Subject : Date : Message-ID;\r
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB\r
        4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut\r
        KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV\r
        4bmp/YzhwvcubU4=;\r
Received: from client1.football.example.com  [192.0.2.1]\r
      by submitserver.example.com with SUBMISSION;\r
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r
From: Joe SixPack <joe@football.example.com>\r
To: Suzie Q <suzie@shopping.example.net>\r
Subject: Is dinner ready?\r
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r
";

/// RFC 6376 appendix C.
pub(in crate::auth) const KEY_OF_6376: &str = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ\
KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v\
/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

/// RFC 8463 appendix A.3.
pub(in crate::auth) const OF_8463: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r
 subject : date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r
 date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r
From: Joe SixPack <joe@football.example.com>\r
To: Suzie Q <suzie@shopping.example.net>\r
Subject: Is dinner ready?\r
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r
";

/// RFC 8463 appendix A.2.
pub(in crate::auth) const ED25519_KEY_OF_8463: &str =
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
pub(in crate::auth) const RSA_KEY_OF_8463: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR\
iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC\
DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3\
Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

pub(in crate::auth) const BODY: &str = "Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n";

/// When the signatures of RFC 8463 were made.
const NOW: u64 = 1_528_637_909;

/// Whether the signature at this place from the top is by the key, with the body in pieces of so many octets.
fn verify(header: &str, place: usize, record: &str, body: &str, size: usize) -> Result<bool, Problem> {
    let header = Header::new(header.as_bytes());
    let own = header.named("DKIM-Signature").nth(place).expect("a signature");
    let signature = Signature::parse(header.value(own), NOW)?;
    let mut hash = BodyHash::new(signature.body_form);
    body.as_bytes().chunks(size).for_each(|piece| hash.update(piece));
    if hash.finish()[..] != signature.body_hash[..] {
        return Err(Problem::BodyHash);
    }
    let key = PublicKey::new(signature.algorithm, &key::parse(record.as_bytes(), &signature)?.octets)?;
    let mut octets = Vec::new();
    signature.hash_header(&header, own, &mut |part| octets.extend_from_slice(part));
    Ok(key.verify(&signature, &octets))
}

const ALL: [(&str, usize, &str); 3] =
    [(OF_6376, 0, KEY_OF_6376), (OF_8463, 0, ED25519_KEY_OF_8463), (OF_8463, 1, RSA_KEY_OF_8463)];

#[test]
fn examples_of_the_standards_verify_however_the_body_is_cut() {
    for (header, place, record) in ALL {
        for size in 1..=BODY.len() {
            assert_eq!(verify(header, place, record, BODY, size), Ok(true), "{place} of {header}");
        }
    }
}

#[test]
fn examples_of_the_standards_with_a_change_do_not() {
    for (header, place, record) in ALL {
        let body = BODY.replace("lost", "won");
        assert_eq!(verify(header, place, record, &body, 7), Err(Problem::BodyHash));
        let longer = format!("{BODY}More.\r\n");
        assert_eq!(verify(header, place, record, &longer, 7), Err(Problem::BodyHash));
        for (from, to) in [("dinner", "lunch"), ("Joe SixPack", "Joe Six"), ("21:00:37", "21:00:38")] {
            assert_eq!(verify(&header.replace(from, to), place, record, BODY, 7), Ok(false), "{to}");
        }
    }
    // Blanks at the ends of lines: nothing to the relaxed form, something to the simple one.
    let blanks = BODY.replace("Joe.", "Joe. \t");
    assert_eq!(verify(OF_6376, 0, KEY_OF_6376, &blanks, 7), Err(Problem::BodyHash));
    assert_eq!(verify(OF_8463, 0, ED25519_KEY_OF_8463, &blanks, 7), Ok(true));
    let folded = |header: &str| header.replace("Suzie Q <", "Suzie  Q\r\n\t<");
    assert_eq!(verify(&folded(OF_6376), 0, KEY_OF_6376, BODY, 7), Ok(false));
    assert_eq!(verify(&folded(OF_8463), 1, RSA_KEY_OF_8463, BODY, 7), Ok(true));
}

#[test]
fn a_second_from_breaks_an_oversigned_example_only() {
    let more = |header: &str| format!("From: evil@example.org\r\n{header}");
    assert_eq!(verify(&more(OF_6376), 0, KEY_OF_6376, BODY, 7), Ok(true), "the lowest is signed");
    for (place, record) in [(0, ED25519_KEY_OF_8463), (1, RSA_KEY_OF_8463)] {
        assert_eq!(verify(&more(OF_8463), place, record, BODY, 7), Ok(false), "h=from:from");
    }
}
