//! Notices read back by a strict reader of MIME and of delivery statuses: whatever octets there were, there
//! are three parts, and no field but ours.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::mail::envelope::RecipientParameters;

/// A field by its name and unfolded value.
type Field = (String, String);

const ID: QueueId = QueueId(0x1234_5678_9abc_def0);

/// The fields of a header section, which ends at an empty line; nothing that is none is taken.
fn fields(text: &str) -> Result<(Vec<Field>, &str), String> {
    let (section, rest) = text.split_once("\r\n\r\n").ok_or("no end of the header section")?;
    let mut fields: Vec<Field> = Vec::new();
    for line in section.split("\r\n") {
        if line.len() > 998 || line.contains(['\r', '\n']) {
            return Err(format!("no line: {line:?}"));
        }
        if let Some(more) = line.strip_prefix(' ') {
            let (_, value) = fields.last_mut().ok_or("it begins folded")?;
            if more.trim().is_empty() {
                return Err("an empty folded line".to_owned());
            }
            value.push(' ');
            value.push_str(more);
            continue;
        }
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("no field: {line:?}"))?;
        if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
            return Err(format!("no name: {line:?}"));
        }
        fields.push((name.to_owned(), value.to_owned()));
    }
    Ok((fields, rest))
}

fn names(fields: &[Field]) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

/// A notice in its parts: its fields, then of each part its fields and what is in it.
struct Read {
    top: Vec<Field>,
    parts: Vec<(Vec<Field>, String)>,
}

fn read(notice: &[u8]) -> Result<Read, String> {
    if notice.len() > NOTICE_BYTES_MAX {
        return Err(format!("{} octets", notice.len()));
    }
    let text = std::str::from_utf8(notice).map_err(|error| error.to_string())?;
    let (top, body) = fields(text)?;
    if !body.is_ascii() {
        return Err("a part is not ASCII".to_owned());
    }
    let kind = &top.iter().find(|(name, _)| name == "Content-Type").ok_or("no type")?.1;
    let boundary =
        kind.split("boundary=\"").nth(1).and_then(|rest| rest.strip_suffix('"')).ok_or("no boundary")?;
    let (body, after) = body.split_once(&format!("\r\n--{boundary}--\r\n")).ok_or("no end")?;
    if !after.is_empty() {
        return Err("more after the end".to_owned());
    }
    let mut parts = Vec::new();
    let delimiter = format!("--{boundary}\r\n");
    // The preamble is an empty line, which belongs to the first delimiter.
    let body = format!("\r\n{body}");
    for part in body.split(&format!("\r\n{delimiter}")).skip(1) {
        parts.push(fields(part).map(|(fields, content)| (fields, content.to_owned()))?);
    }
    if parts.iter().any(|(_, content)| {
        content.split("\r\n").any(|line| line.len() > 998 || line.contains(['\r', '\n', '\0']))
    }) {
        return Err("a part has no lines".to_owned());
    }
    Ok(Read { top, parts })
}

