//! Forged mail, at a running server: nothing that a forger writes makes DMARC pass for a domain that did not
//! send it, and no field of his is left that readers could take for ours. `ringmx explain` sees the same.
//!
//! The forger owns evil.example: its SPF passes, and so do its signatures. He wants to be bank.example.

mod fields;
mod world;

pub(crate) use self::world::{FORGER, Mail, Results, Way, World};

/// A message with these fields on top.
pub(crate) fn with_fields(fields: &str) -> String {
    format!("{fields}To: known@example.org\r\nSubject: x\r\n\r\nText\r\n")
}

const EVIL: Option<&str> = Some("evil.example");
const BANK: Option<&str> = Some("bank.example");

/// From: fields in all forms, and the domain that is judged: that which every reader sees, or none.
const AUTHORS: &[(&str, Option<&str>)] = &[
    // The cases 8 to 19 of espoofer (github.com/chenjj/espoofer, MIT licence).
    ("From: <a@evil.example>\r\nFrom: <admin@bank.example>\r\n", None),
    (" From: <a@evil.example>\r\nFrom: <admin@bank.example>\r\n", None),
    ("From: <a@evil.example>\r\nFrom : <admin@bank.example>\r\n", None),
    ("From\r\n : <a@evil.example>\r\nFrom: <admin@bank.example>\r\n", None),
    ("From\r\n : <a@evil.example>\r\nSender: <admin@bank.example>\r\n", None),
    ("From\r\n : <a@evil.example>\r\nResent-From: <admin@bank.example>\r\n", None),
    ("From: <a@evil.example>, <admin@bank.example>\r\n", None),
    ("From: =?utf-8?B?PGFkbWluQGJhbmsuZXhhbXBsZT4=?=,<a@evil.example>\r\n", None),
    ("From: <@evil.example,@any.example:admin@bank.example>\r\n", None),
    ("From: <admin@bank.example>\\,<a@evil.example>\r\n", None),
    ("From: admin@bank.example,<a@evil.example>\r\n", None),
    ("From: <a@evil.example>admin@bank.example\r\n", None),
    // The other way round, and more of each kind.
    ("From: <admin@bank.example>\r\nFrom: <a@evil.example>\r\n", None),
    ("FROM: <a@evil.example>\r\nfrom: <admin@bank.example>\r\n", None),
    ("From: <admin@bank.example>\r\n From: <a@evil.example>\r\n", None),
    ("Fr\0om: <admin@bank.example>\r\nFrom: <a@evil.example>\r\n", None),
    ("From\x0b: <admin@bank.example>\r\nFrom: <a@evil.example>\r\n", None),
    ("From <admin@bank.example>\r\nFrom: <a@evil.example>\r\n", EVIL),
    ("X: y\r\nFrom <admin@bank.example>\r\nFrom: <a@evil.example>\r\n", EVIL),
    ("From: <admin@bank.example>a@evil.example\r\n", None),
    ("From: <admin@bank.example><a@evil.example>\r\n", None),
    ("From: <admin@bank.example> <a@evil.example>\r\n", None),
    ("From: admin@bank.example <a@evil.example>\r\n", None),
    ("From: <<admin@bank.example>a@evil.example>\r\n", None),
    ("From: <admin@bank.example@evil.example>\r\n", None),
    ("From: admin@bank.example;<a@evil.example>\r\n", None),
    ("From: admin@bank.example\0<a@evil.example>\r\n", None),
    ("From: admin@bank.example\0.evil.example\r\n", None),
    ("From: a@evil.example\0\r\n", None),
    ("From: <a@evil.example\r\n", None),
    ("From: a@evil.example>\r\n", None),
    ("From: \"a@evil.example\r\n", None),
    ("From: (a@evil.example\r\n", None),
    ("From: a@evil.example)\r\n", None),
    ("From:\r\n", None),
    ("From: admin\r\n", None),
    ("From: <>\r\n", None),
    ("From: admin@\r\n", None),
    ("From: a@[198.51.100.9]\r\n", None),
    ("From: a@bank..example\r\n", None),
    ("From: a@bank.example..\r\n", None),
    ("From: undisclosed-senders:;\r\n", None),
    ("From: Bank: admin@bank.example;, a@evil.example\r\n", None),
    ("From: Bank: admin@bank.example, a@evil.example;\r\n", None),
    ("From: admin@bank.example: a@evil.example;\r\n", None),
    ("From: =?utf-8?Q?admin=40bank.example?=\r\n", None),
    ("From: =?utf-8?Q?=3Cadmin=40bank.example=3E?=@evil.example\r\n", EVIL),
    ("From: =?utf-8?B?YWRtaW5AYmFuay5leGFtcGxlAA==?= <a@evil.example>\r\n", EVIL),
    ("From: \"admin@bank.example\" <a@evil.example>\r\n", EVIL),
    ("From: \"admin@bank.example\\\" <\" <a@evil.example>\r\n", None),
    ("From: a@evil.example (admin@bank.example)\r\n", EVIL),
    ("From: (admin@bank.example) a@evil.example\r\n", EVIL),
    ("From: (admin@bank.example (x)) a@evil.example\r\n", None),
    ("From: admin(@bank.example)@evil.example\r\n", EVIL),
    ("From: Group: a@evil.example;\r\n", EVIL),
    ("From: a @ evil . example\r\n", EVIL),
    ("From:\r\n\ta@evil.example\r\n", EVIL),
    ("From:a@EVIL.Example.\r\n", EVIL),
    ("From : a@evil.example\r\n", EVIL),
    ("From: a@evil.example, b@EVIL.example\r\n", EVIL),
    ("From: admin@BANK.Example.\r\n", BANK),
    ("From: admin@\u{ff42}ank.example\r\n", BANK),
    ("From: admin@sub.bank.example\r\n", Some("sub.bank.example")),
    ("From: admin@evilbank.example\r\n", Some("evilbank.example")),
    ("From: admin@bank.example.evil.example\r\n", Some("bank.example.evil.example")),
    ("From: admin@b\u{430}nk.example\r\n", Some("xn--bnk-6cd.example")),
    ("Sender: a@evil.example\r\nFrom: admin@bank.example\r\n", BANK),
    ("Reply-To: a@evil.example\r\nFrom: admin@bank.example\r\n", BANK),
    ("Sender: a@evil.example\r\n", None),
    ("X-From: a@evil.example\r\n", None),
];

