//! What others sign verifies, and what we write of it others can read: dkimpy, opendkim and authres, and mail
//! in the shapes that large senders, lists and forwarders give it. Messages and keys are made anew each time.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::python::python_with;

use super::forged_mail::{FORGER, INJECTED, Mail, Results, World, with_fields};

/// Whether opendkim is there. Under CI it must be.
fn has_opendkim() -> bool {
    let found =
        ["/usr/sbin/opendkim", "/usr/local/sbin/opendkim"].iter().any(|path| Path::new(path).exists());
    assert!(found || std::env::var_os("CI").is_none(), "CI needs opendkim");
    if !found {
        println!("skipped: opendkim is not installed (Debian package: opendkim)");
    }
    found
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// A message with its name.
type Named = (String, Vec<u8>);

/// Messages that were signed, in a world whose DNS has their keys.
fn signed() -> Option<(World, Vec<Named>)> {
    let python = python_with("dkim, nacl.signing", "python3-dkim, python3-nacl")?;
    if !has_opendkim() {
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output =
        Command::new(python).arg(script("signed_mail.py")).arg(folder.path()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let world = World::new();
    for line in fs::read_to_string(folder.path().join("zone.txt")).expect("a zone").lines() {
        let (name, text) = line.split_once('\t').expect("a name and a text");
        world.dns.txt(name, text);
    }
    let mut messages = Vec::new();
    for entry in fs::read_dir(folder.path()).expect("the messages") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            messages.push((name, fs::read(&path).expect("a message")));
        }
    }
    messages.sort();
    Some((world, messages))
}

/// The results of DKIM, with their domains.
fn signatures(results: &Results) -> Vec<String> {
    let words = results.value.split(';').map(str::trim).filter(|result| result.starts_with("dkim="));
    words
        .map(|result| {
            let outcome = result.split_whitespace().next().unwrap_or_default();
            let domain = result.split_once("header.d=").map_or("", |(_, domain)| domain);
            format!("{outcome} {}", domain.split_whitespace().next().unwrap_or_default())
        })
        .collect()
}

#[test]
fn mail_that_dkimpy_and_opendkim_signed_verifies_in_every_form() {
    let Some((world, messages)) = signed() else { return };
    let mut count = 0;
    for (name, message) in messages {
        let Some((signer, _)) =
            name.split_once('-').filter(|(signer, _)| ["dkimpy", "opendkim"].contains(signer))
        else {
            continue;
        };
        let results =
            world.judge(FORGER, &Mail::new(message.clone())).unwrap_or_else(|why| panic!("{name}: {why}"));
        let expected = if name.ends_with("-broken") { "fail" } else { "pass" };
        assert_eq!(
            signatures(&results),
            [format!("dkim={expected} {signer}.example")],
            "{name}: {}",
            results.value
        );
        if expected == "fail" {
            continue;
        }

        // One letter of a signed field, and one of the body.
        for (from, to) in [("MIME-Version", "MIME-Versiom"), ("line", "lime")] {
            let changed = String::from_utf8(message.clone()).expect("UTF-8").replacen(from, to, 1);
            if changed.as_bytes() == message {
                continue;
            }
            let results =
                world.judge(FORGER, &Mail::new(changed)).unwrap_or_else(|why| panic!("{name}: {why}"));
            let is_signed = from == "line" || signer == "dkimpy";
            let expected = if is_signed { "fail" } else { "pass" };
            assert_eq!(results.of("dkim"), expected, "{name} {to}: {}", results.value);
        }
        count += 1;
    }
    // Two forms twice, two algorithms, five bodies; of opendkim's four bodies those with RSA at least.
    assert!(count >= 8 * 5 + 4 * 4, "{count}");
}

#[test]
fn mail_of_large_senders_lists_and_forwarders_has_its_results() {
    let Some((world, messages)) = signed() else { return };
    world
        .dns
        .txt("_dmarc.webmail.example", "v=DMARC1; p=none; sp=quarantine")
        .txt("_dmarc.tenant.example", "v=DMARC1; p=reject; adkim=s")
        .txt("_dmarc.strict.example", "v=DMARC1; p=reject")
        .txt("strict.example", "v=spf1 ip4:192.0.2.77 -all")
        .txt("lists.example", "v=spf1 ip4:192.0.2.50 -all")
        .txt("_dmarc.lists.example", "v=DMARC1; p=reject");
    let message = |name: &str| {
        let (_, message) = messages.iter().find(|(found, _)| found == name).expect("the message");
        Mail::new(message.clone())
    };
    let from_list = |name: &str| message(name).with_path("list-bounces@lists.example");
    for (name, mail, address, signatures_expected, dmarc) in [
        ("webmail", message("webmail"), FORGER, &["dkim=pass webmail.example"][..], "pass"),
        (
            "tenant",
            message("tenant"),
            FORGER,
            &["dkim=pass tenant.example", "dkim=pass tenant.hoster.example"],
            "pass",
        ),
        (
            "list",
            from_list("list"),
            "192.0.2.50",
            &["dkim=pass lists.example", "dkim=fail strict.example"],
            "fail",
        ),
        (
            "list-as-author",
            from_list("list-as-author"),
            "192.0.2.50",
            &["dkim=pass lists.example", "dkim=fail strict.example"],
            "pass",
        ),
        ("plain-list", from_list("plain-list"), "192.0.2.50", &["dkim=pass strict.example"], "pass"),
        // SPF of the author's own path fails at whoever forwards it; the signature holds.
        (
            "forwarded",
            message("forwarded").with_path("author@strict.example"),
            FORGER,
            &["dkim=pass strict.example"],
            "pass",
        ),
    ] {
        let results = world.judge(address, &mail).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(signatures(&results), signatures_expected, "{name}: {}", results.value);
        assert_eq!(results.of("dmarc"), dmarc, "{name}: {}", results.value);
    }
    // What the list sends is suspicious, and nothing but the policy speaks against it.
    let line =
        world.server.wait_for_log(|line| line.contains("dmarc=fail") && line.contains("strict.example"));
    assert!(line.contains("applied=quarantine because=no_other_reason"), "{line}");
    // Whose own results had no name lost them, and nobody else did.
    let reply = world.send(FORGER, &message("tenant"), super::forged_mail::Way::Data);
    assert!(reply.starts_with("250"), "{reply}");
    let stored = String::from_utf8(world.take_stored().expect("a message")).expect("UTF-8");
    assert!(!stored.contains("dkim=none (message not signed)"), "{stored}");
    assert!(stored.contains("ARC-Authentication-Results: i=1; hoster.example;"), "{stored}");
    // A signature over a part of the body counts for nothing; and then SPF refuses it.
    let partial = message("partial");
    let results = world.judge(FORGER, &partial).expect("accepted");
    assert_ne!(results.of("dkim"), "pass", "{}", results.value);
    assert_eq!(results.of("dmarc"), "fail", "{}", results.value);
    let refused = world.judge(FORGER, &partial.with_path("author@strict.example")).expect_err("refused");
    assert!(refused.starts_with("550 5.7.1"), "{refused}");
}

#[test]
fn authres_reads_every_field_that_we_write() {
    let Some(python) = python_with("authres", "python3-authres") else { return };
    let world = World::new();
    world.dns.txt("b\u{fc}cher.example", "v=spf1 -all").txt("xn--bcher-kva.example", "v=spf1 -all");
    let message = with_fields("From: admin@bank.example\r\n");
    let mail = || Mail::new(message.clone());
    let signed = world.signer.sign("evil.example", "s", &message);
    let mut mails: Vec<Mail> =
        INJECTED.iter().map(|text| mail().with_path(&format!("\"{text}\"@evil.example"))).collect();
    mails.extend([
        mail(),
        mail().with_path(""),
        mail().with_path("o'neil@evil.example"),
        mail().with_path("!#$%&*+-/=?^_`{|}~@evil.example"),
        mail().with_path("a@[198.51.100.9]"),
        mail().with_path("a@[IPv6:2001:db8::1]"),
        mail().with_path("\u{e9}@evil.example"),
        mail().with_path("a@b\u{fc}cher.example"),
        mail().with_ehlo("[198.51.100.9]"),
        mail().with_ehlo("[IPv6:2001:db8::1]"),
        mail().with_ehlo("a_b"),
        mail().with_ehlo("x;(\"'\\"),
        mail().with_ehlo("x;(\"'\\").with_path(""),
        Mail::new("just text\r\n"),
        Mail::new(world.signer.sign("evil.example", "s", &with_fields("From: a@evil.example\r\n"))),
        Mail::new(signed.replace("Text", "text")),
        Mail::new(signed.replace("d=evil.example; s=s", "d=nokey.example; s=s")),
        Mail::new(signed.replace("d=evil.example; s=s", "d=evil.example; s=(;\"")),
        Mail::new(signed.replace("d=evil.example; ", "")),
        Mail::new(signed.replace("v=1; ", "")),
        Mail::new(signed.replace("a=ed25519-sha256", "a=rsa-sha1")),
        Mail::new(format!(
            "{}{signed}",
            "DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=s; h=from; bh=AA==; b=AA==\r\n".repeat(9)
        )),
    ]);
    let mut written = Vec::new();
    for mail in mails {
        match world.judge(FORGER, &mail) {
            Ok(results) => written.push(results),
            Err(reply) => assert!(reply.starts_with('5'), "{reply}: {mail:?}"),
        }
    }
    assert!(written.len() >= 25, "{}", written.len());
    let mut reader = Command::new(python)
        .arg(script("results.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = reader.stdin.take().expect("a pipe");
    for results in &written {
        writeln!(input, "Authentication-Results: {}", results.value).expect("written");
    }
    drop(input);
    let output = reader.wait_with_output().expect("it ends");
    let read = String::from_utf8(output.stdout).expect("UTF-8");
    let fields: Vec<&str> = written.iter().map(|results| &*results.value).collect();
    assert!(output.status.success(), "{}\n{fields:#?}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(read.lines().count(), written.len());
    for (line, results) in read.lines().zip(&written) {
        let methods: Vec<String> =
            results.methods.iter().map(|(method, result)| format!("[\"{method}\",\"{result}\",")).collect();
        assert!(line.starts_with("[\"mx.example.org\","), "{line}");
        let mut rest = line;
        for method in &methods {
            let (_, after) =
                rest.split_once(&**method).unwrap_or_else(|| panic!("{method}: {line}: {}", results.value));
            rest = after;
        }
        let is_result = |part: &str| part.starts_with(['s', 'd', 'i', 'a']) && part.contains("\",\"");
        assert_eq!(
            line.split("[\"").filter(|part| is_result(part)).count(),
            methods.len(),
            "{line}: {}",
            results.value
        );
    }
}
