//! Milters that operators have: opendkim and clamav-milter, as they are installed.

use serde_json::json;
use support::clamav::{ClamAv, EICAR};
use support::opendkim::OpenDkim;
use support::server::Server;
use support::signer::Signer;

use super::{logged, milter, receiver, send_to, stored};

fn deliver(server: &Server, message: &str) -> String {
    send_to(server, &["b@example.org"], message.as_bytes())
}

#[test]
fn opendkim_verifies_signed_mail() {
    let signer = Signer::rsa();
    let Some(opendkim) = OpenDkim::start(&signer.record(), "KeepAuthResults yes") else { return };
    let server = receiver(&milter(&opendkim.socket(), "name = \"opendkim\""), "");
    let body = "Hello\r\n.dot\r\n\r\n \t\r\nworld\r\n\r\n\r\n".to_owned();
    for body in [body, "0123456789 abc\r\n".repeat(20_000)] {
        let text = format!("From: a@example.net\r\nTo: b@example.org\r\nSubject: one\r\n\ttwo\r\n\r\n{body}");
        let signed = signer.sign("example.net", "s", &text);
        let broken = format!("{signed}more\r\n");
        let forged = signed.replace("Subject: one", "Subject: won");
        for (message, result) in [(&signed, "dkim=pass"), (&broken, "dkim=fail"), (&forged, "dkim=fail")] {
            let (front, below, _) = stored(&server, &deliver(&server, message)).expect("stored");
            let is_one = front.starts_with("Authentication-Results: mx.example.org;\r\n\t")
                && front.contains(result)
                && front.ends_with("\r\n");
            assert!(is_one, "{front:?}");
            assert!(below == message.as_bytes());
        }
    }
}

/// It wants to take forged results away.
#[test]
fn opendkim_as_debian_has_it_is_told_of_and_lets_nothing_pass() {
    let Some(opendkim) = OpenDkim::start("v=DKIM1; p=", "") else { return };
    let server = receiver(&milter(&opendkim.socket(), ""), "");
    for _ in 0..3 {
        let reply = deliver(&server, "A: b\r\n\r\nc\r\n");
        assert_eq!(reply, "451 4.7.1 Cannot check the message now, try again later");
    }
    let line = server.wait_for_log(|line| line.contains("\"level\":\"error\""));
    let why = "the milter closed the connection (option negotiation): it may insist on more than adding header fields";
    assert!(line.contains(why), "{line}");
    let told = server.log().iter().filter(|line| line.contains(why)).count();
    assert!((1..=2).contains(&told), "once a minute, not with each message: {told}");
}

/// The status that a message gets which goes on, and its mark.
fn status(server: &Server, message: &str) -> (String, serde_json::Value) {
    let reply = deliver(server, message);
    assert!(reply.starts_with("250"), "{reply}: {:#?}", server.log());
    let (front, below, envelope) = stored(server, &reply).expect("stored");
    assert!(below == message.as_bytes());
    let (fields, mark) = match front.strip_prefix("X-Quarantine: quarantined by clamav-milter\r\n") {
        Some(fields) => (fields, json!("quarantine")),
        None => (&*front, json!(null)),
    };
    assert_eq!(envelope["mark"], mark, "{front:?}");
    let (status, scanned) = fields.split_once("\r\n").expect("two fields");
    assert!(scanned.starts_with("X-Virus-Scanned: clamav-milter "), "{front:?}");
    (status.to_owned(), mark)
}

#[test]
fn clamav_finds_what_is_infected() {
    let Some(mut clamav) = ClamAv::start() else { return };
    let eicar = EICAR.concat();
    let clean = "From: a@x.test\r\nX-Virus-Status: Clean\r\nSubject: clean\r\n\r\nHello\r\n";
    let infected = format!("From: a@x.test\r\nSubject: infected\r\n\r\n{eicar}\r\n");
    let attached = format!(
        "From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n\
         --b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        data_encoding::BASE64.encode(eicar.as_bytes())
    );
    let far = format!("{clean}{}{eicar}\r\n", "0123456789abcdef\r\n".repeat(100_000));

    clamav.run_milter("OnInfected Reject\nRejectMsg \"Infected with %v\"\nAddHeader Add");
    let server = receiver(&milter(&clamav.socket(), "name = \"clamav\""), "");
    for message in [&infected, &attached, &far] {
        let reply = deliver(&server, message);
        assert!(reply.starts_with("550 5.7.1 Infected with Eicar-Test"), "{reply} {}", clamav.log());
        assert_eq!(status(&server, clean), ("X-Virus-Status: Clean".to_owned(), json!(null)));
    }
    let line = logged(&server, "refused", 3);
    assert_eq!((&line["reason"], &line["filters"]), (&json!("filter"), &json!(["clamav refuse"])));

    clamav.run_milter("OnInfected Quarantine\nAddHeader Add");
    let server = receiver(&milter(&clamav.socket(), "name = \"clamav\""), "");
    assert_eq!(status(&server, clean), ("X-Virus-Status: Clean".to_owned(), json!(null)));
    let (found, mark) = status(&server, &infected);
    assert!(found.starts_with("X-Virus-Status: Infected (Eicar-Test"), "{found}");
    assert_eq!(mark, "quarantine");
    let filters = &logged(&server, "message", 2)["filters"];
    assert_eq!(*filters, json!(["clamav mark quarantined by clamav-milter"]));

    clamav.kill_clamd();
    let reply = deliver(&server, clean);
    assert!(reply.starts_with("451 4.7.1 "), "{reply}");
}

/// As Debian has it (`AddHeader Replace`) it wants to change fields.
#[test]
fn clamav_milter_as_debian_has_it_is_told_of_and_lets_nothing_pass() {
    let Some(mut clamav) = ClamAv::start() else { return };
    clamav.run_milter("AddHeader Replace");
    let server = receiver(&milter(&clamav.socket(), ""), "");
    assert!(deliver(&server, "A: b\r\n\r\nc\r\n").starts_with("451 4.7.1 Cannot check"));
    server.wait_for_log(|line| line.contains("it may insist on more than adding header fields"));
}
