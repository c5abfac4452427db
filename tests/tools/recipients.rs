//! The file of recipients: what is an entry, what is said of every other line, and what RCPT makes of it.

use std::path::PathBuf;

use ringmx::config;
use ringmx::config::recipients;
use ringmx::smtp::policy::RecipientEntry;
use support::client::Client;
use support::server::Server;

/// What else a configuration needs.
const REST: &str = "[[listener]]\naddress = \"127.0.0.1:2525\"\n[[sink]]\nkind = \"discard\"\n";

/// A directory with a configuration that names `recipients.txt`, and that file.
fn with_recipients(recipients: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let top = "domains = [\"example.org\"]\nrecipients = \"recipients.txt\"\n";
    let file = dir.path().join("mx.toml");
    std::fs::write(&file, format!("{top}{REST}")).expect("written");
    std::fs::write(dir.path().join("recipients.txt"), recipients).expect("written");
    (dir, file)
}

#[test]
fn a_file_without_recipients_is_a_warning() {
    for text in [&b""[..], b"\n\r\n", b"# nobody yet\n", b"  \n # a comment"] {
        let (dir, file) = with_recipients(text);
        let (_, warnings) = config::load(&file).expect("good");
        assert_eq!(warnings.len(), 1);
        let warning = warnings[0].to_string();
        let name = dir.path().join("recipients.txt").display().to_string();
        assert!(
            warning.starts_with(&format!("{name}: this file holds no recipient: `550 5.1.1`")),
            "{warning}"
        );
    }
}

#[test]
fn a_file_of_recipients_without_an_end_is_not_read_for_ever() {
    let (dir, file) = with_recipients(b"");
    std::fs::remove_file(dir.path().join("recipients.txt")).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("recipients.txt")).expect("a link");
    let problems = config::load(&file).expect_err("no file of recipients");
    let told = problems[0].to_string();
    assert!(told.ends_with("it has more than 536870912 octets; name another file"), "{told}");
    assert!(recipients::load(&dir.path().join("recipients.txt")).is_err());
}

#[test]
fn a_file_of_recipients_holds_addresses_and_whole_domains() {
    let text = "# us\r\n\r\nInfo@Example.ORG\r\n  \"needless\"@example.org  \n\"a b\"@example.org\n@example.org\njürgen@example.org";
    let (dir, file) = with_recipients(text.as_bytes());
    let mailbox = |local_part: &str| RecipientEntry::Mailbox {
        local_part: local_part.to_owned(),
        domain: "example.org".to_owned(),
    };
    let catch_all = RecipientEntry::CatchAll("example.org".to_owned());
    let entries = recipients::load(&dir.path().join("recipients.txt")).expect("good");
    assert_eq!(
        entries,
        [mailbox("Info"), mailbox("needless"), mailbox("\"a b\""), catch_all, mailbox("jürgen")]
    );
    let (config, warnings) = config::load(&file).expect("good");
    assert_eq!(config.recipients, Some(dir.path().join("recipients.txt")));
    assert_eq!(warnings, []);
}

#[test]
fn bad_recipients_are_numbered_and_not_more_than_twenty_are_shown() {
    let (dir, file) = with_recipients(b"a@example.org\nb\n\xff@example.org\n@*.example.org\n");
    let problems = config::load(&file).expect_err("problems");
    let name = dir.path().join("recipients.txt").display().to_string();
    let problems: Vec<String> =
        problems.iter().map(|problem| problem.to_string().replace(&name, "r")).collect();
    assert_eq!(
        problems,
        [
            "r:2: \"b\" is not an address: it has no `@domain`",
            "r:3: column 1: this line is not UTF-8; save the file as UTF-8",
            "r:4: \"*.example.org\" is not a domain: '*' is not a letter, digit, hyphen or underscore; \
             write each domain on a line of its own, as `@example.org`",
        ]
    );
    let (_dir, file) = with_recipients("bad\n".repeat(25).as_bytes());
    let problems = config::load(&file).expect_err("problems");
    assert_eq!(problems.len(), 21);
    assert_eq!((problems[19].0.line, problems[20].0.line), (Some(20), Some(21)));
    assert_eq!(problems[20].0.text, "5 more lines are not addresses");
}

