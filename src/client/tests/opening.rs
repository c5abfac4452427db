//! Greeting, EHLO, HELO, STARTTLS, QUIT.

use super::{opened, script, whole};

#[test]
fn a_session_is_opened_and_ended() {
    script(&(opened("", "T: from=quit", &["PIPELINING", "HELP"]) + "C: QUIT\nS: 221 bye\n= ended by QUIT"));
    script(&(opened("", "T: from=quit", &[]) + "C: QUIT\nS: <close>\n= ended by QUIT"));
    script(&(opened("lmtp", "T: from=quit", &[]) + "C: QUIT\nS: 500 what\n= ended by QUIT"));
}

#[test]
fn a_server_without_ehlo_gets_helo() {
    for code in [500, 501, 502, 504] {
        script(&format!(
            "settings: tls=offered
             T: from=a@b to=c@d
             S: 220-mx.test
             S: 220 old
             C: EHLO client.test
             S: {code} what
             C: HELO client.test
             S: 250-PIPELINING
             S: 250 mx.test
             C: MAIL FROM:<a@b>
             S: 250 ok
             C: RCPT TO:<c@d>
             S: 250 ok
             C: DATA
             S: 354 go
             C: <dot>
             S: 250 done
             = accepted 250 \"done\""
        ));
    }
}

#[test]
fn helo_is_not_tried_elsewhere() {
    for (settings, hello, reply) in [
        ("tls=required", "EHLO", "502 5.5.1 what"),
        ("lmtp", "LHLO", "500 5.5.1 what"),
        ("", "EHLO", "550 5.7.1 not you"),
        ("", "EHLO", "451 4.3.0 later"),
    ] {
        let shown = format!("{} \"{}\"", &reply[..9], &reply[10..]);
        script(&format!(
            "settings: {settings}
             S: 220 mx.test
             C: {hello} client.test
             S: {reply}
             = refused (EHLO)
             = by {shown}"
        ));
    }
}

#[test]
fn a_refused_greeting_is_the_hosts_fault() {
    script("S: 554-5.7.1 no\nS: 554 5.7.1 mail\n= refused (greeting)\n= by 554 5.7.1 \"no\\nmail\"");
    script("S: 450 later\n= refused (greeting)\n= by 450 \"later\"");
    script("S: 421 4.3.2 full\n= closed by the server with 421 (greeting)\n= by 421 4.3.2 \"full\"");
    script("S: 354 go\n= a reply 354 that does not fit (greeting)\n= by 354 \"go\"");
    script("S: <close>\n= closed by the server without a word (greeting)");
    script("S: <timeout>\n= timed out (greeting)");
}

#[test]
fn tls_begins_the_session_anew() {
    // What was offered in plaintext is forgotten.
    script(
        "settings: tls=offered
         T: from=a@b to=c@d
         S: 220 mx.test
         C: EHLO client.test
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-SIZE 10
         S: 250 STARTTLS
         C: STARTTLS
         S: 220 go
         C: <tls>
         C: EHLO client.test
         S: 250-mx.test
         S: 250 STARTTLS
         C: MAIL FROM:<a@b>
         S: 550 5.7.1 no
         = permanent 550 5.7.1 \"no\"",
    );
}

#[test]
fn without_tls_nothing_is_sent_where_it_is_required() {
    script(
        &(opened("tls=required", "T: from=a@b to=c@d", &["PIPELINING"])
            + "= TLS is required and not offered"),
    );
    script(
        &(opened("tls=required", "T: from=a@b to=c@d", &["STARTTLS"])
            + "C: STARTTLS
               S: 454 4.7.0 not now
               = refused (STARTTLS)
               = by 454 4.7.0 \"not now\""),
    );
    script(&(opened("tls=off", "T: from=quit", &["STARTTLS"]) + "C: QUIT"));
    script(
        &(opened("tls=required", "", &["STARTTLS"])
            + "C: STARTTLS\nS: <close>\n= closed by the server without a word (STARTTLS)"),
    );
}

/// CVE-2011-0411: what an attacker appends in plaintext must not be taken for a reply under TLS.
#[test]
fn plaintext_after_the_reply_to_starttls_ends_the_session() {
    for injected in ["250 injected", "<raw>2", "220 again"] {
        whole(
            &(opened("tls=offered", "", &["STARTTLS"])
                + &format!("C: STARTTLS\nS: 220 go\nS: {injected}\n= plaintext in place of TLS (STARTTLS)")),
        );
    }
}

#[test]
fn a_session_that_is_kept_is_listened_to() {
    script(
        &(opened("", "", &[]) + "S: <close>\n= closed by the server without a word (between transactions)"),
    );
    whole(
        "S: 220 mx.test
         C: EHLO client.test
         S: 250 mx.test
         S: 421 4.4.2 idle
         = closed by the server with 421 (between transactions)
         = by 421 4.4.2 \"idle\"",
    );
    whole(
        "S: 220 mx.test
         C: EHLO client.test
         S: 250 mx.test
         S: 250 and?
         = a reply 250 that nothing asked for (between transactions)
         = by 250 \"and?\"",
    );
}