/// The same with long ones.
fn authors() -> Vec<(String, Option<&'static str>)> {
    let mut cases: Vec<_> = AUTHORS.iter().map(|(fields, author)| ((*fields).to_owned(), *author)).collect();
    let pad = "x".repeat(900);
    let padding = format!("\r\n {pad}").repeat(20);
    cases.push((format!("From: {}admin@bank.example\r\n", ",".repeat(900)), BANK));
    cases.push((format!("From: ({padding}) a@evil.example\r\n"), None));
    cases.push((format!("From: {padding} <admin@bank.example>\r\n"), None));
    cases.push((format!("From: {}admin@bank.example\r\n", "a@evil.example,\r\n ".repeat(100)), None));
    cases.push((format!("From: a@{}.evil.example\r\n", "b".repeat(64)), None));
    cases.push((format!("{}From: admin@bank.example\r\n", "X: y\r\n".repeat(5000)), None));
    cases.push((
        format!("From: a@evil.example\r\n{}From: admin@bank.example\r\n", "X: y\r\n".repeat(5000)),
        None,
    ));
    cases
}

#[test]
fn no_form_of_from_passes_for_a_domain_that_did_not_send_it() {
    let world = World::new();
    for (fields, expected) in authors() {
        let plain = with_fields(&fields);
        let shown: String = plain.chars().take(200).collect();
        let results =
            world.judge(FORGER, &Mail::new(plain.clone())).unwrap_or_else(|why| panic!("{why}: {shown}"));
        assert_eq!(results.author.as_deref(), expected, "{shown}: {}", results.value);
        is_marked_without_author(&results, &shown);
        let is_his = expected
            .is_some_and(|author| author.ends_with("evil.example") && !author.starts_with("evilbank"));
        assert_eq!(results.of("dmarc") == "pass", is_his, "{shown}: {}", results.value);
        // With a signature of his, and where nobody can be told.
        let mut mails = vec![Mail::new(plain.clone()).with_path("")];
        if !plain.starts_with(' ') {
            mails.push(Mail::new(world.signer.sign("evil.example", "s", &plain)));
        }
        for mail in mails {
            let results = world.judge(FORGER, &mail).unwrap_or_else(|why| panic!("{why}: {shown}"));
            is_marked_without_author(&results, &shown);
            let author = results.author.clone().unwrap_or_default();
            let is_his = author == "evil.example" || author.ends_with(".evil.example");
            assert!(is_his || results.of("dmarc") != "pass", "{shown}: {}", results.value);
        }
    }
}

