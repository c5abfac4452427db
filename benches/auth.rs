//! What the checks of a message cost while the DNS has nothing new to say: the header section is split into
//! fields, SPF, DKIM with each algorithm, DMARC, and the hash of a large body.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmx::auth::dkim::canonical::Form;
use ringmx::auth::dkim::key;
use ringmx::auth::dkim::signature::Signature;
use ringmx::auth::dkim::verify::{BodyHash, PublicKey};
use ringmx::auth::dmarc::{self, DmarcResult, Facts, Found};
use ringmx::auth::header::Header;
use ringmx::auth::spf::{self, Sender, SpfResult};
use ringmx::dns::{Answer, Kind, Name, Question, Records};
use ringmx::handoff::lookup::Answered;
use ringmx::shard::answers::{Answers, Checked};
use support::signer::Signer;

/// Octets of a whole message.
const MESSAGE_BYTES: usize = 4096;

/// Octets of a large body.
const BODY_BYTES: usize = 1 << 20;

/// As a receive buffer gives them.
const PIECE_BYTES: usize = 32 << 10;

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

/// A shard that knows these texts.
fn knows(texts: &[(&str, String)], missing: &[&str], now: Instant) -> Answers {
    let mut answers = Answers::new(0, None, Arc::default());
    let texts =
        texts.iter().map(|(name, text)| (*name, Answer::Records(Records::Txt(vec![text.as_bytes().into()]))));
    let missing = missing.iter().map(|name| (*name, Answer::NoName));
    for (text, answer) in texts.chain(missing) {
        let question = Question::new(Kind::Txt, name(text));
        let answered = Answered { question, answer: Arc::new(answer), lifetime: Duration::from_hours(1) };
        answers.handle_answer(answered, now);
    }
    answers
}

/// A record that includes three others with eight networks each, as of large providers; the client is in the
/// last one.
fn check_spf(criterion: &mut Criterion) {
    let now = Instant::now();
    let networks = |third: u8| {
        let networks: Vec<String> =
            (0..8).map(|fourth| format!("ip4:203.0.{third}.{}/28", fourth * 16)).collect();
        format!("v=spf1 {} ~all", networks.join(" "))
    };
    let own = "v=spf1 ip4:192.0.2.0/24 include:_spf.provider.example ~all".to_owned();
    let provider = "v=spf1 include:_n1.provider.example include:_n2.provider.example \
                    include:_n3.provider.example ~all";
    let texts = [
        ("shop.example", own),
        ("_spf.provider.example", provider.to_owned()),
        ("_n1.provider.example", networks(1)),
        ("_n2.provider.example", networks(2)),
        ("_n3.provider.example", networks(3)),
    ];
    let mut answers = knows(&texts, &[], now);
    let sender = Sender {
        client: [203, 0, 3, 120].into(),
        helo: b"out.provider.example",
        local_part: b"bounces+1234",
        domain: b"shop.example",
        receiver: "mx1.example.org",
        explains: false,
        now: 1_700_000_000,
    };
    criterion.benchmark_group("SPF").bench_function("four includes, answers known", |bench| {
        bench.iter(|| {
            let (checked, _) = answers.run_check(1, now, |asking| spf::check(black_box(&sender), asking));
            assert!(matches!(checked, Checked::Done(outcome) if outcome.result == SpfResult::Pass));
        });
    });
}

/// The author's domain has no policy, its organisation has; the reverse-path is of the same organisation.
fn check_dmarc(criterion: &mut Criterion) {
    let now = Instant::now();
    let texts = [("_dmarc.shop.example", "v=DMARC1; p=reject; rua=mailto:d@shop.example".to_owned())];
    let missing = ["_dmarc.news.shop.example", "_dmarc.bounces.shop.example", "_dmarc.example"];
    let mut answers = knows(&texts, &missing, now);
    let (author, path) = (name("news.shop.example"), name("bounces.shop.example"));
    let facts = Facts {
        author: &author,
        spf: Some((&path, Found::Pass)),
        dkim: &[(name("shop.example"), Found::Pass)],
    };
    criterion.benchmark_group("DMARC").bench_function("walks to the organisation, answers known", |bench| {
        bench.iter(|| {
            let (checked, _) = answers.run_check(1, now, |asking| dmarc::check(black_box(&facts), asking));
            assert!(matches!(checked, Checked::Done(outcome) if outcome.result == DmarcResult::Pass));
        });
    });
}

