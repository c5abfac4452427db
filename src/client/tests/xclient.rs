//! XCLIENT: the next hop is told on whose behalf a transaction is.

use super::with;

const XCLIENT: &[&str] = &["PIPELINING", "CHUNKING", "XCLIENT ADDR PORT HELO PROTO"];

#[test]
fn the_next_hop_is_told_of_the_client() {
    let said = |address| format!("C: XCLIENT ADDR={address} PORT=25000 HELO=sender.test PROTO=ESMTP");
    let hello = "S: 220 mx.test
         C: EHLO client.test
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-XCLIENT ADDR PORT HELO PROTO
         S: 250 CHUNKING";
    let message = "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: BDAT 5 LAST
         C: <chunk>
         S: 250 ok
         S: 250 ok
         S: 250 queued
         = accepted 250 \"queued\"";
    // The same client twice, then another one, then none.
    let transaction = "T: from=a@b to=c@d";
    with(
        "xclient",
        &format!(
            "{transaction} client=192.0.2.1\n{transaction} client=192.0.2.1\n{transaction} client=[2001:db8::1]\n{transaction}"
        ),
        XCLIENT,
        &format!(
            "{}\n{hello}\n{message}\n{message}\n{}\n{hello}\n{message}\n{}\n{hello}\n{message}",
            said("192.0.2.1"),
            said("IPV6:2001:db8::1"),
            "C: XCLIENT ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] PROTO=ESMTP"
        ),
    );
    // Not where it is not allowed, or not offered, or there is no client.
    with("", &format!("{transaction} client=192.0.2.1"), XCLIENT, message);
    with("xclient", transaction, XCLIENT, message);
    with("xclient", &format!("{transaction} client=192.0.2.1"), &["PIPELINING", "CHUNKING"], message);
}

#[test]
fn an_open_transaction_ends_before_xclient() {
    with(
        "xclient",
        "T: from=a@b to=c@d\nT: from=a@b to=c@d client=192.0.2.1",
        &["XCLIENT ADDR"],
        "C: MAIL FROM:<a@b>
         S: 250 ok
         C: RCPT TO:<c@d>
         S: 550 no
         = permanent 550 \"no\"
         C: RSET
         S: 250 ok
         C: XCLIENT ADDR=192.0.2.1
         S: 220 mx.test
         C: EHLO client.test
         S: 250-mx.test
         S: 250 XCLIENT ADDR
         C: MAIL FROM:<a@b>",
    );
}

#[test]
fn a_refused_xclient_is_the_hosts_fault() {
    with(
        "xclient",
        "T: from=a@b to=c@d client=192.0.2.1",
        &["XCLIENT ADDR"],
        "C: XCLIENT ADDR=192.0.2.1
         S: 550 5.7.0 not for you
         = lost
         = refused (XCLIENT)
         = by 550 5.7.0 \"not for you\"",
    );
    with(
        "xclient",
        "T: from=a@b to=c@d client=192.0.2.1",
        &["XCLIENT ADDR"],
        "C: XCLIENT ADDR=192.0.2.1
         S: 220 mx.test
         C: EHLO client.test
         S: 421 4.7.0 too many connections
         = temporary 421 4.7.0 \"too many connections\"
         = closed by the server with 421 (EHLO)
         = by 421 4.7.0 \"too many connections\"",
    );
}

/// What was written down for one set of offers is not said under another one.
#[test]
fn a_server_that_offers_something_else_after_xclient_is_tried_anew() {
    with(
        "xclient",
        "T: from=a@b to=c@d client=192.0.2.1\nT: from=a@b to=c@d client=192.0.2.1",
        XCLIENT,
        "C: XCLIENT ADDR=192.0.2.1 PORT=25000 HELO=sender.test PROTO=ESMTP
         S: 220 mx.test
         C: EHLO client.test
         S: 250-mx.test
         S: 250-SIZE 100
         S: 250 CHUNKING
         = untried
         C: MAIL FROM:<a@b> SIZE=5",
    );
}