/// What is said of one line of a file of recipients that is wrong.
#[track_caller]
fn bad_recipient(line: &[u8]) -> String {
    let (_dir, file) =
        with_recipients(&[b"first@example.org\r\n", line, b"\r\nlast@example.org\r\n"].concat());
    let problems = config::load(&file).err().unwrap_or_else(|| panic!("{} is good", line.escape_ascii()));
    assert_eq!((problems.len(), problems[0].0.line), (1, Some(2)), "{}", line.escape_ascii());
    problems[0].0.text.clone()
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_recipient() {
    for (text, first) in [
        ("\u{feff}anna@example.org\r\n@example.org\r\n", "anna"),
        ("\u{feff}# us\r\nanna@example.org", "anna"),
        ("\u{feff}\r\nanna@example.org", "anna"),
    ] {
        let (dir, file) = with_recipients(text.as_bytes());
        let entries = recipients::load(&dir.path().join("recipients.txt")).expect("good");
        let domain = "example.org".to_owned();
        assert_eq!(entries[0], RecipientEntry::Mailbox { local_part: first.to_owned(), domain }, "{text:?}");
        assert_eq!(config::load(&file).expect("good").1, []);
    }
    let (dir, _) = with_recipients("\u{feff}@example.org\n".as_bytes());
    let entries = recipients::load(&dir.path().join("recipients.txt")).expect("good");
    assert_eq!(entries, [RecipientEntry::CatchAll("example.org".to_owned())]);
    for utf_16 in [&b"\xff\xfea\0@\0b\0"[..], b"\xfe\xff\0a\0@\0b"] {
        let (_dir, file) = with_recipients(utf_16);
        let problems = config::load(&file).expect_err("problems");
        assert_eq!(problems[0].0.text, "this file is UTF-16; save it as UTF-8");
    }
}

#[test]
fn characters_that_cannot_be_seen_are_no_part_of_a_recipient() {
    for (line, column, code) in [
        ("anna\u{200b}@example.org", 5, "200B"),
        ("an\u{ad}na@example.org", 3, "00AD"),
        ("  \u{e9}\u{2060}a@example.org", 4, "2060"),
        ("\u{feff}anna@example.org", 1, "FEFF"),
        ("\u{feff}# a comment", 1, "FEFF"),
        ("@exam\u{ad}ple.org", 6, "00AD"),
        ("anna@example.org\u{a0}", 17, "00A0"),
        ("\u{202e}anna@example.org", 1, "202E"),
        ("\"a\u{3164}b\"@example.org", 3, "3164"),
        ("an\0na@example.org", 3, "0000"),
        ("anna@example.org\rberta@example.org", 17, "000D"),
        ("anna\u{fffd}@example.org", 5, "FFFD"),
    ] {
        let text = bad_recipient(line.as_bytes());
        assert!(text.starts_with(&format!("column {column}: ")), "{line:?}: {text}");
        assert!(text.contains(&format!("U+{code}")), "{line:?}: {text}");
    }
    let text = bad_recipient(b"andr\xe9@example.org");
    assert_eq!(text, "column 5: this line is not UTF-8; save the file as UTF-8");
    // What a comment holds is nobody's address.
    let (_dir, file) = with_recipients("# soft\u{ad}hyphen\nanna@example.org\n".as_bytes());
    assert_eq!(config::load(&file).expect("good").1, []);
}

#[test]
fn patterns_are_no_recipients_and_the_cure_is_named() {
    for line in [
        "*@example.org",
        "%@example.org",
        "anna*@example.org",
        "a*a@example.org",
        "anna%@example.org",
        "/^anna/@example.org",
        "/^anna.*@example\\.org$/",
        "^anna$@example.org",
        "[ab]nna@example.org",
        "(anna|berta)@example.org",
        "{local}@example.org",
        "$user@example.org",
        "+@example.org",
        "?@example.org",
        "_@example.org",
    ] {
        let text = bad_recipient(line.as_bytes());
        assert!(text.contains("`@example.org` takes every local-part of the domain"), "{line}: {text}");
    }
    assert!(bad_recipient(b"example.org").ends_with("; `@example.org` takes every local-part of it"));
    assert!(bad_recipient(b"@*").ends_with("; write each domain on a line of its own, as `@example.org`"));
    // In quotes a name is meant as it is, and tags, dots and digits are none of all that.
    let (dir, file) = with_recipients(
        "\"*\"@example.org\nanna+tag@example.org\nany@example.org\n1-2@example.org\n\u{5b57}@example.org\n\"a, b # c\"@example.org\n"
            .as_bytes(),
    );
    assert_eq!(config::load(&file).expect("good").1, []);
    let entries = recipients::load(&dir.path().join("recipients.txt")).expect("good");
    assert_eq!(
        entries[0],
        RecipientEntry::Mailbox { local_part: "*".to_owned(), domain: "example.org".to_owned() }
    );
}

#[test]
fn a_line_holds_one_recipient_and_nothing_else() {
    const COMMENT: &str = "a comment has a line of its own, and begins with `#`";
    const MAP: &str =
        "nothing follows an address on its line: of a map or list of aliases keep the first column";
    const ONE: &str = "write one address a line, and nothing else";
    const ALONE: &str = "write the address alone, as `anna@example.org`";
    for (line, cure) in [
        ("anna@example.org  # the boss", COMMENT),
        ("anna@example.org\t# the boss", COMMENT),
        ("anna@example.org#boss", COMMENT),
        ("@example.org # all", COMMENT),
        ("\"a b\"@example.org # her", COMMENT),
        ("; a comment", "a comment begins with `#`"),
        ("// a comment", "a comment begins with `#`"),
        ("anna@example.org OK", MAP),
        ("anna@example.org\tOK", MAP),
        ("anna@example.org: berta", MAP),
        ("anna@example.org=berta", MAP),
        ("anna@example.org berta@other.test", ONE),
        ("anna@example.org, berta@example.org", ONE),
        ("anna@example.org;", ONE),
        ("<anna@example.org>", ALONE),
        ("Anna <anna@example.org>", ALONE),
        ("mailto:anna@example.org", ALONE),
        ("\"anna@example.org\"", "write the address without quotes around it"),
        ("'anna@example.org'", "write the address without quotes around it"),
    ] {
        let text = bad_recipient(line.as_bytes());
        assert!(text.ends_with(&format!("; {cure}")), "{line:?}: {text}");
    }
}

#[test]
fn recipients_that_are_the_same_are_a_warning() {
    let text = "anna@example.org\nAnna@EXAMPLE.org\n@example.org\nstra\u{df}e@example.org\nSTRASSE@example.org\n@Example.org\n";
    let (_dir, file) = with_recipients(text.as_bytes());
    let (_, warnings) = config::load(&file).expect("good");
    let warnings: Vec<_> = warnings.iter().map(|warning| (warning.0.line, warning.0.text.as_str())).collect();
    assert_eq!(
        warnings,
        [
            (Some(2), "\"Anna@example.org\" is the same recipient as that of line 1"),
            (Some(5), "\"STRASSE@example.org\" is the same recipient as that of line 4"),
            (Some(6), "\"@example.org\" is the same recipient as that of line 3"),
        ]
    );
    let whole = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("local_part_case_sensitive = true\n{whole}")).expect("written");
    assert_eq!(config::load(&file).expect("good").1.len(), 1, "only the domain is the same");
}