/// A header section as mail of a shop has it, without a signature.
fn header_section() -> String {
    let received = "Received: from a.provider.example (a.provider.example [203.0.3.1])\r\n\tby b.provider.example \
                    with ESMTPS id 0123456789abcdef\r\n\tfor <somebody@example.org>; Tue, 1 Jul 2025 12:00:00 +0000\r\n";
    let fields = "From: A Shop <news@shop.example>\r\nTo: somebody@example.org\r\n\
                  Subject: =?utf-8?q?What_is_new_in_July?=\r\nDate: Tue, 1 Jul 2025 12:00:00 +0000\r\n\
                  Message-ID: <0123456789abcdef@shop.example>\r\nMIME-Version: 1.0\r\n\
                  Content-Type: multipart/alternative; boundary=\"0123456789abcdef\"\r\n\
                  List-Unsubscribe: <https://shop.example/unsubscribe/0123456789abcdef>\r\n\
                  List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: 1:2:3:shop\r\n\
                  X-Mailer: something 1.0\r\nPrecedence: bulk\r\n";
    format!("{}{fields}", received.repeat(3))
}

/// Lines of words.
fn body(bytes: usize) -> Vec<u8> {
    let line = b"The quick brown fox jumps over the lazy dog, and over it again and again.\r\n";
    let mut body = line.repeat(bytes / line.len() + 1);
    body.truncate(bytes - 2);
    body.extend_from_slice(b"\r\n");
    body
}

/// A signed message, its header section and its body.
fn signed(signer: &Signer, body: &[u8]) -> (String, Vec<u8>) {
    let names = "From:To:Subject:Date:Message-ID:MIME-Version:Content-Type:List-Unsubscribe";
    let message = format!("{}\r\n{}", header_section(), std::str::from_utf8(body).expect("ASCII"));
    let signed = signer.sign_fields("shop.example", "s1", names, &message);
    let (header_section, body) = signed.split_once("\r\n\r\n").expect("a header section");
    (format!("{header_section}\r\n"), body.as_bytes().to_vec())
}

/// All that is done for a message with one signature; `kept`: its key was read before.
fn verify(header_section: &str, body: &[u8], record: &str, kept: Option<&PublicKey>) -> bool {
    let header = Header::new(header_section.as_bytes());
    let Some(own) = header.named("DKIM-Signature").next() else { return false };
    let Ok(signature) = Signature::parse(header.value(own), 1_700_000_000) else { return false };
    let mut hash = BodyHash::new(signature.body_form);
    hash.update(body);
    let mut octets = Vec::new();
    signature.hash_header(&header, own, &mut |part| octets.extend_from_slice(part));
    let is_same = hash.finish()[..] == signature.body_hash[..];
    let read = match kept {
        Some(_) => None,
        None => key::parse(record.as_bytes(), &signature)
            .and_then(|key| PublicKey::new(signature.algorithm, &key.octets))
            .ok(),
    };
    is_same && kept.or(read.as_ref()).is_some_and(|key| key.verify(&signature, &octets))
}

fn verify_dkim(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("DKIM, a message of 4 KiB");
    for (kind, signer) in [("RSA-2048", Signer::rsa()), ("Ed25519", Signer::ed25519())] {
        let above = signed(&signer, b"").0.len();
        let (header_section, body) = signed(&signer, &body(MESSAGE_BYTES - above - 2));
        let record = signer.record();
        let header = Header::new(header_section.as_bytes());
        let own = header.named("DKIM-Signature").next().expect("a signature");
        let signature = Signature::parse(header.value(own), 0).expect("a good one");
        let read = key::parse(record.as_bytes(), &signature).expect("a key");
        let kept = PublicKey::new(signature.algorithm, &read.octets).expect("a key");
        for (how, kept) in [("the key read anew", None), ("the key kept", Some(&kept))] {
            group.bench_function(format!("{kind}, {how}"), |bench| {
                bench.iter(|| {
                    assert!(verify(black_box(&header_section), black_box(&body), &record, kept));
                });
            });
        }
    }
}

fn hash_body(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash of a body of 1 MiB");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64));
    let body = body(BODY_BYTES);
    for (word, form) in [("simple", Form::Simple), ("relaxed", Form::Relaxed)] {
        group.bench_function(word, |bench| {
            bench.iter(|| {
                let mut hash = BodyHash::new(form);
                black_box(&body).chunks(PIECE_BYTES).for_each(|piece| hash.update(piece));
                black_box(hash.finish())
            });
        });
    }
    group.bench_function("the hash alone", |bench| {
        bench.iter(|| black_box(digest::digest(&digest::SHA256, black_box(&body))));
    });
}

fn split_header(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header section");
    let section = header_section();
    group.throughput(Throughput::Bytes(section.len() as u64));
    group.bench_function("into fields", |bench| {
        bench.iter(|| black_box(Header::new(black_box(section.as_bytes()))));
    });
}

criterion_group!(benches, split_header, check_spf, verify_dkim, hash_body, check_dmarc);
criterion_main!(benches);
