//! What a milter is told of a message.

use super::negotiation::with_id;
use super::*;

const OFFER: &str = "R: O 6 121 101ff7ff";

#[test]
fn it_is_told_all_in_lockstep() {
    script(&with_id(&format!(
        "T: to=b@x,c@y header=A:_1\\r\\nB:2\\r\\n_3\\r\\n\\r\\n body=text
         {OFFER}
         M: O 6 0 0
         R: DC j=mx {{daemon_name}}=mx v=ringmx _=[192.0.2.1] [192.0.2.1]
         R: C [192.0.2.1] 4 25 192.0.2.1|
         M: c
         R: H c.test|
         M: c
         R: DM i=ID {{mail_addr}}=a@s {{mail_host}}=s
         R: M <a@s>|
         M: c
         R: DR i=ID {{rcpt_addr}}=b@x {{rcpt_host}}=x
         R: R <b@x>|
         M: c
         R: DR i=ID {{rcpt_addr}}=c@y {{rcpt_host}}=y
         R: R <c@y>|
         M: c
         R: DT i=ID
         R: T
         M: c
         R: L A|1|
         M: c
         R: L B|2\\n 3|
         M: c
         R: DN i=ID
         R: N
         M: c
         R: B text
         M: c
         R: DE i=ID
         R: E
         M: c
         R: K
         = pass"
    )));
}

/// `SMFIP_NR_` of all but the end: what has no reply is said in one run.
#[test]
fn nothing_is_awaited_that_is_not_answered() {
    script(&with_id(&format!(
        "T: header=A:_1\\r\\n\\r\\n body=text
         {OFFER}
         M: O 6 0 df080
         R: DC j=mx {{daemon_name}}=mx v=ringmx _=[192.0.2.1] [192.0.2.1]
         R: C [192.0.2.1] 4 25 192.0.2.1|
         R: H c.test|
         R: DM i=ID {{mail_addr}}=a@s {{mail_host}}=s
         R: M <a@s>|
         R: DR i=ID {{rcpt_addr}}=b@x {{rcpt_host}}=x
         R: R <b@x>|
         R: DT i=ID
         R: T
         R: L A|1|
         R: DN i=ID
         R: N
         R: B text
         R: DE i=ID
         R: E
         M: c
         R: K
         = pass"
    )));
}

/// The header fields that a milter with these protocol options, and those that silence all else, is told of;
/// and the body.
fn told_of(header: &str, body: &str, options: u32) -> String {
    let mut driver = Driver::new(vec![Planned::of(&format!("header={header} body={body}"))]);
    driver.feed(b"");
    let mut negotiated = Vec::new();
    packet::push(&mut negotiated, command::NEGOTIATE, |data| {
        for word in [6, 0, NO_REPLIES | 0x34f | options] {
            data.extend_from_slice(&u32::to_be_bytes(word));
        }
    });
    driver.feed(&negotiated);
    let lines = driver.said.lines().filter(|line| line.starts_with("R: L ") || line.starts_with("R: B "));
    lines.map(|line| line.trim_start_matches("R: ")).collect::<Vec<_>>().join("; ")
}

const LEADING_SPACE: u32 = 1 << 20;

/// `SMFIP_NR_` of all.
const NO_REPLIES: u32 = 0x000f_f080;

#[test]
fn header_fields_are_told_as_sendmail_and_postfix_do() {
    for (header, told, with_space) in [
        // One space after the colon is left out, unless the milter wants it; a tab never.
        ("A:_1\\r\\n\\r\\n", "L A|1|", "L A| 1|"),
        ("A:__1\\r\\n\\r\\n", "L A| 1|", "L A|  1|"),
        ("A:\\t1\\r\\n\\r\\n", "L A|\\t1|", "L A|\\t1|"),
        ("A:1_\\r\\n\\r\\n", "L A|1 |", "L A|1 |"),
        ("A:\\r\\n\\r\\n", "L A||", "L A||"),
        // Lines end with LF, folds are kept.
        (
            "A:_1\\r\\n\\t2\\r\\n_3\\r\\nB:_4\\r\\n\\r\\n",
            "L A|1\\n\\t2\\n 3|; L B|4|",
            "L A| 1\\n\\t2\\n 3|; L B| 4|",
        ),
        ("A:\\r\\n_1\\r\\n\\r\\n", "L A|\\n 1|", "L A|\\n 1|"),
        // Blanks before the colon are of no name (RFC 5322 §4.5).
        ("A_\\t:_1\\r\\n\\r\\n", "L A|1|", "L A| 1|"),
        // NUL would end the value.
        ("A:_1\\02\\r\\n\\r\\n", "L A|1?2|", "L A| 1?2|"),
        // Bare line ends are octets as any other.
        ("A:_1\\n2\\r3\\r\\n\\r\\n", "L A|1\\n2\\r3|", "L A| 1\\n2\\r3|"),
        // No line end, no header section.
        ("A:_1", "L A|1|", "L A| 1|"),
        ("", "", ""),
        ("\\r\\n", "", ""),
    ] {
        let body = if told.is_empty() { "B text" } else { "; B text" };
        assert_eq!(told_of(header, "text", 0), format!("{told}{body}"), "{header}");
        assert_eq!(told_of(header, "text", LEADING_SPACE), format!("{with_space}{body}"), "{header}");
    }
}

