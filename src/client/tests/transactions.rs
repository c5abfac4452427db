//! Transactions of SMTP: command groups, chunks, refusals, lost connections.

use super::with;

const ALL: &[&str] = &["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN"];

#[test]
fn all_of_a_message_is_said_at_once() {
    with(
        "",
        "T: from=a@b to=c@d,e@f bytes=4096 8bit\nT: from= to=c@d",
        ALL,
        "C: MAIL FROM:<a@b> SIZE=4096 BODY=8BITMIME
         C: RCPT TO:<c@d>
         C: RCPT TO:<e@f>
         C: BDAT 4096 LAST
         C: <chunk>
         S: 250 2.1.0 ok
         S: 250 2.1.5 ok
         S: 250 2.1.5 ok
         S: 250 2.0.0 queued as 1
         = accepted 250 2.0.0 \"queued as 1\"; accepted 250 2.0.0 \"queued as 1\"
         C: MAIL FROM:<> SIZE=5
         C: RCPT TO:<c@d>
         C: BDAT 5 LAST
         C: <chunk>
         S: 250 ok
         S: 251 will forward
         S: 250 queued as 2
         = accepted 250 \"queued as 2\"",
    );
}

#[test]
fn without_chunking_data_is_the_last_of_the_group() {
    with(
        "",
        "T: from=a@b to=c@d,e@f",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: RCPT TO:<e@f>
         C: DATA
         S: 250 ok
         S: 550 5.1.1 nobody
         S: 250 ok
         S: 354 go
         C: <dot>
         S: 250 queued
         = permanent 550 5.1.1 \"nobody\"; accepted 250 \"queued\"",
    );
}

#[test]
fn without_pipelining_each_command_waits_for_its_reply() {
    for (settings, keywords) in [("", &["CHUNKING"][..]), ("no-pipelining", &["CHUNKING", "PIPELINING"])] {
        with(
            settings,
            "T: from=a@b to=c@d,e@f",
            keywords,
            "C: MAIL FROM:<a@b>
             S: 250 ok
             C: RCPT TO:<c@d>
             S: 450 4.2.0 later
             C: RCPT TO:<e@f>
             S: 250 ok
             C: BDAT 5 LAST
             C: <chunk>
             S: 452 4.3.1 full
             = temporary 450 4.2.0 \"later\"; temporary 452 4.3.1 \"full\"",
        );
    }
}

