//! What a next hop can take, and what is said of it.

use super::with;

const ALL: &[&str] = &["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN"];

#[test]
fn what_a_next_hop_cannot_take_is_found_before_anything_is_said() {
    for (transaction, keywords, unfit) in [
        ("from=a@b to=c@d 8bit", &["CHUNKING"][..], "5.6.3"),
        ("from=a@b to=c@d binary", &["CHUNKING"], "5.6.1"),
        ("from=a@b to=c@d binary", &["BINARYMIME"], "5.6.1"),
        ("from=a@b to=c@d bare", &["8BITMIME"], "5.6.1"),
        ("from=a@b to=c@d utf8", &["8BITMIME"], "5.6.9"),
        ("from=jos\u{e9}@b to=c@d", &["8BITMIME"], "5.6.7"),
        ("from=a@b to=c@d,jos\u{e9}@b", &["8BITMIME"], "5.6.7"),
        ("from=a@b to=c@d bytes=11", &["SIZE 10"], "5.3.4"),
        ("from=a@b to=c@d requiretls", &["REQUIRETLS"], "5.7.30"),
        ("from=a\u{7f}@b to=c@d", &[], "5.1.7"),
        ("from=a@b to=,c@d", &[], "5.1.3"),
    ] {
        let transactions = format!("T: {transaction}\nT: from=x@y to=z@z");
        let mut hello = format!("= unfit {unfit}\nC: MAIL FROM:<x@y>");
        if keywords.contains(&"SIZE 10") {
            hello += " SIZE=5";
        }
        with("", &transactions, keywords, &hello);
    }
    with("no-chunking", "T: from=a@b to=c@d bare", ALL, "= unfit 5.6.1");
}

#[test]
fn what_a_message_needs_is_said() {
    with(
        "",
        "T: from=jos\u{e9}@b to=c@d binary bare",
        ALL,
        "C: MAIL FROM:<jos\u{e9}@b> SIZE=5 BODY=BINARYMIME SMTPUTF8\nC: RCPT TO:<c@d>\nC: BDAT 5 LAST\nC: <chunk>",
    );
    with(
        "",
        "T: from=a@b to=c@d utf8 dsn",
        ALL,
        "C: MAIL FROM:<a@b> SIZE=5 SMTPUTF8 RET=HDRS ENVID=QQ+2B
         C: RCPT TO:<c@d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@x
         C: BDAT 5 LAST
         C: <chunk>",
    );
    // RFC 3461 §5.2.2: not to a server that does not know them.
    with(
        "",
        "T: from=a@b to=c@d dsn",
        &["PIPELINING", "SIZE 0"],
        "C: MAIL FROM:<a@b> SIZE=5\nC: RCPT TO:<c@d>\nC: DATA",
    );
}

/// RFC 8689: under TLS, with a server that was authenticated and offers it.
#[test]
fn requiretls_is_handed_on_or_the_message_stays() {
    let secured = |settings: &str, offer: &str, rest: &str| {
        let transactions = "T: from=a@b to=c@d requiretls";
        with(
            &format!("tls=required {settings}"),
            transactions,
            &["STARTTLS"],
            &format!(
                "C: STARTTLS
             S: 220 go
             C: <tls>
             C: EHLO client.test
             S: 250-mx.test
             S: 250 {offer}
             {rest}"
            ),
        );
    };
    secured("", "REQUIRETLS", "C: MAIL FROM:<a@b> REQUIRETLS");
    secured("", "HELP", "= unfit 5.7.30");
    secured("insecure", "REQUIRETLS", "= unfit 5.7.30");
}