/// Nothing is hidden from a filter by a line that is no field: the body begins there, with all that follows.
#[test]
fn the_body_begins_at_the_first_line_that_is_no_field() {
    for (header, told) in [
        ("A:_1\\r\\nodd\\r\\nB:_2\\r\\n\\r\\n", "L A|1|; B odd\\r\\nB: 2\\r\\n\\r\\n; B text"),
        ("_odd\\r\\nA:_1\\r\\n\\r\\n", "B  odd\\r\\nA: 1\\r\\n\\r\\n; B text"),
        ("A:_1\\r\\n:_2\\r\\n\\r\\n", "L A|1|; B : 2\\r\\n\\r\\n; B text"),
        ("A:_1\\r\\nB_C:_2\\r\\n\\r\\n", "L A|1|; B B C: 2\\r\\n\\r\\n; B text"),
        ("A:_1\\r\\nB\\0:_2\\r\\n\\r\\n", "L A|1|; B B|: 2\\r\\n\\r\\n; B text"),
        ("A:_1\\r\\nodd", "L A|1|; B odd; B text"),
        // What comes after the empty line is body, wherever it was cut.
        ("A:_1\\r\\n\\r\\nB:_2", "L A|1|; B B: 2; B text"),
    ] {
        assert_eq!(told_of(header, "text", 0), told, "{header}");
    }
    // A milter that wants no header fields is told the same body.
    assert_eq!(told_of("A:_1\\r\\nodd\\r\\n\\r\\n", "text", 1 << 5), "B odd\\r\\n\\r\\n; B text");
}

#[test]
fn packets_are_as_long_as_was_agreed_upon() {
    for (options, most) in [(0, 65_535), (1 << 28, 262_143)] {
        let mut driver = Driver::new(vec![Planned { to: vec!["b@x".into()], ..Planned::default() }]);
        driver.planned[0].header =
            [b"A: ", &vec![b'x'; 100_000][..], b"\r\nodd", &vec![b'y'; most][..]].concat();
        driver.planned[0].body = vec![b'z'; most + 1];
        driver.feed(b"");
        let mut negotiated = Vec::new();
        packet::push(&mut negotiated, command::NEGOTIATE, |data| {
            for word in [6, 0, NO_REPLIES | 0x34f | options] {
                data.extend_from_slice(&u32::to_be_bytes(word));
            }
        });
        driver.feed(&negotiated);
        let bytes = |line: &str| line.trim_start_matches("R: L ").trim_start_matches("R: B ").len();
        let lines = driver.said.lines().filter(|line| line.starts_with("R: L ") || line.starts_with("R: B "));
        // The field is cut: `A`, NUL and NUL are three of its octets.
        assert_eq!(lines.map(bytes).collect::<Vec<_>>(), [65_535, most, 3, most, 1], "{options:x}");
    }
}

#[test]
fn more_fields_than_anybody_reads_are_told_as_body() {
    let header = "A:_1\\r\\n".repeat(4096) + "B:_2\\r\\n\\r\\n";
    let told = told_of(&header, "", 0);
    assert_eq!(told.matches("L A|1|").count(), 4096);
    assert!(told.ends_with("L A|1|; B B: 2\\r\\n\\r\\n"), "{}", &told[told.len() - 50..]);
}

#[test]
fn parameters_and_what_is_known_of_the_client_are_told() {
    use crate::mail::client::{Standing, TlsFacts};
    use crate::mail::envelope::{BodyType, Notify, RecipientParameters, Ret};
    let mut envelope = Envelope::default();
    envelope.body = BodyType::EightBitMime;
    envelope.smtputf8 = true;
    envelope.requiretls = true;
    envelope.ret = Some(Ret::Headers);
    envelope.set_envid(b"QQ314159");
    envelope.size_declared = Some(12345);
    envelope.push_recipient(b"b", b"x");
    let parameters = RecipientParameters { notify: Some(Notify::NEVER), orcpt: b"rfc822;o@x" };
    envelope.set_recipient_parameters(parameters);
    let tls = TlsFacts {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        resumed: false,
        client_certificate: false,
        server_name: None,
    };
    let client = ClientFacts {
        address: "[2001:db8::1]:2525".parse().expect("an address"),
        ehlo: b"c.\0test".to_vec(),
        tls: Some(tls),
        standing: Standing { reverse_name: b"client.test".to_vec(), reasons: Vec::new() },
        ..ClientFacts::unknown()
    };
    let mut driver = Driver::new(Vec::new());
    driver.feed(b"");
    let Event::Octets(negotiated) = said("O 6 0 df080") else { panic!("octets") };
    driver.feed(&negotiated);
    let subject = Subject { id: QueueId(1), envelope: &envelope, client: &client, hostname: "mx" };
    driver.session.begin(&subject, b"");
    driver.feed(b"");
    for line in [
        "DC j=mx {daemon_name}=mx v=ringmx _=client.test [2001:db8::1]",
        "C client.test 6 2525 2001:db8::1|",
        "DH {tls_version}=TLSv1.3 {cipher}=TLS_AES_128_GCM_SHA256",
        "H c.?test|",
        "M <>|SIZE=12345|BODY=8BITMIME|SMTPUTF8|REQUIRETLS|RET=HDRS|ENVID=QQ314159|",
        "R <b@x>|NOTIFY=NEVER|ORCPT=rfc822;o@x|",
    ] {
        assert!(driver.said.contains(&format!("R: {line}\n")), "{line}\n{}", driver.said);
    }
    // The null reverse-path has no domain.
    assert!(driver.said.contains("{mail_addr}=\n"), "{}", driver.said);
}