#[test]
fn large_content_waits_for_the_recipients() {
    with(
        "",
        "T: from=a@b to=c@d bytes=262145",
        &["PIPELINING", "CHUNKING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         S: 250 ok
         S: 250 ok
         C: BDAT 262145 LAST
         C: <chunk>
         S: 250 queued
         = accepted 250 \"queued\"",
    );
    with(
        "",
        "T: from=a@b to=c@d bytes=262145",
        &["PIPELINING", "CHUNKING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         S: 250 ok
         S: 550 no
         = permanent 550 \"no\"",
    );
}

/// RFC 2920 §3.1: DATA that was said with the rest may be answered 354, whatever became of the recipients.
#[test]
fn mail_data_for_nobody_is_a_lone_dot() {
    for reply in ["250 queued as nothing", "554 5.5.1 no valid recipients", "354 go"] {
        with(
            "",
            "T: from=a@b to=c@d\nT: from=quit",
            &["PIPELINING"],
            &format!(
                "C: MAIL FROM:<a@b>
             C: RCPT TO:<c@d>
             C: DATA
             S: 250 ok
             S: 550 5.1.1 nobody
             S: 354 go
             C: .
             S: {reply}
             = permanent 550 5.1.1 \"nobody\"
             C: QUIT"
            ),
        );
    }
    with(
        "",
        "T: from=a@b to=c@d\nT: from=quit",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: DATA
         S: 550 5.7.1 not you
         S: 250 ok
         S: 354 go
         C: .
         S: 250 queued
         = permanent 550 5.7.1 \"not you\"
         C: QUIT",
    );
    // It is about the session, and no message is given up for it.
    with(
        "",
        "T: from=a@b to=c@d\nT: from=quit",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: DATA
         S: 530 5.7.0 Must issue a STARTTLS command first
         S: 503 5.5.1 MAIL first
         S: 503 5.5.1 RCPT first
         = temporary 530 5.7.0 \"Must issue a STARTTLS command first\"
         C: QUIT",
    );
}

#[test]
fn a_chunk_for_nobody_has_a_reply_that_says_nothing() {
    for reply in ["250 ok", "503 5.5.1 MAIL first", "354 go"] {
        with(
            "",
            "T: from=a@b to=c@d\nT: from=a@b to=c@d",
            &["PIPELINING", "CHUNKING"],
            &format!(
                "C: MAIL FROM:<a@b>
             C: RCPT TO:<c@d>
             C: BDAT 5 LAST
             C: <chunk>
             S: 450 4.7.1 greylisted
             S: 503 5.5.1 MAIL first
             S: {reply}
             = temporary 450 4.7.1 \"greylisted\"
             C: RSET
             C: MAIL FROM:<a@b>
             C: RCPT TO:<c@d>
             C: BDAT 5 LAST
             C: <chunk>
             S: 250 reset
             S: 250 ok
             S: 250 ok
             S: 250 queued
             = accepted 250 \"queued\""
            ),
        );
    }
}

#[test]
fn a_transaction_that_is_left_open_is_reset() {
    // All recipients refused, DATA refused, and both by a group.
    with(
        "",
        "T: from=a@b to=c@d\nT: from=e@f to=g@h\nT: from=i@j to=k@l",
        &[],
        "C: MAIL FROM:<a@b>
         S: 250 ok
         C: RCPT TO:<c@d>
         S: 550 no
         = permanent 550 \"no\"
         C: RSET
         S: 250 ok
         C: MAIL FROM:<e@f>
         S: 250 ok
         C: RCPT TO:<g@h>
         S: 250 ok
         C: DATA
         S: 451 4.3.0 trouble
         = temporary 451 4.3.0 \"trouble\"
         C: RSET
         S: 502 5.5.1 what
         = lost
         = refused (RSET)
         = by 502 5.5.1 \"what\"",
    );
    with(
        "",
        "T: from=a@b to=c@d\nT: from=quit",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: DATA
         S: 250 ok
         S: 550 no
         S: 554 5.5.1 no valid recipients
         = permanent 550 \"no\"
         C: QUIT",
    );
}

#[test]
fn a_transaction_that_is_not_open_is_not_reset() {
    with(
        "",
        "T: from=a@b to=c@d\nT: from=a@b to=c@d\nT: from=a@b to=c@d",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: DATA
         S: 452 4.3.1 full
         S: 503 MAIL first
         S: 503 MAIL first
         = temporary 452 4.3.1 \"full\"
         C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 354 go
         C: <dot>
         S: 554 5.6.0 spam
         = permanent 554 5.6.0 \"spam\"
         C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: DATA",
    );
}

/// RFC 5321 §4.5.3.1.10.
#[test]
fn more_recipients_than_a_server_takes_are_for_a_further_transaction() {
    with(
        "",
        "T: from=a@b to=c@d,e@f,g@h,i@j",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: RCPT TO:<e@f>
         C: RCPT TO:<g@h>
         C: RCPT TO:<i@j>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 452 4.5.3 too many
         S: 552 too many
         S: 552 5.2.2 mailbox full
         S: 354 go
         C: <dot>
         S: 250 queued
         = accepted 250 \"queued\"; untried; untried; permanent 552 5.2.2 \"mailbox full\"",
    );
    // One that takes nobody at all has nothing that a further transaction would change.
    with(
        "",
        "T: from=a@b to=c@d,e@f",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: RCPT TO:<e@f>
         C: DATA
         S: 250 ok
         S: 452 4.5.3 too many
         S: 552 too many
         S: 503 5.5.1 nobody
         = temporary 452 4.5.3 \"too many\"; temporary 552 \"too many\"",
    );
}

/// RFC 9422.
#[test]
fn limits_are_kept() {
    with(
        "",
        "T: from=a@b to=c@d,e@f,g@h\nT: from=a@b to=g@h",
        &["PIPELINING", "CHUNKING", "LIMITS RCPTMAX=2 MAILMAX=1"],
        "C: MAIL FROM:<a@b>
         C: RCPT TO:<c@d>
         C: RCPT TO:<e@f>
         C: BDAT 5 LAST
         C: <chunk>
         S: 250 ok
         S: 250 ok
         S: 550 no
         S: 250 queued
         = accepted 250 \"queued\"; permanent 550 \"no\"; untried
         = spent
         C: QUIT
         S: 221 bye
         = ended by QUIT",
    );
}

#[test]
fn a_lost_connection_tells_what_is_known() {
    let both = "T: from=a@b to=c@d,e@f";
    // Before anything was answered; the chunk was on its way.
    with(
        "",
        both,
        &["PIPELINING", "CHUNKING"],
        "C: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: RCPT TO:<e@f>\nC: BDAT 5 LAST\nC: <chunk>
         S: 250 ok
         S: 550 no
         S: <close>
         = permanent 550 \"no\"; unknown
         = closed by the server without a word (RCPT)",
    );
    with(
        "",
        both,
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: RCPT TO:<e@f>\nC: DATA
         S: 250 ok
         S: 250 ok
         S: <timeout>
         = lost; lost
         = timed out (RCPT)",
    );
    with(
        "",
        both,
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: RCPT TO:<e@f>\nC: DATA
         S: 250 ok
         S: 250 ok
         S: 250 ok
         S: 354 go
         C: <dot>
         S: <raw>250 que
         S: <timeout>
         = unknown; unknown
         = timed out (end of mail data)",
    );
    // A lone dot makes nothing unknown.
    with(
        "",
        "T: from=a@b to=c@d",
        &["PIPELINING"],
        "C: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: DATA
         S: 250 ok
         S: 550 no
         S: 354 go
         C: .
         S: <close>
         = permanent 550 \"no\"
         = closed by the server without a word (end of mail data)",
    );
}

#[test]
fn a_server_that_closes_refuses_for_now_what_it_did_not_answer() {
    with(
        "",
        "T: from=a@b to=c@d,e@f,g@h",
        &["PIPELINING", "CHUNKING"],
        "C: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: RCPT TO:<e@f>\nC: RCPT TO:<g@h>\nC: BDAT 5 LAST\nC: <chunk>
         S: 250 ok
         S: 250 ok
         S: 550 5.1.1 no
         S: 421 4.3.2 stopping
         = temporary 421 4.3.2 \"stopping\"; permanent 550 5.1.1 \"no\"; temporary 421 4.3.2 \"stopping\"
         = closed by the server with 421 (RCPT)
         = by 421 4.3.2 \"stopping\"",
    );
    with(
        "",
        "T: from=a@b to=c@d",
        &[],
        "C: MAIL FROM:<a@b>
         S: 250 ok
         C: RCPT TO:<c@d>
         S: 250 ok
         C: DATA
         S: 354 go
         C: <dot>
         S: 421 4.3.0 cannot tell
         = temporary 421 4.3.0 \"cannot tell\"
         = closed by the server with 421 (end of mail data)
         = by 421 4.3.0 \"cannot tell\"",
    );
}

#[test]
fn who_is_only_asked_about_gets_nothing() {
    with(
        "",
        "T: ask to=c@d,e@f,g@h\nT: ask to=c@d\nT: from=a@b to=c@d",
        ALL,
        "C: MAIL FROM:<> SIZE=0
         C: RCPT TO:<c@d>
         C: RCPT TO:<e@f>
         C: RCPT TO:<g@h>
         S: 250 ok
         S: 250 2.1.5 ok
         S: 550 5.1.1 nobody
         S: 452 4.2.2 full
         = welcome; permanent 550 5.1.1 \"nobody\"; temporary 452 4.2.2 \"full\"
         C: RSET
         C: MAIL FROM:<> SIZE=0
         C: RCPT TO:<c@d>
         S: 250 ok
         S: 250 ok
         S: 250 ok
         = welcome
         C: RSET
         C: MAIL FROM:<a@b> SIZE=5
         C: RCPT TO:<c@d>
         C: BDAT 5 LAST
         C: <chunk>
         S: 250 ok
         S: 250 ok
         S: 250 ok
         S: 250 queued
         = accepted 250 \"queued\"",
    );
    with(
        "",
        "T: ask to=c@d",
        &[],
        "C: MAIL FROM:<>
         S: 550 5.7.1 no notices here
         = permanent 550 5.7.1 \"no notices here\"",
    );
    with(
        "lmtp",
        "T: ask to=c@d,e@f",
        &[],
        "C: MAIL FROM:<>
         S: 250 ok
         C: RCPT TO:<c@d>
         S: 250 ok
         C: RCPT TO:<e@f>
         S: <close>
         = lost; lost
         = closed by the server without a word (RCPT)",
    );
}
