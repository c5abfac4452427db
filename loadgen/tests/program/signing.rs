//! Signed mail, and results of checks that are forged: what the program sends, judged by verifiers that share
//! no code with it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::process::Command;

use ringmx::auth::dkim::key;
use ringmx::auth::dkim::signature::{Problem, Signature};
use ringmx::auth::dkim::verify::{BodyHash, PublicKey};
use ringmx::auth::header::Header;

use crate::support::PROGRAM;
use crate::support::ended::{loadgen, loadgen_to};
use crate::support::python::python_with;
use crate::support::server::{Oddity, Server};

const SENDERS: &str = "--sign rsa-2048:3,rsa-1024,ed25519:2,broken,none --sign-domains 20";

/// TXT records of the zone, by name.
fn zone() -> HashMap<String, String> {
    let ended = loadgen(&["zone"].into_iter().chain(SENDERS.split(' ')).collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let texts = ended.text.lines().filter_map(|line| line.split_once(" TXT "));
    texts
        .map(|(name, strings)| {
            let strings: Vec<&str> = strings.split('"').skip(1).step_by(2).collect();
            assert!(strings.iter().all(|string| string.len() <= 255));
            (format!("{name}.test"), strings.concat())
        })
        .collect()
}

/// Mail data and MAIL of so many messages.
fn sent(arguments: &str) -> Vec<(Vec<u8>, String)> {
    let server = Server::start(Oddity::None);
    let ended = loadgen_to(&server, &format!("{SENDERS} {arguments}"));
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let seen = server.seen.lock().expect("lock");
    seen.messages.iter().cloned().zip(seen.mail.iter().cloned()).collect()
}

/// What stands between two texts.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(value, _)| value)
}

/// What DKIM comes to, by the receiver's evaluator, and the domain that signed.
fn verified(mail_data: &[u8], zone: &HashMap<String, String>) -> (&'static str, Option<String>) {
    let end = mail_data.windows(4).position(|at| at == b"\r\n\r\n").expect("an empty line") + 2;
    let header = Header::new(&mail_data[..end]);
    let Some(own) = header.named("DKIM-Signature").next() else { return ("none", None) };
    let signature = Signature::parse(header.value(own), 4_000_000_000).expect("a signature");
    let domain = signature.domain.to_string();
    let record = &zone[&format!("{}._domainkey.{domain}", signature.selector)];
    let key = key::parse(record.as_bytes(), &signature).expect("a key");
    let public = PublicKey::new(signature.algorithm, &key.octets).expect("a key");
    let mut body = BodyHash::new(signature.body_form);
    body.update(&mail_data[end + 2..]);
    assert_eq!(body.finish()[..], signature.body_hash, "the body hash is always right");
    let mut signed = Vec::new();
    signature.hash_header(&header, own, &mut |octets| signed.extend_from_slice(octets));
    (if public.verify(&signature, &signed) { "pass" } else { "fail" }, Some(domain))
}

#[test]
fn every_message_has_the_signature_that_it_tells() {
    let zone = zone();
    for arguments in ["--messages 400 --connections 3", "--messages 100 --size 1200 --pipelining --seed 7"] {
        let mut kinds = HashSet::new();
        for (mail_data, mail) in sent(arguments) {
            let text = String::from_utf8_lossy(&mail_data).into_owned();
            let (dkim, signer) = verified(&mail_data, &zone);
            assert_eq!(
                between(&text, "X-Loadgen-Expect: ", "\r\n").split(' ').nth(1),
                Some(&*format!("dkim={dkim}"))
            );
            let domain = between(&text, "From: loadgen <sender@", ">");
            assert_eq!(mail, format!("MAIL FROM:<sender@{domain}>"));
            assert!(signer.is_none_or(|signer| signer == domain));
            kinds.insert((between(&text, "s=", ";").to_owned(), dkim));
            let spf = zone.get(domain).map_or("spf=none", |record| match record.split(' ').next_back() {
                Some("~all") => "spf=softfail",
                _ if record.contains("127.0.0.0/8") => "spf=pass",
                _ => "spf=fail",
            });
            assert!(text.contains(&format!("Expect: {spf} ")), "{spf} {text}");
            let policy =
                zone.get(&format!("_dmarc.{domain}")).map_or("-", |record| &record["v=DMARC1; p=".len()..]);
            assert!(text.contains(&format!(" policy={policy} (")), "{policy} {text}");
        }
        assert_eq!(kinds.len(), 5, "{kinds:?}");
    }
}

#[test]
fn signed_messages_have_the_size_that_was_asked_for() {
    assert!(sent("--messages 200 --size 3000").iter().all(|(mail_data, _)| mail_data.len() == 3000));
    let ended = loadgen(&["127.0.0.1:1", "--size", "600", "--sign", "rsa-2048"]);
    assert_eq!(ended.code, Some(2), "{}", ended.text);
    assert!(ended.says("--size must be at least 9"), "{}", ended.text);
}

#[test]
fn what_cannot_be_signed_is_told() {
    for (arguments, words) in [
        ("--sign none --scenario huge", "scenario huge"),
        ("--sign none --pipelining=2", "needs --bdat"),
        ("--sign-domains 3", "--sign <KIND[:N],...>"),
        ("--sign none --sign-domains 0", "0 is not in"),
        ("--sign rsa", "there are rsa-2048, rsa-1024, ed25519, broken, none"),
        ("--forged-results mx.test:0", "PERCENT is 1 to 100"),
    ] {
        let ended = loadgen(&[&["127.0.0.1:1"], &*arguments.split(' ').collect::<Vec<_>>()].concat());
        assert_eq!(ended.code, Some(2), "{arguments}: {}", ended.text);
        assert!(ended.says(words), "{arguments}: {}", ended.text);
    }
    let ended = loadgen(&["127.0.0.1:1", "--sign", "none", "--from", ""]);
    assert!(ended.code == Some(2) && ended.says("must not be empty"), "{}", ended.text);
}

