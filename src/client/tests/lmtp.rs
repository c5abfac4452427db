//! LMTP (RFC 2033): a reply for each recipient.

use super::with;

const THREE: &str = "T: from=a@b to=c@d,e@f,g@h\nT: from=a@b to=c@d";

#[test]
fn each_accepted_recipient_has_its_own_reply() {
    with(
        "lmtp",
        THREE,
        &["PIPELINING", "CHUNKING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: RCPT TO:<e@f>
         C: RCPT TO:<g@h>
         C: BDAT 5 LAST
         C: <chunk>
         S: 250 ok
         S: 250 ok
         S: 550 5.1.1 nobody
         S: 250 ok
         S: 250 2.0.0 saved
         S: 452 4.2.2 full
         = accepted 250 2.0.0 \"saved\"; permanent 550 5.1.1 \"nobody\"; temporary 452 4.2.2 \"full\"
         C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: BDAT 5 LAST
         C: <chunk>",
    );
    with(
        "lmtp",
        THREE,
        &[],
        "C: MAIL FROM:<a@b>
         S: 250 ok
         C: RCPT TO:<c@d>
         S: 250 ok
         C: RCPT TO:<e@f>
         S: 250 ok
         C: RCPT TO:<g@h>
         S: 450 later
         C: DATA
         S: 354 go
         C: <dot>
         S: 554 5.7.1 no
         S: 250 saved
         = permanent 554 5.7.1 \"no\"; accepted 250 \"saved\"; temporary 450 \"later\"
         C: MAIL FROM:<a@b>",
    );
}

#[test]
fn a_missing_reply_is_nobodys_success() {
    let said = "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: RCPT TO:<e@f>
         C: RCPT TO:<g@h>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 250 ok
         S: 250 ok
         S: 354 go
         C: <dot>
         S: 250 saved";
    with(
        "lmtp",
        THREE,
        &["PIPELINING"],
        &format!(
            "{said}\nS: <close>\n= accepted 250 \"saved\"; unknown; unknown\n= closed by the server without a word (end of mail data)"
        ),
    );
    with(
        "lmtp",
        THREE,
        &["PIPELINING"],
        &format!(
            "{said}\nS: 421 4.3.2 stop\n= accepted 250 \"saved\"; temporary 421 4.3.2 \"stop\"; temporary 421 4.3.2 \"stop\"\n= closed by the server with 421 (end of mail data)\n= by 421 4.3.2 \"stop\""
        ),
    );
}

#[test]
fn without_recipients_there_is_one_refusal() {
    with(
        "lmtp",
        "T: from=a@b to=c@d\nT: from=a@b to=c@d",
        &["PIPELINING", "CHUNKING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: BDAT 5 LAST
         C: <chunk>
         S: 250 ok
         S: 550 5.1.1 nobody
         S: 503 5.5.1 no recipients
         = permanent 550 5.1.1 \"nobody\"
         C: RSET
         C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: BDAT 5 LAST
         C: <chunk>",
    );
    // RFC 2033 §4.2 forbids 354: how many replies its end would have, nobody can tell.
    with(
        "lmtp",
        "T: from=a@b to=c@d",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: DATA
         S: 250 ok
         S: 550 5.1.1 nobody
         S: 354 go
         = permanent 550 5.1.1 \"nobody\"
         = a reply 354 that does not fit (DATA)
         = by 354 \"go\"",
    );
}
