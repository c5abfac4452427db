//! Fields that claim to be our Authentication-Results: whatever they look like and however they travel, they
//! are removed, and no other octet is.

use super::world::{FORGER, Mail, Results, Way, World};

/// Fields that are removed. Each says `forged` somewhere.
fn forged() -> Vec<String> {
    let mut fields: Vec<String> = [
        "Authentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "authentication-results:mx.example.org;dmarc=pass header.from=forged\r\n",
        "AUTHENTICATION-RESULTS: MX.EXAMPLE.ORG; dmarc=pass header.from=forged\r\n",
        "Authentication-Results : mx.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results\t \t: mx.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results\r\n : mx.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results:\r\n mx.example.org\r\n ;\r\n\tdmarc=pass\r\n header.from=forged\r\n",
        "Authentication-Results: \r\n \r\n mx.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: mx.example.org 1; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: mx.example.org 2; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: other.example 2; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: (a (b) \\) c) mx.example.org (d); dmarc=pass header.from=forged\r\n",
        "Authentication-Results: (a (b) mx.example.org; dmarc=pass) other.example; x=forged\r\n",
        "Authentication-Results: \"mx.example.org\"; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: \"mx.exa\\mple.org\"; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: mx.example.org.; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: mx.example.org; none (forged)\r\n",
        "Authentication-Results: dmarc=pass header.from=forged\r\n",
        "Authentication-Results: spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=forged; dmarc=pass\r\n",
        "Authentication-Results: ; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: (forged\r\n",
        "Authentication-Results: \"forged\r\n",
        "Authentication-Results: <mx.example.org>; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: =?utf-8?Q?mx.example.org?=; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: mx\u{3002}example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: \u{ff4d}x.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: mx.example.org\0.other.example; dmarc=pass header.from=forged\r\n",
        "Authentication\0-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results\x0b: mx.example.org; dmarc=pass header.from=forged\r\n",
    ]
    .map(str::to_owned)
    .into();
    fields.push(format!(
        "Authentication-Results: mx.example.org;{} dmarc=pass\r\n",
        "\r\n x=forged;".repeat(900)
    ));
    fields.push(format!("Authentication-Results: ({}) mx.example.org; x=forged\r\n", "c".repeat(8192)));
    fields
}

/// Fields that hide one after a bare CR or LF, which only BDAT can bring.
fn forged_after_bare_line_ends() -> Vec<String> {
    [
        "X: y\nAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "X: y\rAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "X: y\r\n z\nauthentication-results : mx.example.org; dmarc=pass header.from=forged\r\n",
        "X: y\n\nAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "X\nAuthentication-Results:\n\tmx.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results\n: mx.example.org; dmarc=pass header.from=forged\r\n",
        "\nAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results: other.example; none\nAuthentication-Results: mx.example.org; x=forged\r\n",
        "Subject: \"x\nAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\n\"\r\n",
    ]
    .map(str::to_owned)
    .into()
}

/// Fields that stay.
const OTHERS: [&str; 6] = [
    "Authentication-Results: other.example; dmarc=pass header.from=bank.example\r\n",
    "Authentication-Results: other.example;\r\n dkim=pass\r\n\treason=\"mx.example.org; dmarc=pass\"\r\n",
    "ARC-Authentication-Results: i=1; mx.example.org; dmarc=pass\r\n",
    "X-Authentication-Results: mx.example.org; dmarc=pass\r\n",
    "Authentication-Results-Original: mx.example.org; dmarc=pass\r\n",
    "Comments: x\r\n Authentication-Results: mx.example.org; dmarc=pass\r\n",
];

/// A message with these fields among and below its own; and without any.
fn with_and_without(fields: &[String]) -> (Vec<u8>, Vec<u8>) {
    let body = "\r\nAuthentication-Results: mx.example.org; dmarc=pass (text)\r\n.\r\n..\r\n";
    let (mut with, mut without) = (String::new(), String::new());
    let kept: Vec<&str> =
        ["From: a@evil.example\r\n"].into_iter().chain(OTHERS).chain(["Subject: x\r\n"]).collect();
    // As many after each field as it takes to have all of them.
    let share = fields.len().div_ceil(kept.len()).max(1);
    let mut rest = fields.chunks(share);
    for field in kept {
        with.push_str(field);
        without.push_str(field);
        with.extend(rest.next().into_iter().flatten().map(String::as_str));
    }

    with.extend(rest.flatten().map(String::as_str));
    ((with + body).into_bytes(), (without + body).into_bytes())
}

/// What stands below our fields of a stored message.
fn mail_data(stored: &[u8]) -> &[u8] {
    let mut rest = stored;
    for name in [&b"Authentication-Results:"[..], b"Received:"] {
        assert!(rest.starts_with(name), "{}", rest.escape_ascii());
        loop {
            let end = rest.iter().position(|octet| *octet == b'\n').expect("a line end") + 1;
            rest = &rest[end..];
            if !rest.starts_with(b"\t") {
                break;
            }
        }
    }
    rest
}

#[track_caller]
fn assert_cut(world: &World, data: Vec<u8>, expected: &[u8], way: Way) {
    let shown = data[..data.len().min(300)].escape_ascii().to_string();
    let reply = world.send(FORGER, &Mail::new(data), way);
    assert!(reply.starts_with("250"), "{way:?}: {reply}: {shown}");
    let stored = world.take_stored().expect("a message");
    Results::on_top_of(&stored);
    assert!(mail_data(&stored) == expected, "{way:?}: {shown}\n{}", mail_data(&stored).escape_ascii());
}