/// A verifier that others wrote; it gets the zone as a table.
const DKIMPY: &str = "\
import dkim, glob, json, sys
zone = json.load(open(sys.argv[1] + '/zone'))
def text(name, timeout=5):
    return zone[name.decode().rstrip('.')].encode()
for path in sorted(glob.glob(sys.argv[1] + '/*.eml')):
    message = dkim.DKIM(open(path, 'rb').read(), minkey=1024)
    try:
        signed = any(name.lower() == b'dkim-signature' for name, _ in message.headers)
        print('none' if not signed else 'pass' if message.verify(dnsfunc=text) else 'fail')
    except dkim.DKIMException as error:
        print(error)
";

#[test]
fn dkimpy_finds_what_each_message_tells() {
    // Ed25519 needs a library more.
    let Some(python) = python_with("dkim, nacl.signing", "python3-dkim, python3-nacl") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("zone"), serde_json::to_string(&zone()).expect("JSON")).expect("written");
    let mut expected = Vec::new();
    for (number, (mail_data, _)) in sent("--messages 100 --connections 1").iter().enumerate() {
        fs::write(folder.path().join(format!("{number:03}.eml")), mail_data).expect("written");
        expected.push(between(&String::from_utf8_lossy(mail_data), " dkim=", " ").to_owned());
    }
    let output = Command::new(python).args(["-c", DKIMPY]).arg(folder.path()).output().expect("Python");
    let (found, errors) =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).into();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{errors}");
}

#[test]
fn a_signature_does_not_outlive_a_changed_octet() {
    let zone = zone();
    let good = |mail_data: &[u8]| verified(mail_data, &zone).0 == "pass";
    let messages = sent("--messages 40 --connections 1");
    let (mail_data, _) = messages.iter().find(|(mail_data, _)| good(mail_data)).expect("one");
    let text = String::from_utf8(mail_data.clone()).expect("ASCII");
    for (from, to) in
        [("Subject: A", "Subject: B"), ("Date: ", "Date: X"), ("From: loadgen", "From: somebody")]
    {
        assert!(!good(text.replacen(from, to, 1).as_bytes()), "{from}");
    }
    // What has the id of the message is not signed, and results may be added and cut.
    for (from, to) in
        [("X-Loadgen-Id: ", "X-Loadgen-Id: x"), ("Date: ", "Authentication-Results: x; none\r\nDate: ")]
    {
        assert!(good(text.replacen(from, to, 1).as_bytes()), "{from}");
    }
    let signature = Signature::parse(b"v=1; a=rsa-sha256; d=x.test; s=s; h=to; bh=Zm9v; b=YmFy", 0);
    assert_eq!(signature.err(), Some(Problem::FromUnsigned), "the evaluator is the receiver's");
}

#[test]
fn forged_results_may_be_cut_from_what_is_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ledger) = (folder.path().join("new"), folder.path().join("ledger"));
    fs::create_dir(&store).expect("created");
    let messages = sent(&format!(
        "--messages 70 --forged-results mx.test:100 --ledger {}",
        ledger.to_str().expect("UTF-8")
    ));
    let verify = |more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("verify").arg("--ledger").arg(&ledger).arg("--maildir").arg(&store).args(more);
        let output = command.output().expect("loadgen runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let count = |text: &str, word: &str| -> u64 {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(word));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    let put = |number: usize, mail_data: &[u8]| {
        // A receiver that is always right.
        let text = String::from_utf8_lossy(mail_data).into_owned();
        let results = between(&text, "X-Loadgen-Expect: ", " policy=").replace(' ', ";\r\n\t");
        let trace = format!("Authentication-Results: mx.test;\r\n\t{results}\r\nReceived: by mx.test\r\n");
        fs::write(store.join(number.to_string()), [trace.as_bytes(), mail_data].concat()).expect("written");
    };
    for (number, (mail_data, _)) in messages.iter().enumerate() {
        put(number, mail_data);
    }
    let (code, text) = verify(&[]);
    assert_eq!((code, count(&text, "altered"), count(&text, "cut")), (Some(0), 0, 0), "{text}");
    // One form in seven looks as if it were forged, and is not.
    let forged = count(&text, "forged");
    assert!((55..=65).contains(&forged), "{text}");
    assert_eq!(verify(&["--no-forged-results"]).0, Some(1));
    let (code, text) = verify(&["--results", "mx.test"]);
    assert_eq!((code, count(&text, "judged"), count(&text, "misjudged")), (Some(0), 70, 0), "{text}");
    let (code, text) = verify(&["--results", "mx2.test"]);
    assert_eq!((code, count(&text, "judged"), count(&text, "misjudged")), (Some(1), 0, 70), "{text}");

    for (number, (mail_data, _)) in messages.iter().enumerate() {
        let header = Header::new(mail_data);
        let mut cut = mail_data.clone();
        for range in ringmx::auth::results::forged(&header, "mx.test").into_iter().rev() {
            cut.drain(range);
        }
        put(number, &cut);
    }
    let (code, text) = verify(&["--no-forged-results"]);
    assert_eq!((code, count(&text, "cut"), count(&text, "forged")), (Some(0), forged, 0), "{text}");

    put(3, &messages[3].0[..900]);
    let (code, text) = verify(&[]);
    assert_eq!((code, count(&text, "altered")), (Some(1), 1), "{text}");
}