const TOP: [&str; 8] =
    ["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];

/// Holds the form of a notice; gives the groups of its delivery status.
fn check(notice: &[u8]) -> Result<(Read, Vec<Vec<Field>>), String> {
    let read = read(notice)?;
    if names(&read.top) != TOP {
        return Err(format!("fields {:?}", names(&read.top)));
    }
    let kinds: Vec<&str> =
        read.parts.iter().map(|(fields, _)| fields[0].1.split(';').next().unwrap_or_default()).collect();
    if kinds != ["text/plain", "message/delivery-status", "text/rfc822-headers"] {
        return Err(format!("parts {kinds:?}"));
    }
    if read.parts.iter().any(|(fields, _)| names(fields) != ["Content-Type", "Content-Transfer-Encoding"]) {
        return Err("a part has other fields".to_owned());
    }
    let groups = read.parts[1].1.trim_end_matches("\r\n").split("\r\n\r\n");
    let groups: Result<Vec<_>, _> =
        groups.map(|group| fields(&format!("{group}\r\n\r\n")).map(|(fields, _)| fields)).collect();
    let groups = groups?;
    let known = [
        "Original-Envelope-Id",
        "Reporting-MTA",
        "Arrival-Date",
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
        "Final-Log-ID",
        "Will-Retry-Until",
    ];
    for (index, group) in groups.iter().enumerate() {
        let names = names(group);
        let places: Option<Vec<usize>> =
            names.iter().map(|name| known.iter().position(|one| one == name)).collect();
        let is_ordered = places.is_some_and(|places| places.windows(2).all(|pair| pair[0] < pair[1]));
        let must: &[&str] =
            if index == 0 { &["Reporting-MTA"] } else { &["Final-Recipient", "Action", "Status"] };
        if !is_ordered || !must.iter().all(|name| names.contains(name)) {
            return Err(format!("group {index}: {names:?}"));
        }
    }
    Ok((read, groups))
}

fn about<'a>(envelope: &'a Envelope, content: &'a [u8]) -> About<'a> {
    let received_at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    About {
        hostname: "mx1.example.test",
        id: ID,
        at: received_at + Duration::from_mins(1),
        message_id: QueueId(7),
        received_at,
        retried_until: received_at + Duration::from_hours(120),
        envelope,
        content,
    }
}

fn value<'f>(fields: &'f [Field], name: &str) -> &'f str {
    fields.iter().find(|(one, _)| one == name).map_or("", |(_, value)| value)
}

fn action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed])
}

/// Octets as a forger would choose them.
fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        prop::sample::select(
            [
                &b"\r\n"[..],
                b"\r\n\r\n",
                b"\n\n",
                b"\r",
                b"\0",
                b"\r\nBcc: x@y.test\r\n",
                format!("--=_{ID}\r\n").as_bytes(),
                format!("\r\n--=_{ID}--\r\n").as_bytes(),
                b"\xc2\x85\xe2\x80\xa8",
                b"Subject: x\r\n",
                b"+0D+0A",
                b" ",
                b"x",
            ]
            .map(<[u8]>::to_vec)
            .to_vec(),
        ),
        (1..1500_usize).prop_map(|count| vec![b'y'; count]),
    ];
    prop::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nobody_but_us_begins_a_field_or_a_part(
        path in octets(4),
        envid in octets(3),
        told in prop::collection::vec((octets(3), octets(3), octets(4), action(), any::<bool>(), octets(2)), 1..12),
        content in octets(60),
    ) {
        let mut envelope = Envelope::default();
        envelope.write_reverse_path(|text| text.extend_from_slice(&path));
        envelope.set_envid(&envid);
        let texts: Vec<(String, String)> = told
            .iter()
            .map(|(_, _, said, _, _, remote)| {
                (String::from_utf8_lossy(said).into_owned(), String::from_utf8_lossy(remote).into_owned())
            })
            .collect();
        let recipients: Vec<Recipient<'_>> = told
            .iter()
            .zip(&texts)
            .map(|((mailbox, orcpt, _, action, is_expired, _), (said, remote))| Recipient {
                mailbox,
                orcpt,
                action: *action,
                is_expired: *is_expired,
 is_tried: true,
                said,
                remote: Some(remote),
            })
            .collect();
        let mut rest = &recipients[..];
        while !rest.is_empty() {
            let report = report(&about(&envelope, &content), rest);
            prop_assert!(report.told > 0 && report.told <= rest.len());
            let (read, groups) = check(&report.content).map_err(TestCaseError::fail)?;
            prop_assert_eq!(groups.len(), 1 + report.told);
            prop_assert_eq!(report.is_utf8, !value(&read.top, "To").is_ascii());
            for (group, recipient) in groups[1..].iter().zip(rest) {
                let expected = ["failed", "delayed", "delivered", "relayed"];
                prop_assert_eq!(value(group, "Action"), expected[recipient.action as usize]);
            }
            rest = &rest[report.told..];
        }
    }
}