#[test]
fn recipients_that_get_no_mail_are_a_warning() {
    let (_dir, file) =
        with_recipients(b"a@other.example\n@example.org\na%b@example.org\n.a@example.org\n@x.example.org\n");
    let (_, warnings) = config::load(&file).expect("good");
    let warnings: Vec<_> = warnings.iter().map(|warning| (warning.0.line, warning.0.text.as_str())).collect();
    assert_eq!(
        warnings,
        [
            (Some(1), "`domains` does not accept \"other.example\", so this recipient gets no mail"),
            (Some(3), "`local_part_deny` holds '%', so this recipient gets no mail"),
            (Some(4), "`local_part_leading_dot` is false, so this recipient gets no mail"),
            (Some(5), "`domains` does not accept \"x.example.org\", so this recipient gets no mail"),
        ]
    );
}

#[test]
fn two_spellings_of_a_recipient_have_one_maildir_and_one_copy() {
    let config = "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\nrecipients = \"recipients.txt\"\n\
                  [[listener]]\naddress = \"127.0.0.1:0\"\n\
                  [[sink]]\nkind = \"maildir\"\npath = \"mail\"\ntemplate = \"{domain}/{local}\"\n";
    let server = Server::start_with_files(config, &[("recipients.txt", "\u{feff}jos\u{e9}@example.org\r\n")]);
    let mut client = Client::greeted(server.address());
    let spellings = ["JOS\u{c9}", "jose\u{301}", "jos\u{e9}"];
    for recipients in [&spellings[..], &spellings[..1], &spellings[1..2]] {
        client.command("MAIL FROM:<a@client.example> SMTPUTF8", "250");
        for recipient in recipients {
            client.command(&format!("RCPT TO:<{recipient}@example.org>"), "250");
        }
        client.command("RCPT TO:<jose@example.org>", "550 5.1.1");
        client.command("DATA", "354");
        client.send(b"Subject: x\r\n\r\n.\r\n");
        client.expect("250");
    }
    assert_eq!(server.maildir("mail/example.org/jos%C3%A9").len(), 3);
    let names = std::fs::read_dir(server.folder().join("mail/example.org")).expect("the maildirs");
    assert_eq!(names.count(), 1);
}