#[test]
fn no_field_that_claims_to_be_ours_is_left_and_no_other_octet_is_removed() {
    let world = World::new();
    for field in forged() {
        let (with, without) = with_and_without(std::slice::from_ref(&field));
        assert_cut(&world, with, &without, Way::Data);
        // Below all others, and three of them.
        let plain = String::from_utf8(without).expect("UTF-8");
        let (header, body) = plain.split_once("\r\n\r\n").expect("a body");
        let below = format!("{header}\r\n{field}{field}{field}\r\n{body}");
        assert_cut(&world, below.into_bytes(), plain.as_bytes(), Way::Chunks(usize::MAX));
        // On top. Where the first line is no field, no line is.
        let name = field.split(':').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        if name.bytes().all(|octet| octet.is_ascii_graphic()) {
            assert_cut(&world, format!("{field}{plain}").into_bytes(), plain.as_bytes(), Way::Data);
        }
    }
    // A header section without a body, and without an end.
    let field = &forged()[0];
    for (with, without) in [
        (format!("From: a@evil.example\r\n{field}"), "From: a@evil.example\r\n"),
        (format!("From: a@evil.example\r\n{}", field.trim_end()), "From: a@evil.example\r\n"),
        (format!("{field}From: a@evil.example"), "From: a@evil.example"),
    ] {
        assert_cut(&world, with.into_bytes(), without.as_bytes(), Way::Chunks(20));
    }
}

#[test]
fn forged_fields_go_however_they_travel() {
    let world = World::new();
    let (with, without) = with_and_without(&forged());
    for way in [
        Way::Data,
        Way::Segments(1000),
        Way::Segments(61),
        Way::Chunks(usize::MAX),
        Way::Chunks(4096),
        Way::Chunks(1500),
        Way::ChunkInSegments(100),
    ] {
        assert_cut(&world, with.clone(), &without, way);
    }
    // Octet by octet, of which there are not so many.
    for field in &forged()[..8] {
        let (with, without) = with_and_without(std::slice::from_ref(field));
        for way in [Way::Segments(1), Way::Segments(3), Way::Chunks(100), Way::ChunkInSegments(1)] {
            assert_cut(&world, with.clone(), &without, way);
        }
    }
}

#[test]
fn forged_fields_after_bare_line_ends_go_too() {
    let world = World::new();
    for field in forged_after_bare_line_ends() {
        let (with, without) = with_and_without(std::slice::from_ref(&field));
        for way in
            [Way::Chunks(usize::MAX), Way::Chunks(100), Way::ChunkInSegments(1), Way::ChunkInSegments(13)]
        {
            assert_cut(&world, with.clone(), &without, way);
        }
    }
    let all: Vec<String> = forged().into_iter().chain(forged_after_bare_line_ends()).collect();
    let (with, without) = with_and_without(&all);
    assert_cut(&world, with, &without, Way::Chunks(1 << 20));
}

#[test]
fn forged_fields_go_from_messages_that_are_spilled() {
    let world = World::new();
    let (with, without) = with_and_without(&forged());
    let text = "a line of a message that is larger than the memory for it\r\n".repeat(150_000);
    let long = |beginning: Vec<u8>| [beginning, text.clone().into_bytes()].concat();
    let (with, without) = (long(with), long(without));
    let mail = Mail::new(with.clone());
    let mut client = world.begin(FORGER, &mail).expect("taken so far");
    client.send(format!("BDAT {}\r\n", with.len()).as_bytes());
    client.send(&with);
    client.expect("250");
    assert!(world.has_spill_file(), "it is larger than the memory");
    client.command("BDAT 0 LAST", "250");
    let stored = world.take_stored().expect("a message");
    Results::on_top_of(&stored);
    assert!(mail_data(&stored) == without);
    assert_cut(&world, with, &without, Way::Segments(30_000));
}

#[test]
fn text_that_has_no_header_section_has_no_field_of_ours_but_the_one_on_top() {
    let world = World::new();
    for text in [
        " Authentication-Results: mx.example.org; dmarc=pass header.from=forged\r\nFrom: a@evil.example\r\n",
        "\tx\r\nAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "just text\r\nAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "\r\nAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
        "Authentication-Results\r\n : mx.example.org; dmarc=pass header.from=forged\r\nFrom: a@evil.example\r\n",
        "Authentication\0-Results: mx.example.org; dmarc=pass header.from=forged\r\nFrom: a@evil.example\r\n",
        "Authentication Results: x\r\nAuthentication-Results: mx.example.org; dmarc=pass header.from=forged\r\n",
    ] {
        for way in [Way::Data, Way::Segments(1), Way::ChunkInSegments(5)] {
            let reply = world.send(FORGER, &Mail::new(text), way);
            assert!(reply.starts_with("250"), "{reply}");
            let stored = world.take_stored().expect("a message");
            Results::on_top_of(&stored);
            assert!(stored.ends_with(text.as_bytes()), "it is text, and stays: {}", stored.escape_ascii());
        }
    }
    // After the line of an mbox file fields are fields.
    let message = "From root Thu Jan  1 00:00:00 1970\r\n\
                   Authentication-Results: mx.example.org; dmarc=pass header.from=forged\r\nFrom: a@evil.example\r\n\r\nx\r\n";
    let reply = world.send(FORGER, &Mail::new(message), Way::Data);
    assert!(reply.starts_with("250"), "{reply}");
    let stored = world.take_stored().expect("a message");
    let results = Results::on_top_of(&stored);
    assert_eq!(results.of("dmarc"), "pass", "{}", results.value);
    assert!(!String::from_utf8_lossy(&stored).contains("forged"));
}