#[test]
fn a_notice_says_what_is_known() {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path(b"anna", b"client.test");
    envelope.set_envid(b"QQ+2B1");
    envelope.push_recipient(b"gone", b"example.test");
    envelope
        .set_recipient_parameters(RecipientParameters { notify: None, orcpt: b"rfc822;Gone+2Bx@old.test" });
    envelope.push_recipient(b"full", b"example.test");
    let said = "550 5.1.1 \"No such user\"";
    let all: Vec<_> = envelope.recipients_with_parameters().collect();
    let recipient = |index: usize| Recipient {
        mailbox: all[index].0.whole,
        orcpt: all[index].1.orcpt,
        action: Action::Failed,
        is_expired: false,
        is_tried: true,
        said,
        remote: Some("10.0.0.5"),
    };
    let late = Recipient { is_expired: true, said: "452 4.2.2 \"Over quota\"", ..recipient(1) };
    let content = b"Received: from x\r\nSubject: Hello\r\n\r\nSecret text\r\n";
    let report = report(&about(&envelope, content), &[recipient(0), late]);
    assert_eq!((report.told, report.is_utf8), (2, false));
    let (read, groups) = check(&report.content).unwrap_or_else(|why| panic!("{why}"));
    for (name, expected) in [
        ("Date", "Tue, 14 Nov 2023 22:14:20 +0000"),
        ("From", "Mail Delivery System <MAILER-DAEMON@mx1.example.test>"),
        ("To", "<anna@client.test>"),
        ("Subject", "Your message could not be delivered"),
        ("Auto-Submitted", "auto-replied"),
    ] {
        assert_eq!(value(&read.top, name), expected);
    }
    assert!(value(&read.top, "Content-Type").starts_with("multipart/report; report-type=delivery-status; "));
    let expected: [&[(&str, &str)]; 3] = [
        &[
            ("Original-Envelope-Id", "QQ+1"),
            ("Reporting-MTA", "dns; mx1.example.test"),
            ("Arrival-Date", "Tue, 14 Nov 2023 22:13:20 +0000"),
        ],
        &[
            ("Original-Recipient", "rfc822; Gone+x@old.test"),
            ("Final-Recipient", "rfc822; gone@example.test"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", "dns; [10.0.0.5]"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 No such user"),
            ("Last-Attempt-Date", "Tue, 14 Nov 2023 22:14:20 +0000"),
            ("Final-Log-ID", "00000000000000000000000007"),
        ],
        &[
            ("Final-Recipient", "rfc822; full@example.test"),
            ("Action", "failed"),
            ("Status", "4.4.7"),
            ("Remote-MTA", "dns; [10.0.0.5]"),
            ("Diagnostic-Code", "smtp; 452 4.2.2 Over quota"),
            ("Last-Attempt-Date", "Tue, 14 Nov 2023 22:14:20 +0000"),
            ("Final-Log-ID", "00000000000000000000000007"),
        ],
    ];
    for (group, expected) in groups.iter().zip(expected) {
        let group: Vec<(&str, &str)> =
            group.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(group, expected);
    }
    assert!(read.parts[0].1.contains("  <gone@example.test>\r\n    550 5.1.1 No such user\r\n"));
    assert_eq!(read.parts[2].1, "Received: from x\r\nSubject: Hello\r\n");
    assert!(!report.content.windows(6).any(|part| part == b"Secret"));
}

#[test]
fn what_was_not_tried_at_its_end_has_no_attempt_then() {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path(b"a", b"x.test");
    let (mailbox, orcpt, said) = (&b"b@example.test"[..], &b""[..], WAITED_TOO_LONG);
    let (action, remote) = (Action::Failed, None);
    let one = Recipient { mailbox, orcpt, action, is_expired: true, is_tried: false, said, remote };
    let report = report(&about(&envelope, b"A: 1\r\n\r\n"), &[one]);
    let (read, groups) = check(&report.content).unwrap_or_else(|why| panic!("{why}"));
    assert!(!names(&groups[1]).contains(&"Last-Attempt-Date"), "{:?}", groups[1]);
    assert_eq!(value(&groups[1], "Status"), "4.4.7");
    assert!(read.parts[0].1.contains("  <b@example.test>\r\n    It waited too long.\r\n\r\n"));
}

