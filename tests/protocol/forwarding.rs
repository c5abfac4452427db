//! The client of the forwarder against sessions of the receiver, both in memory: what is handed on is stored
//! as it was, octet for octet, by either form of the content, under TLS and through XCLIENT, in any pieces.

use std::sync::Arc;

use proptest::prelude::*;
use ringmx::client::transparency::Transparency;
use ringmx::client::{
    Client, Content, Form, Phase, Protocol, Recipient, RecipientResult, Settings, Step, Tls, Transaction,
    Unfit,
};
use ringmx::mail::client::ClientFacts;
use ringmx::mail::envelope::{BodyType, Notify, RecipientParameters, Ret};
use ringmx::mail::network::Network;
use ringmx::mail::outcome::TryAgain;
use ringmx::smtp::extension::{Extension, ExtensionSet};
use ringmx::smtp::settings::{Gate, NulPolicy, TlsPolicy};

use support::exchange::{Exchange, Trouble, settings};

/// Both ends.
struct Pair {
    client: Client,
    server: Exchange,
    /// Octets of replies that the client has seen.
    heard: usize,
    /// Octets of a piece.
    size: usize,
}

impl Pair {
    fn new(client: Settings, server: ringmx::smtp::settings::Settings, size: usize) -> Self {
        Self { client: Client::new(Arc::new(client)), server: Exchange::new(server), heard: 0, size }
    }

    /// Goes on until the client needs the outside; the content is sent when it is wanted.
    fn advance(&mut self, output: &mut Vec<u8>, content: &[u8]) -> Step {
        loop {
            let replies = self.server.seen.replies.clone();
            let mut input = replies.get(self.heard..).unwrap_or_default();
            let step = self.client.advance(&mut input, output);
            self.heard = replies.len() - input.len();
            match step {
                Step::SendContent(form) => {
                    send_content(form, content, self.size, output);
                    self.client.handle_content_sent();
                }
                Step::NeedInput(phase) => {
                    assert!(!output.is_empty() || phase == Phase::Greeting, "no end waits for the other");
                    for piece in std::mem::take(output).chunks(self.size) {
                        self.server.receive(piece);
                    }
                }
                Step::StartTls => {
                    self.server.receive(&std::mem::take(output));
                    self.server.secure();
                    self.client.handle_secured(true);
                }
                other => return other,
            }
        }
    }

    fn open(&mut self) {
        assert_eq!(self.advance(&mut Vec::new(), b""), Step::Ready);
    }

    /// Hands a message on.
    fn hand_on(
        &mut self,
        transaction: &Transaction<'_>,
        recipients: &[Recipient<'_>],
        content: &[u8],
    ) -> Result<Vec<Option<u16>>, Unfit> {
        let mut output = Vec::new();
        self.client.begin(transaction, recipients.iter().copied(), &mut output)?;
        assert_eq!(self.advance(&mut output, content), Step::Done);
        let codes = self.client.results().map(|result| match result {
            RecipientResult::Accepted(reply)
            | RecipientResult::Temporary(reply)
            | RecipientResult::Permanent(reply) => Some(reply.code),
            RecipientResult::Untried
            | RecipientResult::Lost
            | RecipientResult::Unknown
            | RecipientResult::Welcome => None,
        });
        let codes = codes.collect();
        assert_eq!(self.advance(&mut output, b""), Step::Ready);
        Ok(codes)
    }
}

fn send_content(form: Form, content: &[u8], size: usize, output: &mut Vec<u8>) {
    if form == Form::Chunk {
        return output.extend_from_slice(content);
    }
    let mut transparency = Transparency::new();
    for slice in content.chunks(size) {
        for piece in transparency.slices(slice) {
            output.extend_from_slice(piece.expect("DATA can carry it"));
        }
    }
    output.extend_from_slice(transparency.end().expect("DATA can carry it"));
}

fn client(tls: Tls) -> Settings {
    Settings { tls, xclient: true, ..Settings::of(Protocol::Smtp, "client.test") }
}

fn server(extensions: ExtensionSet) -> ringmx::smtp::settings::Settings {
    ringmx::smtp::settings::Settings { extensions, nul: NulPolicy::Keep, ..settings() }
}

fn message(content: &[u8]) -> Transaction<'static> {
    Transaction {
        reverse_path: b"sender@example.com",
        body: BodyType::SevenBit,
        smtputf8: false,
        requiretls: false,
        ret: None,
        envid: b"",
        content: Content { bytes: content.len() as u64, bare_line_ends: false },
        client: None,
    }
}

fn to(mailbox: &str) -> Recipient<'_> {
    Recipient { mailbox: mailbox.as_bytes(), parameters: RecipientParameters::default() }
}