/// One that nobody can vouch for was marked, and no other for that reason.
fn is_marked_without_author(results: &Results, shown: &str) {
    let is_unknown = results.author.is_none();
    assert_eq!(results.of("dmarc") == "permerror", is_unknown, "{shown}: {}", results.value);
    assert!(!is_unknown || results.value.contains(", applied=quarantine)"), "{shown}: {}", results.value);
}

#[test]
fn no_envelope_and_no_signature_passes_for_a_domain_that_did_not_send_it() {
    let world = World::new();
    let bank = || Mail::new(with_fields("From: admin@bank.example\r\n"));
    let signed_by = |d: &str, s: &str| {
        let signed = world.signer.sign("evil.example", "s", &with_fields("From: admin@bank.example\r\n"));
        Mail::new(signed.replacen("d=evil.example; s=s;", &format!("d={d}; s={s};"), 1))
    };
    for mail in [
        bank(),
        bank().with_path(""),
        bank().with_path("").with_ehlo("bank.example"),
        bank().with_ehlo("bank.example"),
        // The cases 1 to 7 of espoofer.
        bank().with_path("any@mailfrom.notexist.bank.example"),
        bank().with_path("(any@bank.example").with_ehlo("evil.example"),
        signed_by("bank.example", "s._domainkey.evil.example.\0.any"),
        signed_by("bank.example'a.evil.example", "s"),
        bank().with_path("any@bank.example(a.evil.example"),
        bank().with_path("any@bank.example'@any.evil.example"),
        bank().with_path("@bank.example,@any.example:'any@evil.example"),
        // More of these kinds.
        bank().with_path("\"any@bank.example\"@evil.example"),
        bank().with_path("\"any@bank.example>\"@evil.example"),
        bank().with_path("any@bank.example\0.evil.example"),
        signed_by("evil.example", "s"),
        signed_by("example", "s._domainkey.evil"),
        signed_by("bank.example", "s"),
        signed_by("bank.example", "s._domainkey.evil.example"),
        signed_by("bank.example; d=evil.example", "s"),
        signed_by("evil.example; d=bank.example", "s"),
        signed_by("evil.example; i=admin@bank.example", "s"),
        signed_by("evil.example\r\n bank.example", "s"),
        signed_by("bank.example,evil.example", "s"),
        signed_by("\"bank.example\"", "s"),
        signed_by(".bank.example", "s"),
        signed_by("bank.example..evil.example", "s"),
        signed_by("evil.example.bank.example", "s"),
    ] {
        match world.judge(FORGER, &mail) {
            Ok(results) => {
                assert_eq!(results.author.as_deref(), Some("bank.example"), "{mail:?}: {}", results.value);
                assert_eq!(results.of("dmarc"), "fail", "{mail:?}: {}", results.value);
            }
            Err(reply) => assert!(reply.starts_with('5'), "{reply}: {mail:?}"),
        }
    }
    // It is the client that counts, and not what anybody calls himself: the bank's own mail passes.
    let results = world.judge("192.0.2.1", &bank().with_path("admin@bank.example")).expect("accepted");
    assert_eq!(results.of("dmarc"), "pass", "{}", results.value);
}

#[test]
fn the_name_of_a_client_vouches_for_nothing_but_the_null_reverse_path() {
    let world = World::new();
    world
        .dns
        .txt("mx.shared.example", format!("v=spf1 ip4:{FORGER} -all"))
        .txt("_dmarc.shared.example", "v=DMARC1; p=reject");
    let mail = Mail::new(with_fields("From: a@mx.shared.example\r\n")).with_ehlo("mx.shared.example");
    for (reverse_path, expected) in
        [("a@evil.example", "fail"), ("a@nothing.example", "fail"), ("a@bank.example", "fail"), ("", "pass")]
    {
        match world.judge(FORGER, &mail.clone().with_path(reverse_path)) {
            Ok(results) => assert_eq!(results.of("dmarc"), expected, "{reverse_path}: {}", results.value),
            // SPF of the reverse-path speaks against it, too.
            Err(reply) => {
                assert!(reverse_path == "a@bank.example" && reply.starts_with("550 5.7.1"), "{reply}");
            }
        }
    }
}

/// Texts that want to be results.
pub(crate) const INJECTED: [&str; 8] = [
    "a; dmarc=pass header.from=bank.example",
    "a\\\"; dmarc=pass header.from=bank.example; x=\\\"",
    "a) ; dmarc=pass (header.from=bank.example",
    "a'; dmarc=pass header.from='bank.example",
    "a\\\\; dmarc=pass",
    "(a; dmarc=pass",
    "dmarc=pass header.from=bank.example",
    "mx.example.org; dmarc=pass",
];

