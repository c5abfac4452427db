//! Servers that do what no server may: each has a clear ending, and none makes a message accepted.

use super::{Driver, Phase, Planned, Protocol, Settings, Tls, opened, script, whole};

const GROUP: &str = "C: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: DATA\n";
const CHUNK: &str = "C: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: BDAT 5 LAST\nC: <chunk>\n";

fn group(rest: &str) -> String {
    opened("", "T: from=a@b to=c@d", &["PIPELINING"]) + GROUP + rest
}

fn chunk(rest: &str) -> String {
    opened("", "T: from=a@b to=c@d", &["PIPELINING", "CHUNKING"]) + CHUNK + rest
}

#[test]
fn a_reply_that_does_not_fit_ends_the_session() {
    script(&group(
        "S: 250 ok\nS: 250 ok\nS: 250 ok\n= lost\n= a reply 250 that does not fit (DATA)\n= by 250 \"ok\"",
    ));
    script(&group("S: 354 go\n= lost\n= a reply 354 that does not fit (MAIL)\n= by 354 \"go\""));
    script(&group("S: 250 ok\nS: 354 go\n= lost\n= a reply 354 that does not fit (RCPT)\n= by 354 \"go\""));
    script(&group(
        "S: 250 ok\nS: 250 ok\nS: 354 go\nC: <dot>\nS: 354 go\n= unknown
         = a reply 354 that does not fit (end of mail data)\n= by 354 \"go\"",
    ));
    script(&chunk(
        "S: 250 ok\nS: 250 ok\nS: 354 go\n= unknown
         = a reply 354 that does not fit (end of mail data)\n= by 354 \"go\"",
    ));
    script(&group(
        "S: 550 no\nS: 354 go\n= permanent 550 \"no\"\n= a reply 354 that does not fit (RCPT)\n= by 354 \"go\"",
    ));
}

#[test]
fn what_is_no_reply_ends_the_session() {
    for (line, end) in [
        ("150 early", "a line that is no reply"),
        ("650 late", "a line that is no reply"),
        ("25\0 nul", "a line that is no reply"),
        ("\0", "a line that is no reply"),
        ("ok", "a line that is no reply"),
        ("250+ok", "a line that is no reply"),
    ] {
        script(&group(&format!("S: {line}\n= lost\n= {end} (MAIL)")));
        script(&chunk(&format!("S: 250 ok\nS: 250 ok\nS: {line}\n= unknown\n= {end} (end of mail data)")));
    }
    script(&group("S: 250-ok\nS: 550 ok\n= lost\n= a reply with two codes (MAIL)"));
    let endless = format!("S: <raw>{}\n", "x".repeat(4096));
    whole(&group(&format!("{endless}= lost\n= a line of a reply without an end (MAIL)")));
    let lines = "S: 250-more\n".repeat(65);
    whole(&group(&format!("{lines}= lost\n= a reply of too many lines (MAIL)")));
}

#[test]
fn replies_before_what_they_answer_are_none() {
    let unasked = |code: u16, phase: &str, text: &str| {
        format!("= a reply {code} that nothing asked for ({phase})\n= by {code} \"{text}\"")
    };
    // EHLO is answered with the greeting.
    whole(&format!(
        "S: 220 mx.test\nS: 250 mx.test\nC: EHLO client.test\n{}",
        unasked(250, "EHLO", "mx.test")
    ));
    // All of a transaction is answered at once, where nothing but MAIL was said.
    let one = opened("", "T: from=a@b to=c@d", &[]);
    whole(&format!(
        "{one}C: MAIL FROM:<a@b>\nS: 250 ok\nS: 250 sure\nS: 354 go\nS: 250 queued\nC: RCPT TO:<c@d>\n= lost\n{}",
        unasked(250, "RCPT", "sure")
    ));
    // The end of the mail data is answered with 354, whole or in part.
    for rest in ["S: 250 queued", "S: <raw>250 q"] {
        let end = if rest.contains("raw") { "S: <raw>ueued\r\n" } else { "" };
        let text = group(&format!("S: 250 ok\nS: 250 ok\nS: 354 go\n{rest}\nC: <dot>\n"));
        if end.is_empty() {
            whole(&format!("{text}= unknown\n{}", unasked(250, "end of mail data", "queued")));
        } else {
            whole(&format!("{text}S: ueued\n= unknown\n{}", unasked(250, "end of mail data", "queued")));
        }
    }
    // More replies than commands.
    whole(
        &(chunk("S: 250 ok\nS: 250 ok\nS: 250 queued\nS: 250 again\n= accepted 250 \"queued\"\n")
            + &unasked(250, "between transactions", "again")),
    );
}