/// RFC 8689 §5.
#[test]
fn what_was_to_go_over_tls_alone_is_not_told_of() {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path(b"a", b"x.test");
    envelope.requiretls = true;
    let (mailbox, orcpt, said) = (&b"b@example.test"[..], &b""[..], "550 no");
    let (action, remote) = (Action::Failed, None);
    let one = Recipient { mailbox, orcpt, action, is_expired: false, is_tried: true, said, remote };
    let report = report(&about(&envelope, b"Subject: Secret\r\n\r\n"), &[one]);
    let read = read(&report.content).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(read.parts.len(), 2);
    assert!(read.parts[0].1.contains("Nothing of your message"), "{}", read.parts[0].1);
    assert!(!report.content.windows(6).any(|part| part == b"Secret"));
}

#[test]
fn addresses_that_are_not_ascii_are_told() {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path("j\u{f6}rg".as_bytes(), b"client.test");
    let mailbox = "\u{e9}l\u{e8}ve@example.test".as_bytes();
    let one = Recipient {
        mailbox,
        orcpt: b"utf-8;\\x{E9}l@x.test",
        action: Action::Delayed,
        is_expired: false,
        is_tried: true,
        said: "451 later",
        remote: None,
    };
    let content = "Subject: \u{e9}\r\n\r\n".as_bytes();
    let report = report(&about(&envelope, content), &[one]);
    assert!(report.is_utf8);
    let (read, groups) = check(&report.content).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(value(&read.top, "To"), "<j\u{f6}rg@client.test>");
    assert_eq!(value(&read.top, "Subject"), "Your message is delayed");
    assert_eq!(value(&groups[1], "Final-Recipient"), "utf-8; \\x{E9}l\\x{E8}ve@example.test");
    assert_eq!(value(&groups[1], "Original-Recipient"), "utf-8; \\x{E9}l@x.test");
    assert_eq!(value(&groups[1], "Will-Retry-Until"), "Sun, 19 Nov 2023 22:13:20 +0000");
    assert!(read.parts[0].1.contains("  <=C3=A9l=C3=A8ve@example.test>"));
    assert_eq!(read.parts[2].1, "Subject: =C3=A9\r\n");
}

#[test]
fn a_thousand_recipients_are_told_in_several_notices() {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path(b"a", b"x.test");
    let names: Vec<String> = (0..1000).map(|number| format!("user{number}@example.test")).collect();
    let all: Vec<Recipient<'_>> = names
        .iter()
        .map(|name| Recipient {
            mailbox: name.as_bytes(),
            orcpt: b"",
            action: Action::Failed,
            is_expired: false,
            is_tried: true,
            said: "550 5.1.1 no",
            remote: None,
        })
        .collect();
    let content = [&b"X: ".repeat(9000)[..], b"\r\n\r\n"].concat();
    let (mut rest, mut count) = (&all[..], 0);
    while !rest.is_empty() {
        let report = report(&about(&envelope, &content), rest);
        check(&report.content).unwrap_or_else(|why| panic!("{why}"));
        rest = &rest[report.told..];
        count += 1;
    }
    assert!((5..20).contains(&count), "{count} notices");
}

/// A section that is longer is cut at a line.
#[test]
fn a_header_section_ends_where_it_ends() {
    for (content, most, expected) in [
        (&b"A: 1\r\nB: 2\r\n\r\ntext"[..], 100, &b"A: 1\r\nB: 2\r\n"[..]),
        (b"\r\ntext", 100, b""),
        (b"", 100, b""),
        (b"A: 1\r\nB: 2\r\n", 100, b"A: 1\r\nB: 2\r\n"),
        (b"A: 1\r\nB: 2\r\n\r\n", 9, b"A: 1\r\n"),
        (b"A: 1111111111\r\n\r\n", 5, b"A: 11"),
    ] {
        assert_eq!(header_section(content, most), expected, "{}", content.escape_ascii());
    }
}