#[test]
fn all_that_an_envelope_says_is_handed_on() {
    let tls = ringmx::smtp::settings::Settings { tls: TlsPolicy::Offered, ..server(ExtensionSet::all()) };
    let mut pair = Pair::new(client(Tls::Required), tls, 1000);
    pair.open();
    let content = b"Subject: x\r\n\r\nbare\nline\rends \0 without an end";
    let transaction = Transaction {
        reverse_path: "jos\u{e9}@example.com".as_bytes(),
        body: BodyType::BinaryMime,
        smtputf8: true,
        requiretls: true,
        ret: Some(Ret::Headers),
        envid: b"QQ+2B",
        content: Content { bytes: content.len() as u64, bare_line_ends: true },
        client: None,
    };
    let parameters = RecipientParameters { notify: Some(Notify::NEVER), orcpt: b"rfc822;o+40x" };
    let recipients = [Recipient { mailbox: b"\"a b\"@example.org", parameters }, to("c@example.org")];
    assert_eq!(pair.hand_on(&transaction, &recipients, content), Ok(vec![Some(250), Some(250)]));
    let [stored] = &pair.server.seen.stored[..] else { panic!("one message") };
    assert_eq!(stored.data, content);
    assert_eq!(stored.size, Some(content.len() as u64));
    for fact in [
        "with=UTF8SMTPS",
        "body=BinaryMime",
        "smtputf8=true",
        "requiretls=true",
        "bare=true",
        "ret=Some(Headers)",
        "envid=QQ+2B",
        "\\\"a b\\\"@example.org:notify=NEVER",
        "\\\"a b\\\"@example.org:orcpt=rfc822;o+40x",
        "c@example.org:notify=none",
    ] {
        assert!(stored.facts.iter().any(|stored| stored == fact), "{fact}: {:?}", stored.facts);
    }
}

#[test]
fn the_receiver_learns_the_client_and_whom_it_refuses() {
    let mut server = server(ExtensionSet::all());
    server.gate =
        Gate { xclient_from: vec![Network::parse("127.0.0.0/8").expect("a network")], ..Gate::default() };
    let mut pair = Pair::new(client(Tls::Off), server, 7);
    pair.open();
    for (number, address) in ["192.0.2.1:4711", "[2001:db8::1]:25", "[2001:db8::1]:25"].iter().enumerate() {
        let facts = ClientFacts {
            address: address.parse().expect("an address"),
            ehlo: b"sender+x.test".to_vec(),
            protocol: "ESMTPS",
            ..ClientFacts::unknown()
        };
        let transaction = Transaction { client: Some(&facts), ..message(b"text\r\n") };
        // One of three times the store fails.
        pair.server.trouble = (number == 1).then_some(Trouble::TryAgain(TryAgain::Local));
        let code = if number == 1 { 451 } else { 250 };
        assert_eq!(pair.hand_on(&transaction, &[to("c@example.org")], b"text\r\n"), Ok(vec![Some(code)]));
    }
    let stored: Vec<String> = pair
        .server
        .seen
        .stored
        .iter()
        .map(|stored| format!("{} {}", stored.client.address, stored.client.ehlo.escape_ascii()))
        .collect();
    // A new EHLO is our own name: what XCLIENT said of the client's is gone with it.
    assert_eq!(stored.len(), 2, "{stored:?}");
    assert!(
        stored[0].starts_with("192.0.2.1:4711 ") && stored[1].starts_with("[2001:db8::1]:25 "),
        "{stored:?}"
    );
}

/// Content that has no bare line ends.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => Just(&b"\r\n"[..]),
        3 => Just(&b"."[..]),
        3 => Just(&b"text of a line"[..]),
        1 => Just(&b"\0x"[..]),
        1 => Just(&b"a line that is longer than a block of the scan, which is sixty-four octets\r\n"[..]),
    ];
    prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn content_comes_back_as_it_was(contents in prop::collection::vec(lines(), 1..4), size in 1..100_usize, without in 0..4_u8) {
        let mut extensions = ExtensionSet::all();
        if without & 1 != 0 {
            extensions = extensions.without(Extension::Pipelining);
        }
        let chunking = without & 2 == 0;
        if !chunking {
            extensions = extensions.without(Extension::Chunking).without(Extension::BinaryMime);
        }
        let mut pair = Pair::new(client(Tls::Off), server(extensions), size);
        pair.open();
        for content in &contents {
            let accepted = pair.hand_on(&message(content), &[to("c@example.org")], content);
            prop_assert_eq!(accepted, Ok(vec![Some(250)]));
            let stored = &pair.server.seen.stored.last().expect("it was stored").data;
            let ends = content.is_empty() || content.ends_with(b"\r\n");
            let expected = if chunking || ends { content.clone() } else { [content, &b"\r\n"[..]].concat() };
            prop_assert_eq!(stored, &expected);
        }
        prop_assert_eq!(pair.server.seen.stored.len(), contents.len());
    }

    /// Any octets go in a chunk.
    #[test]
    fn any_octets_come_back_from_a_chunk(content in prop::collection::vec(any::<u8>(), 0..300), size in 1..100_usize) {
        let mut pair = Pair::new(client(Tls::Off), server(ExtensionSet::all()), size);
        pair.open();
        let content_facts = Content { bytes: content.len() as u64, bare_line_ends: true };
        let transaction = Transaction { body: BodyType::BinaryMime, content: content_facts, ..message(b"") };
        let accepted = pair.hand_on(&transaction, &[to("c@example.org")], &content);
        prop_assert_eq!(accepted, Ok(vec![Some(250)]));
        prop_assert_eq!(&pair.server.seen.stored[0].data, &content);
    }
}