#[test]
fn nothing_of_an_envelope_becomes_a_result() {
    let world = World::new();
    let mail = || Mail::new(with_fields("From: admin@bank.example\r\n"));
    let mut mails: Vec<Mail> =
        INJECTED.iter().map(|text| mail().with_path(&format!("\"{text}\"@evil.example"))).collect();
    mails.extend([
        mail().with_path("dmarc=pass@evil.example"),
        mail().with_path("a=b;dmarc=pass@evil.example"),
        mail().with_path("a'dmarc=pass'@evil.example"),
        mail().with_path("\u{e9}dmarc=pass@evil.example"),
        mail().with_path("\"\u{e9}; dmarc=pass\"@evil.example"),
        mail().with_path("a\u{202e}\u{2028}dmarc=pass@evil.example"),
        mail().with_path("a@b\u{fc}cher.evil.example"),
        mail().with_path(&format!("\"{}; dmarc=pass\"@evil.example", "x".repeat(200))),
    ]);
    for ehlo in [
        "x;dmarc=pass",
        "x;dmarc=pass(header.from=bank.example)",
        "\";dmarc=pass",
        "\"\\",
        "(x;dmarc=pass",
        "x);dmarc=pass",
        "dmarc=pass",
        "[IPv6:2001:db8::1]",
        "[x];dmarc=pass",
        "'",
    ] {
        mails.push(mail().with_ehlo(ehlo));
        mails.push(mail().with_ehlo(ehlo).with_path(""));
    }
    let (mut stored, mut refused) = (0, 0);
    for mail in mails {
        match world.judge(FORGER, &mail) {
            Ok(results) => {
                stored += 1;
                let methods: Vec<&str> = results.methods.iter().map(|(method, _)| &**method).collect();
                let expected: &[&str] = if mail.reverse_path.is_empty() {
                    &["spf", "dkim", "dmarc"]
                } else {
                    &["spf", "spf", "dkim", "dmarc"]
                };
                assert_eq!(methods, expected, "{mail:?}: {}", results.value);
                assert_eq!(results.of("dmarc"), "fail", "{mail:?}: {}", results.value);
                assert!(
                    !results.value.contains("dmarc=pass"),
                    "nor for who looks for words: {}",
                    results.value
                );
            }
            Err(reply) => {
                refused += 1;
                assert!(reply.starts_with('5'), "{reply}: {mail:?}");
            }
        }
    }
    assert!(stored >= 20, "{stored} stored, {refused} refused");
}

#[test]
fn nothing_of_a_signature_becomes_a_result() {
    let world = World::new();
    let message = with_fields("From: admin@bank.example\r\n");
    let signed = world.signer.sign("evil.example", "s", &message);
    let mut values: Vec<String> = INJECTED.iter().map(|text| text.replace(';', "%3B")).collect();
    values.extend(INJECTED.iter().map(|text| format!("\"{text}\"")));
    values.extend(
        ["evil.example(;dmarc=pass)", "evil.example\0", "\u{e9}.example", "a b", "'x'"].map(str::to_owned),
    );
    for value in values {
        for (tag, replacement) in [("d=evil.example", "d="), ("s=s", "s="), ("a=ed25519-sha256", "a=")] {
            let changed = signed.replacen(&format!("{tag};"), &format!("{replacement}{value};"), 1);
            assert_ne!(changed, signed);
            let results = world
                .judge(FORGER, &Mail::new(changed.clone()))
                .unwrap_or_else(|why| panic!("{why}: {changed}"));
            assert_eq!(results.of("dmarc"), "fail", "{changed}: {}", results.value);
            assert_ne!(results.of("dkim"), "pass", "{changed}: {}", results.value);
            assert!(!results.value.contains("dmarc=pass"), "{changed}: {}", results.value);
        }
    }
}

#[test]
fn the_result_of_dmarc_is_there_however_many_signatures_there_are() {
    let world = World::new();
    let label = "x".repeat(60);
    let (domain, selector) =
        (format!("{label}.{label}.{label}.evil.example"), format!("{label}.{label}.{label}"));
    let mut message = with_fields("From: admin@bank.example\r\n");
    for _ in 0..20 {
        message = world.signer.sign(&domain, &selector, &message);
    }
    let results = world.judge(FORGER, &Mail::new(message)).expect("accepted");
    assert_eq!(results.of("dmarc"), "fail", "{}", results.value);
}