#[test]
fn a_reply_that_was_begun_before_is_no_answer() {
    let mut driver = driver(&[]);
    driver.feed(b"220 mx\r\n");
    driver.feed(b"250 mx\r\n250 o");
    Planned::of("from=a@b to=c@d").begin(&mut driver.client, &mut Vec::new()).expect("it fits");
    driver.feed(b"k\r\n");
    let end = "= lost\n= a reply 250 that nothing asked for (MAIL)\n= by 250 \"ok\"\n";
    assert!(driver.said.ends_with(end), "{}", driver.said);
}

/// Replies while the content is being sent: a refusal is one, success is none.
#[test]
fn replies_during_the_content_end_the_session() {
    for (reply, result) in [
        ("250 queued", "lost"),
        ("552 5.3.4 too large", "permanent 552 5.3.4 \"too large\""),
        ("451 4.3.0 trouble", "temporary 451 4.3.0 \"trouble\""),
        ("354 go", "lost"),
        ("421 4.3.2 stopping", "temporary 421 4.3.2 \"stopping\""),
    ] {
        for (offers, replies) in
            [("PIPELINING", "250 ok\r\n250 ok\r\n354 go\r\n"), ("CHUNKING", "250 ok\r\n250 ok\r\n")]
        {
            let mut driver = driver(&["from=a@b to=c@d"]);
            driver.sends_content = false;
            driver.feed(b"220 mx\r\n");
            driver.feed(format!("250-mx\r\n250-PIPELINING\r\n250 {offers}\r\n").as_bytes());
            driver.feed(replies.as_bytes());
            assert_eq!(driver.client.phase(), Phase::Content);
            driver.feed(format!("{reply}\r\n").as_bytes());
            let said = &driver.said;
            assert!(driver.is_over && said.contains(&format!("= {result}\n")), "{said}");
            // The caller may only find out afterwards.
            driver.client.handle_content_sent();
            driver.feed(b"250 queued\r\n");
            assert!(!driver.said.contains("accepted"));
        }
    }
}

/// A reply to the end of the mail data that began before the end was sent.
#[test]
fn a_reply_that_was_begun_during_the_content_is_no_answer() {
    let mut driver = driver(&["from=a@b to=c@d"]);
    driver.sends_content = false;
    driver.feed(b"220 mx\r\n");
    driver.feed(b"250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
    driver.feed(b"250 ok\r\n250 ok\r\n250 que");
    driver.client.handle_content_sent();
    driver.feed(b"ued\r\n");
    assert!(driver.is_over && driver.said.contains("= unknown\n"), "{}", driver.said);
}

/// One to RCPT that is cut by the end of the content is an answer.
#[test]
fn a_reply_that_was_asked_for_may_be_cut_anywhere() {
    let mut driver = driver(&["from=a@b to=c@d"]);
    driver.sends_content = false;
    driver.feed(b"220 mx\r\n");
    driver.feed(b"250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
    driver.feed(b"250 ok\r\n250 o");
    driver.client.handle_content_sent();
    driver.feed(b"k\r\n250 queued\r\n");
    assert!(driver.said.ends_with("= accepted 250 \"queued\"\n"), "{}", driver.said);
}

fn driver(transactions: &[&str]) -> Driver {
    let settings = Settings { tls: Tls::Off, ..Settings::of(Protocol::Smtp, "c.test") };
    Driver::new(settings, transactions.iter().map(|line| Planned::of(line)).collect())
}
